"""A convolution as a matrix that multiplies the flattened input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.dispatch.arguments import check_padding_mode
from jaxconv._core.geometry.dtypes import as_array
from jaxconv._core.geometry.extension import source_index
from jaxconv._core.geometry.spec import ConvSpec, Padding, check_groups, normalise, per_dimension

if TYPE_CHECKING:  # it imports SciPy
    from jax.experimental.sparse import BCOO


@overload
def as_matrix(
    w: jax.Array | np.ndarray,
    input_size: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    flip: bool = False,
    sparse: Literal[False] = False,
) -> jax.Array: ...


@overload
def as_matrix(
    w: jax.Array | np.ndarray,
    input_size: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    flip: bool = False,
    sparse: Literal[True],
) -> BCOO: ...


def as_matrix(
    w: jax.Array | np.ndarray,
    input_size: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    flip: bool = False,
    sparse: bool = False,
) -> Any:
    """Write the convolution with w, on inputs of one size, as a matrix.

    A[(t, g, o), (s, g, i)] = sum of w[k, g, i, o] over the k with t stride + k dilation - lo = s

    so that `A @ x.ravel()` is `conv(x, w).ravel()`, and `A.T @ y.ravel()` is
    `conv_transpose(y, w).ravel()` for the transposed convolution back to `input_size`. A is linear
    in w and zero where an output does not depend on an input.

    Args:
        w: (*kernel, in // groups, out), as in `jaxconv.conv`, of any dtype.
        input_size: spatial shape of x; one integer stands for every dimension.
        stride: as in `jaxconv.conv`.
        padding: as in `jaxconv.conv`.
        dilation: as in `jaxconv.conv`.
        groups: as in `jaxconv.conv`.
        padding_mode: as in `jaxconv.conv`; a padded element adds to the column of the element of x
            that it repeats.
        flip: as in `jaxconv.conv`.
        sparse: return a `jax.experimental.sparse.BCOO` instead of an array, with one entry for
            each multiplication of the convolution, sorted by row and column (a `padding_mode` other
            than "zeros" may repeat an index).

    Returns:
        A: (prod(space') * out, prod(space) * in) in w's dtype.

    Raises:
        TypeError: a number is not an integer.
        ValueError: the shapes and arguments do not fit each other.

    Example:
        >>> as_matrix(jnp.array([1, 2, 3]).reshape(3, 1, 1), 5)
        Array([[1, 2, 3, 0, 0],
               [0, 1, 2, 3, 0],
               [0, 0, 1, 2, 3]], dtype=int32)

    Source:
        Dumoulin and Visin (2016), "A guide to convolution arithmetic for deep learning",
        section 4.1.
    """
    caller = "as_matrix"
    w = as_array(caller, "w", w)
    size = per_dimension(caller, "input_size", input_size, max(w.ndim - 2, 1), minimum=1)
    # normalise raises the error for a w of too few dimensions
    channels = w.shape[-2] * check_groups(caller, w.shape, groups) if w.ndim > 2 else 1
    x_shape = (*size, channels)
    spec = normalise(
        caller,
        x_shape,
        w.shape,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        x_name="input",
    )
    check_padding_mode(caller, x_shape, spec, padding_mode)
    rows, columns, entries = _terms(spec, w.shape, padding_mode)
    if flip:
        w = jnp.flip(w, tuple(range(spec.rank)))
    values = w.ravel()[entries]
    shape = (int(np.prod(spec.output_size)) * w.shape[-1], int(np.prod(size)) * channels)
    if not sparse:
        return jnp.zeros(shape, w.dtype).at[rows, columns].add(values)
    from jax.experimental.sparse import BCOO

    return BCOO(
        (values, jnp.asarray(np.stack([rows, columns], axis=-1))),
        shape=shape,
        indices_sorted=True,
        unique_indices=padding_mode == "zeros",
    )


def _terms(spec: ConvSpec, w_shape: tuple[int, ...], mode: str) -> tuple[np.ndarray, ...]:
    """Row, column and flat entry of w of every multiplication, sorted by row and column."""
    rows, columns, entries = (np.zeros((1, 1), np.int64) for _ in range(3))
    for d in range(spec.rank):
        t, k, s = _dimension_terms(spec, d, mode)
        rows = rows.reshape(-1, 1) * spec.output_size[d] + t
        columns = columns.reshape(-1, 1) * spec.input_size[d] + s
        entries = entries.reshape(-1, 1) * spec.kernel_size[d] + k
    groups, (fan_in, outputs) = spec.groups, w_shape[-2:]
    each = outputs // groups
    # (g, o, i): the channels of one multiplication
    g, o, i = (grid.ravel() for grid in np.mgrid[:groups, :each, :fan_in])
    rows = rows.reshape(-1, 1) * outputs + g * each + o
    columns = columns.reshape(-1, 1) * (groups * fan_in) + g * fan_in + i
    entries = (entries.reshape(-1, 1) * fan_in + i) * outputs + g * each + o
    order = np.lexsort((columns.ravel(), rows.ravel()))
    return tuple(indices.ravel()[order] for indices in (rows, columns, entries))


def _dimension_terms(spec: ConvSpec, d: int, mode: str) -> tuple[np.ndarray, ...]:
    """Output, kernel and input position of every multiplication along dimension d."""
    n, (lo, _) = spec.input_size[d], spec.padding[d]
    t, k = (grid.ravel() for grid in np.mgrid[: spec.output_size[d], : spec.kernel_size[d]])
    s = source_index(t * spec.stride[d] + k * spec.dilation[d] - lo, n, mode)
    inside = (s >= 0) & (s < n)
    return t[inside], k[inside], s[inside]
