"""The method floats: exact sums of 8-bit integers by float32, beside loops over integers."""

import re
from functools import partial

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, Case
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxconv
from jaxconv._core.dispatch.choose import select
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.methods import METHODS, floats, onednn

DTYPES = ("int8", "uint8")
# the largest products, of which 1024 and 258 fill 2^24
ENDS = {"int8": -128, "uint8": 255}


def whole_range(rng, shape, dtype):
    ends = np.iinfo(dtype)
    return rng.integers(ends.min, ends.max + 1, shape).astype(dtype)


def program(contraction, case, result="int32"):
    return partial(contract, contraction, spec=case.spec, dtype=result, method="floats")


@pytest.mark.parametrize("contraction", ["output", "input"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [c for c in CASES if c.spec.rank <= 3], ids=str)
def test_every_case(case, dtype, contraction):
    """With and without vmap, in the operands' dtype and in int32."""
    rng = np.random.default_rng(0)
    a, b = (whole_range(rng, getattr(case, name), dtype) for name in cases.OPERANDS[contraction])
    for result in (dtype, "int32"):
        f = program(contraction, case, result)
        value, mapped = jax.jit(lambda a, b, f=f: (f(a, b), jax.vmap(f)(a[None], b[None])))(a, b)
        cases.assert_matches(value, contraction, a, b, case.spec)
        np.testing.assert_array_equal(mapped[0], value)


# channels of a group that make parts: one, whole ones, some with zeros at the end, of one channel
PARTS = (
    Case("1d, 1024 products", (1, 6, 512), (2, 512, 3)),
    Case("1d, 1025 products", (1, 8, 205), (5, 205, 3), {"padding": 2}),
    Case("1x1, 259", (2, 3, 3, 259), (1, 1, 259, 2)),
    Case("2d in groups", (2, 7, 6, 480), (3, 3, 160, 9), {"groups": 3, "padding": 1}),
    Case("2d, wide kernel", (1, 40, 18, 3), (16, 16, 3, 4), {"stride": 3, "padding": ((7, 8), 2)}),
    Case("3d", (1, 4, 5, 6, 90), (2, 3, 2, 90, 5), {"dilation": (1, 2, 1), "padding": (1, 2, -1)}),
)
TURNED = (
    Case("1d, 1024 products", (1, 6, 3), (2, 3, 512)),
    Case("1d by 2, 1024 products", (1, 12, 3), (4, 3, 512), {"stride": 2}),
    Case("1d by 2, dilated by 2, 2052", (1, 16, 3), (4, 3, 513), {"stride": 2, "dilation": 2}),
    Case("2d in groups", (2, 7, 6, 9), (3, 3, 3, 480), {"groups": 3, "padding": 1}),
    Case("3d", (1, 4, 5, 6, 5), (2, 3, 2, 5, 90), {"stride": (1, 2, 1), "padding": (1, 2, -1)}),
)
EACH = [("output", case) for case in PARTS] + [("input", case) for case in TURNED]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("contraction", "case"), EACH, ids=lambda each: str(each))
def test_sums_in_parts(contraction, case, dtype):
    """All elements the largest, and drawn ones."""
    rng, names = np.random.default_rng(1), cases.OPERANDS[contraction]
    f = jax.jit(program(contraction, case))
    assert (
        "stablehlo.convolution"
        in f.lower(*(jax.ShapeDtypeStruct(getattr(case, name), dtype) for name in names)).as_text()
    )
    for draw in (
        lambda shape: np.full(shape, ENDS[dtype], dtype),
        lambda shape: whole_range(rng, shape, dtype),
        lambda shape: rng.choice([np.iinfo(dtype).min, np.iinfo(dtype).max], shape).astype(dtype),
    ):
        a, b = (draw(getattr(case, name)) for name in names)
        cases.assert_matches(f(a, b), contraction, a, b, case.spec)


def test_how_many_products_are_exact():
    """One product of the largest more, and float32 no longer holds an odd sum."""
    for pair, most in ((("int8", "int8"), 1024), (("uint8", "int8"), 514), (("uint8",) * 2, 258)):
        assert floats.most_products(*pair) == most
        a, b = (abs(ENDS[dtype]) for dtype in pair)
        assert most * a * b <= 2**24 < (most + 1) * a * b
    assert np.float32(2**24) + np.float32(1) == 2**24


@pytest.mark.parametrize("channels", [1, 7, 8, 9, 64, 113, 114, 1024, 1025])
@pytest.mark.parametrize("most", [1, 5, 8, 28, 113, 1024])
def test_parts_hold_all_channels(channels, most):
    number, size = floats.parts(channels, most)
    assert size <= most
    assert (number - 1) * size < channels <= number * size


def test_one_part_is_in_memory_at_a_time():
    x, w = (1, 28, 28, 2048), (3, 3, 2048, 8)
    f = jax.jit(program("output", Case("", x, w, {"padding": 1})))
    analysis = f.lower(*(jax.ShapeDtypeStruct(s, "int8") for s in (x, w))).compile()
    # all of x in float32, beside its 19 parts
    assert analysis.memory_analysis().temp_size_in_bytes < 4 * np.prod(x) / 2


def test_sums_wrap_around_beyond_int32_or_are_wider():
    x, w = np.full((1, 1, 2**17), -128, np.int8), np.full((1, 2**17, 2), -128, np.int8)
    conv = partial(jaxconv.conv, x, w, method="floats")
    assert conv(preferred_element_type=jnp.int32).ravel().tolist() == [-(2**31)] * 2
    assert conv(preferred_element_type=jnp.int8).ravel().tolist() == [0] * 2
    with jax.enable_x64(True):
        assert conv(preferred_element_type=jnp.int64).ravel().tolist() == [2**31] * 2
    assert conv(preferred_element_type=jnp.float32).ravel().tolist() == [2**31] * 2


# name, shapes of x and w, arguments; what "auto" takes for int8 and uint8 without the plugin
PLANE = (1, 28, 28, 64), (3, 3, 64, 64), {"padding": 1}
CHOICES = {
    "a first layer": ((1, 64, 64, 3), (7, 7, 3, 64), {"stride": 2}, "floats", "floats"),
    "a line": ((1, 4000, 64), (3, 64, 64), {}, "floats", "floats"),
    "a plane": (*PLANE, "lax", "floats"),
    "few channels": ((1, 8, 8, 16), (3, 3, 16, 16), {}, "floats", "floats"),
    "enlarged": ((1, 28, 28, 64), (3, 3, 64, 64), {"padding": 2}, "floats", "floats"),
    "one position": ((1, 28, 28, 64), (1, 1, 64, 64), {}, "lax", "taps"),
    "depthwise": ((1, 28, 28, 64), (3, 3, 1, 64), {"groups": 64}, "taps", "taps"),
    "a volume": ((1, 12, 12, 12, 32), (3, 3, 3, 32, 32), {"padding": 1}, "slabs", "taps"),
}


@pytest.fixture
def without_plugin(monkeypatch):
    monkeypatch.setattr(onednn, "plugin", lambda: "it is not installed")


@pytest.mark.usefixtures("without_plugin")
@pytest.mark.parametrize("name", CHOICES)
def test_rules_take_it_where_xla_has_loops(name):
    x, w, arguments, *wanted = CHOICES[name]
    case = Case(name, x, w, arguments)
    assert [select(case.problem("output", dtype)).method for dtype in DTYPES] == wanted
    # wider integers, of which XLA has loops too
    wide = [case.problem("output", dtype) for dtype in ("int16", "int32")]
    alone = "lax" if name == "one position" else "taps"
    assert [select(problem).method for problem in wide] == [alone] * 2
    assert select(case.problem()).method != "floats"


@pytest.mark.usefixtures("without_plugin")
def test_spread_planes_are_no_layers_of_the_library():
    for case, wanted in (
        (Case("by 2", (1, 28, 28, 64), (2, 2, 64, 64), {"stride": 2}), ["lax", "floats"]),
        # y has more positions than x
        (
            Case("padded", (1, 8, 8, 64), (3, 3, 64, 64), {"stride": 2, "padding": 8}),
            ["floats"] * 2,
        ),
    ):
        found = [select(case.problem(c, "int8")).method for c in ("output", "input")]
        assert found == wanted


def test_sizes_that_are_unknown():
    n, h, w = jax.export.symbolic_shape("n, h, w")
    for sizes in ((n, 64, 64), (1, h, w), (n, h, w)):
        x = jax.ShapeDtypeStruct((*sizes, 3), "int8")
        kernel = jnp.asarray(whole_range(np.random.default_rng(0), (7, 7, 3, 32), "int8"))
        f = jax.jit(partial(jaxconv.conv, w=kernel, preferred_element_type=jnp.int32))
        exported = jax.export.export(f, platforms=("cpu", "tpu"))(x)
        assert re.search(r"stablehlo.convolution.*f32>", exported.mlir_module())
        image = whole_range(np.random.default_rng(1), (1, 64, 64, 3), "int8")
        np.testing.assert_array_equal(exported.call(image), f(image))


@pytest.mark.parametrize("platforms", [("cpu",), ("cpu", "cuda", "tpu")])
@pytest.mark.parametrize(
    ("case", "by"),
    [
        (Case("a line", (2, 400, 150), (9, 150, 33)), "floats"),
        (Case("a plane", *PLANE), "lax"),
    ],
    ids=str,
)
def test_exported(case, by, platforms):
    rng = np.random.default_rng(0)
    x, w = (whole_range(rng, shape, "int8") for shape in (case.x, case.w))
    f = jax.jit(partial(jaxconv.conv, preferred_element_type=jnp.int32, **case.arguments))
    exported = jax.export.export(f, platforms=platforms)(x, w)
    assert ("xf32>" in exported.mlir_module()) == (by == "floats")
    cases.assert_matches(exported.call(x, w), "output", x, w, case.spec)


@pytest.mark.parametrize("placed", [("rows",), (None, "rows"), (None, None, "rows")], ids=str)
@pytest.mark.parametrize("explicit", [False, True])
def test_on_several_devices(placed, explicit):
    """Batch, positions or channels divided."""
    kind = AxisType.Explicit if explicit else AxisType.Auto
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(kind,))
    case = Case("a line", (2, 40, 232), (9, 232, 6), {"padding": 4})
    x, w = (whole_range(np.random.default_rng(0), shape, "int8") for shape in (case.x, case.w))
    f = partial(jaxconv.conv, padding=4, preferred_element_type=jnp.int32, method="floats")
    with jax.set_mesh(mesh):
        divided = jax.device_put(x, NamedSharding(mesh, PartitionSpec(*placed)))
        y = jax.jit(f)(divided, w)
    cases.assert_matches(y, "output", x, w, case.spec)


def test_transposed_planes_get_the_layout_of_the_library():
    """XLA has loops alone for planes of int8 in another memory layout."""
    x, w, arguments = PLANE

    def channels_first(x, w):
        x = jnp.moveaxis(x, 1, -1)
        wide = "float32" if x.dtype == "float32" else "int32"
        y = jaxconv.conv(x, w, **arguments, method="lax", preferred_element_type=wide)
        return jnp.moveaxis(y, -1, 1)

    x = np.moveaxis(np.empty(x, "int8"), -1, 1)
    for dtype, count in (("int8", 2), ("int16", 0), ("float32", 0)):
        arrays = (jax.ShapeDtypeStruct(a, dtype) for a in (x.shape, w))
        text = jax.jit(channels_first).lower(*arrays).as_text()
        assert text.count("optimization_barrier") == count
    rng = np.random.default_rng(0)
    x, w = whole_range(rng, x.shape, "int8"), whole_range(rng, w, "int8")
    y = np.moveaxis(np.asarray(jax.jit(channels_first)(x, w)), 1, -1)
    case = Case("", *PLANE)
    cases.assert_matches(y, "output", np.moveaxis(x, 1, -1), w, case.spec)


def test_refuses_what_it_does_not_serve():
    refuses = METHODS["floats"].refuses
    problem = cases.by_name("2d grouped").problem("output", "int8")
    assert refuses(problem) is None
    wide = Case("4d", (1, 2, 2, 2, 2, 8), (2, 2, 2, 2, 8, 8)).problem("output", "int8")
    large = Case("large", (1, 33, 33, 1), (33, 33, 1, 1), {"padding": 16})
    for refused, reason in (
        (problem._replace(dtype="int16"), "float32 holds sums of 8-bit integers, not of int16"),
        (
            problem._replace(platform="tpu"),
            "sums of float32 may not be exact on other devices than CPUs",
        ),
        (wide, "floats has no rank 4"),
        (large.problem("output", "int8"), "float32 does not hold sums of 1089 products of int8"),
    ):
        assert refuses(refused) == reason
        assert select(refused, "floats") == ("lax", reason)
