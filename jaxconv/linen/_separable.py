"""Depthwise and depthwise separable convolution."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from jaxconv import _flax_layers as layers
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.geometry.spec import Padding
from jaxconv.linen._conv import Conv
from jaxconv.linen._parameters import arrays


class DepthwiseConv(nn.Module):
    """Convolve every channel with kernels of its own: a `Conv` with one group a channel.

    y[n, t, c m + j] = bias[c m + j] + sum over k of x[n, t stride + k dilation - lo, c]
    kernel[k, 0, c m + j], with m = features_multiplier

    `kernel` is (*kernel_size, 1, channels m), `bias` (channels m,): those of `Conv` with
    features = channels m and feature_group_count = channels.

    Attributes:
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
        padding_mode: as in `Conv`.
        method: as in `Conv`.
        policy: as in `Conv`.
        preferred_element_type: as in `Conv`.

    Raises:
        TypeError: an argument is not an integer where one is needed.
        ValueError: the arguments and the inputs' shape do not fit each other.

    Example:
        >>> layer = DepthwiseConv((3, 3), strides=2, features_multiplier=2)
        >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((4, 32, 32, 3)))
        >>> y.shape, jax.tree.map(jnp.shape, variables["params"])
        ((4, 16, 16, 6), {'bias': (6,), 'kernel': (3, 3, 1, 6)})

    Source:
        Chollet (2017), "Xception: Deep Learning with Depthwise Separable Convolutions"; Keras calls
        it `DepthwiseConv2D`.
    """

    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] | None = 1
    _: dataclasses.KW_ONLY
    features_multiplier: int = 1
    padding: Padding = "SAME"
    input_dilation: int | Sequence[int] | None = 1
    kernel_dilation: int | Sequence[int] | None = 1
    use_bias: bool = True
    mask: jax.Array | np.ndarray | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32
    precision: Any = None
    kernel_init: Callable[..., Any] = nn.initializers.lecun_normal()
    bias_init: Callable[..., Any] = nn.initializers.zeros_init()
    promote_dtype: Callable[..., Any] = promote_dtype
    padding_mode: str = "zeros"
    method: str = "auto"
    policy: Policy | None = None
    preferred_element_type: Any = None

    @nn.compact
    def __call__(self, inputs: jax.Array | np.ndarray) -> jax.Array:
        """Convolve inputs (*batch, *space, channels) to (*batch, *space', channels m)."""
        inputs = layers.as_inputs(self, inputs)
        shape = layers.depthwise_shape(self, inputs.shape[-1])
        operands = arrays(self, inputs, shape, shape[-1:])
        return layers.conv(self, *operands, groups=inputs.shape[-1])


class SeparableConv(nn.Module):
    """Convolve every channel by itself, then mix the channels at every position.

    y = conv(DepthwiseConv(x), pointwise kernel, bias): `DepthwiseConv` without a bias, then `Conv`
    with a kernel of size 1, whose bias is the only one

    The parameters are those of the submodules `depthwise` and `pointwise`: `depthwise/kernel` is
    (*kernel_size, 1, channels m) with m = features_multiplier, `pointwise/kernel`
    (1, ..., 1, channels m, features), `pointwise/bias` (features,).

    Attributes:
        features: channels of the result.
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
        padding_mode: as in `Conv`.
        method: as in `Conv`.
        policy: as in `Conv`.
        preferred_element_type: as in `Conv`, of the result.

    Raises:
        TypeError: an argument is not an integer where one is needed.
        ValueError: the arguments and the inputs' shape do not fit each other.

    Example:
        >>> layer = SeparableConv(8, (3, 3), strides=2)
        >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((4, 32, 32, 3)))
        >>> y.shape, jax.tree.map(jnp.shape, variables["params"]["pointwise"])
        ((4, 16, 16, 8), {'bias': (8,), 'kernel': (1, 1, 3, 8)})

    Source:
        Chollet (2017), "Xception: Deep Learning with Depthwise Separable Convolutions"; Keras calls
        it `SeparableConv2D`.
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] | None = 1
    _: dataclasses.KW_ONLY
    features_multiplier: int = 1
    padding: Padding = "SAME"
    input_dilation: int | Sequence[int] | None = 1
    kernel_dilation: int | Sequence[int] | None = 1
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    precision: Any = None
    depthwise_init: Callable[..., Any] = nn.initializers.lecun_normal()
    pointwise_init: Callable[..., Any] = nn.initializers.lecun_normal()
    bias_init: Callable[..., Any] = nn.initializers.zeros_init()
    promote_dtype: Callable[..., Any] = promote_dtype
    padding_mode: str = "zeros"
    method: str = "auto"
    policy: Policy | None = None
    preferred_element_type: Any = None

    @nn.compact
    def __call__(self, inputs: jax.Array | np.ndarray) -> jax.Array:
        """Convolve inputs (*batch, *space, channels) to (*batch, *space', features)."""
        inputs = layers.as_inputs(self, inputs)
        layers.check_separable(self, inputs.shape[-1], self.features)
        numerics = {
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
            "precision": self.precision,
            "promote_dtype": self.promote_dtype,
            "method": self.method,
            "policy": self.policy,
        }
        depthwise = DepthwiseConv(
            self.kernel_size,
            self.strides,
            features_multiplier=self.features_multiplier,
            padding=self.padding,
            input_dilation=self.input_dilation,
            kernel_dilation=self.kernel_dilation,
            use_bias=False,
            kernel_init=self.depthwise_init,
            padding_mode=self.padding_mode,
            name="depthwise",
            **numerics,
        )
        pointwise = Conv(
            self.features,
            (1,) * len(layers.kernel_sizes(self)),
            use_bias=self.use_bias,
            kernel_init=self.pointwise_init,
            bias_init=self.bias_init,
            preferred_element_type=self.preferred_element_type,
            name="pointwise",
            **numerics,
        )
        return pointwise(depthwise(inputs))
