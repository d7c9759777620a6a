"""Programs that filter one plane, one for each peer: "same" correlation with zeros outside."""

import importlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxconv
from jaxconv._core.machine import cores
from jaxconv.bench.cases import Plane
from jaxconv.bench.peers import OURS, Program

# Entries of a kernel up to which SciPy sums directly; beyond, it is timed with FFT.
MOST_DIRECT_ENTRIES = 100


def arrays(case: Plane) -> tuple[np.ndarray, np.ndarray]:
    """Random plane and kernel, scaled so that the result is of order one."""
    rng = np.random.default_rng(0)
    k = rng.standard_normal(case.kernel, np.float32) / np.float32(np.prod(case.kernel)) ** 0.5
    return rng.standard_normal((case.size, case.size), np.float32), k.astype(np.float32)


def programs(case: Plane, *, method: str, peers: Sequence[str]) -> list[Program]:
    """Return every way to filter one plane, ours first."""
    x, k = arrays(case)
    found = [_ours(x, k, method)]
    if "lax" in peers:
        found += [_lax(x, k, first) for first in (False, True)]
    if "torch" in peers:
        found.append(_torch(x, k))
    if "scipy" in peers:
        found += _scipy(x, k)
    if "opencv" in peers:
        found.append(_opencv(x, k))
    return found


def _plane(result: Any) -> dict[str, np.ndarray]:
    return {"y": np.asarray(result)}


def _ours(x: np.ndarray, k: np.ndarray, method: str) -> Program:
    def run(x: jax.Array, k: jax.Array) -> jax.Array:
        return jaxconv.correlate(x, k, mode="same_lower", method=method)

    return Program(
        peer=OURS,
        label=OURS,
        function=run,
        arguments=[jnp.asarray(x), jnp.asarray(k)],
        values=_plane,
        compiled=True,
    )


def _lax(x: np.ndarray, k: np.ndarray, channels_first: bool) -> Program:
    numbers = ("NCHW", "OIHW", "NCHW") if channels_first else ("NHWC", "HWIO", "NHWC")
    pads = [(m // 2, (m - 1) // 2) for m in k.shape]

    def run(x: jax.Array, k: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, k, (1, 1), pads, dimension_numbers=numbers)

    if channels_first:
        x, k = x[None, None], k[None, None]
    else:
        x, k = x[None, ..., None], k[..., None, None]
    return Program(
        peer="lax",
        label="lax NCHW" if channels_first else "lax NHWC",
        function=run,
        arguments=[jnp.asarray(x), jnp.asarray(k)],
        values=lambda y: _plane(np.asarray(y).squeeze()),
        compiled=True,
    )


def _torch(x: np.ndarray, k: np.ndarray) -> Program:
    import torch

    padding = tuple(m // 2 for m in k.shape)
    rows, columns = x.shape

    def run(x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            # even kernels give one row and column too many
            return torch.nn.functional.conv2d(x, k, padding=padding)[..., :rows, :columns]

    return Program(
        peer="torch",
        label="torch",
        function=run,
        arguments=[torch.from_numpy(x)[None, None], torch.from_numpy(k)[None, None]],
        values=lambda y: _plane(y[0, 0].numpy()),
    )


def _scipy(x: np.ndarray, k: np.ndarray) -> list[Program]:
    from scipy import fft, ndimage, signal

    def direct(x: np.ndarray, k: np.ndarray) -> np.ndarray:
        return ndimage.correlate(x, k, mode="constant")

    def through(convolve: Any) -> Any:
        def run(x: np.ndarray, k: np.ndarray) -> np.ndarray:
            with fft.set_workers(cores()):
                return convolve(x, k[::-1, ::-1], mode="same")

        return run

    ways = {"scipy correlate": direct}
    if k.size > MOST_DIRECT_ENTRIES:
        ways = {
            "scipy fftconvolve": through(signal.fftconvolve),
            "scipy oaconvolve": through(signal.oaconvolve),
        }
    return [
        Program(peer="scipy", label=label, function=run, arguments=[x, k], values=_plane)
        for label, run in ways.items()
    ]


def _opencv(x: np.ndarray, k: np.ndarray) -> Program:
    cv2: Any = importlib.import_module("cv2")

    def run(x: np.ndarray, k: np.ndarray) -> np.ndarray:
        return cv2.filter2D(x, cv2.CV_32F, k, borderType=cv2.BORDER_CONSTANT)

    return Program(
        peer="opencv", label="OpenCV filter2D", function=run, arguments=[x, k], values=_plane
    )
