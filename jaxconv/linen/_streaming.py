"""Flax Linen modules for sequences that arrive in pieces."""

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
from jaxconv._core.geometry.dtypes import as_array
from jaxconv.linen._parameters import arrays


class CausalConv1D(nn.Module):
    """A layer whose outputs see no later inputs, and which can be given a sequence in pieces.

    y = causal_conv1d(x, kernel, bias)

    `kernel` is (kernel_size, channels // feature_group_count, features), `bias` (features,): the
    parameters of `flax.linen.Conv(features, (kernel_size,), padding="CAUSAL")`, whose outputs this
    layer has without `decode`.

    With `decode` the layer keeps the inputs that later outputs still see in the variable
    `cached_inputs` of the collection "cache": `init` makes it, of zeros, and each
    `apply(variables, piece, mutable=["cache"])` returns it as it is after the piece, of any length.
    To begin another sequence, take the cache of `init` again. For training, apply the same module
    without `decode`.

    Attributes:
        features: channels of the result.
        kernel_size: an integer.
        strides: elements of the inputs between neighbouring outputs.
        kernel_dilation: elements of the inputs between neighbouring kernel entries.
        feature_group_count: groups of channels.
        use_bias: whether there is a bias.
        mask: an array of the kernel's shape that the kernel is multiplied by.
        dtype: dtype of the computation; by default the common dtype of inputs and parameters.
        param_dtype: dtype of the parameters.
        precision: as in `jaxconv.conv`.
        kernel_init: initialiser of the kernel.
        bias_init: initialiser of the bias.
        promote_dtype: called as `promote_dtype(inputs, kernel, bias, dtype=dtype)`.
        decode: whether to go on from the cache, as in `flax.linen.MultiHeadDotProductAttention`.
        method: as in `jaxconv.conv`.
        policy: as in `jaxconv.conv`.
        preferred_element_type: as in `jaxconv.conv`.

    Raises:
        TypeError: an argument is not an integer where one is needed.
        ValueError: the arguments and the inputs' shape do not fit each other.

    Example:
        >>> layer, x = CausalConv1D(8, 3, decode=True), jnp.ones((4, 5, 2))
        >>> variables = layer.init(jax.random.key(0), x)
        >>> jax.tree.map(jnp.shape, variables["cache"])
        {'cached_inputs': (4, 2, 2)}
        >>> y, cache = layer.apply(variables, x[:, :1], mutable=["cache"])
        >>> z, cache = layer.apply(variables | cache, x[:, 1:], mutable=["cache"])
        >>> y.shape, z.shape
        ((4, 1, 8), (4, 4, 8))

    Source:
        van den Oord et al. (2016), "WaveNet: A Generative Model for Raw Audio", section 2.1.
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] | None = 1
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
    decode: bool = False
    _: dataclasses.KW_ONLY
    method: str = "auto"
    policy: Policy | None = None
    preferred_element_type: Any = None

    @nn.compact
    def __call__(
        self,
        inputs: jax.Array | np.ndarray,
        *,
        segment_ids: jax.Array | np.ndarray | None = None,
        lengths: jax.Array | np.ndarray | None = None,
    ) -> jax.Array:
        """Convolve inputs (*batch, time, channels) to (*batch, outputs, features).

        `segment_ids` and `lengths` are those of `jaxconv.causal_conv1d`.
        """
        return _apply(self, inputs, {"segment_ids": segment_ids, "lengths": lengths})


class CausalConvTranspose1D(nn.Module):
    """The transposed layer for sequences in pieces: `strides` outputs for each input.

    y = causal_conv_transpose1d(x, w, bias), where w is the kernel; without transpose_kernel, the
    kernel reversed in time and with input and output channels exchanged

    `kernel` is (kernel_size, channels // feature_group_count, features), with transpose_kernel
    (kernel_size, features // feature_group_count, channels); `bias` is (features,). Without
    `decode` the outputs are the first time strides of
    `flax.linen.ConvTranspose(features, (kernel_size,), (strides,), padding="VALID")`, which has the
    same parameters.

    Attributes:
        features: channels of the result.
        kernel_size: an integer.
        strides: elements of the result for each input; None is 1.
        kernel_dilation: elements of the result between neighbouring kernel entries; None is 1.
        feature_group_count: as in `CausalConv1D`.
        use_bias: as in `CausalConv1D`.
        mask: as in `CausalConv1D`.
        dtype: as in `CausalConv1D`.
        param_dtype: as in `CausalConv1D`.
        precision: as in `CausalConv1D`.
        kernel_init: as in `CausalConv1D`.
        bias_init: as in `CausalConv1D`.
        transpose_kernel: the kernel is that of `jaxconv.causal_conv_transpose1d`.
        promote_dtype: as in `CausalConv1D`.
        decode: as in `CausalConv1D`.
        method: as in `jaxconv.conv`.
        policy: as in `jaxconv.conv`.
        preferred_element_type: as in `jaxconv.conv`.

    Raises:
        TypeError: an argument is not an integer where one is needed.
        ValueError: the arguments and the inputs' shape do not fit each other.

    Example:
        >>> layer, x = CausalConvTranspose1D(8, 4, 2, decode=True), jnp.ones((4, 5, 2))
        >>> variables = layer.init(jax.random.key(0), x)
        >>> y, cache = layer.apply(variables, x[:, :1], mutable=["cache"])
        >>> y.shape, cache["cache"]["cached_inputs"].shape
        ((4, 2, 8), (4, 1, 2))
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] | None = None
    kernel_dilation: int | Sequence[int] | None = None
    feature_group_count: int = 1
    use_bias: bool = True
    mask: jax.Array | np.ndarray | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32
    precision: Any = None
    kernel_init: Callable[..., Any] = nn.initializers.lecun_normal()
    bias_init: Callable[..., Any] = nn.initializers.zeros_init()
    transpose_kernel: bool = False
    promote_dtype: Callable[..., Any] = promote_dtype
    decode: bool = False
    _: dataclasses.KW_ONLY
    method: str = "auto"
    policy: Policy | None = None
    preferred_element_type: Any = None

    @nn.compact
    def __call__(
        self,
        inputs: jax.Array | np.ndarray,
        *,
        segment_ids: jax.Array | np.ndarray | None = None,
        lengths: jax.Array | np.ndarray | None = None,
    ) -> jax.Array:
        """Apply the layer to inputs (*batch, time, channels): (*batch, time strides, features).

        `segment_ids` and `lengths` are those of `jaxconv.causal_conv_transpose1d`.
        """
        return _apply(
            self,
            inputs,
            {"segment_ids": segment_ids, "lengths": lengths},
            transposed=True,
            swapped=self.transpose_kernel,
        )


def _apply(
    layer: Any,
    inputs: jax.Array | np.ndarray,
    rows: dict[str, jax.Array | np.ndarray | None],
    *,
    transposed: bool = False,
    swapped: bool = False,
) -> jax.Array:
    """Apply a layer, and keep its state if it decodes."""
    inputs = as_array(type(layer).__name__, "inputs", inputs)
    layers.check_sequence(layer, inputs.shape)
    shape = layers.kernel_shape(layer, inputs.shape[-1], layer.features, transposed=swapped)
    operands = arrays(layer, inputs, shape, (layer.features,))
    run = layers.causal_conv_transpose if transposed else layers.causal_conv
    if not layer.decode:
        return run(layer, *operands, state=None, **rows)[0]
    initialised = layer.has_variable("cache", "cached_inputs")
    size = layers.state_shape(layer, inputs.shape, transposed=transposed)
    cached = layer.variable("cache", "cached_inputs", jnp.zeros, size, operands[0].dtype)
    state = None
    if initialised:
        state, anew = cached.value, 'take the "cache" that layer.init makes for such inputs'
        layers.check_cache(layer, state, operands[0], transposed=transposed, anew=anew)
    outputs, after = run(layer, *operands, state=state, **rows)
    if initialised:  # `init` leaves the state of the beginning
        cached.value = after
    return outputs
