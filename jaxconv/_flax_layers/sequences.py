"""Causal layers of sequences that arrive in pieces, and what their caches hold."""

from typing import Any

import jax

from jaxconv._core.geometry import shapes
from jaxconv._core.geometry.spec import per_dimension
from jaxconv._flax_layers import arguments, convolutions
from jaxconv._functional import streaming


def check_sequence(layer: Any, shape: tuple[int, ...] | None) -> None:
    """Check that a layer of sequences has a kernel of one dimension, and its inputs a time axis.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: there are several, or too few dimensions.
    """
    caller = type(layer).__name__
    per_dimension(caller, "kernel_size", layer.kernel_size, 1, minimum=1)
    for name in ("strides", "kernel_dilation"):
        arguments.one_a_dimension(layer, name, 1)
    if shape is not None and len(shape) < 2:
        raise ValueError(f"{caller}: inputs.shape={shape} must be (*batch, time, channels)")


def state_shape(layer: Any, shape: tuple[int, ...], *, transposed: bool) -> tuple[int, ...]:
    """Return the shape of the state before the first inputs of a layer of sequences."""
    check_sequence(layer, shape)
    (size,) = arguments.kernel_sizes(layer)
    (dilation,) = arguments.one_a_dimension(layer, "kernel_dilation", 1)
    (stride,) = arguments.one_a_dimension(layer, "strides", 1)
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
        kernel = convolutions.swap_channels(kernel, groups)[::-1]
    arguments = _sequence(layer) | rows
    return streaming.causal_conv_transpose1d(inputs, kernel, bias, groups=groups, **arguments)


def _sequence(layer: Any) -> dict[str, Any]:
    geometry = {"strides": "stride", "kernel_dilation": "dilation"}
    found = {ours: arguments.one_a_dimension(layer, name, 1) for name, ours in geometry.items()}
    return found | convolutions.numerics(layer)
