"""The layers of `linen` and `nnx`: Flax's arguments translated to `conv` and `conv_transpose`.

This module does not import Flax: it reads only attributes that the modules of both have in common.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.geometry import shapes
from jaxconv._core.geometry.spec import PADDING_NAMES, Padding, per_dimension, resolve_padding
from jaxconv._functional import convolution, streaming

Pads = tuple[tuple[int, int], ...]


def check_inputs(layer: Any, shape: tuple[int, ...]) -> None:
    """Check that the inputs have the number of dimensions that kernel_size needs.

    Raises:
        ValueError: too few dimensions, or kernel_size is an integer and the rank is ambiguous.
    """
    caller, kernel_size = type(layer).__name__, layer.kernel_size
    rank = len(_kernel_size(caller, kernel_size))
    if len(shape) < rank + 1:
        raise ValueError(
            f"{caller}: inputs.shape={shape} has {len(shape)} dimensions, but "
            f"kernel_size={kernel_size} needs (*batch, *space, channels): at least {rank + 1}"
        )
    if np.ndim(kernel_size) == 0 and len(shape) > 3:
        full_rank = (kernel_size,) * (len(shape) - 2)
        raise ValueError(
            f"{caller}: kernel_size={kernel_size} is ambiguous for inputs.shape={shape}; give "
            f"kernel_size={full_rank}, or {(kernel_size,)} for a one-dimensional kernel"
        )


def kernel_shape(layer: Any, channels: int, features: int, *, transposed: bool = False):
    """Return (*kernel, channels // groups, features), or with these two swapped if transposed.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: the groups do not divide the channels or the features.
    """
    caller = type(layer).__name__
    kernel_size = _kernel_size(caller, layer.kernel_size)
    (groups,) = per_dimension(
        caller, "feature_group_count", layer.feature_group_count, 1, minimum=1
    )
    if any(count < 1 or count % groups for count in (channels, features)):
        raise ValueError(
            f"{caller}: {channels} channels in and {features} out must be positive multiples of "
            f"feature_group_count={groups}"
        )
    if transposed:
        channels, features = features, channels
    return (*kernel_size, channels // groups, features)


def apply_mask(layer: Any, kernel: jax.Array) -> jax.Array:
    """Return the kernel times the layer's mask.

    Raises:
        ValueError: the mask has another shape.
    """
    if layer.mask is None:
        return kernel
    if np.shape(layer.mask) != kernel.shape:
        raise ValueError(
            f"{type(layer).__name__}: mask.shape={np.shape(layer.mask)} must be the kernel's shape "
            f"{kernel.shape}"
        )
    return kernel * layer.mask


def conv(layer: Any, inputs: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> jax.Array:
    """Apply `jaxconv.conv` with the arguments of a Flax layer."""
    caller, rank = type(layer).__name__, kernel.ndim - 2
    dilation = _per_dimension(layer, "kernel_dilation", rank)
    padding, padding_mode = layer.padding, layer.padding_mode
    if isinstance(padding, str) and padding in ("CIRCULAR", "REFLECT"):
        padding_mode = _named_mode(caller, padding, padding_mode)
        padding = tuple(((e - 1) // 2, e // 2) for e in _extents(kernel, dilation))
    return convolution.conv(
        _dilate(inputs, _per_dimension(layer, "input_dilation", rank)),
        kernel,
        bias,
        stride=_per_dimension(layer, "strides", rank),
        padding=_lower(padding),
        dilation=dilation,
        groups=layer.feature_group_count,
        padding_mode=padding_mode,
        **_numerics(layer),
    )


def conv_transpose(
    layer: Any, inputs: jax.Array, kernel: jax.Array, bias: jax.Array | None
) -> jax.Array:
    """Apply `jaxconv.conv_transpose` with the arguments of a Flax layer."""
    stride = _per_dimension(layer, "strides", kernel.ndim - 2)
    dilation = _per_dimension(layer, "kernel_dilation", kernel.ndim - 2)
    padding, padding_mode = _transposed_padding(layer, inputs, kernel, stride, dilation)
    if not layer.transpose_kernel:
        kernel = _swap_channels(kernel, layer.feature_group_count)
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
        **_numerics(layer),
    )


def check_sequence(layer: Any, shape: tuple[int, ...] | None) -> None:
    """Check that a layer of sequences has a kernel of one dimension, and its inputs a time axis.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: there are several, or too few dimensions.
    """
    caller = type(layer).__name__
    per_dimension(caller, "kernel_size", layer.kernel_size, 1, minimum=1)
    for name in ("strides", "kernel_dilation"):
        _per_dimension(layer, name, 1)
    if shape is not None and len(shape) < 2:
        raise ValueError(f"{caller}: inputs.shape={shape} must be (*batch, time, channels)")


def state_shape(layer: Any, shape: tuple[int, ...], *, transposed: bool) -> tuple[int, ...]:
    """Return the shape of the state before the first inputs of a layer of sequences."""
    check_sequence(layer, shape)
    (size,) = _kernel_size(type(layer).__name__, layer.kernel_size)
    (dilation,) = _per_dimension(layer, "kernel_dilation", 1)
    (stride,) = _per_dimension(layer, "strides", 1)
    memory = shapes.extent(size, dilation) - 1
    return (*shape[:-2], memory // stride if transposed else memory, shape[-1])


def check_cache(
    layer: Any, state: jax.Array, inputs: jax.Array, *, transposed: bool, anew: str
) -> None:
    """Check that the state in a layer's cache is one of inputs like these.

    Raises:
        ValueError: batch, channels or dtype differ.
    """
    start = state_shape(layer, inputs.shape, transposed=transposed)
    found = (*state.shape[:-2], state.shape[-1], state.dtype)
    if found != (*start[:-2], start[-1], inputs.dtype):
        raise ValueError(
            f"{type(layer).__name__}: the cache is of shape {state.shape} and {state.dtype}, but "
            f"inputs.shape={inputs.shape} in {inputs.dtype} need {start}; to begin a sequence, "
            f"{anew}"
        )


def causal_conv(
    layer: Any, inputs: jax.Array, kernel: jax.Array, bias: jax.Array | None, **rows: Any
) -> tuple[jax.Array, jax.Array]:
    """Apply `jaxconv.causal_conv1d` with the arguments of a layer, and return the state too."""
    groups = layer.feature_group_count
    if inputs.shape[-1] != kernel.shape[-2] * groups:  # the function would find other groups
        raise ValueError(
            f"{type(layer).__name__}: inputs.shape={inputs.shape} must have "
            f"{kernel.shape[-2] * groups} channels (feature_group_count={groups})"
        )
    return streaming.causal_conv1d(inputs, kernel, bias, **_sequence(layer), **rows)


def causal_conv_transpose(
    layer: Any, inputs: jax.Array, kernel: jax.Array, bias: jax.Array | None, **rows: Any
) -> tuple[jax.Array, jax.Array]:
    """Apply `jaxconv.causal_conv_transpose1d`, and return the state too."""
    groups = layer.feature_group_count
    if not layer.transpose_kernel:
        kernel = _swap_channels(kernel, groups)[::-1]
    arguments = _sequence(layer) | rows
    return streaming.causal_conv_transpose1d(inputs, kernel, bias, groups=groups, **arguments)


def _sequence(layer: Any) -> dict[str, Any]:
    geometry = {"strides": "stride", "kernel_dilation": "dilation"}
    found = {ours: _per_dimension(layer, name, 1) for name, ours in geometry.items()}
    return found | _numerics(layer)


def hashable(value: Any) -> Any:
    """Return the value with lists replaced by tuples: static attributes of a module are hashed."""
    return tuple(map(hashable, value)) if isinstance(value, (list, tuple)) else value


def _transposed_padding(
    layer: Any,
    inputs: jax.Array,
    kernel: jax.Array,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[Padding, str]:
    """Padding and padding mode of the convolution that Flax's layer is the adjoint of."""
    caller, padding, mode = type(layer).__name__, layer.padding, layer.padding_mode
    extents = _extents(kernel, dilation)
    # with VALID and CIRCULAR Flax returns at least size times stride elements, for any kernel size
    short = tuple(min(e - s, 0) for e, s in zip(extents, stride, strict=True))
    name = padding if isinstance(padding, str) else None
    if name == "VALID":
        return tuple((0, less) for less in short), mode
    if name == "CIRCULAR":
        mode = _named_mode(caller, name, mode)
        excess = tuple(max(e - s, 0) for e, s in zip(extents, stride, strict=True))
        before = tuple((n + 1) // 2 if layer.transpose_kernel else n // 2 for n in excess)
        sides = zip(before, excess, short, strict=True)
        return tuple((lo, n - lo + less) for lo, n, less in sides), mode
    if name or layer.use_consistent_padding:
        return _lower(padding), mode
    size, sizes = inputs.shape[-len(extents) - 1 : -1], kernel.shape[:-2]
    pads = resolve_padding(caller, padding, size, sizes, stride=stride, dilation=dilation)
    # Flax pads the dilated input by a; the same result is the full one cropped by e - 1 - a
    return tuple((e - 1 - a, e - 1 - b) for e, (a, b) in zip(extents, pads, strict=True)), mode


def _swap_channels(kernel: jax.Array, groups: int) -> jax.Array:
    # (*kernel, in // groups, groups * f) -> (*kernel, f, in): exchange input and output channels
    *size, channels, features = kernel.shape
    split = kernel.reshape(*size, channels, groups, features // groups)
    return split.swapaxes(-1, -3).reshape(*size, features // groups, groups * channels)


def _dilate(inputs: jax.Array, dilation: tuple[int, ...]) -> jax.Array:
    if set(dilation) == {1}:
        return inputs
    batch = inputs.ndim - len(dilation) - 1
    zeros = [0] * batch + [d - 1 for d in dilation] + [0]
    return lax.pad(inputs, jnp.zeros((), inputs.dtype), [(0, 0, between) for between in zeros])


def _named_mode(caller: str, padding: str, padding_mode: str) -> str:
    mode = padding.lower()
    if padding_mode not in ("zeros", mode):
        raise ValueError(
            f"{caller}: padding={padding!r} and padding_mode={padding_mode!r} are different modes; "
            f"give only one, or padding='same' with padding_mode={padding_mode!r}"
        )
    return mode


def _lower(padding: Padding) -> Padding:
    if isinstance(padding, str) and padding.lower() in PADDING_NAMES:
        return padding.lower()
    return padding


def _extents(kernel: jax.Array, dilation: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(shapes.extent, kernel.shape[:-2], dilation))


def _kernel_size(caller: str, kernel_size: int | Sequence[int]) -> tuple[int, ...]:
    rank = len(kernel_size) if isinstance(kernel_size, Sequence) else 1
    if rank < 1:
        raise ValueError(f"{caller}: kernel_size=() must have an entry for each spatial dimension")
    return per_dimension(caller, "kernel_size", kernel_size, rank, minimum=1)


def _per_dimension(layer: Any, name: str, rank: int) -> tuple[int, ...]:
    value = getattr(layer, name)
    value = 1 if value is None else value
    return per_dimension(type(layer).__name__, name, value, rank, minimum=1)


def _numerics(layer: Any) -> dict[str, Any]:
    names = ("method", "policy", "precision", "preferred_element_type")
    return {name: getattr(layer, name) for name in names}
