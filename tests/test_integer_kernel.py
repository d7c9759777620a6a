"""The plugin's kernel of integers: every value beside the reference, bit by bit."""

from functools import partial
from types import SimpleNamespace

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, Case

import jaxconv
from jaxconv._core.dispatch.choose import select
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.methods import METHODS, onednn
from jaxconv.compat.onnx import ConvInteger

pytest.importorskip(
    "jaxconv_onednn", reason="the plugin jaxconv-onednn is not installed: pip install ./native"
)
DTYPES = ("int8", "uint8", "int16")
# widths on both sides of whole vectors and blocks of outputs, odd and even rows of the kernel
CHANNELS = ((1, 1), (3, 7), (4, 8), (5, 9), (16, 16), (17, 33), (2, 40))
SPACES = (
    ((23,), (5,), {"padding": "same"}),
    ((40,), (4,), {"stride": 3, "dilation": 2, "padding": ((7, 1),)}),
    ((9, 14), (3, 3), {"padding": 1}),
    ((11, 8), (1, 1), {"stride": 2}),
    ((10, 13), (2, 3), {"stride": (2, 1), "dilation": (1, 2), "padding": ((-1, 3), (4, -2))}),
    ((5, 6, 7), (2, 3, 2), {"padding": "same", "stride": (1, 2, 1)}),
    ((3, 3), (5, 4), {"padding": ((9, 8), (0, 7))}),
)


def whole_range(rng, shape, dtype):
    ends = np.iinfo(dtype)
    return rng.integers(ends.min, ends.max + 1, shape).astype(dtype)


@pytest.mark.cover
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [c for c in CASES if c.spec.rank <= 3], ids=str)
def test_every_case(case, dtype):
    """With and without vmap, in the operands' dtype and in int32."""
    rng = np.random.default_rng(0)
    x, w = (whole_range(rng, shape, dtype) for shape in (case.x, case.w))
    for result in (dtype, "int32"):
        f = partial(contract, "output", spec=case.spec, dtype=result, method="integers")
        compiled = jax.jit(lambda x, w, f=f: (f(x, w), jax.vmap(f)(*map(jnp.stack, ([x], [w])))))
        lowered = compiled.lower(x, w)
        assert lowered.as_text().count("@jaxconv_onednn_integers") == (2 if x.size else 0)
        value, mapped = lowered.compile()(x, w)
        cases.assert_matches(value, "output", x, w, case.spec)
        np.testing.assert_array_equal(mapped[0], value)


@pytest.mark.cover
@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("channels", CHANNELS, ids=str)
def test_widths(channels, space):
    size, kernel, arguments = space
    (inputs, outputs), rng = channels, np.random.default_rng(1)
    for groups, of_x, of_w in ((1, "int16", "int16"), (3, "uint8", "int8"), (1, "int8", "uint8")):
        shapes = (2, *size, groups * inputs), (*kernel, inputs, groups * outputs)
        case = Case("widths", *shapes, {**arguments, "groups": groups})
        x, w = whole_range(rng, case.x, of_x), whole_range(rng, case.w, of_w)
        y = contract("output", x, w, case.spec, dtype="int32", method="integers")
        cases.assert_matches(y, "output", x, w, case.spec)


def test_sums_wrap_around_beyond_int32_or_are_wider():
    x, w = np.full((1, 3, 3, 8), -(2**15), np.int16), np.full((3, 3, 8, 9), -(2**15), np.int16)
    exact = 72 * 2**30
    conv = partial(jaxconv.conv, x, w, method="integers")
    assert conv(preferred_element_type=jnp.int32).ravel().tolist() == [0] * 9
    assert exact % 2**32 == 0
    with jax.enable_x64(True):
        assert conv(preferred_element_type=jnp.int64).ravel().tolist() == [exact] * 9
    assert conv(preferred_element_type=jnp.float32).ravel().tolist() == [exact] * 9


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("narrow", [False, True])
def test_dense_layers_take_it(dtype, narrow):
    x, w = jnp.ones((1, 28, 28, 64), dtype), jnp.ones((3, 3, 64, 64), dtype)
    f = partial(jaxconv.conv, preferred_element_type=dtype if narrow else "int32")
    (row,) = jaxconv.explain(f, x, w)
    assert row.method == "integers"
    (plane,) = jaxconv.explain(f, x[..., :1], w[..., :1, :1])
    assert plane.method != "integers"


def test_xla_counts_its_operations():
    x, w = jnp.ones((2, 9, 9, 16), "int8"), jnp.ones((3, 3, 16, 16), "int8")
    found = {}
    for method in ("integers", "lax"):
        f = partial(jaxconv.conv, preferred_element_type=jnp.int32, method=method)
        found[method] = jax.jit(f).lower(x, w).cost_analysis()["flops"]
    assert found["integers"] == found["lax"] > 0


def test_programs_for_elsewhere_do_without_it():
    x, w = jnp.ones((1, 9, 9, 16), "int8"), jnp.ones((3, 3, 16, 16), "int8")
    f = jax.jit(partial(jaxconv.conv, preferred_element_type=jnp.int32))
    exported = jax.export.export(f, platforms=("cpu", "tpu"))(x, w)
    assert "jaxconv_onednn" not in exported.mlir_module()
    np.testing.assert_array_equal(exported.call(x, w), f(x, w))


def test_onnx_takes_it_on_cpus_and_exports_for_others():
    x, w = jnp.ones((1, 16, 9, 9), "uint8"), jnp.ones((16, 16, 3, 3), "int8")
    text = jax.jit(ConvInteger).lower(x, w, jnp.uint8(3)).as_text()
    assert "@jaxconv_onednn_quantized" in text
    f = jax.jit(ConvInteger)
    of_any_batch = jax.ShapeDtypeStruct((jax.export.symbolic_shape("n")[0], *x.shape[1:]), x.dtype)
    for platforms in (("cpu",), ("cpu", "cuda", "tpu")):
        for shape in (x, of_any_batch):
            exported = jax.export.export(f, platforms=platforms)(shape, w, jnp.uint8(3))
            # by float32: XLA's own convolutions of integers take a hundred times as long
            text = exported.mlir_module()
            assert "stablehlo.convolution" in text
            assert "xi16>" not in text
            np.testing.assert_array_equal(exported.call(x, w, jnp.uint8(3)), f(x, w, jnp.uint8(3)))


def test_refuses_what_it_does_not_serve():
    refuses = METHODS["integers"].refuses
    case = cases.by_name("2d grouped")
    served = case.problem("output", "int8")
    assert refuses(served) is None
    assert refuses(served._replace(dtype="int32")) == (
        "the kernel of integers does not compute in int32"
    )
    wide = Case("4d", (1, 2, 2, 2, 2, 8), (1, 1, 1, 1, 8, 8), {}).problem("output", "int8")
    assert refuses(wide) == "the kernel of integers has no rank 4"


def test_an_older_plugin_serves_floats_alone(monkeypatch):
    older = SimpleNamespace(implementation=lambda *_, **__: "jit:avx2")
    monkeypatch.setattr(onednn, "plugin", lambda: older)
    case = cases.by_name("2d grouped")
    assert METHODS["integers"].refuses(case.problem("output", "int8")) == (
        "the installed jaxconv-onednn is older than the kernel of integers; install it anew"
    )
    assert select(case.problem("output", "int8")).method != "integers"
    assert select(case.problem("output", "float32"), "onednn").method == "onednn"
    assert select(case.problem("output", "float32")).method in METHODS


def test_wide_padding_is_left_to_methods_without_a_copy():
    """The kernel's copy of x with its padding would have 640 GB."""
    x, w = jnp.ones((1, 3, 3, 8), "int8"), jnp.ones((2, 2, 8, 8), "int8")
    f = partial(jaxconv.conv, stride=1000, padding=100_000, preferred_element_type=jnp.int32)
    assert f(x, w).sum() == 4 * 8 * 8
