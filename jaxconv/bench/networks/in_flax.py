"""The networks in Flax: linen modules, and NNX modules with the same weights."""

from collections.abc import Mapping
from typing import Any

import flax.linen as linen
import jax
import jax.numpy as jnp
from flax import nnx

from jaxconv.bench.networks.definitions import Layers, Network


class _FlaxLayers(Layers):
    """Functions on channels-last arrays; the layers come from a subclass."""

    def channels(self, x: Any) -> int:
        return x.shape[-1]

    def apply(self, function: str, x: Any) -> Any:
        if function == "gelu":
            return jax.nn.gelu(x, approximate=False)
        return getattr(jax.nn, function)(x)

    def max_pool(self, x: Any) -> Any:
        return linen.max_pool(x, (2, 2), (2, 2))

    def mean(self, x: Any, *, keep: bool = False) -> Any:
        return jnp.mean(x, axis=(1, 2), keepdims=keep)

    def concatenate(self, *xs: Any) -> Any:
        return jnp.concatenate(xs, axis=-1)


class _LinenLayers(_FlaxLayers):
    """Makes linen layers by name, inside a compact module."""

    def __init__(self, *, training: bool, dtype: Any):
        super().__init__()
        self._training, self._dtype = training, dtype

    def conv(self, x, features, size, *, stride=1, groups=1, bias=False):
        before = size // 2 if size > stride else 0
        layer = linen.Conv(
            features,
            (size, size),
            strides=stride,
            padding=before,
            feature_group_count=groups,
            use_bias=bias,
            dtype=self._dtype,
            name=self.name("conv"),
        )
        return layer(x)

    def conv_transpose(self, x, features):
        size = (2, 2)
        name = self.name("transposed")
        return linen.ConvTranspose(features, size, size, "VALID", dtype=self._dtype, name=name)(x)

    def dense(self, x, features):
        return linen.Dense(features, dtype=self._dtype, name=self.name("dense"))(x)

    def batch_norm(self, x):
        fixed = not self._training
        return linen.BatchNorm(fixed, dtype=self._dtype, name=self.name("norm"))(x)

    def layer_norm(self, x):
        return linen.LayerNorm(dtype=self._dtype, name=self.name("norm"))(x)


class LinenNetwork(linen.Module):
    """A network as a linen module.

    Attributes:
        network: which.
        training: whether batch norm takes the mean and variance of the batch.
        dtype: of the computations, None for that of x and the weights.
    """

    network: Network
    training: bool = True
    dtype: Any = None

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the network's output."""
        return self.network.define(_LinenLayers(training=self.training, dtype=self.dtype), x)


class _NnxLayers(_FlaxLayers):
    """Calls NNX layers by name, and makes those that are missing."""

    def __init__(self, made: Any, *, dtype: Any):
        super().__init__()
        self._made, self._dtype = made, dtype

    def _layer(self, kind: str, make: Any, *arguments: Any, **options: Any) -> Any:
        name = self.name(kind)
        if name not in self._made:
            made = make(*arguments, **options, dtype=self._dtype, rngs=nnx.Rngs(0))
            self._made[name] = made
        return self._made[name]

    def conv(self, x, features, size, *, stride=1, groups=1, bias=False):
        geometry = {"strides": stride, "padding": size // 2 if size > stride else 0}
        options = geometry | {"feature_group_count": groups, "use_bias": bias}
        return self._layer("conv", nnx.Conv, x.shape[-1], features, (size, size), **options)(x)

    def conv_transpose(self, x, features):
        geometry = {"kernel_size": (2, 2), "strides": (2, 2), "padding": "VALID"}
        make = nnx.ConvTranspose
        return self._layer("transposed", make, x.shape[-1], features, **geometry)(x)

    def dense(self, x, features):
        return self._layer("dense", nnx.Linear, x.shape[-1], features)(x)

    def batch_norm(self, x):
        return self._layer("norm", nnx.BatchNorm, x.shape[-1])(x)

    def layer_norm(self, x):
        return self._layer("norm", nnx.LayerNorm, x.shape[-1])(x)


class NnxNetwork(nnx.Module):
    """A network as an NNX module; its layers are made at the first call."""

    def __init__(self, network: Network, dtype: Any = None):
        self.network, self.dtype, self.layers = network, dtype, nnx.Dict()

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the network's output."""
        return self.network.define(_NnxLayers(self.layers, dtype=self.dtype), x)


def as_nnx(
    network: Network, variables: Mapping[str, Any], *, training: bool, dtype: Any = None
) -> NnxNetwork:
    """Return the NNX module with the weights of the linen one."""

    def made() -> NnxNetwork:
        module = NnxNetwork(network, dtype)
        module(jnp.zeros((1, *network.image)))
        return module

    module = nnx.eval_shape(made)
    for layers in variables.values():  # "params" and "batch_stats"
        for name, arrays in layers.items():
            for key, array in arrays.items():
                getattr(module.layers[name], key).set_value(jnp.asarray(array))
    module.set_attributes(use_running_average=not training, raise_if_not_found=False)
    return module
