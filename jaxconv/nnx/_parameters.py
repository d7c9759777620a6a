"""How the parameters of an NNX layer begin, and what it computes with."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
from flax import nnx
from jax.typing import ArrayLike

from jaxconv import _flax_layers as layers

KERNEL_INIT = nnx.initializers.lecun_normal()
BIAS_INIT = nnx.initializers.zeros_init()
NO_METADATA: Mapping[str, Any] = MappingProxyType({})


def arrays(layer: Any, inputs: ArrayLike) -> Sequence[jax.Array]:
    """Return inputs, masked kernel and bias (or None) in the dtype of the computation."""
    inputs = layers.as_inputs(layer, inputs)
    kernel = layers.apply_mask(layer, layer.kernel[...])
    bias = None if layer.bias is None else layer.bias[...]
    return layer.promote_dtype((inputs, kernel, bias), dtype=layer.dtype)
