"""Whether a kernel's window is large enough, or the images are shifted against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry.dtypes import refuse_masked
from jaxconv.learn._pairs import read_pairs, size_tuple
from jaxconv.learn._solve import solve_kernel
from jaxconv.learn._weights import usable_outputs, weighed

ONE_SIDED = 0.6  # of the squared weights; a derivative such as Sobel's has half on each side
MUCH_BETTER = 0.1  # of the residual
BEYOND_CHANCE = 10.0  # F statistic; noise alone stays near 1
CLEAR_PEAK = 8.0  # of phase correlation, in its standard deviations; unrelated images reach 5
ROUNDING = 1e-10  # of the target's energy: the residual of an exact fit in float32


@dataclass(frozen=True, kw_only=True)
class WindowReport:
    """Whether a window of a kernel's size is large enough.

    Attributes:
        side: one integer a dimension: -1 or 1 if most of the kernel's weight is in the first or the
            last entries of that axis, else 0.
        shift: the shift of y's content from x's, in elements a dimension; None if side is all 0
            and the shift is inside the window, or is not visible.
        gain: the share of the residual that a window one element larger on every side removes.
        message: one sentence for people, None if nothing is wrong.
    """

    side: tuple[int, ...]
    shift: tuple[int, ...] | None
    gain: float
    message: str | None


def border_side(kernel: jax.Array | np.ndarray) -> tuple[int, ...]:
    """Find the borders of its window that hold most of a kernel's weight.

    `1 along an axis if sum(k[last] ** 2) > 0.6 sum(k ** 2)`, -1 with the first, else 0

    Args:
        kernel: (*kernel). Axes of fewer than three entries have no inside; they give 0.

    Returns:
        One integer an axis.

    Example:
        >>> import numpy as np
        >>> from jaxconv.learn import border_side
        >>> border_side(np.array([[0.0, 0.1, 0.9], [0.0, 0.0, 0.1], [0.0, 0.0, 0.0]]))
        (-1, 1)
        >>> border_side(np.array([[-1.0, 0.0, 1.0]] * 3))  # half on each side
        (0, 0)
    """
    refuse_masked("border_side", "kernel", kernel)
    squares = np.square(np.asarray(kernel, np.float64))
    found = []
    for axis, size in enumerate(squares.shape):
        ends = squares.take(0, axis).sum(), squares.take(-1, axis).sum()
        side = int(np.argmax(ends))
        heavy = size > 2 and ends[side] > ONE_SIDED * squares.sum()
        found.append((-1, 1)[side] if heavy else 0)
    return tuple(found)


def estimate_shift(x: Any, y: Any) -> tuple[int, ...]:
    """Estimate the shift of y's content from x's, in whole elements.

    `argmax of the inverse Fourier transform of Y conj(X) / abs(Y conj(X))`: phase correlation

    Args:
        x: (*batch, *space).
        y: (*batch, *space'), which without a shift has the same middle as x, as a centred kernel's
            output has; up to half smaller, along all spatial axes or none.

    Returns:
        One integer a spatial dimension, positive if y's content is further along. Shifts of half
        the size or more give wrong values.

    Raises:
        ValueError: x and y differ in rank, or y is the larger one.

    Example:
        >>> import numpy as np
        >>> from jaxconv.learn import estimate_shift
        >>> x = np.random.default_rng(0).normal(size=(40, 50))
        >>> estimate_shift(x, np.roll(x, (3, -5), (0, 1)))
        (3, -5)

    Source: Kuglin and Hines, The phase correlation image alignment method, 1975.
    """
    return _peak("estimate_shift", x, y)[0]


def find_shift(kernel: Any, x: Any, y: Any) -> tuple[tuple[int, ...] | None, str | None]:
    """Look for a shift that is larger than a kernel's window.

    Its signs are a kernel with most of its weight at one border, or, if the image is too rough for
    that, a clear peak of phase correlation outside the window.

    Args:
        kernel: (*kernel), learned from x and y or solved for.
        x: (*batch, *space).
        y: (*batch, *space'), space' = space - kernel + 1.

    Returns:
        The shift of `estimate_shift` and a sentence for people; None and None if nothing is wrong;
        None and a sentence if the kernel indicates a shift whose size is unknown: less than an
        element, or so large that the peak is not clear.

    Raises:
        ValueError: as `estimate_shift`.

    Example:
        >>> import numpy as np
        >>> from jaxconv.learn import find_shift
        >>> x = np.random.default_rng(0).normal(size=(40, 50))
        >>> find_shift(np.ones((3, 3)) / 9, x, np.roll(x, 4, 0)[1:-1, 1:-1])[0]
        (4, 0)

    Source: Kuglin and Hines, 1975.
    """
    side = border_side(kernel)
    shift, clear = _peak("find_shift", x, y)
    if len(shift) != len(side):
        return None, None
    outside = [abs(d) > (n - 1) // 2 for d, n in zip(shift, np.shape(kernel), strict=True)]
    if not any(side) and not (clear and any(outside)):
        return None, None
    axes = {1: ("entry",), 2: ("row", "column")}.get(
        len(side), tuple(f"entry of axis {axis}" for axis in range(len(side)))
    )
    sides = " and ".join(
        f"{'first' if s < 0 else 'last'} {name}" for s, name in zip(side, axes, strict=True) if s
    )
    where = f"is at the border of its window ({sides})" if sides else "is outside its window"
    far = any(4 * abs(d) > n for d, n in zip(shift, np.shape(y)[-len(shift) :], strict=True))
    if not any(shift) or (far and not clear):
        wanted = tuple(n + 2 * abs(s) for n, s in zip(np.shape(kernel), side, strict=True))
        return None, (
            f"the kernel's weight {where}: the images may be shifted against each other, if only "
            f"by part of an element; align them, or increase kernel_size to {wanted}"
        )
    # the kernel's middle moves by the shift: a centred window must grow by it on both sides
    wanted = tuple(n + 2 * abs(d) for n, d in zip(np.shape(kernel), shift, strict=True))
    return shift, (
        f"the kernel's weight {where}: the images are shifted against each other by about "
        f"{shift}; align them, or increase kernel_size to {wanted}"
    )


def _peak(caller: str, x: Any, y: Any) -> tuple[tuple[int, ...], bool]:
    """The shift of the largest phase correlation, and whether that peak is clear."""
    refuse_masked(caller, "x", x)
    refuse_masked(caller, "y", y)
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != y.ndim or any(n < m for n, m in zip(x.shape, y.shape, strict=True)):
        raise ValueError(
            f"{caller}: y.shape={y.shape} must be x.shape={x.shape} or smaller, axis by axis"
        )
    spatial = [a for a, (n, m) in enumerate(zip(x.shape, y.shape, strict=True)) if n != m]
    axes = tuple(spatial or range(x.ndim)[-2:])
    cut = tuple(
        slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(x.shape, y.shape, strict=True)
    )
    x = x[cut]
    taper = np.ones(())
    for axis in axes:
        ramp = np.hanning(x.shape[axis] + 2)[1:-1]
        taper = taper * ramp.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    spectra = [np.fft.fftn((a - a.mean(axes, keepdims=True)) * taper, axes=axes) for a in (x, y)]
    cross = spectra[1] * np.conj(spectra[0])
    others = tuple(a for a in range(x.ndim) if a not in axes)
    cross = cross.sum(others, keepdims=True) if others else cross
    # the phase of frequencies with almost no energy is noise
    size = np.abs(cross)
    peak = np.fft.ifftn(cross / (size + 1e-6 * size.max() + np.finfo(float).tiny), axes=axes).real
    place = np.unravel_index(np.argmax(peak), peak.shape)
    sizes = [(int(place[a]), x.shape[a]) for a in axes]
    shift = tuple(p - n if p > n // 2 else p for p, n in sizes)
    return shift, bool(peak.max() > CLEAR_PEAK * peak.std())


def examine_window(
    x: jax.Array,
    y: jax.Array,
    kernel_size: int | tuple[int, ...],
    *,
    weights: jax.Array | None = None,
    bias: bool = False,
) -> WindowReport:
    """Check whether a kernel of this size is large enough to turn x into y.

    Two signs that it is not: the images are shifted against each other (`find_shift` of the exact
    kernel); or a window one element larger on every side fits the same targets much better, by a
    tenth of the residual and beyond chance by its F statistic.

    A shift by half a pixel is found if the window is too small for the ripples of its kernel. Of
    five photographs filtered by eight kernels of 3x3 to 7x7 and moved by half a pixel in one or
    both directions, it was found in 100 of 120 pairs without noise and in 56 of 120 with one
    percent of noise (all of identity, Sobel and box without noise, none of 5x5 and 7x7 blurs with
    it), and in none of the 80 pairs that were not moved. A shift inside the window is part of the
    kernel, and is not reported.

    Args:
        x: (*batch, *space), floating point.
        y: (*batch, *space'), space' = space - kernel_size + 1.
        kernel_size: as in `solve_kernel`.
        weights: as in `solve_kernel`.
        bias: whether to add a constant to y.

    Returns:
        A `WindowReport`. Needs values: not under jit or vmap.

    Raises:
        TypeError, ValueError: as `solve_kernel`.

    Example:
        >>> import jax
        >>> from jaxconv.learn import examine_window
        >>> x = jax.random.normal(jax.random.key(0), (40, 50))
        >>> late = x[2:-2, :-4]  # three columns further along than a 5x3 kernel's output
        >>> examine_window(x, late[:, :46], (5, 5)).shift
        (0, 2)

    Source: Fisher, 1922 (the F test); Kuglin and Hines, 1975 (the shift).
    """
    size = size_tuple("examine_window", kernel_size)
    caller = "examine_window"
    pairs = read_pairs(caller, x, y, size, channels=False)
    pairs, ws = weighed(caller, weights, pairs, channels=False, padding_mode="zeros")
    x, y = pairs.xs[0][..., 0], pairs.ys[0][..., 0]
    w = None if ws is None else ws[0][..., 0]
    found = solve_kernel(x, y, size, weights=w, bias=bias)
    side, gain = border_side(found.kernel), _gain(x, y, w, size, bias)
    shift, message = find_shift(found.kernel, x, y)
    if message:
        return WindowReport(side=side, shift=shift, gain=gain, message=message)
    if gain > MUCH_BETTER:
        larger = tuple(n + 2 for n in size)
        message = (
            f"a kernel of {larger} removes {gain:.0%} of the error of one of {size}: "
            "increase kernel_size"
        )
    return WindowReport(side=side, shift=None, gain=gain, message=message)


def _gain(
    x: jax.Array, y: jax.Array, w: jax.Array | None, size: tuple[int, ...], bias: bool
) -> float:
    """The share of the residual that one element more on every side removes; 0 if by chance."""
    if min(y.shape[-len(size) :]) < 3:
        return 0.0
    inner = (..., *(slice(1, -1) for _ in size))
    target = y[inner]
    # a larger window must not reach what is missing: outputs count if all of theirs around them do
    own = None
    if w is not None:
        own = jnp.where(usable_outputs(w, (3,) * len(size)), w[inner], jnp.zeros_like(w[inner]))
    if own is not None and not bool((own > 0).any()):
        return 0.0
    small = solve_kernel(x[inner], target, size, weights=own, bias=bias)
    large = solve_kernel(x, target, tuple(n + 2 for n in size), weights=own, bias=bias)
    before, after = float(small.residual), float(large.residual)
    freedom = int(small.positions) - int(large.rank) - bias
    more = int(large.rank) - int(small.rank)
    share = 1.0 if own is None else own / jnp.mean(own)
    middle = jnp.mean(share * target) if bias else 0.0
    energy = float(jnp.sum(share * jnp.square(target - middle)))
    if freedom < 1 or more < 1 or before <= ROUNDING * energy:
        return 0.0
    statistic = (before - after) / more / max(after / freedom, np.finfo(float).tiny)
    return (before - after) / before if statistic > BEYOND_CHANCE else 0.0
