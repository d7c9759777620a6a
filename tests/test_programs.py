"""What makes the same program is compiled once, whatever it comes from, and given up again."""

import functools
import gc
import subprocess
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import public_calls
import pytest
from covering import some
from mode_calls import sort

import jaxconv
from jaxconv import learn
from jaxconv._core import programs
from jaxconv._core.programs import compiled_once
from jaxconv.analysis._influence import influence
from jaxconv.analysis._reach import reach
from jaxconv.learn import constraints, losses

COMPILED = "/jax/core/compile/backend_compile_duration"
X = jax.random.normal(jax.random.key(0), (12, 14))
Y = jaxconv.corr2d(X, jnp.array([[1.0, -1.0], [0.5, 0.0]]))


class Compilations:
    def __init__(self):
        self.count = 0

    def seen(self, name: str, *_, **__):
        self.count += name == COMPILED

    def of(self, call: Callable[[], object]) -> int:
        before = self.count
        jax.block_until_ready(call())
        return self.count - before


@pytest.fixture(scope="module")
def compilations():
    counted = Compilations()
    jax.monitoring.register_event_duration_secs_listener(counted.seen)
    yield counted
    jax.monitoring.unregister_event_duration_listener(counted.seen)


def keep_nothing():
    for kept in (programs.programs, programs.functions):
        kept.clear()


@pytest.fixture(autouse=True)
def nothing_kept():
    """And promotion as it comes: optax mixes dtypes."""
    keep_nothing()
    with jax.numpy_dtype_promotion("standard"):
        yield


def centred():
    """A transformation of one's own that closes over an array."""
    taken = jnp.array([[0.5, 0.25], [0.25, 0.5]])
    return optax.stateless(lambda updates, params: (updates[0] * taken, updates[1]))


INLINE = {
    "sgd": lambda: optax.sgd(1e-3),
    "schedule": lambda: optax.adam(optax.cosine_decay_schedule(1e-2, 50)),
    "chain": lambda: optax.chain(optax.clip(1.0), optax.adamw(1e-2)),
    "hyperparameters as state": lambda: optax.inject_hyperparams(optax.sgd)(learning_rate=1e-3),
    "masked": lambda: optax.masked(optax.adam(1e-2), (True, False)),
    "own": lambda: optax.chain(centred(), optax.sgd(1e-2)),
    "own gradient": lambda: optax.chain(learn.whiten(np.eye(4)), optax.sgd(1e-2)),
    "line search": lambda: optax.lbfgs(memory_size=2),
    "projected": lambda: optax.chain(
        optax.sgd(1e-2), constraints.projected(constraints.separable(1), constraints.symmetric)
    ),
}


def fitted(optimizer, **how):
    return learn.fit_kernel(X, Y, 2, optimizer=optimizer, steps=3, **how)


@pytest.mark.parametrize("name", some(INLINE, *(set(INLINE) - {"schedule", "chain", "masked"})))
def test_an_optimizer_written_inline_is_compiled_once(compilations, name):
    first, times = fitted(INLINE[name](), bias=True), 30 if name == "sgd" else 3
    assert compilations.of(lambda: [fitted(INLINE[name](), bias=True) for _ in range(times)]) == 0
    again = fitted(INLINE[name](), bias=True)
    np.testing.assert_array_equal(again.kernel, first.kernel)
    np.testing.assert_array_equal(again.losses, first.losses)


CALLS = {
    "loss": lambda: fitted(
        optax.sgd(1e-3), loss=lambda p, t: jnp.sum(jax.nn.softplus(jnp.square(p - t)))
    ),
    "partial loss": lambda: fitted(
        optax.sgd(1e-3), loss=functools.partial(losses.mean_huber_error, delta=0.5)
    ),
    "progress": lambda: fitted(optax.sgd(1e-3), on_progress=lambda done, loss: None),
    "losses": lambda: fitted(optax.sgd(1e-3), on_losses=lambda before, losses: None),
    "crops": lambda: learn.fit_conv(
        X[..., None], Y[..., None], 2, optimizer=optax.adam(1e-2), steps=3, crop=4
    ),
    "layer's losses": lambda: learn.fit_conv(
        X[..., None], Y[..., None], 2, steps=3, on_losses=lambda before, losses: None
    ),
    "mapped": lambda: jax.vmap(lambda key: fitted(optax.sgd(1e-3), key=key).kernel)(
        jax.random.split(jax.random.key(0), 3)
    ),
    "mapped over rates": lambda: jax.vmap(lambda rate: fitted(optax.sgd(rate)).kernel)(
        jnp.array([1e-3, 1e-2])
    ),
    "recovered": lambda: learn.recover_kernel(X, Y, 2, steps=3),
    "constrained": lambda: learn.recover_kernel(
        X, Y, 2, steps=3, constraints=[constraints.simplex]
    ),
    "reach": lambda: reach(lambda x: x[1:] * x[:-1], X, 2),
    "influence": lambda: influence(lambda x: x[1:] * x[:-1], X, 2, probes=2),
}


@pytest.mark.parametrize(
    "name", some(CALLS, "loss", "losses", "crops", "mapped over rates", "recovered", "reach")
)
def test_what_is_made_anew_at_every_call_is_compiled_once(compilations, name):
    CALLS[name]()
    assert compilations.of(lambda: [CALLS[name]() for _ in range(3)]) == 0


def test_other_images_of_a_size_need_no_other_program(compilations):
    """What is learned from an image on the way (means, whitening, curvature) is no constant."""
    for how in ({}, {"constraints": [constraints.simplex]}):
        learn.recover_kernel(1 + 1 * X, Y, 2, steps=3, **how)
        calls = compilations.of(
            lambda how=how: [learn.recover_kernel(n + n * X, Y, 2, steps=3, **how) for n in (2, 3)]
        )
        assert calls == 0


@jax.jit
def network(x):
    def layer(x, _):
        return jax.lax.conv(x, jnp.ones((3, 3, 3, 3)), (1, 1), "SAME"), None

    return jax.lax.scan(layer, x, None, length=2)[0]


def test_a_function_accelerated_anew_is_compiled_once(compilations):
    x = jnp.ones((1, 3, 6, 6))
    call = lambda: jaxconv.accelerate(lambda x: network(x))(x)
    call()
    assert compilations.of(lambda: [call() for _ in range(10)]) == 0


@pytest.mark.cover(name=sort)
@pytest.mark.parametrize("name", public_calls.CALLS)
def test_no_public_call_compiles_again(compilations, name):
    call = public_calls.CALLS[name]
    function, *arrays = call() if callable(call) else call
    function(*arrays)
    assert compilations.of(lambda: function(*arrays)) == 0


def results(*optimizers, **how):
    """What each learns, with what the others left behind and alone."""
    together = [fitted(optimizer, **how).kernel for optimizer in optimizers]
    alone = []
    for optimizer in optimizers:
        keep_nothing()
        alone.append(fitted(optimizer, **how).kernel)
    return together, alone


@pytest.mark.parametrize(
    "optimizers",
    [
        (optax.sgd(1e-3), optax.sgd(1.000001e-3)),
        (optax.sgd(0.0), optax.sgd(-0.0)),
        (optax.sgd(1e-2), optax.sgd(1e-2, momentum=0.9)),
        (optax.adam(1e-2), optax.adam(1e-2, b1=0.8)),
        (optax.adam(optax.linear_schedule(1e-2, 0.0, 3)), optax.adam(1e-2)),
        (
            optax.masked(optax.sgd(1e-2), (True, False)),
            optax.masked(optax.sgd(1e-2), (False, True)),
        ),
    ],
)
def test_optimizers_that_differ_learn_as_they_do_alone(optimizers):
    together, alone = results(*optimizers, bias=True)
    for kernel, wanted in zip(together, alone, strict=True):
        np.testing.assert_array_equal(kernel, wanted)
    keep_nothing()
    for number, optimizer in enumerate(optimizers, 1):
        fitted(optimizer, bias=True)
        assert len(programs.programs) == number


def scaled(factor):
    return optax.stateless(lambda updates, params: (updates[0] * factor, updates[1]))


def test_arrays_that_are_closed_over_count_by_value(compilations):
    """They are operands: one program for all values of a shape, another for another shape."""
    rate = optax.sgd(1e-2)
    kernels = []
    for factor in (1.0, 2.0):
        kernels.append(fitted(optax.chain(scaled(jnp.full((2, 2), factor)), rate)).kernel)
    assert len(programs.programs) == 1
    doubled = fitted(optax.sgd(2e-2)).kernel
    assert not np.array_equal(*kernels)
    np.testing.assert_allclose(kernels[1], doubled, rtol=1e-6)
    fitted(optax.chain(scaled(jnp.full((1, 2), 2.0)), rate))
    assert len(programs.programs) == 3


def counted(function, *args):
    before = len(programs.programs)
    result = compiled_once(function, *args)
    return result, len(programs.programs) - before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda x: x + 1.0, lambda x: x - 1.0),
        (lambda x: x * 0.0, lambda x: x * -0.0),
        (lambda x: x + 1, lambda x: x + 2),
        (lambda x: x[0] + x[1] * 2, lambda x: x[1] + x[0] * 2),
        (lambda x: x.sum(0), lambda x: x.sum(0, keepdims=True)),
        (lambda x: x.astype(jnp.bfloat16), lambda x: x.astype(jnp.float16)),
        (lambda x: jax.jit(jnp.sin)(x), lambda x: jax.jit(jnp.cos)(x)),
        (lambda x: jax.lax.cumsum(x), lambda x: jax.lax.cumsum(x, reverse=True)),
        (
            lambda x: jax.lax.fori_loop(0, 3, lambda i, x: x + 1, x),
            lambda x: jax.lax.fori_loop(0, 3, lambda i, x: x + 2, x),
        ),
        (lambda x: (x, {"a": x}), lambda x: (x, {"a": 2 * x})),
    ],
)
def test_functions_that_differ_have_programs_of_their_own(one, other):
    x = jnp.arange(3.0)
    for function in (one, other):
        found, more = counted(function, x)
        assert more == 1
        for value, wanted in zip(
            jax.tree.leaves(found), jax.tree.leaves(jax.jit(function)(x)), strict=True
        ):
            assert value.dtype == wanted.dtype
            assert np.asarray(value).tobytes() == np.asarray(wanted).tobytes()
        assert jax.tree.structure(found) == jax.tree.structure(function(x))
    assert counted(one, x)[1] == 0


def test_what_a_function_calls_back_is_its_own():
    """Callbacks are compared by identity: what they do cannot be seen."""
    seen = {"a": [], "b": []}
    for name in "aab":
        compiled_once(lambda x, name=name: jax.debug.callback(seen[name].append, x), jnp.ones(()))
        jax.effects_barrier()
    assert [len(seen["a"]), len(seen["b"])] == [2, 1]


def test_constants_of_functions_compiled_inside_count_by_value():
    def of(number):
        inner = jax.jit(lambda x: x + jnp.full(3, number))
        return lambda x: inner(x)

    for number in (1.0, 2.0, 1.0):
        np.testing.assert_array_equal(compiled_once(of(number), jnp.zeros(3)), np.full(3, number))


def test_rules_of_derivatives_are_kept_apart():
    """What is only called forgets its rule; what is differentiated does not."""

    def of(slope):
        @jax.custom_jvp
        def f(x):
            return x * x

        f.defjvp(lambda primals, tangents: (f(*primals), slope * tangents[0]))
        return lambda x: compiled_once(f, x)

    assert [float(of(slope)(3.0)) for slope in (1.0, 2.0)] == [9.0, 9.0]
    assert len(programs.programs) == 1
    assert [float(jax.grad(of(slope))(3.0)) for slope in (1.0, 2.0)] == [1.0, 2.0]


def test_settings_of_jax_count():
    x = jnp.full((4, 4), 1 / 3)
    square = lambda x: x @ x
    for number, precision in enumerate(("default", "highest", "default"), 1):
        with jax.default_matmul_precision(precision):
            compiled_once(square, x)
        assert len(programs.programs) == min(number, 2)
    with jax.enable_x64(True):
        wide = compiled_once(lambda x: x + 1, jnp.ones(2))
        assert wide.dtype == jnp.float64
    with jax.disable_jit(), pytest.raises(ZeroDivisionError):
        compiled_once(lambda x: 1 / int(x), jnp.zeros((), int))


def test_under_transformations_of_its_arguments_and_of_what_it_closes_over():
    x, scale = jnp.arange(3.0), jnp.array([1.0, 2.0])
    f = lambda s, x: compiled_once(lambda x: s * jnp.sin(x), x)
    with jax.checking_leaks():
        found = jax.vmap(lambda s: jax.vmap(functools.partial(f, s))(x))(scale)
    np.testing.assert_allclose(found, scale[:, None] * np.sin(x), rtol=1e-6)
    slope = jax.jit(jax.grad(lambda s: f(s, x).sum()))(2.0)
    np.testing.assert_allclose(slope, np.sin(x).sum(), rtol=1e-6)


def test_constants_follow_the_arguments_to_their_devices():
    device = jax.devices()[1]
    added = jnp.full(3, 2.0)
    for where in (device, jax.devices()[0]):
        x = jax.device_put(jnp.ones(3), where)
        y = compiled_once(lambda x: x + added, x)
        assert y.device == where
    mesh = jax.sharding.NamedSharding(public_calls.MESH, jax.P("a"))
    x = jax.device_put(jnp.ones(8), mesh)
    with jax.transfer_guard("disallow"):
        y = compiled_once(lambda x: x + jnp.tile(added, 3)[:8], x)
    np.testing.assert_array_equal(y, np.full(8, 3.0))


def test_so_many_programs_are_kept_and_no_more():
    kept = programs.Recent(2)
    for key in "abac":
        kept.keep(key, key.upper())
    assert [kept.get(key) for key in "abc"] == ["A", None, "C"]
    assert len(kept) == 2


def test_jaxprs_are_forgotten_with_what_they_were_traced_from():
    compiled_once(lambda x: x + 1, jnp.ones(2))
    gc.collect()
    before = len(programs._structures)
    for _ in range(3 * programs.FUNCTIONS):
        compiled_once(lambda x: x + 1, jnp.ones(2))
    gc.collect()
    assert len(programs._structures) <= before + programs.FUNCTIONS


MEMORY = """
import gc, optax, jax, jax.numpy as jnp
from jaxconv import learn
from jaxconv._core import programs
x = jax.random.normal(jax.random.key(0), (12, 14))
y = x[1:, 1:]

def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

def call(n):
    learn.recover_kernel(x + n * x**2, y, 2, steps=3)
    learn.fit_kernel(x, y, 2, steps=3, optimizer=optax.adam(1e-2))

for n in range(5):
    call(n)
before = resident()
for n in range(30):
    call(n)
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_thirty_calls_keep_no_memory():
    """Compiled anew each time these 60 programs kept 130 MiB."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 25
