"""Flax NNX modules for sequences that arrive in pieces."""

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
from jaxconv._core.geometry.dtypes import as_array
from jaxconv.nnx._parameters import BIAS_INIT, KERNEL_INIT, NO_METADATA


class _Streaming(nnx.Module):
    """What both layers have in common: their arguments, and the cache."""

    _transposed = False
    dtype: Any
    param_dtype: Any
    promote_dtype: Callable[..., Any]
    use_bias: bool
    decode: bool

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] | None,
        *,
        swapped: bool = False,
        rngs: nnx.Rngs,
        kernel_init: Callable[..., Any],
        bias_init: Callable[..., Any],
        kernel_metadata: Mapping[str, Any],
        bias_metadata: Mapping[str, Any],
        **arguments: Any,
    ):
        self.in_features = in_features
        self.out_features = out_features
        self.kernel_size = layers.hashable(kernel_size)
        self.strides = layers.hashable(strides)
        for name, value in arguments.items():
            setattr(self, name, layers.hashable(value))
        layers.check_sequence(self, None)
        self.kernel_shape = layers.kernel_shape(self, in_features, out_features, transposed=swapped)
        self.kernel = nnx.Param(
            kernel_init(rngs.params(), self.kernel_shape, self.param_dtype), **kernel_metadata
        )
        self.bias: nnx.Param | None = nnx.data(None)
        if self.use_bias:
            self.bias = nnx.Param(
                bias_init(rngs.params(), (out_features,), self.param_dtype), **bias_metadata
            )
        self.cached_inputs: nnx.Cache | None = nnx.data(None)

    def init_cache(self, input_shape: Sequence[int], dtype: Any = None) -> None:
        """Make the cache, or begin another sequence: no inputs before the next one.

        Args:
            input_shape: (*batch, time, in_features) of any piece.
            dtype: dtype of the computation; by default the layer's, or that of its parameters.
        """
        size = layers.state_shape(self, tuple(input_shape), transposed=self._transposed)
        dtype = dtype or self.dtype or self.param_dtype
        self.cached_inputs = nnx.Cache(jnp.zeros(size, dtype))

    def __call__(
        self,
        inputs: jax.Array | np.ndarray,
        *,
        segment_ids: jax.Array | np.ndarray | None = None,
        lengths: jax.Array | np.ndarray | None = None,
        decode: bool | None = None,
    ) -> jax.Array:
        """Apply the layer to inputs (*batch, time, in_features): (*batch, outputs, out_features).

        `segment_ids` and `lengths` are those of the function. `decode` goes before the layer's own.
        """
        caller = type(self).__name__
        inputs = as_array(caller, "inputs", inputs)
        layers.check_sequence(self, inputs.shape)
        kernel = layers.apply_mask(self, self.kernel[...])
        bias = None if self.bias is None else self.bias[...]
        arrays = self.promote_dtype((inputs, kernel, bias), dtype=self.dtype)
        decode = self.decode if decode is None else decode
        run = layers.causal_conv_transpose if self._transposed else layers.causal_conv
        rows = {"segment_ids": segment_ids, "lengths": lengths}
        if not decode:
            return run(self, *arrays, state=None, **rows)[0]
        anew = f"layer.init_cache({inputs.shape}, jnp.{arrays[0].dtype})"
        if self.cached_inputs is None:
            raise ValueError(f"{caller}: decode=True needs a cache; make it: {anew}")
        state = self.cached_inputs[...]
        layers.check_cache(self, state, arrays[0], transposed=self._transposed, anew=anew)
        outputs, after = run(self, *arrays, state=state, **rows)
        self.cached_inputs.set_value(after)
        return outputs


class CausalConv1D(_Streaming):
    """A layer whose outputs see no later inputs, and which can be given a sequence in pieces.

    y = causal_conv1d(x, kernel, bias)

    `kernel` is (kernel_size, in_features // feature_group_count, out_features), `bias`
    (out_features,): the parameters of `flax.nnx.Conv(..., padding="CAUSAL")`, whose outputs this
    layer has without `decode`.

    With `decode` the layer goes on from its cache, an `nnx.Cache` with the inputs that later
    outputs still see, and pieces may have any length. `init_cache(inputs.shape)` makes it; called
    again, it begins another sequence.

    Args:
        in_features: channels of the inputs.
        out_features: channels of the result.
        kernel_size: an integer.
        strides: elements of the inputs between neighbouring outputs; None is 1.
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
        decode: whether to go on from the cache, as in `flax.nnx.MultiHeadAttention`; the argument
            of a call goes before it.
        rngs: random streams for the parameters.
        kernel_metadata: metadata of the kernel's `nnx.Param`.
        bias_metadata: metadata of the bias's `nnx.Param`.
        method: as in `jaxconv.conv`.
        policy: as in `jaxconv.conv`.

    Raises:
        TypeError: an argument is not an integer where one is needed.
        ValueError: the arguments and the inputs' shape do not fit each other, or there is no cache
            to go on from.

    Example:
        >>> layer, x = CausalConv1D(2, 8, 3, decode=True, rngs=nnx.Rngs(0)), jnp.ones((4, 5, 2))
        >>> layer.init_cache(x.shape)
        >>> layer(x[:, :1]).shape, layer(x[:, 1:]).shape, layer.cached_inputs.shape
        ((4, 1, 8), (4, 4, 8), (4, 2, 2))

    Source:
        van den Oord et al. (2016), "WaveNet: A Generative Model for Raw Audio", section 2.1.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] | None = 1,
        *,
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
        decode: bool = False,
        rngs: nnx.Rngs,
        kernel_metadata: Mapping[str, Any] = NO_METADATA,
        bias_metadata: Mapping[str, Any] = NO_METADATA,
        method: str = "auto",
        policy: Policy | None = None,
    ):
        super().__init__(
            in_features,
            out_features,
            kernel_size,
            strides,
            kernel_dilation=kernel_dilation,
            feature_group_count=feature_group_count,
            use_bias=use_bias,
            mask=mask,
            dtype=dtype,
            param_dtype=param_dtype,
            precision=precision,
            kernel_init=kernel_init,
            bias_init=bias_init,
            promote_dtype=promote_dtype,
            preferred_element_type=preferred_element_type,
            decode=decode,
            rngs=rngs,
            kernel_metadata=kernel_metadata,
            bias_metadata=bias_metadata,
            method=method,
            policy=policy,
        )


class CausalConvTranspose1D(_Streaming):
    """The transposed layer for sequences in pieces: `strides` outputs for each input.

    y = causal_conv_transpose1d(x, w, bias), where w is the kernel; without transpose_kernel, the
    kernel reversed in time and with input and output channels exchanged

    `kernel` is (kernel_size, in_features // feature_group_count, out_features), with
    transpose_kernel (kernel_size, out_features // feature_group_count, in_features); `bias` is
    (out_features,). Without `decode` the outputs are the first time strides of
    `flax.nnx.ConvTranspose(..., padding="VALID")`, which has the same parameters.

    Args:
        in_features: channels of the inputs.
        out_features: channels of the result.
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
        preferred_element_type: as in `CausalConv1D`.
        decode: as in `CausalConv1D`.
        rngs: as in `CausalConv1D`.
        kernel_metadata: as in `CausalConv1D`.
        bias_metadata: as in `CausalConv1D`.
        method: as in `CausalConv1D`.
        policy: as in `CausalConv1D`.

    Raises:
        TypeError: an argument is not an integer where one is needed.
        ValueError: the arguments and the inputs' shape do not fit each other, or there is no cache
            to go on from.

    Example:
        >>> layer = CausalConvTranspose1D(2, 8, 4, 2, decode=True, rngs=nnx.Rngs(0))
        >>> layer.init_cache((4, 1, 2))
        >>> layer(jnp.ones((4, 1, 2))).shape, layer.cached_inputs.shape
        ((4, 2, 8), (4, 1, 2))
    """

    _transposed = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] | None = None,
        *,
        kernel_dilation: int | Sequence[int] | None = None,
        feature_group_count: int = 1,
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
        decode: bool = False,
        rngs: nnx.Rngs,
        kernel_metadata: Mapping[str, Any] = NO_METADATA,
        bias_metadata: Mapping[str, Any] = NO_METADATA,
        method: str = "auto",
        policy: Policy | None = None,
    ):
        super().__init__(
            in_features,
            out_features,
            kernel_size,
            strides,
            kernel_dilation=kernel_dilation,
            feature_group_count=feature_group_count,
            use_bias=use_bias,
            mask=mask,
            dtype=dtype,
            param_dtype=param_dtype,
            precision=precision,
            kernel_init=kernel_init,
            bias_init=bias_init,
            swapped=transpose_kernel,
            transpose_kernel=transpose_kernel,
            promote_dtype=promote_dtype,
            preferred_element_type=preferred_element_type,
            decode=decode,
            rngs=rngs,
            kernel_metadata=kernel_metadata,
            bias_metadata=bias_metadata,
            method=method,
            policy=policy,
        )
