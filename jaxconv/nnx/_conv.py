"""`Conv2D` of D2L, chapter 6, and Flax's `Conv` and `ConvTranspose`."""

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
from jaxconv._core.geometry.spec import Padding, per_dimension
from jaxconv._functional.planes import corr2d
from jaxconv.nnx._parameters import BIAS_INIT, KERNEL_INIT, NO_METADATA, arrays


class Conv2D(nnx.Module):
    """A layer of one channel: one kernel and a scalar bias.

    y = corr2d(x, kernel) + bias

    `kernel` (h, w) starts uniform in [0, 1), `bias` () at 0, both float32.

    Args:
        kernel_size: (h, w), or one integer for both.
        rngs: random streams for the kernel.

    Raises:
        TypeError: x is not float32.
        ValueError: x is not 2-D, or smaller than the kernel.

    Example:
        >>> layer = Conv2D((1, 2), rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((6, 8))).shape
        (6, 7)

    Source:
        D2L ("Dive into Deep Learning"), section 6.2.2.
    """

    def __init__(self, kernel_size: int | Sequence[int], *, rngs: nnx.Rngs):
        self.kernel_size = per_dimension("Conv2D", "kernel_size", kernel_size, 2, minimum=1)
        self.kernel = nnx.Param(jax.random.uniform(rngs.params(), self.kernel_size))
        self.bias = nnx.Param(jnp.zeros(()))

    def __call__(self, x: jax.Array | np.ndarray) -> jax.Array:
        """Return corr2d(x, kernel) + bias for x (H, W): (H - h + 1, W - w + 1)."""
        return corr2d(x, self.kernel[...]) + self.bias[...]


class Conv(nnx.Module):
    """`flax.nnx.Conv` computed by `jaxconv.conv`: the same arguments, parameters and outputs.

    y = conv(x, kernel, bias)

    `kernel` is (*kernel_size, in_features // feature_group_count, out_features), `bias`
    (out_features,). `jaxconv.linen.Conv` has the table of `padding`, and the differences from Flax.

    Args:
        in_features: channels of the inputs.
        out_features: channels of the result.
        kernel_size: one integer for each spatial dimension. A single integer is a one-dimensional
            kernel, for inputs of at most one batch axis.
        strides: elements of the inputs between neighbouring outputs; None is 1.
        padding: as in `jaxconv.linen.Conv`.
        input_dilation: distance between the inputs' elements after zeros are inserted; None is 1.
        kernel_dilation: elements of the inputs between neighbouring kernel entries; None is 1.
        feature_group_count: groups of channels.
        use_bias: whether there is a bias.
        mask: an array of the kernel's shape that the kernel is multiplied by.
        dtype: dtype of the computation; by default the common dtype of inputs and parameters.
        param_dtype: dtype of the parameters.
        precision: as in `jaxconv.conv`.
        kernel_init: initialiser of the kernel.
        bias_init: initialiser of the bias.
        promote_dtype: called as `promote_dtype((inputs, kernel, bias), dtype=dtype)`.
        preferred_element_type: as in `jaxconv.conv`.
        rngs: random streams for the parameters.
        kernel_metadata: metadata of the kernel's `nnx.Param`.
        bias_metadata: metadata of the bias's `nnx.Param`.
        padding_mode: as in `jaxconv.conv` (not in Flax).
        method: as in `jaxconv.conv` (not in Flax).
        policy: as in `jaxconv.conv` (not in Flax).

    Raises:
        TypeError: an argument is not an integer where one is needed.
        ValueError: the arguments and the inputs' shape do not fit each other.

    Example:
        >>> layer = Conv(3, 8, (3, 3), 2, padding=1, padding_mode="replicate", rngs=nnx.Rngs(0))
        >>> layer.kernel.shape, layer(jnp.ones((4, 32, 32, 3))).shape
        ((3, 3, 3, 8), (4, 16, 16, 8))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] | None = 1,
        *,
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
        method: str = "auto",
        policy: Policy | None = None,
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
        self.method = method
        self.policy = policy
        self.kernel_shape = layers.kernel_shape(self, in_features, out_features)
        self.kernel = nnx.Param(
            kernel_init(rngs.params(), self.kernel_shape, param_dtype), **kernel_metadata
        )
        self.bias: nnx.Param | None = nnx.data(None)
        if use_bias:
            self.bias = nnx.Param(
                bias_init(rngs.params(), (out_features,), param_dtype), **bias_metadata
            )

    def __call__(self, inputs: jax.Array | np.ndarray) -> jax.Array:
        """Convolve inputs (*batch, *space, in_features) to (*batch, *space', out_features)."""
        return layers.conv(self, *arrays(self, inputs), groups=self.feature_group_count)


class ConvTranspose(nnx.Module):
    """`flax.nnx.ConvTranspose` computed by `jaxconv.conv_transpose`.

    y = conv_transpose(x, w, bias), where w is the kernel; without transpose_kernel, the kernel
    reversed along its spatial dimensions and with input and output channels exchanged

    `kernel` is (*kernel_size, in_features // feature_group_count, out_features), with
    transpose_kernel (*kernel_size, out_features // feature_group_count, in_features); `bias` is
    (out_features,). `jaxconv.linen.ConvTranspose` has the table of `padding`.

    Args:
        in_features: channels of the inputs.
        out_features: channels of the result.
        kernel_size: as in `Conv`.
        strides: elements of the result between neighbouring inputs; None is 1.
        padding: as in `jaxconv.linen.ConvTranspose`.
        kernel_dilation: as in `Conv`.
        use_bias: as in `Conv`.
        mask: as in `Conv`.
        dtype: as in `Conv`.
        param_dtype: as in `Conv`.
        precision: as in `Conv`.
        kernel_init: as in `Conv`.
        bias_init: as in `Conv`.
        transpose_kernel: use the kernel of the `Conv` that this layer is the adjoint of.
        promote_dtype: as in `Conv`.
        preferred_element_type: as in `jaxconv.conv_transpose`.
        rngs: as in `Conv`.
        kernel_metadata: as in `Conv`.
        bias_metadata: as in `Conv`.
        feature_group_count: groups of channels (not in Flax).
        output_padding: as in `jaxconv.conv_transpose` (not in Flax).
        use_consistent_padding: the meaning of integers in `padding`, as in
            `jax.lax.conv_transpose` (not in Flax).
        padding_mode: as in `jaxconv.conv_transpose` (not in Flax).
        method: as in `jaxconv.conv_transpose` (not in Flax).
        policy: as in `jaxconv.conv_transpose` (not in Flax).

    Raises:
        TypeError: an argument is not an integer where one is needed.
        ValueError: the arguments and the inputs' shape do not fit each other.

    Example:
        >>> layer = ConvTranspose(6, 3, (4, 4), 2, feature_group_count=3, rngs=nnx.Rngs(0))
        >>> layer.kernel.shape, layer(jnp.ones((4, 16, 16, 6))).shape
        ((4, 4, 2, 3), (4, 32, 32, 3))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] | None = None,
        *,
        padding: Padding = "SAME",
        kernel_dilation: int | Sequence[int] | None = None,
        use_bias: bool = True,
        mask: jax.Array | np.ndarray | None = None,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        kernel_init: Callable[..., Any] = KERNEL_INIT,
        bias_init: Callable[..., Any] = BIAS_INIT,
        transpose_kernel: bool = False,
        promote_dtype: Callable[..., Any] = promote_dtype,
        preferred_element_type: Any = None,
        rngs: nnx.Rngs,
        kernel_metadata: Mapping[str, Any] = NO_METADATA,
        bias_metadata: Mapping[str, Any] = NO_METADATA,
        feature_group_count: int = 1,
        output_padding: int | Sequence[int] = 0,
        use_consistent_padding: bool = False,
        padding_mode: str = "zeros",
        method: str = "auto",
        policy: Policy | None = None,
    ):
        self.in_features = in_features
        self.out_features = out_features
        self.kernel_size = layers.hashable(kernel_size)
        self.strides = layers.hashable(strides)
        self.padding = layers.hashable(padding)
        self.kernel_dilation = layers.hashable(kernel_dilation)
        self.use_bias = use_bias
        self.mask = mask
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.transpose_kernel = transpose_kernel
        self.promote_dtype = promote_dtype
        self.preferred_element_type = preferred_element_type
        self.feature_group_count = feature_group_count
        self.output_padding = layers.hashable(output_padding)
        self.use_consistent_padding = use_consistent_padding
        self.padding_mode = padding_mode
        self.method = method
        self.policy = policy
        self.kernel_shape = layers.kernel_shape(
            self, in_features, out_features, transposed=transpose_kernel
        )
        self.kernel = nnx.Param(
            kernel_init(rngs.params(), self.kernel_shape, param_dtype), **kernel_metadata
        )
        self.bias: nnx.Param | None = nnx.data(None)
        if use_bias:
            self.bias = nnx.Param(
                bias_init(rngs.params(), (out_features,), param_dtype), **bias_metadata
            )

    def __call__(self, inputs: jax.Array | np.ndarray) -> jax.Array:
        """Apply the layer to inputs (*batch, *space, in_features): (*batch, *space', out)."""
        return layers.conv_transpose(self, *arrays(self, inputs))
