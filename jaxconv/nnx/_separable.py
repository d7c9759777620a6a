"""Depthwise and depthwise separable convolution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.nnx.nn.dtypes import promote_dtype

from jaxconv import _flax_layers as layers
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.geometry.spec import Padding
from jaxconv.nnx._conv import Conv
from jaxconv.nnx._parameters import BIAS_INIT, KERNEL_INIT, NO_METADATA, arrays


class DepthwiseConv(nnx.Module):
    """Convolve every channel with kernels of its own: a `Conv` with one group a channel.

    y[n, t, c m + j] = bias[c m + j] + sum over k of x[n, t stride + k dilation - lo, c]
    kernel[k, 0, c m + j], with m = features_multiplier

    `kernel` is (*kernel_size, 1, in_features m), `bias` (in_features m,): those of `Conv` with
    out_features = in_features m and feature_group_count = in_features.

    Args:
        in_features: channels of the inputs.
        kernel_size: as in `Conv`.
        strides: as in `Conv`.
        features_multiplier: m, the number of outputs for each channel.
        padding: as in `Conv`.
        input_dilation: as in `Conv`.
        kernel_dilation: as in `Conv`.
        use_bias: as in `Conv`.
        mask: as in `Conv`.
        dtype: as in `Conv`.
        param_dtype: as in `Conv`.
        precision: as in `Conv`.
        kernel_init: as in `Conv`.
        bias_init: as in `Conv`.
        promote_dtype: as in `Conv`.
        preferred_element_type: as in `Conv`.
        rngs: as in `Conv`.
        kernel_metadata: as in `Conv`.
        bias_metadata: as in `Conv`.
        padding_mode: as in `Conv`.
        method: as in `Conv`.
        policy: as in `Conv`.

    Raises:
        TypeError: an argument is not an integer where one is needed.
        ValueError: the arguments and the inputs' shape do not fit each other.

    Example:
        >>> layer = DepthwiseConv(3, (3, 3), 2, features_multiplier=2, rngs=nnx.Rngs(0))
        >>> layer.kernel.shape, layer(jnp.ones((4, 32, 32, 3))).shape
        ((3, 3, 1, 6), (4, 16, 16, 6))

    Source:
        Chollet (2017), "Xception: Deep Learning with Depthwise Separable Convolutions"; Keras calls
        it `DepthwiseConv2D`.
    """

    def __init__(
        self,
        in_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] | None = 1,
        *,
        features_multiplier: int = 1,
        padding: Padding = "SAME",
        input_dilation: int | Sequence[int] | None = 1,
        kernel_dilation: int | Sequence[int] | None = 1,
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
        method: str = "auto",
        policy: Policy | None = None,
    ):
        self.in_features = in_features
        self.kernel_size = layers.hashable(kernel_size)
        self.strides = layers.hashable(strides)
        self.features_multiplier = features_multiplier
        self.padding = layers.hashable(padding)
        self.input_dilation = layers.hashable(input_dilation)
        self.kernel_dilation = layers.hashable(kernel_dilation)
        self.use_bias = use_bias
        self.mask = mask
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.promote_dtype = promote_dtype
        self.preferred_element_type = preferred_element_type
        self.padding_mode = padding_mode
        self.method = method
        self.policy = policy
        self.kernel_shape = layers.depthwise_shape(self, in_features)
        self.kernel = nnx.Param(
            kernel_init(rngs.params(), self.kernel_shape, param_dtype), **kernel_metadata
        )
        self.bias: nnx.Param | None = nnx.data(None)
        if use_bias:
            self.bias = nnx.Param(
                bias_init(rngs.params(), self.kernel_shape[-1:], param_dtype), **bias_metadata
            )

    def __call__(self, inputs: jax.Array | np.ndarray) -> jax.Array:
        """Convolve inputs (*batch, *space, in_features) to (*batch, *space', in_features m)."""
        return layers.conv(self, *arrays(self, inputs), groups=self.in_features)


class SeparableConv(nnx.Module):
    """Convolve every channel by itself, then mix the channels at every position.

    y = conv(DepthwiseConv(x), pointwise kernel, bias): `DepthwiseConv` without a bias, then `Conv`
    with a kernel of size 1, whose bias is the only one

    The parameters are those of the submodules `depthwise` and `pointwise`: `depthwise.kernel` is
    (*kernel_size, 1, in_features m) with m = features_multiplier, `pointwise.kernel`
    (1, ..., 1, in_features m, out_features), `pointwise.bias` (out_features,).

    Args:
        in_features: channels of the inputs.
        out_features: channels of the result.
        kernel_size: as in `Conv`.
        strides: as in `Conv`.
        features_multiplier: m, the number of intermediate results for each channel.
        padding: as in `Conv`.
        input_dilation: as in `Conv`.
        kernel_dilation: as in `Conv`.
        use_bias: as in `Conv`.
        dtype: as in `Conv`.
        param_dtype: as in `Conv`.
        precision: as in `Conv`.
        depthwise_init: initialiser of the depthwise kernel.
        pointwise_init: initialiser of the pointwise kernel.
        bias_init: as in `Conv`.
        promote_dtype: as in `Conv`.
        preferred_element_type: as in `Conv`, of the result.
        rngs: as in `Conv`.
        kernel_metadata: metadata of both kernels' `nnx.Param`.
        bias_metadata: as in `Conv`.
        padding_mode: as in `Conv`.
        method: as in `Conv`.
        policy: as in `Conv`.

    Raises:
        TypeError: an argument is not an integer where one is needed.
        ValueError: the arguments and the inputs' shape do not fit each other.

    Example:
        >>> layer = SeparableConv(3, 8, (3, 3), 2, rngs=nnx.Rngs(0))
        >>> layer.depthwise.kernel.shape, layer.pointwise.kernel.shape
        ((3, 3, 1, 3), (1, 1, 3, 8))
        >>> layer(jnp.ones((4, 32, 32, 3))).shape
        (4, 16, 16, 8)

    Source:
        Chollet (2017), "Xception: Deep Learning with Depthwise Separable Convolutions"; Keras calls
        it `SeparableConv2D`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] | None = 1,
        *,
        features_multiplier: int = 1,
        padding: Padding = "SAME",
        input_dilation: int | Sequence[int] | None = 1,
        kernel_dilation: int | Sequence[int] | None = 1,
        use_bias: bool = True,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        depthwise_init: Callable[..., Any] = KERNEL_INIT,
        pointwise_init: Callable[..., Any] = KERNEL_INIT,
        bias_init: Callable[..., Any] = BIAS_INIT,
        promote_dtype: Callable[..., Any] = promote_dtype,
        preferred_element_type: Any = None,
        rngs: nnx.Rngs,
        kernel_metadata: Mapping[str, Any] = NO_METADATA,
        bias_metadata: Mapping[str, Any] = NO_METADATA,
        padding_mode: str = "zeros",
        method: str = "auto",
        policy: Policy | None = None,
    ):
        self.in_features = in_features
        self.out_features = out_features
        self.kernel_size = layers.hashable(kernel_size)
        self.strides = layers.hashable(strides)
        self.features_multiplier = features_multiplier
        self.input_dilation = layers.hashable(input_dilation)
        self.kernel_dilation = layers.hashable(kernel_dilation)
        layers.check_separable(self, in_features, out_features)
        numerics: dict[str, Any] = {
            "dtype": dtype,
            "param_dtype": param_dtype,
            "precision": precision,
            "promote_dtype": promote_dtype,
            "method": method,
            "policy": policy,
            "rngs": rngs,
            "kernel_metadata": kernel_metadata,
        }
        self.depthwise = DepthwiseConv(
            in_features,
            kernel_size,
            strides,
            features_multiplier=features_multiplier,
            padding=padding,
            input_dilation=input_dilation,
            kernel_dilation=kernel_dilation,
            use_bias=False,
            kernel_init=depthwise_init,
            padding_mode=padding_mode,
            **numerics,
        )
        self.pointwise = Conv(
            in_features * features_multiplier,
            out_features,
            (1,) * len(layers.kernel_sizes(self)),
            use_bias=use_bias,
            kernel_init=pointwise_init,
            bias_init=bias_init,
            preferred_element_type=preferred_element_type,
            bias_metadata=bias_metadata,
            **numerics,
        )

    def __call__(self, inputs: jax.Array | np.ndarray) -> jax.Array:
        """Convolve inputs (*batch, *space, in_features) to (*batch, *space', out_features)."""
        return self.pointwise(self.depthwise(layers.as_inputs(self, inputs)))
