"""Locally connected layers: a convolution with a kernel of its own at every output position."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv._core.dispatch.arguments import check_padding_mode
from jaxconv._core.geometry import dtypes, shapes
from jaxconv._core.geometry.explicit_axes import entries_of, on_explicit_axes
from jaxconv._core.geometry.precision import check_precision
from jaxconv._core.geometry.spec import ConvSpec, normalise
from jaxconv._flax_layers import arguments
from jaxconv._functional.padding import pad


def local_shapes(
    layer: Any, shape: Sequence[int], features: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of kernel and bias for inputs of a shape (*batch, *space, channels).

    kernel: (*space', channels // groups * prod(kernel_size), features), bias: (*space', features).

    Raises:
        TypeError: an argument is not an integer.
        ValueError: the arguments and the shape do not fit each other.
    """
    spec, _ = _geometry(layer, shape, features)
    *kernel_size, channels, _ = arguments.kernel_shape(layer, shape[-1], features)
    entries = channels * math.prod(kernel_size)
    return (*spec.output_size, entries, features), (*spec.output_size, features)


def check_local_inputs(layer: Any, shape: Sequence[int]) -> None:
    """Check that inputs have the size and the channels that a layer's kernels were made for.

    Raises:
        ValueError: they have others.
    """
    made_for = (*layer.input_size, layer.in_features)
    if tuple(shape[-len(made_for) :]) != made_for:
        raise ValueError(
            f"{type(layer).__name__}: inputs.shape={tuple(shape)} must be (*batch, "
            f"{str(made_for)[1:-1]}): every position has a kernel of its own, and this layer has "
            f"input_size={layer.input_size}, in_features={layer.in_features}"
        )


def conv_local(
    layer: Any, inputs: jax.Array, kernel: jax.Array, bias: jax.Array | None
) -> jax.Array:
    """Multiply the window at every position with that position's kernel, and add its bias."""
    caller = type(layer).__name__
    spec, mode = _geometry(layer, inputs.shape, kernel.shape[-1])
    dtype = dtypes.result_dtype(
        caller, ("inputs", inputs), ("kernel", kernel), layer.preferred_element_type
    )
    shape = (*inputs.shape[: -spec.rank - 1], *spec.output_size, kernel.shape[-1])
    function = partial(_product, layer, spec=spec, mode=mode, dtype=dtype)
    entries = [*entries_of(inputs)[:-1], None]
    y = on_explicit_axes(function, inputs, kernel, shape=shape, entries=entries)
    if bias is None:
        return y
    return y + jnp.expand_dims(bias.astype(dtype), tuple(range(y.ndim - bias.ndim)))


def _geometry(layer: Any, shape: Sequence[int], features: int) -> tuple[ConvSpec, str]:
    """The convolution whose outputs the layer's are, on inputs that are dilated, and its mode."""
    caller = type(layer).__name__
    *kernel_size, _, _ = arguments.kernel_shape(layer, shape[-1], features)
    rank, groups = len(kernel_size), layer.feature_group_count
    between = arguments.one_a_dimension(layer, "input_dilation", rank)
    space = map(shapes.extent, shape[-rank - 1 : -1], between)
    dilated = (*shape[: -rank - 1], *space, shape[-1])
    dilation = arguments.one_a_dimension(layer, "kernel_dilation", rank)
    padding, mode = arguments.padding_and_mode(layer, arguments.extents(kernel_size, dilation))
    spec = normalise(
        caller,
        dilated,
        (*kernel_size, shape[-1] // groups, features),
        stride=arguments.one_a_dimension(layer, "strides", rank),
        padding=padding,
        dilation=dilation,
        groups=groups,
        x_name="input",
    )
    check_padding_mode(caller, dilated, spec, mode)
    return spec, mode


def _product(
    layer: Any, inputs: jax.Array, kernel: jax.Array, *, spec: ConvSpec, mode: str, dtype: Any
) -> jax.Array:
    rank, groups = spec.rank, spec.groups
    x = arguments.dilate(layer, inputs, rank)
    first = x.ndim - rank - 1  # axis of the first spatial dimension
    windows = _windows(pad(x, spec.padding, axes=range(first, first + rank), mode=mode), spec)
    # (*batch, *space', channels, *kernel) -> (*batch, *space', groups, entries), as in the kernel
    outer = windows.shape[: first + rank]
    windows = windows.reshape(*outer, groups, kernel.shape[-2])
    kernel = kernel.reshape(*kernel.shape[:-1], groups, kernel.shape[-1] // groups)
    batch, space = range(first), range(first, first + rank)
    group, entry, feature = range(first + rank, first + rank + 3)
    # half precision is summed in float32, as in `conv`
    half = jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4
    y = jnp.einsum(
        windows,
        [*batch, *space, group, entry],
        kernel,
        [*space, entry, group, feature],
        [*batch, *space, group, feature],
        precision=check_precision(type(layer).__name__, layer.precision),
        preferred_element_type=jnp.float32 if half else dtype,
    )
    return y.reshape(*outer, y.shape[-1] * groups).astype(dtype)


def _windows(x: jax.Array, spec: ConvSpec) -> jax.Array:
    """The windows of x, which is padded: (*batch, *space', channels, *kernel).

    By slices, one axis after another: on meshes they stay where they are but for halos, which what
    `unfold` gathers does not.
    """
    first = x.ndim - spec.rank - 1
    for d, (_, outputs, kernel, stride, dilation, _) in enumerate(spec.dimensions):
        length = (outputs - 1) * stride + 1
        starts = [k * dilation for k in range(kernel)]
        slices = [lax.slice_in_dim(x, s, s + length, stride, first + d) for s in starts]
        x = jnp.stack(slices, -1)
    return x
