"""What a function sets in place: kept by `accelerate`, left alone by `explain` and `tune`."""

import functools
import re
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import jaxconv
from jaxconv import accelerate, explain, tune

X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6, 5, 3)), jnp.float32)


class Network(nnx.Module):
    """Running statistics, random streams, a Variable of its own, an array, a shared submodule."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(3, 3, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(3, momentum=0.5, rngs=rngs)
        self.same = self.norm
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.calls = nnx.Variable(jnp.zeros((), int))
        self.largest = nnx.data(jnp.zeros(()))

    def __call__(self, x):
        self.calls[...] = self.calls[...] + 1
        y = self.drop(self.same(self.norm(self.conv(x))))
        self.largest = jnp.abs(y).max()
        return y

    def summed(self, x):
        return self(x).sum()


def apply(module, x):
    return module(x)


def scanned(accelerated, module, x):
    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))
    def step(module, x):
        return module, (accelerate(apply) if accelerated else apply)(module, x)

    return step(module, jnp.stack([x, x]))[1]


plainly_scanned = functools.partial(scanned, False)


def trained(wrap, module, x):
    optimizer = nnx.Optimizer(module, optax.sgd(1e-2, momentum=0.9), wrt=nnx.Param)

    def step(module, optimizer, x):
        loss, gradient = nnx.value_and_grad(lambda m: (m(x) ** 2).mean())(module)
        optimizer.update(module, gradient)
        return loss

    step = wrap(step)
    return [step(module, optimizer, x) for _ in range(2)], nnx.to_pure_dict(nnx.state(optimizer))


# name -> what to do with accelerate, and without
WAYS = {
    "module": (lambda m, x: accelerate(m)(x), apply),
    "argument": (accelerate(apply), apply),
    "under nnx.jit": (nnx.jit(lambda m, x: accelerate(m)(x)), apply),
    "of nnx.jit": (accelerate(nnx.jit(apply)), apply),
    "method": (lambda m, x: accelerate(m.summed)(x), Network.summed),
    "partial": (lambda m, x: accelerate(functools.partial(apply, m))(x), apply),
    "nested": (lambda m, x: accelerate(lambda *, tree: tree["m"][0](x))(tree={"m": [m]}), apply),
    "twice": (
        lambda m, x: accelerate(lambda a, b: a(x) + b(x))(m, m),
        lambda m, x: m(x) + m(x),
    ),
    "beside its part": (
        lambda m, x: accelerate(lambda a, b: (a(x), b[...]))(m, m.calls),
        lambda m, x: (m(x), m.calls[...]),
    ),
    "gradient inside": (
        accelerate(nnx.grad(Network.summed)),
        nnx.grad(Network.summed),
    ),
    "gradient outside": (
        nnx.value_and_grad(accelerate(Network.summed)),
        nnx.value_and_grad(Network.summed),
    ),
    "scan inside": (
        accelerate(plainly_scanned),
        plainly_scanned,
    ),
    "scan outside": (functools.partial(scanned, True), plainly_scanned),
    "training": (functools.partial(trained, accelerate), functools.partial(trained, nnx.jit)),
    "training under nnx.jit": (
        functools.partial(trained, lambda step: nnx.jit(accelerate(step))),
        functools.partial(trained, nnx.jit),
    ),
}


def state_of(module):
    return nnx.to_pure_dict(nnx.state(module))


def assert_close(actual, want):
    def close(a, b):
        if jnp.issubdtype(getattr(a, "dtype", int), jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-4)

    assert jax.tree.structure(actual) == jax.tree.structure(want)
    jax.tree.map(close, actual, want)


@pytest.mark.parametrize("name", WAYS)
def test_nnx_state_is_what_it_is_without(name):
    ours, theirs = WAYS[name]
    with jax.numpy_dtype_promotion("standard"):
        ours_in, theirs_in = Network(), Network()
        before = state_of(ours_in)
        parts = ours_in.norm, ours_in.norm.mean, ours_in.calls
        assert_close(ours(ours_in, X), theirs(theirs_in, X))
    assert_close(state_of(ours_in), state_of(theirs_in))
    # it did change, and the objects are the same ones
    assert ours_in.calls[...] > 0
    assert not np.array_equal(ours_in.norm.mean[...], before["norm"]["mean"])
    assert ours_in.same is ours_in.norm
    found = ours_in.norm, ours_in.norm.mean, ours_in.calls
    assert all(a is b for a, b in zip(found, parts, strict=True))


def test_a_variable_alone_and_what_comes_back():
    def step(variable, module):
        variable[...] = variable[...] + 1
        return module, module.norm.mean, {"new": nnx.Param(variable[...] * 2)}

    variable, module = nnx.Variable(jnp.ones(2)), Network()
    same, mean, new = accelerate(step)(variable, module)
    assert variable[...].tolist() == [2, 2]
    assert same is module
    assert mean is module.norm.mean
    assert new["new"][...].tolist() == [4, 4]


def test_new_variables_are_added():
    def step(module, x):
        module.seen = nnx.Intermediate(x)
        module.drop.calls = nnx.Variable(module.calls[...] + 1)
        return x

    for wrap in (accelerate, lambda step: accelerate(nnx.jit(step))):
        module = Network()
        wrap(step)(module, X)
        assert_close(module.seen[...], X)
        assert module.drop.calls[...] == 1


def test_what_does_not_change_is_not_set():
    """So a module in evaluation may be closed over by any transformation."""
    module = Network()
    module.eval()
    want = module.same(module.norm(module.conv(X)))

    def apply(x):
        return module.same(module.norm(module.conv(x)))

    assert_close(jax.jit(accelerate(apply))(X), want)
    parts = accelerate(lambda conv, norm, x: norm(norm(conv(x))))
    assert_close(jax.jit(lambda x: parts(module.conv, module.norm, x))(X), want)
    assert_close(jax.vmap(lambda x: parts(module.conv, module.norm, x[None])[0])(X), want)


def refused(call, message):
    module = Network()
    before = state_of(module)
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        call(module)
    assert str(raised.value) == message
    assert_close(state_of(module), before)


def test_what_cannot_be_kept_is_refused():
    closed_over = (
        "{0}: f sets a flax.nnx Variable that is not among its arguments; pass its module: "
        "{0}(lambda module, x: module(x))(module, x)"
    ).format("accelerate")
    refused(lambda m: accelerate(lambda x: m(x))(X), closed_over)
    refused(lambda m: jax.jit(accelerate(lambda x: m(x)))(X), closed_over)
    outside = (
        "accelerate: f sets a flax.nnx Variable from outside the transformation f is called in; "
        "pass the module through the transformation: nnx.jit(accelerate(f))(module, x)"
    )
    refused(lambda m: jax.jit(accelerate(m))(X), outside)
    refused(lambda m: jax.vmap(lambda x: accelerate(m)(x[None])[0])(X), outside)
    more = (
        "accelerate: f changes more than the arrays of a flax.nnx module among its arguments (a "
        "mode, a number, a submodule); do that before the call, e.g. module.eval()"
    )
    refused(lambda m: accelerate(lambda m: m.eval())(m), more)
    refused(lambda m: accelerate(lambda m: setattr(m, "conv", None))(m), more)
    for name in ("explain", "tune"):
        refused(
            lambda m, name=name: getattr(jaxconv, name)(lambda x: m(x), X),
            f"{name}: f sets a flax.nnx Variable that is not among its arguments; pass its module: "
            f"{name}(lambda module, x: module(x), module, x)",
        )


def test_explain_and_tune_change_nothing():
    module = Network()
    before = state_of(module)
    with jax.checking_leaks():
        assert len(explain(module, X)) == len(explain(apply, module, X)) == 1
        assert len(tune(module, X, seconds=1e-3)) == 1
        assert len(explain(nnx.eval_shape(Network), X)) == 1
    assert_close(state_of(module), before)


def test_linen_mutable():
    layer = linen.BatchNorm(use_running_average=False)
    variables = layer.init(jax.random.key(0), X)
    mutable = functools.partial(layer.apply, mutable=["batch_stats"])
    assert_close(accelerate(mutable)(variables, X), mutable(variables, X))
    assert_close(
        jax.jit(accelerate(layer.apply), static_argnames="mutable")(
            variables, X, mutable=("batch_stats",)
        ),
        mutable(variables, X),
    )


def test_equinox_state():
    """Which is returned, not set in place."""
    make = eqx.nn.make_with_state(functools.partial(eqx.nn.BatchNorm, 3, "batch", mode="batch"))

    def run(wrap, *, closed_over):
        model, state = make()
        mapped = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        if closed_over:
            return wrap(lambda x: mapped(x, state))(X[:, 0, 0])
        return wrap(mapped)(X[:, 0, 0], state)

    with jax.numpy_dtype_promotion("standard"):
        want = jax.tree.leaves(run(eqx.filter_jit, closed_over=False))
        for closed_over in (False, True):
            actual = run(lambda f: eqx.filter_jit(accelerate(f)), closed_over=closed_over)
            assert_close(jax.tree.leaves(actual), want)
        model, state = make()
        leaves = jax.tree.leaves(state)
        mapped = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        assert len(explain(lambda x: mapped(x, state), X[:, 0, 0])) == 0
        assert all(a is b for a, b in zip(jax.tree.leaves(state), leaves, strict=True))


def keras_network(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    parts = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Dropout(0.5)]
    return keras.Sequential([keras.Input((6, 5, 3)), *parts])


def test_keras_variables(monkeypatch, tmp_path):
    with jax.numpy_dtype_promotion("standard"):
        network = keras_network(monkeypatch, tmp_path)
        start = [np.asarray(v.value) for v in network.variables]

        def values():
            return [np.asarray(v.value) for v in network.variables]

        def restart():
            for variable, value in zip(network.variables, start, strict=True):
                variable.assign(value)

        want = [network(X, training=True), network(X, training=True), values()]
        assert any(not np.array_equal(a, b) for a, b in zip(want[2], start, strict=True))
        for f in (
            accelerate(network),
            accelerate(lambda x, training: network(x, training=training)),
        ):
            restart()
            assert_close([f(X, training=True), f(X, training=True), values()], want)
        # inside Keras's own way to be pure, which is what is asked
        restart()
        ours = jax.jit(accelerate(functools.partial(network.stateless_call, training=True)))
        trainable = [v.value for v in network.trainable_variables]
        rest = [v.value for v in network.non_trainable_variables]
        y, after = ours(trainable, rest, X)
        assert_close(y, want[0])
        assert_close(values(), start)
        assert any(not np.array_equal(a, b) for a, b in zip(after, rest, strict=True))
        # and within it
        plain = type(network).call

        def call(self, x, **rest):
            return accelerate(functools.partial(plain, self))(x, **rest)

        monkeypatch.setattr(type(network), "call", call)
        assert_close(
            jax.jit(functools.partial(network.stateless_call, training=True))(trainable, rest, X),
            (y, after),
        )
        monkeypatch.undo()
        assert len(explain(lambda x: network(x, training=True), X)) == 1
        assert_close(values(), start)


def test_flax_is_not_imported():
    code = (
        "import sys, jax.numpy as jnp, jaxconv; "
        "print(jaxconv.accelerate(jaxconv.conv)(jnp.ones((1, 5, 1)), jnp.ones((2, 1, 1))).shape, "
        "[m for m in sys.modules if m.split('.')[0] in ('flax', 'keras', 'equinox')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 4, 1) []"


@pytest.mark.parametrize("call", [accelerate, explain, tune], ids=lambda call: call.__name__)
def test_an_array_in_place_of_a_function_is_named_by_its_type(call):
    with pytest.raises(TypeError) as raised:
        call(X)
    kind = type(X).__name__
    assert str(raised.value) == (
        f"{call.__name__}: f=float32[4,6,5,3] must be a function, not {kind}"
    )
