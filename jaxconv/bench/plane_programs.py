"""Programs that filter one plane, one for each peer: "same" correlation with zeros outside."""

import importlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

import jaxconv
from jaxconv._core.machine import cores
from jaxconv.bench import devices, each_method
from jaxconv.bench.cases import Plane
from jaxconv.bench.numerics import FLOAT32, Precision
from jaxconv.bench.peers import OURS, Program

# Entries of a kernel up to which SciPy sums directly; beyond, it is timed with FFT.
MOST_DIRECT_ENTRIES = 100


def arrays(case: Plane, precision: Precision = FLOAT32) -> tuple[np.ndarray, np.ndarray]:
    """Random plane and kernel, scaled so that the result is of order one.

    They are float32 arrays, of numbers that the precision's dtype holds.
    """
    rng = np.random.default_rng(0)
    k = rng.standard_normal(case.kernel, np.float32) / np.float32(np.prod(case.kernel)) ** 0.5
    plane = rng.standard_normal((case.size, case.size), np.float32)
    x, k = precision.arrays(plane, k.astype(np.float32))
    return x, k


def programs(
    case: Plane, *, method: str, peers: Sequence[str], precision: Precision = FLOAT32
) -> list[Program]:
    """Return every way to filter one plane, ours first; SciPy and OpenCV in float32 alone."""
    x, k = arrays(case, precision)
    found = _ours(x, k, method, precision)
    if "lax" in peers:
        found += [_lax(x, k, precision, first) for first in (False, True)]
    if "torch" in peers:
        found.append(_torch(x, k, precision))
    if precision is not FLOAT32:
        return found
    if "scipy" in peers:
        found += _scipy(x, k)
    if "opencv" in peers:
        found.append(_opencv(x, k))
    return found


def _plane(result: Any) -> dict[str, np.ndarray]:
    return {"y": np.asarray(result)}


def _ours(x: np.ndarray, k: np.ndarray, method: str, precision: Precision) -> list[Program]:
    placed = [precision.place(x), precision.place(k)]

    def make(method: str) -> Program:
        def run(x: jax.Array, k: jax.Array) -> jax.Array:
            return jaxconv.correlate(x, k, mode="same_lower", method=method)

        ours = {"peer": OURS, "label": OURS, "compiled": True}
        return Program(**ours, function=run, arguments=placed, values=_plane)

    return each_method.programs(make, method)


def _lax(x: np.ndarray, k: np.ndarray, precision: Precision, channels_first: bool) -> Program:
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
        arguments=[precision.place(x), precision.place(k)],
        values=lambda y: _plane(np.asarray(y).squeeze()),
        compiled=True,
    )


def _torch(x: np.ndarray, k: np.ndarray, precision: Precision) -> Program:
    import torch

    from jaxconv.bench.torch_layers import gone, placed

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
        arguments=[placed(a, precision.dtype)[None, None] for a in (x, k)],
        values=lambda y: _plane(gone(y[0, 0])),
        on_cuda=devices.torch_device() == "cuda",
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
