"""Checks and meanings of Flax's arguments, and the shapes of parameters that follow from them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxconv._core.geometry import shapes
from jaxconv._core.geometry.dtypes import as_array
from jaxconv._core.geometry.spec import PADDING_NAMES, Padding, per_dimension


def as_inputs(layer: Any, inputs: ArrayLike) -> jax.Array:
    """Return the inputs as an array with the number of dimensions that kernel_size needs.

    Raises:
        ValueError: too few dimensions, or kernel_size is an integer and the rank is ambiguous.
    """
    caller, kernel_size = type(layer).__name__, layer.kernel_size
    inputs = as_array(caller, "inputs", inputs)
    shape, rank = inputs.shape, len(kernel_sizes(layer))
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
    return inputs


def kernel_sizes(layer: Any) -> tuple[int, ...]:
    """Return the layer's kernel_size as one integer a spatial dimension."""
    caller, kernel_size = type(layer).__name__, layer.kernel_size
    rank = len(kernel_size) if isinstance(kernel_size, Sequence) else 1
    if rank < 1:
        raise ValueError(f"{caller}: kernel_size=() must have an entry for each spatial dimension")
    return per_dimension(caller, "kernel_size", kernel_size, rank, minimum=1)


def kernel_shape(layer: Any, channels: int, features: int, *, transposed: bool = False):
    """Return (*kernel, channels // groups, features), or with these two swapped if transposed.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: the groups do not divide the channels or the features.
    """
    caller, kernel_size = type(layer).__name__, kernel_sizes(layer)
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


def depthwise_shape(layer: Any, channels: int) -> tuple[int, ...]:
    """Return (*kernel, 1, channels * features_multiplier): one group for each channel.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: features_multiplier is below 1, or there are no channels.
    """
    caller, kernel_size = type(layer).__name__, kernel_sizes(layer)
    (multiplier,) = per_dimension(
        caller, "features_multiplier", layer.features_multiplier, 1, minimum=1
    )
    if channels < 1:
        raise ValueError(f"{caller}: {channels} channels in must be at least 1")
    return (*kernel_size, 1, channels * multiplier)


def check_separable(layer: Any, channels: int, features: int) -> None:
    """Check what the two layers of a separable convolution would otherwise report as theirs.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: an argument is below 1 or does not have one entry a spatial dimension.
    """
    caller, (*kernel_size, _, _) = type(layer).__name__, depthwise_shape(layer, channels)
    if features < 1:
        raise ValueError(f"{caller}: {features} channels out must be at least 1")
    for name in ("strides", "input_dilation", "kernel_dilation"):
        one_a_dimension(layer, name, len(kernel_size))


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


def hashable(value: Any) -> Any:
    """Return the value with lists replaced by tuples: static attributes of a module are hashed."""
    return tuple(map(hashable, value)) if isinstance(value, (list, tuple)) else value


def one_a_dimension(layer: Any, name: str, rank: int) -> tuple[int, ...]:
    """Return an argument such as strides as one integer a spatial dimension; None is 1."""
    value = getattr(layer, name)
    value = 1 if value is None else value
    return per_dimension(type(layer).__name__, name, value, rank, minimum=1)


def padding_and_mode(layer: Any, extents: Sequence[int]) -> tuple[Padding, str]:
    """Return the arguments `padding` and `padding_mode` of `jaxconv.conv` for a layer's."""
    padding, mode = layer.padding, layer.padding_mode
    if isinstance(padding, str) and padding in ("CIRCULAR", "REFLECT"):
        mode = named_mode(layer, padding)
        return tuple(((e - 1) // 2, e // 2) for e in extents), mode
    return lower_case(padding), mode


def named_mode(layer: Any, padding: str) -> str:
    """Return the padding mode that a name such as "CIRCULAR" stands for.

    Raises:
        ValueError: the layer's padding_mode is another one.
    """
    mode, padding_mode = padding.lower(), layer.padding_mode
    if padding_mode not in ("zeros", mode):
        raise ValueError(
            f"{type(layer).__name__}: padding={padding!r} and padding_mode={padding_mode!r} are "
            f"different modes; give only one, or padding='same' with padding_mode={padding_mode!r}"
        )
    return mode


def lower_case(padding: Padding) -> Padding:
    """Return the padding, a name of Flax's as that of `jaxconv.conv`."""
    if isinstance(padding, str) and padding.lower() in PADDING_NAMES:
        return padding.lower()
    return padding


def extents(kernel_size: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """Return how many elements a dilated kernel spans in each dimension."""
    return tuple(map(shapes.extent, kernel_size, dilation))


def dilate(layer: Any, inputs: jax.Array, rank: int) -> jax.Array:
    """Return the inputs with input_dilation - 1 zeros between neighbours."""
    dilation = one_a_dimension(layer, "input_dilation", rank)
    if set(dilation) == {1}:
        return inputs
    batch = inputs.ndim - rank - 1
    zeros = [0] * batch + [d - 1 for d in dilation] + [0]
    return lax.pad(inputs, jnp.zeros((), inputs.dtype), [(0, 0, between) for between in zeros])
