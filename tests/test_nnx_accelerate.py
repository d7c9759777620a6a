"""`jaxconv.nnx.accelerate(model)`: the same model, with our convolutions."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from covering import some
from flax import nnx
from jax import lax
from test_accelerate_state import assert_close, state_of

import jaxconv.nnx
from jaxconv import ConvSpec, Policy, Problem

X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 6, 3)), jnp.float32)


class Doubled(nnx.Conv):
    """A subclass with a call of its own."""

    def __call__(self, x):
        return 2 * super().__call__(x)


class Raised(nnx.ConvTranspose):
    def __call__(self, x, more=0.0):
        return super().__call__(x) + more


class Network(nnx.Module):
    """Layers alone, in lists, shared, subclassed, wrapped and grouped; state and random numbers."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.stem = nnx.Conv(3, 4, (3, 3), 2, rngs=rngs)
        self.blocks = nnx.List([nnx.Conv(4, 4, (3, 3), padding="CIRCULAR", rngs=rngs)])
        self.blocks.append(Doubled(4, 4, (3, 3), feature_group_count=4, rngs=rngs))
        self.again = self.blocks[0]
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.2, rngs=rngs)
        self.up = Raised(4, 4, (4, 4), 2, rngs=rngs)
        self.last = self.same = nnx.ConvTranspose(
            4, 4, (3, 3), padding="CIRCULAR", transpose_kernel=True, use_bias=False, rngs=rngs
        )
        self.ours = jaxconv.nnx.SeparableConv(4, 2, (3, 3), rngs=rngs)
        self.normed = nnx.WeightNorm(nnx.Conv(2, 2, (3, 3), rngs=rngs), rngs=rngs)
        self.activation = jax.nn.gelu

    def encode(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = self.activation(block(x))
        return self.drop(self.norm(self.again(x)))

    def __call__(self, x):
        x = self.up(self.encode(x), more=0.5)
        return self.normed(self.ours(self.same(self.last(x))))


def convolutions(function, *arguments):
    """How many there are of ours and of lax's in a function's program, inner programs included."""
    text = str(jax.make_jaxpr(function)(*arguments))
    return text.count(" conv[") - text.count("pjit conv["), text.count("conv_general_dilated[")


def of_its_state(model):
    graph, state = nnx.split(model)
    return lambda state, x: nnx.merge(graph, state)(x), state


def test_every_layer_is_ours_and_nothing_else_changes():
    model = Network()
    before, kinds = nnx.graphdef(model), [type(m) for _, m in nnx.iter_modules(model)]
    fast = jaxconv.nnx.accelerate(model)
    assert convolutions(*of_its_state(model), X) == (2, 8)
    assert convolutions(*of_its_state(fast), X) == (10, 0)
    assert nnx.graphdef(model) == before
    assert kinds == [type(m) for _, m in nnx.iter_modules(model)]
    assert type(fast) is Network
    found = [m for _, m in nnx.iter_modules(fast)]
    assert len(found) == len(kinds)
    assert all(isinstance(m, kind) for m, kind in zip(found, kinds, strict=True))
    assert fast.again is fast.blocks[0]
    assert fast.last is fast.same
    assert fast.activation is model.activation
    jax.tree.map(np.testing.assert_array_equal, state_without_keys(fast), state_without_keys(model))


def state_without_keys(model):
    """The arrays of all but the random streams, by name."""
    return nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState)))


def trained(model, wrap, rate=1e-2):
    optimizer = nnx.Optimizer(model, optax.sgd(rate, momentum=0.9), wrt=nnx.Param)

    def step(model, optimizer, x):
        loss, gradient = nnx.value_and_grad(lambda m: jnp.mean((m(x) - 1) ** 2))(model)
        optimizer.update(model, gradient)
        return loss

    step = wrap(step)
    return [step(model, optimizer, X) for _ in range(3)], model.encode(X)


@pytest.mark.parametrize("jitted", some([False, True], True))
def test_training_is_that_of_the_plain_model(jitted):
    wrap = nnx.jit if jitted else lambda step: step
    with jax.numpy_dtype_promotion("standard"):
        plain = Network()
        fast, start = jaxconv.nnx.accelerate(plain), state_of(plain)
        found = trained(fast, wrap)
        assert_close(state_of(plain), start)  # training one leaves the other alone
        want = trained(plain, nnx.jit)
    assert found[0][-1] != found[0][0]
    assert_close(found, want)
    assert_close(state_of(fast), state_of(plain))


def test_states_and_checkpoints_are_exchanged():
    plain = Network()
    fast = jaxconv.nnx.accelerate(plain)
    shift = lambda leaf: leaf + 0.1 if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
    for source, target in ((plain, fast), (fast, plain)):
        nnx.update(source, jax.tree.map(shift, nnx.state(source, nnx.Param)))
        nnx.update(target, nnx.state(source))
        assert_close(state_of(target), state_of(source))
    assert_close(fast(X), plain(X))
    assert_close(copy.deepcopy(fast)(X), nnx.clone(plain)(X))


def test_equal_models_share_a_program():
    model = Network()
    first, second = (jaxconv.nnx.accelerate(model) for _ in range(2))
    assert nnx.graphdef(first) == nnx.graphdef(second)
    assert hash(nnx.graphdef(first)) == hash(nnx.graphdef(second))
    twice = jaxconv.nnx.accelerate(first)
    assert nnx.graphdef(twice) == nnx.graphdef(first)
    assert nnx.graphdef(jaxconv.nnx.accelerate(model, method="lax")) != nnx.graphdef(first)


def test_single_layers_vmap_and_grad():
    for layer in (nnx.Conv(3, 2, (3, 3), rngs=nnx.Rngs(0)), Raised(3, 2, (3, 3), rngs=nnx.Rngs(0))):
        fast = jaxconv.nnx.accelerate(layer)
        assert isinstance(fast, type(layer))
        assert_close(jax.vmap(fast)(X), layer(X))
        loss = lambda layer: jnp.sum(jnp.sin(layer(X)))
        assert_close(state_of(nnx.grad(loss)(fast)), state_of(nnx.grad(loss)(layer)))
        assert fast(X[:, 0, 0][:, None, None]).shape == (4, 1, 1, 2)


def test_the_layers_own_function_is_kept():
    def halved(*args, **kwargs):
        return 0.5 * lax.conv_general_dilated(*args, **kwargs)

    layer = nnx.Conv(3, 2, (3, 3), conv_general_dilated=halved, rngs=nnx.Rngs(0))
    fast = jaxconv.nnx.accelerate(layer)
    assert_close(fast(X), layer(X))
    assert convolutions(*of_its_state(fast), X) == (1, 0)


def test_method_and_policy_reach_every_layer():
    spec = ConvSpec((1, 1), (1, 1), ((1, 1), (1, 1)), 1, (8, 6), (3, 3))
    policy = Policy({Problem("output", spec, 4, 3, 2, "float32", "cpu"): "loops"})
    chosen = jaxconv.nnx.Conv(3, 2, (3, 3), method="taps", rngs=nnx.Rngs(0))
    layers = [
        *(face.Conv(3, 2, (3, 3), rngs=nnx.Rngs(0)) for face in (nnx, jaxconv.nnx)),
        *(face.ConvTranspose(3, 2, (3, 3), rngs=nnx.Rngs(0)) for face in (nnx, jaxconv.nnx)),
        jaxconv.nnx.SeparableConv(3, 2, (3, 3), rngs=nnx.Rngs(0)),
    ]
    for layer in layers:
        text = str(jax.make_jaxpr(jaxconv.nnx.accelerate(layer, method="loops"))(X))
        assert "method=loops" in text
        assert "method=auto" not in text
        text = str(jax.make_jaxpr(jaxconv.nnx.accelerate(layer, policy=policy))(X))
        assert "policy=None" not in text
        assert hash(nnx.graphdef(jaxconv.nnx.accelerate(layer, policy=policy)))
    assert "method=taps" in str(jax.make_jaxpr(jaxconv.nnx.accelerate(chosen, method="loops"))(X))


def test_mistakes_are_told():
    with pytest.raises(TypeError) as error:
        jaxconv.nnx.accelerate(X)
    assert str(error.value) == (
        f"accelerate: model=float32[4,8,6,3] must be a flax.nnx.Module, not {type(X).__name__}; "
        "jaxconv.accelerate(f) takes any function"
    )
    with pytest.raises(ValueError, match=r"^accelerate: method='quick' must be one of 'auto', "):
        jaxconv.nnx.accelerate(Network(), method="quick")
    with pytest.raises(TypeError, match=r"^accelerate: policy must be a jaxconv.Policy"):
        jaxconv.nnx.accelerate(Network(), policy="quick")
