"""Small networks of other packages' layers, each as (apply, params, x)."""

import cases
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

DRAWN = np.random.default_rng(0)


class LinenNetwork(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.Conv(8, (3, 3), strides=2)(x))
        x = linen.BatchNorm(use_running_average=False)(x)
        x = linen.Conv(8, (3, 3), feature_group_count=8, kernel_dilation=2)(x)
        x = linen.ConvTranspose(6, (4, 4), strides=(2, 2))(x)
        x = nnx.gelu(linen.Conv(4, (3, 2), padding="CIRCULAR", feature_group_count=2)(x))
        return linen.Dense(3)(linen.avg_pool(x, (2, 2), (2, 2)).reshape(x.shape[0], -1))


class NnxNetwork(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Conv(3, 8, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.second = nnx.ConvTranspose(8, 4, (4, 4), (2, 2), rngs=rngs)

    def __call__(self, x):
        return self.second(nnx.relu(self.norm(self.first(x))))


class EquinoxNetwork(eqx.Module):
    layers: list

    def __init__(self, key):
        keys = jax.random.split(key, 4)
        self.layers = [
            eqx.nn.Conv2d(3, 8, 3, stride=2, key=keys[0]),
            jax.nn.relu,
            eqx.nn.ConvTranspose2d(8, 4, 3, stride=2, output_padding=1, groups=2, key=keys[1]),
            eqx.nn.Conv2d(4, 4, 3, groups=4, padding=1, padding_mode="REFLECT", key=keys[2]),
            eqx.nn.MaxPool2d(2, 2),
            jnp.ravel,
        ]

    def __call__(self, x):
        for each in self.layers:
            x = each(x)
        return x


def linen_network():
    network = LinenNetwork()
    x = jnp.asarray(cases.random(DRAWN, (2, 8, 8, 3), "float32"))
    variables = jax.jit(network.init)(jax.random.key(0), x)

    def apply(params, x):
        rest = {"batch_stats": variables["batch_stats"]}
        return network.apply({"params": params, **rest}, x, mutable=["batch_stats"])

    return apply, variables["params"], x


def nnx_network():
    graph, params, rest = nnx.split(NnxNetwork(nnx.Rngs(0)), nnx.Param, ...)

    def apply(params, x):
        network = nnx.merge(graph, params, rest, copy=True)
        y = network(x)  # in training, so that the running mean moves
        return y, nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))

    return apply, params, jnp.asarray(cases.random(DRAWN, (2, 8, 8, 3), "float32"))


def equinox_network():
    params, static = eqx.partition(EquinoxNetwork(jax.random.key(0)), eqx.is_array)

    def apply(params, x):
        return jax.vmap(eqx.combine(params, static))(x)

    return apply, params, jnp.asarray(cases.random(DRAWN, (2, 3, 9, 9), "float32"))


def keras_network():
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.BatchNormalization(),
            layers.SeparableConv2D(6, 2, dilation_rate=2),
            layers.Conv2DTranspose(4, 4, strides=2, padding="same"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    params = [variable.value for variable in network.trainable_variables]
    rest = [variable.value for variable in network.non_trainable_variables]

    def apply(params, x):
        return network.stateless_call(params, rest, x, training=True)

    return apply, params, jnp.asarray(cases.random(DRAWN, (2, 8, 8, 3), "float32"))
