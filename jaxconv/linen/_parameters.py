"""The parameters of a Linen layer, with its inputs in the dtype of the computation."""

from collections.abc import Sequence
from typing import Any

import jax

from jaxconv import _flax_layers as layers


def arrays(
    layer: Any, inputs: jax.Array, kernel_shape: tuple[int, ...], bias_shape: tuple[int, ...]
) -> Sequence[jax.Array]:
    """Return inputs, masked kernel and bias (or None) in the dtype of the computation."""
    kernel = layer.param("kernel", layer.kernel_init, kernel_shape, layer.param_dtype)
    bias = None
    if layer.use_bias:
        bias = layer.param("bias", layer.bias_init, bias_shape, layer.param_dtype)
    kernel = layers.apply_mask(layer, kernel)
    return layer.promote_dtype(inputs, kernel, bias, dtype=layer.dtype)
