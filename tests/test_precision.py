"""What `precision` does: here, and what programs for other platforms ask of theirs."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import Case
from covering import some
from jax import export, lax
from jax.extend.core import jaxprs_in_params

from jaxconv import accelerate, conv, conv_transpose
from jaxconv._core.dispatch.primitive import OPERANDS, contract
from jaxconv._core.geometry.precision import DEFAULT, HIGH, HIGHEST, check_precision
from jaxconv._core.methods import METHODS, onednn
from jaxconv.bench import float64_answers

LEVELS = (None, DEFAULT, HIGH, HIGHEST)
SHAPES = {"x": (2, 9, 8, 4), "w": (3, 2, 4, 6), "y": (2, 7, 7, 6)}
CASE = Case("", SHAPES["x"], SHAPES["w"])
SPEC = CASE.spec
# The names that the setting takes; not all are those of levels.
NAMES = ("bfloat16", "tensorfloat32", "float32", *lax.DotAlgorithmPreset.__members__)
NAMES = tuple(name for name in NAMES if name != "DEFAULT")
# Contractions of methods that sum products one by one, without a matrix product.
SUMS = {("taps", "output"), ("taps", "input"), *(("fft", c) for c in OPERANDS)}
ALL = [(name, contraction) for name, way in METHODS.items() for contraction in way.contractions]


def arrays(largest=None, dtype="float32"):
    """Random x, w and y: integers up to a largest magnitude if it is given."""
    rng = np.random.default_rng(0)
    if largest is None:
        return {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}
    # of y at most 2^8: the gradient of w sums more products
    most = {"x": largest, "w": largest, "y": min(largest, 2**8)}
    integers = {n: rng.integers(-most[n], most[n] + 1, s) for n, s in SHAPES.items()}
    return {name: a.astype(dtype) for name, a in integers.items()}


def served(name, contraction):
    """Whether a method computes the contraction here."""
    way = METHODS[name]
    return not (way.calls_library and isinstance(onednn.plugin(), str)) and (
        way.refuses(CASE.problem(contraction)) is None
    )


def every_method(precision, dtype, names=tuple(METHODS)):
    """A function of x, w and y: each contraction by each method, in one program."""

    def compute(x, w, y):
        given = {"x": x, "w": w, "y": y}
        return {
            (name, contraction): contract(
                contraction,
                *(given[operand] for operand in OPERANDS[contraction]),
                SPEC,
                dtype=dtype,
                method=name,
                precision=precision,
            )
            for name, contraction in ALL
            if name in names and served(name, contraction)
        }

    return jax.jit(compute)


@pytest.mark.parametrize("dtype", some(["float32", "bfloat16", "float64"], "float32"))
def test_on_cpus_precision_changes_no_bit(dtype):
    with jax.enable_x64(dtype == "float64"):
        given = {name: jnp.asarray(a, dtype) for name, a in arrays().items()}
        found = [every_method(level, dtype)(**given) for level in LEVELS]
    assert_same_bits(*found)
    not_for_it = {"onednn", "covered", "floats", "integers", "pallas", "phases", "slabs"}
    assert {name for name, _ in found[0]} >= set(METHODS) - not_for_it


@pytest.mark.as_shipped
def test_nor_in_optimised_programs():
    names = ("lax", "onednn", "taps", "columns", "products", "shifts")
    assert_same_bits(
        *(every_method(level, "float32", names)(**arrays()) for level in (None, HIGHEST))
    )


def assert_same_bits(first, *others):
    for way, expected in first.items():
        for other in others:
            assert np.asarray(other[way]).tobytes() == np.asarray(expected).tobytes(), way


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_of_jax_is_a_level(name):
    with jax.default_matmul_precision(name):
        [equation] = convolutions(conv, *map(arrays().get, "xw"))
    assert equation.params["precision"] in LEVELS[1:]


@pytest.mark.parametrize(
    ("bits", "largest"), [(8, 2**8), (11, 2**9), (24, 2**9)], ids=["bfloat16", "TF32", "float32"]
)
def test_integers_that_a_format_holds_are_exact(bits, largest):
    """On every platform: products and their sums are below 2^24, so that nothing is rounded."""
    given = arrays(largest)
    for a in given.values():
        np.testing.assert_array_equal(rounded(a, bits), a)
    levels = {8: LEVELS, 11: (HIGH, HIGHEST), 24: (HIGHEST,)}[bits]
    if jax.default_backend() == "tpu" and bits == 11:
        levels = (HIGHEST,)  # three passes leave out the product of the two lower parts
    for contraction, operands in OPERANDS.items():
        a, b = (given[name] for name in operands)
        assert float64_answers.contract(contraction, abs(a), abs(b), SPEC).max() < 2**24
        exact = float64_answers.contract(contraction, a, b, SPEC)
        for level in levels:
            y = contract(
                contraction, *map(jnp.asarray, (a, b)), SPEC, dtype="float32", precision=level
            )
            np.testing.assert_array_equal(y, exact)


def rounded(a, bits):
    """Round to a number of significant bits, half to even."""
    mantissa, exponent = np.frexp(np.asarray(a, np.float64))
    return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)


def test_one_bit_more_is_rounded():
    assert rounded(257.0, 8) == 256
    assert rounded(2049.0, 11) == 2048
    np.testing.assert_array_equal(
        rounded(arrays()["x"], 8), np.float32(jnp.asarray(arrays()["x"], jnp.bfloat16))
    )


def asked_for(f, *args, platform):
    """The precisions of all convolutions and matrix products in the program for a platform."""
    text = export.export(jax.jit(f), platforms=[platform])(*args).mlir_module()
    operations = len(re.findall(r"stablehlo\.(?:convolution|dot_general)\b", text))
    named = re.findall(r"precision(?:_config)? = \[([^\]]*)\]", text)
    assert len(named) == operations
    return [set(re.findall(r"DEFAULT|HIGHEST|HIGH", pair)) for pair in named]


@pytest.mark.cover
@pytest.mark.parametrize(("name", "contraction"), [w for w in ALL if w[0] != "onednn"])
def test_every_method_asks_its_platform_for_the_level(name, contraction):
    a, b = (jax.ShapeDtypeStruct(SHAPES[n], "float32") for n in OPERANDS[contraction])
    for platform, level in (("cuda", HIGH), ("tpu", HIGHEST)):

        def compute(a, b, level=level):
            ways = {"dtype": "float32", "method": name, "precision": level}
            return contract(contraction, a, b, SPEC, **ways)

        found = asked_for(compute, a, b, platform=platform)
        assert found == [{level.name}] * len(found)
        assert bool(found) != ((name, contraction) in SUMS)


def convolutions(f, *args):
    """The convolutions of a function's program, in any loop or call."""

    def within(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "conv":
                yield equation
            for inner in jaxprs_in_params(equation.params):
                yield from within(inner)

    return [*within(jax.make_jaxpr(f)(*args).jaxpr)]


def loss(x, w, **precision):
    return jnp.sum(jnp.sin(conv(x, w, **precision)))


TRANSFORMED = {
    "gradients": lambda f: jax.grad(f, (0, 1)),
    "second derivatives": lambda f: jax.grad(
        lambda x, w: sum(jnp.sum(g**2) for g in jax.grad(f, (0, 1))(x, w)), (0, 1)
    ),
    "forward mode": lambda f: lambda x, w: jax.jvp(f, (x, w), (x, w)),
    "per-example gradients": lambda f: jax.vmap(
        lambda x, w: jax.grad(f, 1)(x[None], w), in_axes=(0, None)
    ),
    "many kernels": lambda f: (
        lambda x, w: jax.vmap(jax.grad(f), in_axes=(None, 0))(x, jnp.stack([w, w]))
    ),
}


@pytest.mark.parametrize("transformed", TRANSFORMED.values(), ids=TRANSFORMED)
def test_derivatives_and_vmap_inherit_the_precision(transformed):
    x, w = arrays()["x"], arrays()["w"]
    for given, taken in (("high", HIGH), (("default", "highest"), (DEFAULT, HIGHEST))):
        f = transformed(lambda x, w, given=given: loss(x, w, precision=given))
        found = convolutions(f, x, w)
        assert len(found) > 1
        assert {equation.params["precision"] for equation in found} == {taken}
    # as the setting where the call is made: the pullback runs later, in another
    with jax.default_matmul_precision("float32"):
        _, pull = jax.vjp(lambda x, w: conv(x, w), x, w)
    assert {e.params["precision"] for e in convolutions(pull, arrays()["y"])} == {HIGHEST}
    # and what the compiler of a GPU is asked for
    f = transformed(lambda x, w: loss(x, w, precision="highest"))
    assert set(map(frozenset, asked_for(f, x, w, platform="cuda"))) == {frozenset({"HIGHEST"})}


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("BF16_BF16_F32", DEFAULT),
        ("ANY_F8_ANY_F8_F32", DEFAULT),
        ("TF32_TF32_F32", HIGH),
        ("F16_F16_F32", HIGH),
        ("TF32_TF32_F32_X3", HIGHEST),
        ("BF16_BF16_F32_X3", HIGHEST),
        ("F32_F32_F32", HIGHEST),
        ("F64_F64_F64", HIGHEST),
        (lax.DotAlgorithm("float32", "float32", "float32"), HIGHEST),
    ],
)
def test_an_algorithm_of_products_is_the_level_that_is_as_precise(name, level):
    assert check_precision("conv", name) == level


@pytest.mark.parametrize("method", ["lax", "products", "shifts"])
def test_algorithms_that_a_platform_lacks_do_not_stop_a_convolution(method):
    """A CPU has no products in TF32; lax's convolution takes the name all the same."""
    x, w = arrays()["x"], arrays()["w"]

    def plain(x, w):
        numbers = ("NHWC", "HWIO", "NHWC")
        ways = {"dimension_numbers": numbers, "precision": "TF32_TF32_F32"}
        return lax.conv_general_dilated(x, w, (1, 1), "VALID", **ways)

    expected = float64_answers.contract("output", x, w, SPEC)
    with jax.default_matmul_precision("TF32_TF32_F32"):
        found = [conv(x, w, method=method), accelerate(plain, method=method)(x, w)]
        found.append(conv_transpose(found[0], w, method=method))
    found.append(conv(x, w, precision="TF32_TF32_F32", method=method))
    for y in (found[0], found[1], found[3]):
        np.testing.assert_allclose(y, expected, rtol=1e-2, atol=1e-2)
    assert found[2].shape == x.shape
