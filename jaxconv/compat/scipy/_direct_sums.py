"""Direct correlation and convolution with SciPy's modes and padding."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry.extension import source_index
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._functional import padding

Pairs = tuple[tuple[int, int], ...]
Windows = tuple[tuple[int, int], ...]

# name of a boundary in this module -> mode of `jaxconv.pad`
_PADDING = {
    "symmetric": "symmetric",
    "mirror": "reflect",
    "nearest": "replicate",
    "wrap": "circular",
}


def correlate_padded(
    x: jax.Array, k: jax.Array, pads: Pairs, *, boundary: str = "constant", fill=None
) -> jax.Array:
    """Correlate the last `k.ndim` axes of x, padded by `pads`, with k.

    y[t] = sum over a of x[t + a - lo] k[a]

    Args:
        x: (*batch, *space).
        k: (*kernel) in x's dtype.
        pads: (before, after) for each axis of k; negative widths crop, for a constant boundary
            only.
        boundary: "constant", "symmetric", "mirror", "nearest" or "wrap".
        fill: the value of a constant boundary; None is zero.

    Returns:
        (*batch, *space') in x's dtype; for bool the logical or of the products.
    """
    if x.dtype == jnp.bool_:
        counts = correlate_padded(
            x.astype(jnp.int32), k.astype(jnp.int32), pads, boundary=boundary, fill=fill
        )
        return counts > 0
    rank = k.ndim
    axes = tuple(range(x.ndim - rank, x.ndim))
    if boundary != "constant" or fill is not None:
        x = extend(x, pads, axes, boundary, fill)
        pads = ((0, 0),) * rank
    ones = (1,) * rank
    spec = ConvSpec(ones, ones, pads, 1, x.shape[x.ndim - rank :], k.shape)
    highest = jax.lax.Precision.HIGHEST
    # one channel in, one channel out
    y = contract("output", x[..., None], k[..., None, None], spec, dtype=x.dtype, precision=highest)
    return y[..., 0]


def extend(
    x: jax.Array, pads: Pairs, axes: Sequence[int], boundary: str, fill: jax.Array | None
) -> jax.Array:
    """Pad x by any width, also by several repetitions of its content."""
    if boundary == "constant":
        fill = jnp.zeros((), x.dtype) if fill is None else fill.astype(x.dtype)
        return padding.pad(x, pads, axes=axes, mode="constant", fill_value=fill)
    for axis, pair in zip(axes, pads, strict=True):
        x = _extend_axis(x, axis, pair, boundary)
    return x


def _extend_axis(x: jax.Array, axis: int, pair: tuple[int, int], boundary: str) -> jax.Array:
    size = x.shape[axis]
    if boundary == "nearest" or max(pair) < size:
        return padding.pad(x, [pair], axes=(axis,), mode=_PADDING[boundary])
    position = np.arange(-pair[0], size + pair[1])
    return jnp.take(x, source_index(position, size, _PADDING[boundary]), axis=axis)


def mode_windows(mode: str, first: Sequence[int], second: Sequence[int]) -> Windows:
    """Return (start, length) by axis of the part of the full convolution that a mode keeps."""
    full = [n + k - 1 for n, k in zip(first, second, strict=True)]
    match mode:
        case "full":
            return tuple((0, m) for m in full)
        case "same":
            return tuple(((m - n) // 2, n) for m, n in zip(full, first, strict=True))
        case _:
            sizes = zip(first, second, strict=True)
            return tuple((min(n, k) - 1, abs(n - k) + 1) for n, k in sizes)


def window_pads(windows: Windows, first: Sequence[int], second: Sequence[int]) -> Pairs:
    """Return the padding of the first input with which a convolution gives only a window."""
    sizes = zip(windows, first, second, strict=True)
    # (before, after): start + before = k - 1, and n + before + after - (k - 1) = length
    return tuple((k - 1 - start, length - n + start) for (start, length), n, k in sizes)


@partial(jax.jit, static_argnames="windows")
def convolve_window(x: jax.Array, k: jax.Array, windows: Windows) -> jax.Array:
    """Convolve two arrays of the same rank and dtype and return a window of the full result."""
    if x.size < k.size:  # convolution commutes; the kernel should be the smaller one
        x, k = k, x
    return correlate_padded(x, jnp.flip(k), window_pads(windows, x.shape, k.shape))


def swap_needed(
    caller: str, mode: str, first: Sequence[int], second: Sequence[int], axes: Sequence[int]
) -> bool:
    """Whether "valid" exchanges the inputs, because `first` is smaller than `second`.

    Raises:
        ValueError: the mode is "valid" and neither input contains the other.
    """
    if mode != "valid" or all(first[axis] >= second[axis] for axis in axes):
        return False
    if all(second[axis] >= first[axis] for axis in axes):
        return True
    raise ValueError(
        f"{caller}: For 'valid' mode, one must be at least as large as the other in every "
        f"dimension; got shapes {tuple(first)} and {tuple(second)}"
    )


def check_mode(caller: str, mode: str) -> None:
    """Check that the mode is one of SciPy's three.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(mode, str) or mode not in ("full", "same", "valid"):
        raise ValueError(
            f"{caller}: mode={mode!r}. Acceptable mode flags are 'valid', 'same', or 'full'."
        )


def check_not_empty(caller: str, **arrays: jax.Array) -> None:
    """Check that all arrays have elements.

    Raises:
        ValueError: an array is empty.
    """
    for name, array in arrays.items():
        if array.size == 0:
            raise ValueError(f"{caller}: {name} cannot be empty, got shape {array.shape}")
