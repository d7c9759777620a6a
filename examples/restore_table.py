"""Restored photographs and beads beside scikit-image: how near the truth, and in what time.

    python examples/restore_table.py [--quick] [--seconds]

Photographs (scikit-image's camera, Hubble deep field and retina, in grey, 256x256 pixels of each)
are blurred by the 15x15 kernels of psf_table.py: Gaussian, motion, defocus and diffraction. The
blur is that of a larger scene, of which the image is cut out. Noise of 0.1 or 1 % of white is
added. The numbers are peak signal-to-noise ratios in dB, over the whole image, ends included; the
larger, the nearer to the truth. The columns:

* blurred: what was seen;
* wiener, tikhonov: `jaxconv.restore`, with the balance that they estimate;
* lucy, lucy tv: `restore.richardson_lucy`, 30 steps, without and with total variation (0.002);
* tv: `restore.descend` by Adam on the squared error and total variation, 200 steps, its weight from
  the noise;
* sk wiener: scikit-image's `wiener`; the best of seven balances for each row, by the truth;
* sk unsup.: `unsupervised_wiener`, which estimates its balance;
* sk lucy: `richardson_lucy`, 30 steps.

Beads: a volume of 32x128x128 (with --seconds also 64x256x256) with 60 beads in counts, blurred by a
Gaussian that is twice as long along z, with a background of 10 and the noise of counts. RedLionfish
is beside them where it is installed (`pip install --no-deps RedLionfish==0.10`): as it is, and
moved back by the pixel by which it moves everything (findings/redlionfish_shift.sh).
"""

import argparse
import importlib
import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _photographs import blurs, photograph
from skimage import restoration

from jaxconv import filters, restore
from jaxconv.restore import penalties

PHOTOGRAPHS = ("camera", "hubble_deep_field", "retina")
BALANCES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
SIDE, KERNEL = 256, 15


def ratio(found: Any, truth: np.ndarray) -> float:
    """The peak signal-to-noise ratio in dB, the peak being 1."""
    return float(-10 * np.log10(np.mean((np.asarray(found) - truth) ** 2)))


def with_edges(y: jax.Array, k: jax.Array, weight: jax.Array) -> jax.Array:
    edges = lambda x: weight * penalties.total_variation(x, smoothing=1e-3)
    return restore.descend(y, k, optimizer=optax.adam(0.01), penalty=edges, steps=200).image


OURS: dict[str, Callable[..., Any]] = {
    "wiener": jax.jit(restore.wiener),
    "tikhonov": jax.jit(lambda y, k: restore.tikhonov(y, k).image),
    "lucy": jax.jit(lambda y, k: restore.richardson_lucy(y, k).image),
    "lucy tv": jax.jit(lambda y, k: restore.richardson_lucy(y, k, total_variation=0.002).image),
    "tv": jax.jit(with_edges),
}
PEERS: dict[str, Callable[..., Any]] = {
    "sk wiener": partial(restoration.wiener, clip=False),
    "sk unsup.": lambda y, k: restoration.unsupervised_wiener(y, k, clip=False, rng=0)[0],
    "sk lucy": partial(restoration.richardson_lucy, num_iter=30),
}


def restored(y: np.ndarray, k: np.ndarray, truth: np.ndarray, noise: float) -> dict[str, float]:
    """Return the ratios of one row by column."""
    row = {"blurred": ratio(y, truth)}
    for name, way in OURS.items():
        rest = (jnp.float32(noise**1.5),) if name == "tv" else ()
        row[name] = ratio(way(y, k, *rest), truth)
    flipped = k[::-1, ::-1]  # scikit-image undoes convolutions
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tried = (ratio(PEERS["sk wiener"](y, flipped, b), truth) for b in BALANCES)
        row["sk wiener"] = max(tried)
        for name in ("sk unsup.", "sk lucy"):
            row[name] = ratio(PEERS[name](y, flipped), truth)
    return row


def photographs(names: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = []
    for name in names:
        wide = photograph(name, SIDE + KERNEL - 1)
        edge = KERNEL // 2
        truth = wide[edge:-edge, edge:-edge]
        for blur, k in blurs(KERNEL).items():
            exact = np.asarray(jax.scipy.signal.correlate(wide, k, mode="valid"))
            for noise in (0.001, 0.01):
                rng = np.random.default_rng(0)
                y = exact + np.float32(noise) * rng.standard_normal(exact.shape, np.float32)
                found = restored(y, k, truth, noise)
                rows.append({"photograph": name, "blur": blur, "noise": noise, **found})
                print(line(rows[-1]), flush=True)
    return rows


def line(row: dict[str, Any]) -> str:
    head = f"{row['photograph']:18} {row['blur']:9} {row['noise']:6.1%}"
    return head + "".join(f"{row[name]:9.2f}" for name in ("blurred", *OURS, *PEERS))


def beads(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the truth, the kernel and the counts that are seen."""
    rng = np.random.default_rng(0)
    truth = np.zeros(shape, np.float32)
    at = [rng.integers(n // 8, n - n // 8, 60) for n in shape]
    axes = np.meshgrid(*(np.arange(-2, 3),) * 3, indexing="ij")
    ball = (sum(axis**2 for axis in axes) <= 4).astype(np.float32)
    for corner in zip(*at, strict=True):
        truth[tuple(slice(c - 2, c + 3) for c in corner)] += 1000 * ball
    lines = [
        filters.gaussian(sigma, size, rank=1) for sigma, size in ((3.0, 17), (1.5, 9), (1.5, 9))
    ]
    k = np.einsum("a,b,c->abc", *lines).astype(np.float32)
    exact = np.asarray(jax.scipy.signal.correlate(truth, k, mode="same", method="fft"))
    counts = rng.poisson(np.maximum(exact, 0) + 10).astype(np.float32)
    return truth, k, counts


def volume(shape: tuple[int, ...]) -> dict[str, float]:
    """Return the errors of restored beads, |found - truth| / |truth|."""
    truth, k, y = beads(shape)
    found = {
        "blurred": y - 10,
        "lucy": restore.richardson_lucy(y, k, background=10.0).image,
        "lucy to 1": restore.richardson_lucy(y, k, background=10.0, steps=200, stop=1.0).image,
        "lucy tv": restore.richardson_lucy(y, k, background=10.0, total_variation=0.002).image,
        "sk lucy": restoration.richardson_lucy(y, k, num_iter=30, clip=False),
    }
    if importlib.util.find_spec("RedLionfishDeconv"):
        found["redlionfish"] = red_lionfish(y, k)
        found["redlionfish, moved back"] = np.roll(found["redlionfish"], -1, (0, 1, 2))
    return {
        name: float(np.linalg.norm(np.asarray(x) - truth) / np.linalg.norm(truth))
        for name, x in found.items()
    }


def red_lionfish(y: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return what RedLionfish finds in 30 steps on the CPU."""
    peer: Any = importlib.import_module("RedLionfishDeconv")
    return peer.doRLDeconvolutionFromNpArrays(y, k, niter=30, method="cpu")


def seconds(function: Callable[[], Any], bursts: int = 3) -> float:
    """The fastest of some calls; the first one warms up."""
    taken = []
    for _ in range(bursts + 1):
        start = time.perf_counter()
        jax.block_until_ready(function())
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def compare_times() -> list[dict[str, Any]]:
    """Time ours beside scikit-image's, values in hand: 1024^2 and 64x256x256."""
    rows = []
    y2 = np.tile(photograph("camera", 512), (2, 2))
    for size in (9, 31):
        k2 = filters.gaussian(size / 7.5, size, rank=2).astype(np.float32)
        for ours, peer, rest in (
            ("wiener", "sk wiener", (0.1,)),
            ("wiener", "sk unsup.", ()),
            ("lucy", "sk lucy", ()),
        ):
            balance = {"balance": rest[0]} if rest else {}
            way = partial(jax.jit(restore.wiener, static_argnames="order"), **balance)
            way = OURS["lucy"] if ours == "lucy" else way
            a, b = seconds(lambda: way(y2, k2)), seconds(lambda: PEERS[peer](y2, k2, *rest))
            rows.append(
                {"case": f"1024^2, {size}x{size}", "ours": ours, "beside": peer, "s": (a, b)}
            )
    _, k, y = beads((64, 256, 256))
    a = seconds(lambda: OURS["lucy"](y, k), 1)
    peers = {"sk lucy": PEERS["sk lucy"]}
    if importlib.util.find_spec("RedLionfishDeconv"):
        peers["redlionfish"] = red_lionfish
    for name, peer in peers.items():
        b = seconds(lambda peer=peer: peer(y, k), 1)
        rows.append({"case": "64x256x256, 17x9x9", "ours": "lucy", "beside": name, "s": (a, b)})
    way = jax.jit(partial(restore.wiener, balance=0.1))
    a, b = seconds(lambda: way(y, k), 1), seconds(lambda: PEERS["sk wiener"](y, k, 0.1), 1)
    rows.append(
        {"case": "64x256x256, 17x9x9", "ours": "wiener", "beside": "sk wiener", "s": (a, b)}
    )
    for row in rows:
        a, b = row["s"]
        ways = f"{row['ours']:8} beside {row['beside']:11}"
        print(f"{row['case']:20} {ways} {a:8.3f} s {b:8.3f} s {a / b:6.2f}")
    return rows


def main(given: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one photograph")
    parser.add_argument("--seconds", action="store_true", help="times too, some minutes")
    options = parser.parse_args(given)
    print(f"{'':35}" + "".join(f"{name:>9}" for name in ("blurred", *OURS, *PEERS)))
    rows = photographs(PHOTOGRAPHS[:1] if options.quick else PHOTOGRAPHS)
    means = {
        name: statistics.mean(row[name] for row in rows) for name in ("blurred", *OURS, *PEERS)
    }
    print(f"{'mean':35}" + "".join(f"{mean:9.2f}" for mean in means.values()))
    errors = volume((16, 64, 64) if options.quick else (32, 128, 128))
    print("beads, relative error: " + ", ".join(f"{name} {e:.3f}" for name, e in errors.items()))
    times = compare_times() if options.seconds else []
    return {"photographs": rows, "beads": errors, "times": times}


if __name__ == "__main__":
    main()
