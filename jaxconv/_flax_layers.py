"""What `linen` and `nnx` share: Flax's arguments, said in those of `conv` and `conv_transpose`.

Flax itself is not imported here; a `layer` is either module, of which only attributes that both
have under one name are read.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.geometry import shapes
from jaxconv._core.geometry.spec import PADDING_NAMES, Padding, per_dimension, resolve_padding
from jaxconv._functional import layers as functional

Pads = tuple[tuple[int, int], ...]


def check_inputs(layer: Any, shape: tuple[int, ...]) -> None:
    """Check that the layer's kernel_size says along which dimensions of the inputs to convolve.

    Raises:
        ValueError: too few dimensions, or a bare integer that could mean several ranks.
    """
    caller, kernel_size = type(layer).__name__, layer.kernel_size
    rank = len(_kernel_size(caller, kernel_size))
    if len(shape) < rank + 1:
        raise ValueError(
            f"{caller}: inputs.shape={shape} has {len(shape)} dimensions, but "
            f"kernel_size={kernel_size} needs (*batch, *space, channels): at least {rank + 1}"
        )
    if np.ndim(kernel_size) == 0 and len(shape) > 3:
        everywhere = (kernel_size,) * (len(shape) - 2)
        raise ValueError(
            f"{caller}: kernel_size={kernel_size} does not say along how many dimensions of "
            f"inputs.shape={shape} to convolve; give kernel_size={everywhere}, or "
            f"{(kernel_size,)} for the last one alone"
        )


def kernel_shape(layer: Any, channels: int, features: int, *, transposed: bool = False):
    """Return (*kernel, channels // groups, features), or with these two swapped if transposed.

    Raises:
        TypeError: a number is not an integer.
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


def masked(layer: Any, kernel: jax.Array) -> jax.Array:
    """Return the kernel times the layer's mask.

    Raises:
        ValueError: the mask has another shape.
    """
    if layer.mask is None:
        return kernel
    if np.shape(layer.mask) != kernel.shape:
        raise ValueError(
            f"{type(layer).__name__}: mask.shape={np.shape(layer.mask)} must be the kernel's, "
            f"{kernel.shape}"
        )
    return kernel * layer.mask


def conv(layer: Any, inputs: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> jax.Array:
    """Apply `jaxconv.conv` as a layer with Flax's arguments says."""
    caller, rank = type(layer).__name__, kernel.ndim - 2
    dilation = _per_dimension(layer, "kernel_dilation", rank)
    padding, padding_mode = layer.padding, layer.padding_mode
    if isinstance(padding, str) and padding in ("CIRCULAR", "REFLECT"):
        padding_mode = _mode(caller, padding, padding_mode)
        padding = tuple(((e - 1) // 2, e // 2) for e in _spans(kernel, dilation))
    return functional.conv(
        _dilated(inputs, _per_dimension(layer, "input_dilation", rank)),
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
    """Apply `jaxconv.conv_transpose` as a layer with Flax's arguments says."""
    stride = _per_dimension(layer, "strides", kernel.ndim - 2)
    dilation = _per_dimension(layer, "kernel_dilation", kernel.ndim - 2)
    padding, padding_mode = _transposed_padding(layer, inputs, kernel, stride, dilation)
    if not layer.transpose_kernel:
        kernel = _kernel_of_the_adjoint(kernel, layer.feature_group_count)
    return functional.conv_transpose(
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


def frozen(value: Any) -> Any:
    """Return the value with tuples for lists, so that a module's static attributes hash."""
    return tuple(map(frozen, value)) if isinstance(value, (list, tuple)) else value


def _transposed_padding(
    layer: Any,
    inputs: jax.Array,
    kernel: jax.Array,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[Padding, str]:
    """The padding of the convolution whose adjoint Flax's layer is, and its mode."""
    caller, padding, mode = type(layer).__name__, layer.padding, layer.padding_mode
    spans = _spans(kernel, dilation)
    # Flax's VALID and CIRCULAR make at least size times stride elements, also of smaller kernels
    short = tuple(min(e - s, 0) for e, s in zip(spans, stride, strict=True))
    name = padding if isinstance(padding, str) else None
    if name == "VALID":
        return tuple((0, less) for less in short), mode
    if name == "CIRCULAR":
        mode = _mode(caller, name, mode)
        excess = tuple(max(e - s, 0) for e, s in zip(spans, stride, strict=True))
        before = tuple((n + 1) // 2 if layer.transpose_kernel else n // 2 for n in excess)
        sides = zip(before, excess, short, strict=True)
        return tuple((lo, n - lo + less) for lo, n, less in sides), mode
    if name or layer.use_consistent_padding:
        return _lower(padding), mode
    size, sizes = inputs.shape[-len(spans) - 1 : -1], kernel.shape[:-2]
    pads = resolve_padding(caller, padding, size, sizes, stride=stride, dilation=dilation)
    # Flax pads the stretched input; what is cut off the full result is the rest of the span
    return tuple((e - 1 - a, e - 1 - b) for e, (a, b) in zip(spans, pads, strict=True)), mode


def _kernel_of_the_adjoint(kernel: jax.Array, groups: int) -> jax.Array:
    # (*kernel, in // groups, groups * f) -> (*kernel, f, in): the roles of the channels change
    *size, channels, features = kernel.shape
    split = kernel.reshape(*size, channels, groups, features // groups)
    return split.swapaxes(-1, -3).reshape(*size, features // groups, groups * channels)


def _dilated(inputs: jax.Array, dilation: tuple[int, ...]) -> jax.Array:
    if set(dilation) == {1}:
        return inputs
    batch = inputs.ndim - len(dilation) - 1
    zeros = [0] * batch + [d - 1 for d in dilation] + [0]
    return lax.pad(inputs, jnp.zeros((), inputs.dtype), [(0, 0, between) for between in zeros])


def _mode(caller: str, padding: str, padding_mode: str) -> str:
    mode = padding.lower()
    if padding_mode not in ("zeros", mode):
        raise ValueError(
            f"{caller}: padding={padding!r} and padding_mode={padding_mode!r} name different "
            f"modes; give the one, or padding='same' with padding_mode={padding_mode!r}"
        )
    return mode


def _lower(padding: Padding) -> Padding:
    if isinstance(padding, str) and padding.lower() in PADDING_NAMES:
        return padding.lower()
    return padding


def _spans(kernel: jax.Array, dilation: tuple[int, ...]) -> tuple[int, ...]:
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
