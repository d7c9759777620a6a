"""Locally connected layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.nnx.nn.dtypes import promote_dtype

from jaxconv import _flax_layers as layers
from jaxconv._core.geometry.spec import Padding, per_dimension
from jaxconv.nnx._parameters import BIAS_INIT, KERNEL_INIT, NO_METADATA, arrays


class ConvLocal(nnx.Module):
    """A convolution with a kernel of its own at every output position: a locally connected layer.

    y[n, t, o] = bias[t, o] + sum over i, k of x[n, t stride + k dilation - lo, i]
    kernel[t, (i, k), o]

    `kernel` is (*space', in_features // feature_group_count * prod(kernel_size), out_features),
    channels before kernel positions, `bias` (*space', out_features): the parameters of
    `flax.linen.ConvLocal`; `flax.nnx` has no such layer. Padding is that of `Conv`.

    Args:
        in_features: channels of the inputs.
        out_features: channels of the result.
        kernel_size: as in `Conv`.
        strides: as in `Conv`.
        input_size: the spatial shape of the inputs, one integer for each dimension of the kernel.
        padding: as in `Conv`.
        input_dilation: as in `Conv`.
        kernel_dilation: as in `Conv`.
        feature_group_count: as in `Conv`.
        use_bias: as in `Conv`.
        mask: as in `Conv`.
        dtype: as in `Conv`.
        param_dtype: as in `Conv`.
        precision: as in `Conv`.
        kernel_init: as in `jaxconv.linen.ConvLocal`.
        bias_init: as in `Conv`.
        promote_dtype: as in `Conv`.
        preferred_element_type: as in `Conv`.
        rngs: as in `Conv`.
        kernel_metadata: as in `Conv`.
        bias_metadata: as in `Conv`.
        padding_mode: as in `Conv`.

    Raises:
        TypeError: an argument is not an integer where one is needed.
        ValueError: the arguments and the inputs' shape do not fit each other, or the inputs have
            another size than input_size.

    Example:
        >>> layer = ConvLocal(3, 8, (3, 3), 2, input_size=(32, 32), rngs=nnx.Rngs(0))
        >>> layer.kernel.shape, layer(jnp.ones((4, 32, 32, 3))).shape
        ((16, 16, 27, 8), (4, 16, 16, 8))

    Source:
        LeCun (1989), "Generalization and Network Design Strategies"; D2L ("Dive into Deep
        Learning"), section 6.1.2: locality without translation invariance.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] | None = 1,
        *,
        input_size: int | Sequence[int],
        padding: Padding = "SAME",
        input_dilation: int | Sequence[int] | None = 1,
        kernel_dilation: int | Sequence[int] | None = 1,
        feature_group_count: int = 1,
        use_bias: bool = True,
        mask: jax.Array | np.ndarray | None = None,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        kernel_init: Callable[..., Any] = KERNEL_INIT,
        bias_init: Callable[..., Any] = BIAS_INIT,
        promote_dtype: Callable[..., Any] = promote_dtype,
        preferred_element_type: Any = None,
        rngs: nnx.Rngs,
        kernel_metadata: Mapping[str, Any] = NO_METADATA,
        bias_metadata: Mapping[str, Any] = NO_METADATA,
        padding_mode: str = "zeros",
    ):
        self.in_features = in_features
        self.out_features = out_features
        self.kernel_size = layers.hashable(kernel_size)
        self.strides = layers.hashable(strides)
        self.padding = layers.hashable(padding)
        self.input_dilation = layers.hashable(input_dilation)
        self.kernel_dilation = layers.hashable(kernel_dilation)
        self.feature_group_count = feature_group_count
        self.use_bias = use_bias
        self.mask = mask
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.promote_dtype = promote_dtype
        self.preferred_element_type = preferred_element_type
        self.padding_mode = padding_mode
        rank = len(layers.kernel_sizes(self))
        self.input_size = per_dimension("ConvLocal", "input_size", input_size, rank, minimum=1)
        self.kernel_shape, bias_shape = layers.local_shapes(
            self, (*self.input_size, in_features), out_features
        )
        self.kernel = nnx.Param(
            kernel_init(rngs.params(), self.kernel_shape, param_dtype), **kernel_metadata
        )
        self.bias: nnx.Param | None = nnx.data(None)
        if use_bias:
            self.bias = nnx.Param(
                bias_init(rngs.params(), bias_shape, param_dtype), **bias_metadata
            )

    def __call__(self, inputs: jax.Array | np.ndarray) -> jax.Array:
        """Apply the layer to inputs (*batch, *input_size, in_features): (*batch, *space', out)."""
        inputs = layers.as_inputs(self, inputs)
        layers.check_local_inputs(self, inputs.shape)
        return layers.conv_local(self, *arrays(self, inputs))
