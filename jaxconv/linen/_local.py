"""Locally connected layers."""

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
from jaxconv._core.geometry.spec import Padding
from jaxconv.linen._parameters import arrays


class ConvLocal(nn.Module):
    """`flax.linen.ConvLocal`: a convolution with a kernel of its own at every output position.

    y[n, t, o] = bias[t, o] + sum over i, k of x[n, t stride + k dilation - lo, i]
    kernel[t, (i, k), o]

    `kernel` is (*space', channels // feature_group_count * prod(kernel_size), features), channels
    before kernel positions, `bias` (*space', features). The inputs' size is part of the parameters.
    Padding is that of `Conv`. A position's windows, of the whole batch, are multiplied with its
    kernel in one matrix product.

    Attributes:
        features: channels of the result.
        kernel_size: as in `Conv`.
        strides: as in `Conv`.
        padding: as in `Conv`.
        input_dilation: as in `Conv`.
        kernel_dilation: as in `Conv`.
        feature_group_count: groups of channels (Flax has only 1).
        use_bias: as in `Conv`.
        mask: as in `Conv`.
        dtype: as in `Conv`.
        param_dtype: as in `Conv`.
        precision: as in `Conv`.
        kernel_init: initialiser of the kernel. The default is Flax's, which counts positions as
            inputs too: outputs begin smaller by the root of their number. On planes
            `nn.initializers.lecun_normal(batch_axis=(0, 1))` counts one window's inputs.
        bias_init: as in `Conv`.
        promote_dtype: as in `Conv`.
        padding_mode: as in `Conv`.
        preferred_element_type: as in `Conv`.

    Raises:
        TypeError: an argument is not an integer where one is needed.
        ValueError: the arguments and the inputs' shape do not fit each other.

    Example:
        >>> layer = ConvLocal(8, (3, 3), strides=2)
        >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((4, 32, 32, 3)))
        >>> y.shape, jax.tree.map(jnp.shape, variables["params"])
        ((4, 16, 16, 8), {'bias': (16, 16, 8), 'kernel': (16, 16, 27, 8)})

    Source:
        LeCun (1989), "Generalization and Network Design Strategies"; D2L ("Dive into Deep
        Learning"), section 6.1.2: locality without translation invariance.
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
    preferred_element_type: Any = None

    @nn.compact
    def __call__(self, inputs: jax.Array | np.ndarray) -> jax.Array:
        """Apply the layer to inputs (*batch, *space, channels): (*batch, *space', features)."""
        inputs = layers.as_inputs(self, inputs)
        shapes = layers.local_shapes(self, inputs.shape, self.features)
        return layers.conv_local(self, *arrays(self, inputs, *shapes))
