"""`Conv2D` of D2L, chapter 6, and Flax's `Conv` and `ConvTranspose`."""

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
from jaxconv._core.geometry.spec import Padding, per_dimension
from jaxconv._functional.planes import corr2d
from jaxconv.linen._parameters import arrays


class Conv2D(nn.Module):
    """A layer of one channel: one kernel and a scalar bias.

    y = corr2d(x, kernel) + bias

    `kernel` (h, w) starts uniform in [0, 1), `bias` () at 0, both float32.

    Attributes:
        kernel_size: (h, w), or one integer for both.

    Raises:
        TypeError: x is not float32.
        ValueError: x is not 2-D, or smaller than the kernel.

    Example:
        >>> layer = Conv2D((1, 2))
        >>> variables = layer.init(jax.random.key(0), jnp.ones((6, 8)))
        >>> layer.apply(variables, jnp.ones((6, 8))).shape
        (6, 7)

    Source:
        D2L ("Dive into Deep Learning"), section 6.2.2.
    """

    kernel_size: int | Sequence[int]

    @nn.compact
    def __call__(self, x: jax.Array | np.ndarray) -> jax.Array:
        """Return corr2d(x, kernel) + bias for x (H, W): (H - h + 1, W - w + 1)."""
        size = per_dimension("Conv2D", "kernel_size", self.kernel_size, 2, minimum=1)
        kernel = self.param("kernel", nn.initializers.uniform(1.0), size)
        bias = self.param("bias", nn.initializers.zeros, ())
        return corr2d(x, kernel) + bias


class Conv(nn.Module):
    """`flax.linen.Conv` computed by `jaxconv.conv`: the same arguments, parameters and outputs.

    y = conv(x, kernel, bias)

    `kernel` is (*kernel_size, channels // feature_group_count, features), `bias` (features,).

    | padding | zeros before and after, with e = (kernel_size - 1) kernel_dilation + 1 |
    |---|---|
    | "SAME", "VALID", "SAME_LOWER", "CAUSAL" | those of the lower-case names in `jaxconv.conv` |
    | "CIRCULAR", "REFLECT" | (e - 1) // 2 and e // 2, filled by that padding mode |
    | integers, pairs, other names | as in `jaxconv.conv` |

    Flax wraps or reflects an input several times if the padding is wider than the input; here that
    is an error. Flax's deprecated argument `conv_general_dilated` does not exist.

    Attributes:
        features: channels of the result.
        kernel_size: one integer for each spatial dimension. A single integer is a one-dimensional
            kernel, for inputs of at most one batch axis.
        strides: elements of the inputs between neighbouring outputs; None is 1.
        padding: see above.
        input_dilation: distance between the inputs' elements after zeros are inserted between them,
            before padding; None is 1.
        kernel_dilation: elements of the inputs between neighbouring kernel entries; None is 1.
        feature_group_count: groups of channels.
        use_bias: whether there is a bias.
        mask: an array of the kernel's shape that the kernel is multiplied by.
        dtype: dtype of the computation; by default the common dtype of inputs and parameters.
        param_dtype: dtype of the parameters.
        precision: as in `jaxconv.conv`.
        kernel_init: initialiser of the kernel.
        bias_init: initialiser of the bias.
        promote_dtype: called as `promote_dtype(inputs, kernel, bias, dtype=dtype)`.
        padding_mode: as in `jaxconv.conv` (not in Flax).
        method: as in `jaxconv.conv` (not in Flax).
        policy: as in `jaxconv.conv` (not in Flax).
        preferred_element_type: as in `jaxconv.conv` (not in Flax's Linen).

    Raises:
        TypeError: an argument is not an integer where one is needed.
        ValueError: the arguments and the inputs' shape do not fit each other.

    Example:
        >>> layer = Conv(8, (3, 3), strides=2, padding=1, padding_mode="replicate")
        >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((4, 32, 32, 3)))
        >>> y.shape, jax.tree.map(jnp.shape, variables["params"])
        ((4, 16, 16, 8), {'bias': (8,), 'kernel': (3, 3, 3, 8)})
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] | None = 1
    padding: Padding = "SAME"
    input_dilation: int | Sequence[int] | None = 1
    kernel_dilation: int | Sequence[int] | None = 1
    feature_group_count: int = 1
    use_bias: bool = True
    mask: jax.Array | np.ndarray | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32
    precision: Any = None
    kernel_init: Callable[..., Any] = nn.initializers.lecun_normal()
    bias_init: Callable[..., Any] = nn.initializers.zeros_init()
    promote_dtype: Callable[..., Any] = promote_dtype
    _: dataclasses.KW_ONLY
    padding_mode: str = "zeros"
    method: str = "auto"
    policy: Policy | None = None
    preferred_element_type: Any = None

    @nn.compact
    def __call__(self, inputs: jax.Array | np.ndarray) -> jax.Array:
        """Convolve inputs (*batch, *space, channels) to (*batch, *space', features)."""
        inputs = layers.as_inputs(self, inputs)
        shape = layers.kernel_shape(self, inputs.shape[-1], self.features)
        operands = arrays(self, inputs, shape, (self.features,))
        return layers.conv(self, *operands, groups=self.feature_group_count)


class ConvTranspose(nn.Module):
    """`flax.linen.ConvTranspose` computed by `jaxconv.conv_transpose`.

    y = conv_transpose(x, w, bias), where w is the kernel; without transpose_kernel, the kernel
    reversed along its spatial dimensions and with input and output channels exchanged

    `kernel` is (*kernel_size, channels // feature_group_count, features), with transpose_kernel
    (*kernel_size, features // feature_group_count, channels); `bias` is (features,).

    | padding | size of the result, with e = (kernel_size - 1) kernel_dilation + 1 |
    |---|---|
    | "SAME", "same" | size stride |
    | "VALID" | size stride + max(e - stride, 0) |
    | "valid" | (size - 1) stride + e |
    | "CIRCULAR" | size stride, elements beyond one end are added at the other |
    | integers (a, b) | (size - 1) stride + 2 - e + a + b: zeros added around the dilated input |
    | the same, use_consistent_padding | (size - 1) stride + e - a - b: elements cropped, as torch |
    | other lower-case names | as in `jaxconv.conv_transpose` |

    `output_padding` adds elements at the end, except with "SAME". Integers (a, b) without
    use_consistent_padding equal (e - 1 - a, e - 1 - b) with it.

    Attributes:
        features: channels of the result.
        kernel_size: as in `Conv`.
        strides: elements of the result between neighbouring inputs; None is 1.
        padding: see above.
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
        >>> layer = ConvTranspose(3, (4, 4), strides=(2, 2), feature_group_count=3)
        >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((4, 16, 16, 6)))
        >>> y.shape, jax.tree.map(jnp.shape, variables["params"])
        ((4, 32, 32, 3), {'bias': (3,), 'kernel': (4, 4, 2, 3)})

    Source:
        Dumoulin and Visin (2016), "A guide to convolution arithmetic for deep learning", section 4.
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] | None = None
    padding: Padding = "SAME"
    kernel_dilation: int | Sequence[int] | None = None
    use_bias: bool = True
    mask: jax.Array | np.ndarray | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32
    precision: Any = None
    kernel_init: Callable[..., Any] = nn.initializers.lecun_normal()
    bias_init: Callable[..., Any] = nn.initializers.zeros_init()
    transpose_kernel: bool = False
    promote_dtype: Callable[..., Any] = promote_dtype
    preferred_element_type: Any = None
    _: dataclasses.KW_ONLY
    feature_group_count: int = 1
    output_padding: int | Sequence[int] = 0
    use_consistent_padding: bool = False
    padding_mode: str = "zeros"
    method: str = "auto"
    policy: Policy | None = None

    @nn.compact
    def __call__(self, inputs: jax.Array | np.ndarray) -> jax.Array:
        """Apply the layer to inputs (*batch, *space, channels): (*batch, *space', features)."""
        inputs = layers.as_inputs(self, inputs)
        shape = layers.kernel_shape(
            self, inputs.shape[-1], self.features, transposed=self.transpose_kernel
        )
        return layers.conv_transpose(self, *arrays(self, inputs, shape, (self.features,)))
