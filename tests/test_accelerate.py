"""`accelerate`: the same function, through every construct that holds a jaxpr, on real models."""

import collections
import functools
import gc
import weakref

import cases
import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.extend.core import jaxprs_in_params

from jaxconv._transforms.accelerate import accelerate

P = jax.P
# results are compared, not times: most of the suite's time here would be LLVM's
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
DRAWN = np.random.default_rng(0)
X = jnp.asarray(cases.random(DRAWN, (4, 6, 5, 3), "float32"))
W = jnp.asarray(cases.random(DRAWN, (3, 3, 3, 3), "float32"))


def conv(x, w, stride=1):
    return lax.conv_general_dilated(
        x, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def primitives_of(function, *args):
    """How often each primitive occurs, however deep inside."""

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            yield equation.primitive.name
            for inner in jaxprs_in_params(equation.params):
                yield from walk(inner)

    return collections.Counter(walk(jax.make_jaxpr(function)(*args).jaxpr))


def assert_all_close(actual, want, tolerance=2e-5):
    def close(a, b):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max(initial=1))

    assert jax.tree.structure(actual) == jax.tree.structure(want)
    jax.tree.map(close, actual, want)


@jax.custom_jvp
def custom_jvp(x, w):
    return conv(x, w)


@custom_jvp.defjvp
def _(primals, tangents):  # not the derivative, so that a lost rule is seen
    return conv(*primals), 3 * conv(tangents[0], primals[1])


@jax.custom_jvp
def symbolic_jvp(x, w):
    return conv(x, w)


def _symbolic_rule(primals, tangents):
    x, w = primals
    if isinstance(tangents[1], jax.custom_derivatives.SymbolicZero):
        return conv(x, w), 3 * conv(tangents[0], w)
    return conv(x, w), 5 * conv(x, tangents[1])


symbolic_jvp.defjvp(_symbolic_rule, symbolic_zeros=True)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def custom_vjp(x, w, stride):
    return conv(x, w, stride)


def _backward(stride, residuals, cotangent):
    return 5 * conv(cotangent, residuals[1], stride), jnp.cos(residuals[1])


custom_vjp.defvjp(lambda x, w, stride: (conv(x, w, stride), (x, w)), _backward)


def layer(x, w):
    return jnp.tanh(conv(x, w))


def sharded(x, w):
    def local(x, w):
        step = jax.jit(lambda c, _: (layer(c, w), None))
        return lax.psum(lax.scan(step, x, None, length=2)[0].sum(), "data")

    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.shard_map(local, mesh=mesh, in_specs=(P("data"), P()), out_specs=P())(x, w)


CONSTRUCTS = {
    "plain": conv,
    "jit": jax.jit(lambda x, w: jax.jit(conv, static_argnums=2)(x, w, 2)),
    "scan": lambda x, w: lax.scan(lambda c, _: (layer(c, w), c.sum()), x, None, length=3),
    "while": lambda x, w: lax.while_loop(
        lambda c: (c[1] < 3) & (conv(c[0], w).sum() < 1e9),
        lambda c: (layer(c[0], w), c[1] + 1),
        (x, 0),
    )[0],
    "cond": lambda x, w: lax.cond(x.sum() > 0, lambda x: layer(x, w), lambda x: 2 * x, x),
    "switch": lambda x, w: lax.switch(
        1, [lambda x: x, lambda x: layer(x, w), lambda x: layer(x, 2 * w)], x
    ),
    "remat": jax.checkpoint(lambda x, w: layer(layer(x, w), w)),
    "custom_jvp": custom_jvp,
    "custom_jvp, symbolic zeros": symbolic_jvp,
    "custom_vjp": lambda x, w: custom_vjp(x, w, 1),
    "vmap": jax.vmap(lambda x, w: conv(x[None], w)[0], (0, None)),
    "map": lambda x, w: lax.map(lambda image: layer(image[None], w), x),
    "linear solve": lambda x, w: lax.custom_linear_solve(
        lambda v: v + 0 * conv(v, w), x, solve=lambda _, b: b - 0 * conv(b, w), symmetric=True
    ),
    "shard_map": sharded,
}
IN_BACKWARD = set(CONSTRUCTS) - {"while"}  # JAX has no reverse mode through while


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_constructs(name):
    """Value, reverse and forward derivatives, and vmap, each rewritten before and after."""
    f = CONSTRUCTS[name]
    before = primitives_of(f, X, W)
    after = primitives_of(accelerate(f), X, W)
    assert after["conv"] == before["conv_general_dilated"] > 0
    assert after["conv_general_dilated"] == 0
    assert after["mul"] - before["mul"] <= after["conv"]  # each result at most once, by one
    assert {k for k in before if before[k] != after[k]} <= {
        *("conv", "conv_general_dilated", "transpose", "custom_jvp_call", "custom_vjp_call"),
        *("rev", "reshape"),
        *("mul", "pvary", "jit"),  # by one, for checkify; jax 0.12 makes the one in a jit
    }

    def everything(f):
        def loss(x, w):
            return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(f(x, w)))

        results = {"value": f(X, W)}
        if name in IN_BACKWARD:
            results["gradients"] = jax.grad(loss, (0, 1))(X, W)
        if name != "custom_vjp":  # its forward mode is refused by JAX
            results["tangent"] = jax.jvp(lambda x: f(x, W), (X,), (X,))
        if name != "shard_map":
            results["mapped"] = jax.vmap(f, (None, 0))(X, jnp.stack([W, 2 * W]))
        return results

    want = jit(lambda: everything(f))()
    assert_all_close(jit(lambda: everything(accelerate(f)))(), want)
    assert_all_close(jit(accelerate(lambda: everything(f)))(), want)
    for derivative in (lambda: everything(accelerate(f)), accelerate(lambda: everything(f))):
        assert primitives_of(derivative)["conv_general_dilated"] == 0


def test_without_a_convolution_nothing_changes():
    def f(x, w):
        return jax.jit(jax.nn.relu)(x) @ w[0, 0]

    assert str(jax.make_jaxpr(accelerate(f))(X, W)) == str(jax.make_jaxpr(f)(X, W))


def test_what_is_no_contraction_stays():
    def f(x, w):
        return lax.conv_general_dilated(x, w, (2,), ((1, 1),), (2,))

    x, w = jnp.ones((1, 2, 6)), jnp.ones((3, 2, 3))
    assert str(jax.make_jaxpr(accelerate(f))(x, w)) == str(jax.make_jaxpr(f)(x, w))


def test_any_arguments_and_results():
    def f(batch, /, names, *, strides, scale, function, table):
        assert isinstance(strides, tuple)
        assert isinstance(scale, float)
        assert isinstance(table, np.ndarray)
        y = function(conv(batch["x"], batch["w"], *strides)) * scale
        return {"y": y, "name": names[0], "none": None, "table": table, "scale": scale}

    arguments = {"strides": (2,), "scale": 2.0, "function": jnp.tanh, "table": np.arange(3)}
    want = f({"x": X, "w": W}, ["a"], **arguments)
    actual = accelerate(f)({"x": X, "w": W}, ["a"], **arguments)
    assert actual["table"] is arguments["table"]
    assert (actual["name"], actual["none"], actual["scale"]) == ("a", None, 2.0)
    assert_all_close(actual["y"], want["y"])
    accelerated = accelerate(f)
    assert (accelerated.__name__, accelerated.__wrapped__) == ("f", f)


def test_closed_over_tracers():
    def loss(call, w):
        return (call(lambda x: conv(x, w))(X) ** 2).sum()

    want = jax.grad(functools.partial(loss, lambda f: f))(W)
    assert_all_close(jax.grad(functools.partial(loss, accelerate))(W), want)


def test_custom_vjp_that_closes_over_its_kernel():
    @jax.custom_vjp
    def fixed(x):
        return conv(x, W), x.astype("int32"), 2 * x

    def backward(residuals, cotangents):
        return (5 * conv(cotangents[0], W) + 7 * cotangents[2],)

    fixed.defvjp(lambda x: (fixed(x), None), backward)
    for result in (0, 2):  # the other results' cotangents are zeros, the integers' without a value
        want = jax.grad(lambda x: fixed(x)[result].sum())(X)
        actual = jax.grad(lambda x: accelerate(fixed)(x)[result].sum())(X)
        assert_all_close(actual, want)


def test_names_and_donated_buffers_are_kept():
    @functools.partial(jax.jit, donate_argnums=0, static_argnames="stride")
    def named(x, w, stride):
        with jax.named_scope("inside"):
            return x + conv(x, w, stride)

    f = accelerate(lambda x, w: named(x, w, stride=1))
    [equation] = jax.make_jaxpr(f)(X, W).eqns
    assert equation.params["name"] == "named"
    assert equation.params["donated_invars"] == (True, False)
    assert "inside/" in jax.jit(f).lower(X, W).as_text(debug_info=True)
    x = X + 0
    assert_all_close(f(x, W), X + conv(X, W))
    assert x.is_deleted()


def test_compilations_are_kept_and_freed():
    f = accelerate(jax.jit(lambda x, w: layer(x, w)))
    first, second = (jax.make_jaxpr(f)(X, W).eqns[0].params["jaxpr"] for _ in range(2))
    assert first is second  # jit compiles by identity
    kept = weakref.ref(first.jaxpr)
    del first, second, f
    jax.clear_caches()
    gc.collect()
    assert kept() is None


def test_side_effects_and_random_keys(capsys):
    def f(key, x, w):
        jax.debug.print("sum {}", jnp.abs(conv(x, w)).sum() * 0)
        return conv(jax.random.normal(key, x.shape), w)

    key = jax.random.key(1)
    assert_all_close(jit(accelerate(f))(key, X, W), jit(f)(key, X, W))
    jax.effects_barrier()
    assert capsys.readouterr().out.split() == ["sum", "0.0"] * 2


def test_method_is_handed_on():
    equations = jax.make_jaxpr(accelerate(conv, method="loops"))(X, W).eqns
    [ours] = [e for e in equations if e.primitive.name == "conv"]
    assert ours.params["method"] == "loops"


def test_exports_for_every_platform():
    exported = jax.export.export(jax.jit(accelerate(layer)), platforms=["cpu", "cuda", "tpu"])
    assert_all_close(exported(X, W).call(X, W), layer(X, W))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: accelerate(3), TypeError, "accelerate: f=3 must be a function, not int"),
        (
            lambda: accelerate(conv, method="magic"),
            ValueError,
            "accelerate: method='magic' must be one of 'auto', 'fastest', 'lax', 'loops', "
            "'onednn', 'taps', 'fft', 'columns', 'covered', 'floats', 'integers', 'pallas', "
            "'phases', 'products', 'shifts', 'slabs', 'widened'",
        ),
    ],
    ids=["f", "method"],
)
def test_mistakes(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message


@pytest.mark.parametrize(
    "network", ["linen_network", "nnx_network", "equinox_network", "keras_network"]
)
def test_models_that_others_wrote(network, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with jax.numpy_dtype_promotion("standard"):
        apply, params, x = getattr(networks, network)()

        def value_and_gradients(apply, params, x):
            def loss(params, x):
                results = apply(params, x)
                return (jax.tree.leaves(results)[0] ** 2).sum(), results

            return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)

        plain = functools.partial(value_and_gradients, apply)
        after = functools.partial(value_and_gradients, accelerate(apply))
        want = jit(plain)(params, x)
        assert_all_close(jit(after)(params, x), want, 1e-4)
        if network == "equinox_network":  # which has every contraction in its gradient, grouped too
            assert_all_close(jit(accelerate(plain))(params, x), want, 1e-4)
        for f in (after, accelerate(plain)):
            assert primitives_of(f, params, x)["conv_general_dilated"] == 0
        assert primitives_of(plain, params, x)["conv_general_dilated"] >= 6


def test_nnx_modules_as_arguments():
    network, x = networks.NnxNetwork(nnx.Rngs(0)), jnp.ones((2, 8, 8, 3))
    network.eval()

    def loss(network, x):
        return (network(x) ** 2).sum()

    def results(first, second):
        return jit(lambda network, x: (first(network, x), second(network, x)))(network, x)

    want = results(nnx.grad(loss), loss)
    assert_all_close(results(nnx.grad(accelerate(loss)), accelerate(nnx.jit(loss))), want)
    assert_all_close(results(accelerate(nnx.grad(loss)), accelerate(loss)), want)
    assert primitives_of(accelerate(network), x)["conv"] == 2


def test_a_replacement_of_another_type_is_refused(monkeypatch):
    monkeypatch.setattr(
        "jaxconv._transforms.accelerate.perform", lambda _, a, b, out, **__: jnp.zeros(out.shape)
    )
    x, w = X.astype("bfloat16"), W.astype("bfloat16")
    with pytest.raises(RuntimeError) as raised:
        accelerate(lambda x, w: conv(x, w))(x, w)
    assert str(raised.value) == (
        "accelerate: the replacement of conv_general_dilated returns "
        "[ShapedArray(float32[4,6,5,3])], not [ShapedArray(bfloat16[4,6,5,3])]: this is a bug in "
        "jaxconv, please report it"
    )
