"""Training as the documentation of Flax, Equinox, Haiku and Keras has it, and the one line."""

import pytest
from test_coming_from_scripts import assert_same_by_one_line

import jaxconv

NNX = """
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import nnx
import jaxconv
import jaxconv.nnx


class CNN(nnx.Module):
    def __init__(self, rngs):
        self.conv1 = nnx.Conv(1, 4, kernel_size=(3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(rate=0.1)
        self.conv2 = nnx.Conv(4, 6, kernel_size=(3, 3), strides=2, padding="VALID", rngs=rngs)
        self.pool = partial(nnx.avg_pool, window_shape=(2, 2), strides=(2, 2))
        self.linear = nnx.Linear(24, 10, rngs=rngs)

    def __call__(self, x, rngs=None):
        x = self.pool(nnx.relu(self.norm(self.dropout(self.conv1(x), rngs=rngs))))
        x = nnx.relu(self.conv2(x))
        return self.linear(x.reshape(x.shape[0], -1))


model = CNN(nnx.Rngs(0))
optimizer = nnx.Optimizer(model, optax.adamw(0.005, 0.9), wrt=nnx.Param)
metrics = nnx.MultiMetric(loss=nnx.metrics.Average("loss"))


def loss_fn(model, images, labels, rngs):
    logits = model(images, rngs)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits


@nnx.jit
def train_step(model, optimizer, metrics, images, labels, rngs):
    value_and_grad = nnx.value_and_grad(loss_fn, has_aux=True)
    (loss, logits), gradients = value_and_grad(model, images, labels, rngs)
    metrics.update(loss=loss)
    optimizer.update(model, gradients)


images, labels = jax.random.uniform(jax.random.key(0), (8, 12, 12, 1)), jnp.arange(8)
rngs = nnx.Rngs(0)
model.train()
for _ in range(2):
    train_step(model, optimizer, metrics, images, labels, rngs)
mean = metrics.compute()["loss"]
model.eval()
y, w, running = model(images), model.conv1.kernel[...], model.norm.mean[...]
"""
LINEN = """
import jax
import jax.numpy as jnp
from flax import linen as nn
import jaxconv.linen as jnn


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(features=4, kernel_size=(3, 3))(x)
        x = nn.avg_pool(nn.relu(x), window_shape=(2, 2), strides=(2, 2))
        return nn.Dense(features=10)(x.reshape((x.shape[0], -1)))


x = jax.random.uniform(jax.random.key(1), (2, 12, 12, 1))
params = CNN().init(jax.random.key(0), x)["params"]
value, gradient = jax.value_and_grad(lambda p: (CNN().apply({"params": p}, x) ** 2).mean())(params)
kernel, slope = params["Conv_0"]["kernel"], gradient["Conv_0"]["kernel"]
"""
EQUINOX = """
import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import jaxconv


class CNN(eqx.Module):
    layers: list

    def __init__(self, key):
        first, second = jax.random.split(key)
        conv, pool = eqx.nn.Conv2d(1, 3, kernel_size=4, key=first), eqx.nn.MaxPool2d(kernel_size=2)
        linear = eqx.nn.Linear(192, 10, key=second)
        self.layers = [conv, pool, jax.nn.relu, jnp.ravel, linear, jax.nn.log_softmax]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def loss(model, x, y):
    predicted = jax.vmap(model)(x)
    return -jnp.mean(jnp.take_along_axis(predicted, jnp.expand_dims(y, 1), axis=1))


model, optimiser = CNN(jax.random.key(1)), optax.adamw(3e-4)
state = optimiser.init(eqx.filter(model, eqx.is_array))


@eqx.filter_jit
def make_step(model, state, x, y):
    value, gradients = eqx.filter_value_and_grad(loss)(model, x, y)
    updates, state = optimiser.update(gradients, state, eqx.filter(model, eqx.is_array))
    return eqx.apply_updates(model, updates), state, value


x, y = jax.random.uniform(jax.random.key(2), (4, 1, 12, 12)), jnp.arange(4)
for _ in range(2):
    model, state, value = make_step(model, state, x, y)
weight = model.layers[0].weight
"""
HAIKU = """
import haiku as hk
import jax
import jax.numpy as jnp
import jaxconv


def network(images, training):
    x = jax.nn.relu(hk.Conv2D(8, 3, stride=2)(images))
    x = hk.BatchNorm(True, True, 0.9)(x, training)
    return hk.Linear(10)(hk.Flatten()(x))


model = hk.without_apply_rng(hk.transform_with_state(network))
x = jax.random.uniform(jax.random.key(0), (4, 12, 12, 1))
params, state = model.init(jax.random.key(0), x, True)


def loss(params, state, x):
    y, state = model.apply(params, state, x, True)
    return (y**2).mean(), state


@jax.jit
def update(params, state, x):
    (value, state), slopes = jax.value_and_grad(loss, has_aux=True)(params, state, x)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, slopes), state, value


params, state, value = update(params, state, x)
weight, y = params["conv2_d"]["w"], model.apply(params, state, x, False)[0]
"""
KERAS = """
import jax
import keras
import numpy as np
from keras import layers
import jaxconv

keras.utils.set_random_seed(0)
x = np.random.default_rng(0).uniform(size=(32, 12, 12, 1)).astype("float32")
y = keras.utils.to_categorical(np.arange(32) % 10, 10)
model = keras.Sequential(
    [
        keras.Input(shape=(12, 12, 1)),
        layers.Conv2D(4, kernel_size=(3, 3), activation="relu"),
        layers.BatchNormalization(),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(loss="categorical_crossentropy", optimizer="sgd")
history = model.fit(x, y, batch_size=16, epochs=2, validation_split=0.5, verbose=0)
losses, later = np.array(history.history["loss"]), np.array(history.history["val_loss"])
score, predicted = model.evaluate(x, y, verbose=0), model.predict(x[:4], verbose=0)
weight = np.asarray(model.weights[0])
"""


def decorated(program: str, jit: str) -> tuple[str, str, str]:
    return program, f"{jit}\n", f"{jit}\n@jaxconv.accelerate\n"


def test_a_model_of_nnx():
    line = "model = CNN(nnx.Rngs(0))"
    assert_same_by_one_line(NNX, line, "model = jaxconv.nnx.accelerate(CNN(nnx.Rngs(0)))", 1e-4)


def test_a_step_of_nnx():
    assert_same_by_one_line(*decorated(NNX, "@nnx.jit"), 1e-4)


def test_a_layer_of_linen():
    assert_same_by_one_line(LINEN, "nn.Conv(", "jnn.Conv(")


def test_a_step_of_equinox():
    assert_same_by_one_line(*decorated(EQUINOX, "@eqx.filter_jit"), 1e-4)


def test_a_step_of_haiku():
    pytest.importorskip("haiku", reason="dm-haiku is not installed")
    assert_same_by_one_line(*decorated(HAIKU, "@jax.jit"))


def test_fit_of_keras(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    pytest.importorskip("keras", reason="keras is not installed")
    line = 'model.compile(loss="categorical_crossentropy", optimizer="sgd")\n'
    ours = f"{line}model.stateless_call = jaxconv.accelerate(model.stateless_call)\n"
    real, traced = jaxconv.accelerate, []

    def accelerate(function):
        fast = real(function)

        def call(*args, **kwargs):
            traced.append(kwargs.get("training", False))
            return fast(*args, **kwargs)

        return call

    monkeypatch.setattr(jaxconv, "accelerate", accelerate)
    assert_same_by_one_line(KERAS, line, ours, 1e-4)
    assert set(traced) == {True, False}, "fit, and what evaluates"
