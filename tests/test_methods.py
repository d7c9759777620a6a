"""Every method, contraction and case beside the explicit loops of the reference."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, CONTRACTIONS

from jaxconv.methods import METHODS
from jaxconv.trilinear import contract

HIGHEST = jax.lax.Precision.HIGHEST
OFFERED = [(name, contraction) for name, offered in METHODS.items() for contraction in offered]


@pytest.mark.parametrize(("method", "contraction"), OFFERED)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_the_reference(case, method, contraction):
    a, b = case.operands(contraction)
    result = contract(
        contraction,
        a,
        b,
        case.spec,
        dtype="float32",
        method=method,
        precision=HIGHEST,
    )
    cases.assert_matches(result, contraction, a, b, case.spec)


DTYPE_CASES = [cases.by_name(name) for name in ("1d", "2d everything", "2d depthwise")]
RESULT = {"bool": "int32", "int8": "int32"}


@pytest.mark.parametrize("dtype", [*cases.TOLERANCE, "bool", "int8", "uint8", "int16", "int32"])
@pytest.mark.parametrize("case", DTYPE_CASES, ids=str)
def test_every_dtype(case, dtype):
    with jax.enable_x64(True):
        for method, contraction in OFFERED:
            a, b = case.operands(contraction, dtype)
            result = contract(
                contraction,
                jnp.asarray(a),
                jnp.asarray(b),
                case.spec,
                dtype=RESULT.get(dtype, dtype),
                method=method,
                precision=HIGHEST,
            )
            cases.assert_matches(result, contraction, a, b, case.spec)


@pytest.mark.parametrize(("method", "contraction"), OFFERED)
def test_mixed_operands_sum_in_the_wider_dtype(method, contraction):
    """What a gradient under mixed precision asks of a method: bfloat16 beside float32."""
    case = cases.by_name("2d grouped")
    a, b = case.operands(contraction)
    a = a.astype(jnp.bfloat16)
    result = contract(contraction, a, b, case.spec, dtype="float32", method=method)
    cases.assert_matches(result, contraction, a, b, case.spec)


def test_bfloat16_sums_are_rounded_once():
    """256 ones and 256 parts of 1/256: a bfloat16 running sum would lose the small ones."""
    x = np.concatenate([np.ones(256), np.full(256, 1 / 256)]).astype(jnp.bfloat16)[:, None]
    w = np.ones((512, 1, 1)).astype(jnp.bfloat16)
    spec = cases.normalise("conv", x.shape, w.shape)
    for method in ("lax", "loops"):
        result = contract("output", x, w, spec, dtype="bfloat16", method=method)
        assert float(result[0, 0]) == float(jnp.bfloat16(257.0))


def test_integers_wrap_as_numpy_does():
    x, w = np.full((4, 1), 100, np.int8), np.full((2, 1, 1), 2, np.int8)
    spec = cases.normalise("conv", x.shape, w.shape)
    for method in ("lax", "loops"):
        result = contract("output", x, w, spec, dtype="int8", method=method)
        np.testing.assert_array_equal(result[:, 0], np.full(3, np.int64(400).astype(np.int8)))


def test_the_comparison_can_fail():
    """One flipped kernel must not pass for the right answer."""
    case = cases.by_name("2d")
    x, w = case.operands("output")
    wrong = contract("output", x, w[::-1], case.spec, dtype="float32")
    with pytest.raises(AssertionError, match="float32 output is off by"):
        cases.assert_matches(wrong, "output", x, w, case.spec)


def test_contractions_are_listed_once():
    assert set(CONTRACTIONS) == set(METHODS["lax"]) == set(METHODS["loops"])
