"""Common part of the filters of `ndimage`: check, pad, sum in the widest dtype, cast as C does.

Errors have SciPy's classes; messages start with the function's name.
"""

import operator
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.geometry.division import divided
from jaxconv._core.geometry.dtypes import constant
from jaxconv.compat.scipy import _direct_sums, _numpy_dtypes, _summation_order

OneOrMore = Any  # a value, or one for each axis
BOUNDARIES = {
    "reflect": "symmetric",
    "grid-mirror": "symmetric",
    "mirror": "mirror",
    "nearest": "nearest",
    "wrap": "wrap",
    "grid-wrap": "wrap",
    "constant": "constant",
    "grid-constant": "constant",
}


def correlate_axes(
    caller: str,
    x: jax.Array,
    weights: jax.Array,
    *,
    axes: tuple[int, ...],
    origins: Sequence[int],
    mode: Any,
    cval: Any,
    dtype: Any,
    divisor: int = 1,
) -> jax.Array:
    """Correlate x along `axes` with weights and cast to a dtype.

    y[t] = cast(sum over a of x[t + a - lo] weights[a] / divisor), lo = size // 2 + origin

    Sums are computed in integers if input, weights, `cval` and result are integers, otherwise in
    float64 or complex128; in 32 bits unless `jax_enable_x64` is on.

    Raises:
        RuntimeError: unknown mode.
        ValueError: an origin outside the weights, or a `cval` that does not fit the input.
    """
    boundary = check_boundary(caller, mode)
    check_origins(caller, origins, weights.shape, "weights")
    fill = _fill(caller, x, cval, boundary)
    if x.size == 0:
        return jnp.zeros(x.shape, dtype)
    pads = []
    for origin, size in zip(origins, weights.shape, strict=True):
        before = size // 2 + origin
        pads.append((before, size - 1 - before))
    sums = _sum_dtype(x, weights, fill, dtype, divisor)
    return _correlate(
        x,
        weights,
        fill,
        axes=axes,
        pads=tuple(pads),
        boundary=boundary,
        sums=sums,
        dtype=dtype,
        divisor=divisor,
        parity=_summation_order.parity(weights) if _drops_fractions(sums, dtype) else 0,
    )


def _drops_fractions(sums, dtype) -> bool:
    """Whether fractions are dropped, so that the order of the additions can change the result."""
    return _numpy_dtypes.is_integral(dtype) and jnp.issubdtype(sums, jnp.floating)


_STATIC = ("axes", "pads", "boundary", "sums", "dtype", "divisor", "parity")


@partial(jax.jit, static_argnames=_STATIC)
def _correlate(x, weights, fill, *, axes, pads, boundary, sums, dtype, divisor, parity):
    last = tuple(range(x.ndim - len(axes), x.ndim))
    x = jnp.moveaxis(x, axes, last)
    weights = _numpy_dtypes.cast(weights, sums)
    fill = None if fill is None else _numpy_dtypes.cast(fill, sums)

    def result(x, correlate):
        y = correlate(_numpy_dtypes.cast(x, sums), weights, pads, boundary=boundary, fill=fill)
        whole = _numpy_dtypes.is_integral(dtype)
        if divisor != 1 and whole and jnp.issubdtype(y.dtype, jnp.integer):
            y = lax.div(y, jnp.asarray(divisor, y.dtype))
        elif divisor != 1:
            wide = _numpy_dtypes.common_dtype(_numpy_dtypes.widest(jnp.float64), sums)
            y, by = y.astype(wide), jnp.asarray(divisor, wide)
            y = divided(y, by) if whole else y / by
        return _numpy_dtypes.cast(y, dtype)

    if _drops_fractions(sums, dtype):
        ordered = partial(_summation_order.correlate_in_order, parity=parity)
        y = _summation_order.by_rows(partial(result, correlate=ordered), x, sums, len(axes))
    else:
        y = result(x, _direct_sums.correlate_padded)
    return jnp.moveaxis(y, last, axes)


def _sum_dtype(x, weights, fill, dtype, divisor):
    integer = _numpy_dtypes.widest(jnp.int64)
    arrays = [x.dtype, weights.dtype] + ([] if fill is None else [fill.dtype])
    if any(map(_numpy_dtypes.is_complex, arrays)):
        return _numpy_dtypes.widest(jnp.complex128)
    whole = all(map(_numpy_dtypes.is_integral, arrays))
    # a sum that is divided must not have wrapped around; sums of uint64 exceed every integer dtype
    if whole and _numpy_dtypes.is_integral(dtype) and x.dtype != jnp.uint64:
        narrow = x.dtype == jnp.bool_ or jnp.iinfo(x.dtype).max < jnp.iinfo(integer).max
        if divisor == 1 or narrow:
            return integer
    return _numpy_dtypes.widest(jnp.float64)


def check_origins(
    caller: str, origins: Sequence[int], sizes: Sequence[int], what: str = "elements"
) -> None:
    """Check that the shifted centre lies inside the window, along each axis.

    Raises:
        ValueError: an origin outside.
    """
    for origin, size in zip(origins, sizes, strict=True):
        if not -(size // 2) <= origin <= (size - 1) // 2:
            raise ValueError(
                f"{caller}: Invalid origin {origin} for {size} {what}; origin must satisfy "
                f"-(size // 2) <= origin <= (size - 1) // 2"
            )


def check_boundary(caller: str, mode: Any) -> str:
    """Return the boundary of a mode, as `_direct_sums` names it.

    Raises:
        RuntimeError: unknown mode, or several.
    """
    if not isinstance(mode, str) and hasattr(mode, "__iter__"):
        raise RuntimeError(f"{caller}: mode={mode!r}: A sequence of modes is not supported")
    if mode not in BOUNDARIES:
        names = ", ".join(map(repr, BOUNDARIES))
        raise RuntimeError(f"{caller}: mode={mode!r}: boundary mode not supported; use {names}")
    return BOUNDARIES[mode]


def _fill(caller: str, x: jax.Array, cval: Any, boundary: str) -> jax.Array | None:
    """Return `cval` as a scalar, or None if it is zero or not used."""
    fill = check_cval(caller, x, cval)
    if boundary != "constant":
        return None
    if not _numpy_dtypes.is_concrete(fill):
        return fill
    known = jax.device_get(fill)
    if not known:
        return None
    if not _numpy_dtypes.is_complex(fill.dtype) and known == known // 1:
        return fill.astype(
            _numpy_dtypes.widest(jnp.int64)
        )  # so that a cval of 1.0 keeps sums of integers in integers
    return fill


def check_cval(caller: str, x: jax.Array, cval: Any) -> jax.Array:
    """Return `cval` as a scalar array.

    Raises:
        ValueError: it is not a scalar, or complex for a real input.
    """
    fill = _numpy_dtypes.check_scalar(caller, "cval", cval)
    if _numpy_dtypes.is_complex(fill.dtype) and not _numpy_dtypes.is_complex(x.dtype):
        raise ValueError(
            f"{caller}: Cannot provide a complex-valued cval when the input is real "
            f"(cval={cval!r}, input {x.dtype})"
        )
    return fill


def output_dtype(
    caller: str, output: Any, x: jax.Array, weights: jax.Array | None = None, promote: bool = True
) -> np.dtype:
    """Return the result's dtype: `output`, by default the input's dtype.

    Args:
        caller: the function that the messages name.
        output: None, a dtype or its name.
        x: the input.
        weights: the weights; if they are complex, so is the result.
        promote: whether a real `output` for a complex result gives a warning instead of an error.

    Raises:
        RuntimeError: not a numeric dtype, or a real dtype for a complex result.
        TypeError: `output` is an array, which JAX cannot write into.
    """
    arrays = [x.dtype] if weights is None else [x.dtype, weights.dtype]
    complex_result = any(map(_numpy_dtypes.is_complex, arrays))
    if output is None:
        if not complex_result:
            return jnp.dtype(x.dtype)
        return _numpy_dtypes.common_dtype(x.dtype, jnp.complex64)
    if not isinstance(output, type) and hasattr(output, "shape") and hasattr(output, "dtype"):
        raise TypeError(
            f"{caller}: output is an array of shape {output.shape}, but JAX's arrays are "
            f"immutable; pass output={output.dtype} and use the array that is returned"
        )
    wanted = np.dtype(output)
    if isinstance(output, str) and not (jnp.issubdtype(wanted, np.number)):
        raise RuntimeError(f"{caller}: output={output!r}: output must have numeric dtype")
    if complex_result and not _numpy_dtypes.is_complex(wanted):
        if isinstance(output, str) or not promote:
            raise RuntimeError(f"{caller}: output={output!r}: output must have complex dtype")
        warnings.warn(
            f"{caller}: promoting specified output dtype to complex", UserWarning, stacklevel=3
        )
        wanted = _numpy_dtypes.common_dtype(wanted, jnp.complex64)
    return jax.dtypes.canonicalize_dtype(wanted)


def check_axes(caller: str, axes: Any, rank: int) -> tuple[int, ...]:
    """Return axes as non-negative integers in the order given, all of them for None.

    Raises:
        TypeError: an axis is not an integer.
        ValueError: an axis is out of range or occurs twice.
    """
    if axes is None:
        return tuple(range(rank))
    try:
        listed = list(axes) if np.ndim(axes) else [axes]
        found = [operator.index(axis) for axis in listed]
    except TypeError as error:
        raise TypeError(f"{caller}: axes={axes!r}: {error}") from None
    for axis in found:
        if not -rank <= axis < rank:
            raise ValueError(
                f"{caller}: specified axis: {axis} is out of range for an input of {rank} axes"
            )
    found = tuple(axis % rank for axis in found)
    if len(set(found)) != len(found):
        raise ValueError(f"{caller}: axes={axes!r}: axes must be unique")
    return found


def check_axis(caller: str, axis: Any, rank: int) -> int:
    """Return one axis as a non-negative integer.

    Raises:
        TypeError: it is not an integer.
        numpy.exceptions.AxisError: it is out of range (a ValueError and an IndexError).
    """
    try:
        found = operator.index(axis)
    except TypeError as error:
        raise TypeError(f"{caller}: axis={axis!r}: {error}") from None
    if not -rank <= found < rank:
        raise np.exceptions.AxisError(
            f"{caller}: axis {found} is out of bounds for array of dimension {rank}"
        )
    return found % rank


def per_axis(caller: str, name: str, value: Any, count: int) -> list[Any]:
    """Return one entry for each axis, from one entry or a sequence.

    Raises:
        RuntimeError: the sequence has another length.
    """
    if isinstance(value, str) or not np.ndim(value):
        return [value] * count
    entries = list(value)
    if len(entries) != count:
        raise RuntimeError(
            f"{caller}: {name}={value!r}: sequence argument must have length equal to input rank "
            f"or to len(axes), which is {count}"
        )
    return entries


def filter_axes(
    caller: str,
    x: jax.Array,
    axes: Any,
    dtype: Any,
    arguments: dict[str, Any],
    one_axis: Callable[..., jax.Array],
) -> jax.Array:
    """Filter along each axis in turn by `one_axis(x, axis, *values)`, which casts to `dtype`.

    `arguments` maps names to values, each one for all axes or one for each. `one_axis` returns x
    itself where an axis is not filtered.
    """
    checked = check_axes(caller, axes, x.ndim)
    columns = [per_axis(caller, name, value, len(checked)) for name, value in arguments.items()]
    y = x
    for axis, values in zip(checked, zip(*columns, strict=True), strict=True):
        y = one_axis(y, axis, *values)
    return _numpy_dtypes.cast(x, dtype) if y is x else y


def integers(caller: str, name: str, values: Sequence[Any]) -> list[int]:
    """Return the entries as Python integers.

    Raises:
        TypeError: an entry is not an integer.
    """
    try:
        return [operator.index(value) for value in values]
    except TypeError as error:
        raise TypeError(f"{caller}: {name}: {error}") from None


def correlate_line(
    caller: str,
    x: jax.Array,
    weights: Any,
    axis: int,
    mode: Any,
    cval: Any,
    dtype: Any,
    *,
    origin: int = 0,
) -> jax.Array:
    """Correlate along one axis with weights; see `correlate_axes`."""
    weights = weights if isinstance(weights, jax.Array) else constant(weights)
    return correlate_axes(
        caller, x, weights, axes=(axis,), origins=(origin,), mode=mode, cval=cval, dtype=dtype
    )
