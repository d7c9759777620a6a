"""The blur that a restoration undoes, as a linear map with its adjoint: `Blur`."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxconv._core.dispatch.arguments import check_method
from jaxconv._core.geometry.dtypes import as_array
from jaxconv._core.geometry.extension import MODES, check_sizes, extend, fold, name_here
from jaxconv._core.geometry.messages import shown
from jaxconv._core.geometry.shapes import fast_length
from jaxconv._functional.planes import convolve, correlate

BOUNDARIES = ("unknown", *(mode for mode in MODES if mode != "constant"))
# Kernels of this many entries and more are applied by FFT under method="auto". Milliseconds for the
# blur and its adjoint, by sums and by FFT: 9x9 on 1024^2 10 and 18, 17x17 25 and 18; 5x5x5 on
# 32x256x256 62 and 103, 7x7x7 144 and 130 (2 AVX2 cores, plugin, jax 0.10.2, 2026-11-29; without
# the plugin 9x9 takes 25).
FFT_ENTRIES = 200


@dataclasses.dataclass(frozen=True)
class Blur:
    """`y = forward(x)`, where x may reach beyond y.

    Attributes:
        shape: of x.
        size: of y.
        before: how many elements of x lie before the first one of y, along each axis.
        forward: x -> y, the sharp image's blur.
        adjoint: y -> x, its transpose.
    """

    shape: tuple[int, ...]
    size: tuple[int, ...]
    before: tuple[int, ...]
    forward: Callable[[jax.Array], jax.Array]
    adjoint: Callable[[jax.Array], jax.Array]

    def crop(self, x: jax.Array) -> jax.Array:
        """The part of x that lies where y is."""
        return x[tuple(slice(b, b + n) for b, n in zip(self.before, self.size, strict=True))]

    def grow(self, y: jax.Array) -> jax.Array:
        """An image of x's shape from one of y's: what lies beyond repeats the nearest element."""
        ends = zip(self.shape, self.size, self.before, strict=True)
        return jnp.pad(y, [(b, n - m - b) for n, m, b in ends], mode="edge")


def number(caller: str, name: str, value: ArrayLike | None, y: jax.Array) -> Any:
    """Return numbers in y's dtype, on its device and not in the program; None stays None."""
    return None if value is None else as_array(caller, name, value).astype(y.dtype)


def images(caller: str, **arrays: ArrayLike) -> list[jax.Array]:
    """Return images and kernels as arrays of one floating dtype and rank.

    Raises:
        TypeError: not floating, or of different dtypes.
        ValueError: of different ranks, or one is empty.
    """
    found = {name: as_array(caller, name, value) for name, value in arrays.items()}
    (first, y), *rest = found.items()
    for name, array in found.items():
        if array.dtype not in (jnp.float32, jnp.float64):
            raise TypeError(
                f"{caller}: {name} must be float32 or float64, got {array.dtype}; call "
                f"{name}.astype('float32')"
            )
        if not array.size or not array.ndim:
            raise ValueError(f"{caller}: {name} has no elements, {name}.shape={array.shape}")
    for name, array in rest:
        if array.dtype != y.dtype:
            raise TypeError(
                f"{caller}: {first} is {y.dtype} and {name} is {array.dtype}; call "
                f"{name}.astype({first}.dtype)"
            )
        if array.ndim != y.ndim:
            raise ValueError(
                f"{caller}: {first}.shape={y.shape} and {name}.shape={array.shape} differ in rank; "
                "for several images of one blur use jax.vmap"
            )
    return list(found.values())


def make_blur(
    caller: str,
    size: Sequence[int],
    k: jax.Array,
    *,
    boundary: str = "unknown",
    flip: bool = False,
    method: str = "auto",
) -> Blur:
    """Return the blur of images of a size.

    `forward(x)[t] = sum over a of x[t + a] k[a]`, where x is what `boundary` makes of the image.

    Args:
        caller: for messages.
        size: of y.
        k: the kernel, of y's rank.
        boundary: one of `BOUNDARIES`.
        flip: whether the blur is the convolution with k, rather than the correlation.
        method: "auto", "fft" or another method's name.

    Raises:
        ValueError: unknown boundary or method, a kernel larger than y, or a boundary that needs
            more elements than there are.
    """
    size = tuple(size)
    if boundary not in BOUNDARIES:
        raise ValueError(
            f"{caller}: boundary={shown(boundary)} must be one of "
            f"{', '.join(map(repr, BOUNDARIES))}{name_here(boundary, BOUNDARIES)}"
        )
    check_method(caller, method)
    if any(a > n for a, n in zip(k.shape, size, strict=True)):
        raise ValueError(f"{caller}: k.shape={k.shape} is larger than y.shape={size}")
    if flip:
        k = jnp.flip(k)
    before = tuple((a - 1) // 2 for a in k.shape)
    pairs = {axis: (b, a - 1 - b) for axis, (a, b) in enumerate(zip(k.shape, before, strict=True))}
    grid = tuple(n + a - 1 for n, a in zip(size, k.shape, strict=True))
    if method == "auto" and math.prod(k.shape) >= FFT_ENTRIES:
        method = "fft"
    # in volumes the spectra of all of it are faster than those of blocks: 246 and 305 ms
    by_spectra = method == "fft" and k.ndim > 2
    inside, spread = _by_spectra(size, grid, k) if by_spectra else _by_method(k, method)
    if boundary == "unknown":
        return Blur(grid, size, before, inside, spread)
    check_sizes(caller, size, pairs, mode=boundary, argument="boundary")
    return Blur(
        size,
        size,
        (0,) * len(size),
        lambda x: inside(extend(x, pairs=pairs, mode=boundary)),
        lambda y: fold(spread(y), pairs=pairs, mode=boundary),
    )


def _by_method(k: jax.Array, method: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return (
        lambda x: correlate(x, k, mode="valid", method=method),
        lambda y: convolve(y, k, mode="full", method=method),
    )


def _by_spectra(
    size: tuple[int, ...], grid: tuple[int, ...], k: jax.Array
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Correlate on a circle that is as long as the grid: no output wraps around it."""
    lengths = tuple(map(fast_length, grid))
    spectrum = transform(k, lengths)

    def inside(x: jax.Array) -> jax.Array:
        y = inverse(transform(x, lengths) * spectrum.conj(), lengths)
        return y[tuple(map(slice, size))]

    def spread(y: jax.Array) -> jax.Array:
        x = inverse(transform(y, lengths) * spectrum, lengths)
        return x[tuple(map(slice, grid))]

    return inside, spread


def transform(x: jax.Array, lengths: tuple[int, ...]) -> jax.Array:
    """The spectrum of a real array with zeros after it: half of the last axis' frequencies."""
    ends = [(0, m - n) for m, n in zip(lengths, x.shape, strict=True)]
    spectrum = jnp.fft.rfftn(jnp.pad(x, ends), axes=range(-min(3, x.ndim), 0))
    for axis in range(x.ndim - 3):  # XLA transforms at most three axes at once
        spectrum = jnp.fft.fft(spectrum, axis=axis)
    return spectrum


def inverse(spectrum: jax.Array, lengths: tuple[int, ...]) -> jax.Array:
    """Undo `transform`."""
    for axis in range(spectrum.ndim - 3):
        spectrum = jnp.fft.ifft(spectrum, axis=axis)
    last = lengths[-3:]
    return jnp.fft.irfftn(spectrum, last, axes=range(-len(last), 0))
