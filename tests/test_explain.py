"""`explain`: every convolution of a function, what it becomes and why."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import pytest
from flax import linen, nnx
from jax import lax

import jaxconv
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._transforms.accelerate import accelerate
from jaxconv._transforms.explain import Convolution, explain
from jaxconv._transforms.scopes import named_modules
from jaxconv.compat.scipy import ndimage

X, W = jnp.ones((2, 4, 8)), jnp.ones((4, 1, 3))


def depthwise(x, w):
    return lax.conv_general_dilated(x, w, (2,), ((1, 1),), feature_group_count=4)


def test_rows_of_a_gradient():
    spec = ConvSpec((2,), (1,), ((1, 1),), 4, (8,), (3,))
    # what lax's gradient in w does not reach at the end of x is cut off
    cut = ConvSpec((2,), (1,), ((1, 0),), 4, (8,), (3,))
    x, w, y = "float32[2,4,8]", "float32[4,1,3]", "float32[2,4,4]"
    xla, back = ("lax", "XLA's own convolution"), "transpose(jvp())"

    def loss(x, w):
        return (depthwise(x, w) ** 2).sum()

    assert explain(jax.grad(loss, (0, 1)), X, W, platform="tpu") == (
        Convolution("jvp()", "lax", "output", f"{x} * {w} -> {y}", spec, *xla, {}),
        Convolution(back, "lax", "kernel", f"{x} * {y} -> {w}", cut, *xla, {}),
        # lax flips the kernel and trades its channels itself
        Convolution(back, "lax", "input", f"{y} * float32[1,4,3] -> {x}", cut, *xla, {}),
    )
    # a grouped kernel's gradient is where lax is slowest on CPUs
    [_, kernel, _] = explain(jax.grad(loss, (0, 1)), X, W, platform="cpu")
    assert kernel[:5] == (back, "lax", "kernel", f"{x} * {y} -> {w}", cut)
    assert kernel.method != "lax"
    assert kernel.reason.endswith("on a CPU")


TABLE = """
where            call     contraction  shapes                                             geometry                       method  reason
network/scan[5]  lax      output       float32[2,4,7] * float32[4,4,4] -> float32[2,4,7]  padding=((1, 2),)              lax     XLA's own convolution
network/remat2   jaxconv  output       float32[2,7,4] * float32[4,4,4] -> float32[2,3,4]  stride=(2,) padding=((1, 1),)  lax     XLA's own convolution
                 lax      none         float32[2,4,3] * float32[4,4,4] -> float32[2,4,2]                                 lax     stays with lax: window_strides and lhs_dilation together are not a contraction
"""  # noqa: E501 (a table as it is printed)


def test_the_table():
    @jax.jit
    def network(x, w):
        x = lax.scan(lambda c, _: (lax.conv(c, w, (1,), "SAME"), None), x, None, 5)[0]
        x = jnp.moveaxis(x, 1, 2)
        return jax.checkpoint(lambda x: jaxconv.conv(x, w, stride=2, padding=1))(x)

    def f(x, w):
        y = jnp.moveaxis(network(x, w), 1, 2)
        return lax.conv_general_dilated(y, w, (2,), ((1, 1),), (2,))

    found = explain(f, jnp.ones((2, 4, 7)), jnp.ones((4, 4, 4)), platform="tpu")
    assert str(found) == repr(found) == TABLE.strip()


class Stem(nnx.Conv):
    def __call__(self, x):
        return nnx.relu(super().__call__(x))


class Network(nnx.Module):
    def __init__(self, rngs):
        self.stem = Stem(3, 4, (3, 3), rngs=rngs)
        self.blocks = nnx.List([nnx.Sequential(nnx.Conv(4, 4, (1, 1), rngs=rngs)), nnx.Dropout(0)])

    def __call__(self, x):
        for block in self.blocks:
            y = block(self.stem(x))
        return self.blocks[0].layers[0](y).sum()


def test_where_layers_of_nnx_are():
    """By the attributes that hold them; the classes are as before when all is traced."""
    call, x = nnx.Conv.__call__, jnp.ones((1, 4, 4, 3))
    network = Network(nnx.Rngs(0))
    layers = ["stem", "blocks/0/layers/0", "stem", "blocks/0/layers/0"]
    rows = explain(nnx.jit(lambda network: network(x)), network)
    assert [row.where.partition("/Network/")[2] for row in rows] == layers
    # closed over, and differentiated
    where = [row.where for row in explain(jax.grad(lambda x: network(x)), x)]
    assert where[:4] == [f"jvp(Network)/{layer}" for layer in layers]
    assert set(where[4:]) == {f"transpose(jvp(Network))/{layer}" for layer in layers}
    assert nnx.Conv.__call__ is call
    assert "named_scope" not in nnx.Conv.__call__.__code__.co_names


def test_other_threads_are_left_alone():
    network, x = Network(nnx.Rngs(0)), jnp.ones((1, 4, 4, 3))

    def scopes():
        with jax.numpy_dtype_promotion("strict"):
            return {
                str(e.source_info.name_stack) for e in jax.make_jaxpr(lambda x: network(x))(x).eqns
            }

    with named_modules(), ThreadPoolExecutor(1) as other:
        assert any(scope.startswith("Network/stem") for scope in scopes())
        assert other.submit(scopes).result() == {""}


def test_where_layers_of_linen_are():
    class Layers(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Conv(4, (3, 3), name="head")(linen.Conv(4, (3, 3))(x))

    layers, x = Layers(), jnp.ones((1, 4, 4, 3))
    variables = jax.eval_shape(layers.init, jax.random.key(0), x)
    rows = explain(layers.apply, variables, x)
    assert [row.where for row in rows] == ["Layers/Conv_0", "Layers/head"]


def test_shapes_in_place_of_arrays():
    abstract = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (X, W)]
    assert explain(depthwise, *abstract) == explain(depthwise, X, W)


def test_after_accelerate():
    [row] = explain(accelerate(depthwise), X, w=W)
    [before] = explain(depthwise, X, w=W)
    assert row.call == "jaxconv"
    assert (row.contraction, row.spec, row.method) == before[2:3] + before[4:6]


def test_the_times_of_each_method():
    """Expected ones on a CPU; measured ones where asked for, each problem once."""
    [row] = explain(depthwise, X, W, platform="cpu")
    assert {"lax", "taps", row.method} <= row.seconds.keys()
    assert all(0 < taken < 1 for taken in row.seconds.values())
    assert explain(depthwise, X, W, platform="tpu")[0].seconds == {}
    twice = lambda x, w: depthwise(x, w) + depthwise(x, w)
    measured = explain(twice, X, W, seconds=0.005)
    assert measured[0].seconds is measured[1].seconds
    assert measured[0].seconds.keys() >= {"lax", row.method}
    assert measured[0].seconds != row.seconds
    assert pickle.loads(pickle.dumps(tuple(measured))) == measured
    header, *lines = str(measured).splitlines()
    assert header.split() == [*TABLE.split()[:6], "ms", "reason"]
    assert all("lax " in line[header.index("ms") :] for line in lines)


def test_no_convolution():
    assert str(explain(jnp.sin, X)) == "no convolution"


def test_sums_of_which_fractions_are_dropped():
    """SciPy's filters of integers with fractional weights add in SciPy's order."""
    image = jnp.zeros((6, 7), jnp.uint8)
    rows = explain(lambda x: ndimage.gaussian_filter(x, (1.0, 0.5)), image)
    assert [row[1:4] for row in rows] == [
        ("jaxconv", "output", "float32[7,6] * float32[9] -> float32[7,6]"),
        ("jaxconv", "output", "float32[6,7] * float32[5] -> float32[6,7]"),
    ]
    assert {row.method for row in rows} == {"in order"}
    (whole,) = explain(lambda x: ndimage.correlate(x, jnp.ones((3, 2), jnp.int32)), image)
    assert (whole.contraction, whole.spec is None) == ("output", False)


def test_a_method_that_was_asked_for():
    [row] = explain(accelerate(depthwise, method="loops"), X, W)
    assert (row.method, row.reason) == ("loops", "asked for")


def test_platform_is_where_jax_runs():
    def loss(w):
        return depthwise(X, w).sum()

    assert explain(jax.grad(loss), W) == explain(jax.grad(loss), W, platform="cpu")


def test_mistakes():
    with pytest.raises(TypeError) as raised:
        explain("conv", X)
    assert str(raised.value) == "explain: f='conv' must be a function, not str"
    with pytest.raises(ValueError, match=r"^explain: seconds=0 must be a positive number$"):
        explain(depthwise, X, W, seconds=0)
    message = "explain: seconds=1 measures on this device, which is a cpu, not a tpu"
    with pytest.raises(ValueError, match=f"^{message}$"):
        explain(depthwise, X, W, seconds=1, platform="tpu")


@pytest.mark.parametrize(("platform", "method"), [("cpu", "taps"), ("gpu", "fft"), ("tpu", "lax")])
def test_the_branch_of_a_platform_is_listed(platform, method):
    def by(name):
        return lambda x, w: jaxconv.conv(x, w, method=name)

    def f(x, w):
        return lax.platform_dependent(x, w, cpu=by("taps"), cuda=by("fft"), default=by("lax"))

    (row,) = explain(f, jnp.ones((1, 9, 9, 2)), jnp.ones((3, 3, 2, 2)), platform=platform)
    assert row.method == method
