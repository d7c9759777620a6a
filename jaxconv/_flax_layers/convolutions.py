"""Flax's arguments translated to `conv` and `conv_transpose`."""

from typing import Any

import jax

from jaxconv._core.geometry.spec import Padding, resolve_padding
from jaxconv._flax_layers import arguments
from jaxconv._functional import convolution


def conv(
    layer: Any, inputs: jax.Array, kernel: jax.Array, bias: jax.Array | None, *, groups: int
) -> jax.Array:
    """Apply `jaxconv.conv` with the arguments of a Flax layer."""
    rank = kernel.ndim - 2
    dilation = arguments.one_a_dimension(layer, "kernel_dilation", rank)
    extents = arguments.extents(kernel.shape[:-2], dilation)
    padding, padding_mode = arguments.padding_and_mode(layer, extents)
    return convolution.conv(
        arguments.dilate(layer, inputs, rank),
        kernel,
        bias,
        stride=arguments.one_a_dimension(layer, "strides", rank),
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
        **numerics(layer),
    )


def conv_transpose(
    layer: Any, inputs: jax.Array, kernel: jax.Array, bias: jax.Array | None
) -> jax.Array:
    """Apply `jaxconv.conv_transpose` with the arguments of a Flax layer."""
    stride = arguments.one_a_dimension(layer, "strides", kernel.ndim - 2)
    dilation = arguments.one_a_dimension(layer, "kernel_dilation", kernel.ndim - 2)
    padding, padding_mode = _transposed_padding(layer, inputs, kernel, stride, dilation)
    if not layer.transpose_kernel:
        kernel = swap_channels(kernel, layer.feature_group_count)
    return convolution.conv_transpose(
        inputs,
        kernel,
        bias,
        stride=stride,
        padding=padding,
        output_padding=layer.output_padding,
        dilation=dilation,
        groups=layer.feature_group_count,
        padding_mode=padding_mode,
        flip=not layer.transpose_kernel,
        **numerics(layer),
    )


def _transposed_padding(
    layer: Any,
    inputs: jax.Array,
    kernel: jax.Array,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[Padding, str]:
    """Padding and padding mode of the convolution that Flax's layer is the adjoint of."""
    caller, padding, mode = type(layer).__name__, layer.padding, layer.padding_mode
    extents = arguments.extents(kernel.shape[:-2], dilation)
    # with VALID and CIRCULAR Flax returns at least size times stride elements, for any kernel size
    short = tuple(min(e - s, 0) for e, s in zip(extents, stride, strict=True))
    name = padding if isinstance(padding, str) else None
    if name == "VALID":
        return tuple((0, less) for less in short), mode
    if name == "CIRCULAR":
        mode = arguments.named_mode(layer, name)
        excess = tuple(max(e - s, 0) for e, s in zip(extents, stride, strict=True))
        before = tuple((n + 1) // 2 if layer.transpose_kernel else n // 2 for n in excess)
        sides = zip(before, excess, short, strict=True)
        return tuple((lo, n - lo + less) for lo, n, less in sides), mode
    if name or layer.use_consistent_padding:
        return arguments.lower_case(padding), mode
    size, sizes = inputs.shape[-len(extents) - 1 : -1], kernel.shape[:-2]
    pads = resolve_padding(caller, padding, size, sizes, stride=stride, dilation=dilation)
    # Flax pads the dilated input by a; the same result is the full one cropped by e - 1 - a
    return tuple((e - 1 - a, e - 1 - b) for e, (a, b) in zip(extents, pads, strict=True)), mode


def swap_channels(kernel: jax.Array, groups: int) -> jax.Array:
    """Exchange input and output channels."""
    # (*kernel, in // groups, groups * f) -> (*kernel, f, in)
    *size, channels, features = kernel.shape
    split = kernel.reshape(*size, channels, groups, features // groups)
    return split.swapaxes(-1, -3).reshape(*size, features // groups, groups * channels)


def numerics(layer: Any) -> dict[str, Any]:
    """Return the arguments of a layer that do not change its geometry."""
    names = ("method", "policy", "precision", "preferred_element_type")
    return {name: getattr(layer, name) for name in names}
