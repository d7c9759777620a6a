"""The plugin over oneDNN: the values of every case and dtype."""

import itertools
from functools import partial

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, CONTRACTIONS, OPERANDS

from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.methods import onednn

plugin = pytest.importorskip(
    "jaxconv_onednn", reason="the plugin jaxconv-onednn is not installed: pip install ./native"
)

CALL = "@jaxconv_onednn_"


def calls(lowered):
    return lowered.as_text().count(CALL)


def three(arrays, spec, **numerics):
    """All three contractions, and each again under vmap over both operands."""
    found = {}
    for contraction in CONTRACTIONS:
        a, b = (arrays[name] for name in OPERANDS[contraction])
        f = partial(contract, contraction, spec=spec, method="onednn", **numerics)
        mapped = jax.vmap(f)(jnp.stack([a, -a]), jnp.stack([b, 2 * b]))
        found[contraction] = (f(a, b), mapped[0], mapped[1])
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_the_reference(case):
    arrays = case.arrays()
    compiled = jax.jit(partial(three, spec=case.spec, dtype="float32"))
    lowered = compiled.lower(arrays)
    served = case.spec.rank <= 3 and arrays["x"].size > 0
    assert calls(lowered) == (6 if served else 0)
    for contraction, (value, first, second) in lowered.compile()(arrays).items():
        a, b = (arrays[name] for name in OPERANDS[contraction])
        cases.assert_matches(value, contraction, a, b, case.spec)
        cases.assert_matches(first, contraction, a, b, case.spec)
        cases.assert_matches(second, contraction, -a, 2 * b, case.spec)


@pytest.mark.cover
@pytest.mark.parametrize("name", ["1d causal depthwise", "2d everything", "3d"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(name, dtype):
    case = cases.by_name(name)
    arrays = case.arrays(dtype)
    for result in (dtype, "float32"):
        compiled = jax.jit(partial(three, spec=case.spec, dtype=result))
        assert calls(compiled.lower(arrays)) == 6
        for contraction, (value, *_) in compiled(arrays).items():
            assert value.dtype == result
            cases.assert_matches(
                value, contraction, *(arrays[n] for n in OPERANDS[contraction]), case.spec
            )


WRONG_IN_ONEDNN = (
    ("float32", (1, 54, 4), (7, 2, 16), {"groups": 2, "stride": 2, "dilation": 3, "padding": 18}),
    ("bfloat16", (1, 8, 3, 2, 4), (2, 1, 3, 4, 4), {"stride": 3, "padding": (0, 0, 1)}),
    ("bfloat16", (3, 19, 1, 32), (5, 3, 32, 16), {"stride": (3, 2), "padding": (2, 1)}),
    ("bfloat16", (3, 2, 5, 4, 1), (3, 1, 1, 1, 4), {"padding": (1, 0, 0)}),
)


@pytest.mark.parametrize(("dtype", "x", "w", "arguments"), WRONG_IN_ONEDNN)
def test_what_onednn_itself_computes_wrongly(dtype, x, w, arguments):
    """Padding with stride and dilation, or of flat volumes; entries that see only padding."""
    case = cases.Case("", x, w, arguments)
    x, y = case.operands("kernel", dtype)
    f = partial(contract, "kernel", spec=case.spec, dtype="float32", method="onednn")
    cases.assert_matches(jax.jit(f)(x, y), "kernel", x, y, case.spec)


def test_some_gradients_of_a_kernel_reach_onednn_without_stride():
    """Read in the program: it is not run. Some do, and some as they are."""
    ways = set()
    for kernel, stride, channels in itertools.product((1, 3), (1, 2), (8, 16)):
        case = cases.Case(
            "", (1, 9, 9, channels), (kernel, kernel, channels, 4), {"stride": stride}
        )
        round_it = onednn.takes_unstrided(channels, case.spec)
        f = partial(contract, "kernel", spec=case.spec, dtype="float32", method="onednn")
        text = jax.jit(f).lower(*case.operands("kernel")).as_text()
        wanted = 1 if round_it else stride
        assert calls(jax.jit(f).lower(*case.operands("kernel"))) == 1
        assert f"stride = dense<{wanted}> : tensor<2xi64>" in text
        ways.add((round_it, stride))
    assert ways == {(True, 2), (False, 2), (False, 1)}


@pytest.mark.parametrize(("stride", "padding"), [((3, 2), (1, -1)), ((1, 2), 0), ((4, 1), (0, 1))])
def test_what_is_read_first_comes_to_the_same(monkeypatch, stride, padding):
    monkeypatch.setattr(onednn, "_VECTOR", 1 << 30)
    arguments = {"stride": stride, "padding": padding}
    case = cases.Case("", (2, 9, 12, 16), (1, 1, 16, 8), arguments)
    assert onednn.takes_unstrided(16, case.spec)
    x, y = case.operands("kernel")
    # not `contract`, which keeps what it compiled
    w = onednn.kernel(jnp.asarray(x), jnp.asarray(y), case.spec, dtype=jnp.dtype("float32"))
    cases.assert_matches(w, "kernel", x, y, case.spec)


@pytest.mark.parametrize("stride", [(2, 2), (3, 3), (2, 1)])
@pytest.mark.parametrize("contraction", CONTRACTIONS)
def test_what_a_stride_leaves_out_is_not_cut(contraction, stride):
    """As lax has the gradients of strided layers: whole arrays would be copied."""
    left_out = [s - 1 for s in stride]
    shape = [9 + rest for rest in left_out]
    arguments = {"stride": stride, "padding": tuple((0, -rest) for rest in left_out)}
    case = cases.Case("", (1, *shape, 16), (3, 3, 16, 16), arguments)
    a, b = case.operands(contraction)
    f = partial(contract, contraction, spec=case.spec, dtype="float32", method="onednn")
    compiled = jax.jit(f).lower(a, b).compile()
    assert " pad(" not in compiled.as_text()
    assert " slice(" not in compiled.as_text()
    cases.assert_matches(compiled(a, b), contraction, a, b, case.spec)


def test_bfloat16_sums_are_rounded_once():
    x = np.concatenate([np.ones(256), np.full(256, 1 / 256)]).astype(jnp.bfloat16)[:, None]
    w = np.ones((512, 1, 1)).astype(jnp.bfloat16)
    spec = cases.normalise("conv", x.shape, w.shape)
    result = contract("output", x, w, spec, dtype="bfloat16", method="onednn")
    assert float(result[0, 0]) == float(jnp.bfloat16(257.0))


@pytest.mark.parametrize("contraction", CONTRACTIONS)
def test_mixed_operands_sum_in_the_wider_dtype(contraction):
    case = cases.by_name("2d grouped")
    a, b = case.operands(contraction)
    a = a.astype(jnp.bfloat16)
    f = jax.jit(partial(contract, contraction, spec=case.spec, dtype="float32", method="onednn"))
    assert calls(f.lower(a, b)) == 1
    cases.assert_matches(f(a, b), contraction, a, b, case.spec)


def test_sums_beyond_float32_are_left_to_lax():
    case = cases.by_name("2d")
    x, w = case.operands("output")
    with jax.enable_x64(True):
        f = jax.jit(partial(contract, "output", spec=case.spec, dtype="float64", method="onednn"))
        assert calls(f.lower(x, w)) == 0
        cases.assert_matches(f(x, w), "output", x, w, case.spec)
