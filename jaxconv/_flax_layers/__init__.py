"""What the layers of `linen` and `nnx` compute, from Flax's arguments.

Nothing here imports Flax: it reads only attributes that the modules of both have in common.
"""

from jaxconv._flax_layers.arguments import (
    apply_mask,
    as_inputs,
    check_separable,
    depthwise_shape,
    hashable,
    kernel_shape,
    kernel_sizes,
)
from jaxconv._flax_layers.convolutions import conv, conv_transpose
from jaxconv._flax_layers.local import check_local_inputs, conv_local, local_shapes
from jaxconv._flax_layers.sequences import (
    causal_conv,
    causal_conv_transpose,
    check_cache,
    check_sequence,
    state_shape,
)

__all__ = [
    "apply_mask",
    "as_inputs",
    "causal_conv",
    "causal_conv_transpose",
    "check_cache",
    "check_local_inputs",
    "check_separable",
    "check_sequence",
    "conv",
    "conv_local",
    "conv_transpose",
    "depthwise_shape",
    "hashable",
    "kernel_shape",
    "kernel_sizes",
    "local_shapes",
    "state_shape",
]
