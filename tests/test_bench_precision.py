"""The bench in float32, TF32 and bfloat16: what is told, and how large errors may be."""

import sys
import types

import jax
import numpy as np
import pytest
from bench_layers import EVERY_PRECISION, TINY
from torch_here import torch

from jaxconv.bench import (
    cases,
    contestants,
    float64_answers,
    known,
    numerics,
    plane_programs,
)
from jaxconv.bench.measure import contest
from jaxconv.bench.networks import steps
from jaxconv.bench.numerics import BFLOAT16, FLOAT32, PRECISIONS, TF32

pytestmark = pytest.mark.usefixtures("as_a_command")


def switches():
    backends = torch.backends
    return backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision


@pytest.mark.parametrize(
    ("precision", "level", "wanted"),
    [
        (FLOAT32, "highest", ("ieee", "ieee")),
        (TF32, "tensorfloat32", ("tf32", "tf32")),
        (BFLOAT16, "highest", ("ieee", "ieee")),
    ],
)
def test_jax_and_torch_are_told_and_untold(precision, level, wanted):
    before = switches(), torch.backends.cudnn.benchmark, jax.config.jax_default_matmul_precision
    with numerics.applied(precision, ["lax", "torch"]):
        assert (switches(), jax.config.jax_default_matmul_precision) == (wanted, level)
        assert torch.backends.cudnn.benchmark
    with numerics.applied(precision, ["lax"]):
        assert (switches(), jax.config.jax_default_matmul_precision) == (before[0], level)
    now = switches(), torch.backends.cudnn.benchmark, jax.config.jax_default_matmul_precision
    assert now == before


def test_older_torch_has_flags(monkeypatch):
    flags = types.SimpleNamespace
    cudnn, matmul = flags(allow_tf32=True, benchmark=False), flags(allow_tf32=False)
    backends = flags(cudnn=cudnn, cuda=flags(matmul=matmul))
    monkeypatch.setitem(sys.modules, "torch", flags(backends=backends))
    for precision in (TF32, FLOAT32):
        with numerics.applied(precision, ["torch"]):
            assert (cudnn.allow_tf32, matmul.allow_tf32) == (precision.tf32, precision.tf32)
        assert (cudnn.allow_tf32, matmul.allow_tf32) == (True, False)


def cut(a, bits):
    """Keep a number of significant bits, cut off."""
    mantissa, exponent = np.frexp(np.asarray(a, np.float64))
    return np.ldexp(np.trunc(np.ldexp(mantissa, bits)), exponent - bits)


def rounded(a, bits):
    mantissa, exponent = np.frexp(np.asarray(a, np.float64))
    return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)


@pytest.mark.parametrize("case", [TINY, *(k.small for k in known.KNOWN)], ids=lambda c: c.name)
def test_tolerances_allow_a_precision_and_notice_a_lower_one(case):
    """Products emulated in float64: TF32 that rounds, and that cuts off; bfloat16 sums."""
    given = contestants.arrays(case)
    exact = float64_answers.layer(case, *given)

    def error(**computed):
        return max(float64_answers.errors(computed, exact).values())

    for narrow in (rounded, cut):
        found = error(**float64_answers.layer(case, *(narrow(a, 11) for a in given)))
        assert FLOAT32.tolerance < found < TF32.tolerance
    found = error(**float64_answers.layer(case, *(rounded(a, 8) for a in given)))
    assert found > TF32.tolerance
    # results in bfloat16, of operands in bfloat16
    given = contestants.arrays(case, BFLOAT16)
    exact = float64_answers.layer(case, *given)
    assert error(**{name: rounded(a, 8) for name, a in exact.items()}) < BFLOAT16.tolerance
    # a missing tap is seen in any precision
    x, w, ct = given
    w = np.where(np.arange(w.size).reshape(w.shape) < w.size / len(w), 0, w)
    assert error(y=float64_answers.layer(case, x, w, ct)["y"]) > BFLOAT16.tolerance


def test_numbers_are_those_of_the_dtype():
    for precision in PRECISIONS.values():
        for a in contestants.arrays(TINY, precision):
            assert a.dtype == np.float32
            np.testing.assert_array_equal(np.float32(precision.place(a)), a)
            assert precision.place(a).dtype == precision.dtype
    (wide, *_), (narrow, *_) = contestants.arrays(TINY), contestants.arrays(TINY, BFLOAT16)
    assert (wide != narrow).any()
    assert [p.itemsize for p in PRECISIONS.values()] == [4, 4, 2]


@EVERY_PRECISION
def test_every_contestant_is_right_in_every_precision(precision):
    ways = {"method": "auto", "peers": ["lax", "torch", "scipy"], "precision": precision}
    limits = {"budget": 1e-9, "compiles": 1, "tolerance": precision.tolerance}
    with numerics.applied(precision, ways["peers"]):
        expected = float64_answers.layer(TINY, *contestants.arrays(TINY, precision))
        found = contest(contestants.programs(TINY, "forward+backward", **ways), expected, **limits)
        plane = cases.Plane(size=24, kernel=(4, 3))
        expected = float64_answers.plane(plane, *plane_programs.arrays(plane, precision))
        filtered = contest(plane_programs.programs(plane, **ways), expected, **limits)
    assert len(found) == 5
    assert len(filtered) == (5 if precision is FLOAT32 else 4)
    for label, measured in (found | filtered).items():
        assert measured.left_out is None or "slower" in measured.left_out, label
        if precision is BFLOAT16:
            assert measured.error > 1e-4, label


def test_steps_by_precision():
    belong = {
        p.name: {s.dtype for s in steps.STEPS if s.belongs_to(p)} for p in PRECISIONS.values()
    }
    narrow = {"float32": {"float32", "bfloat16"}, "tf32": {"float32"}, "bfloat16": {"bfloat16"}}
    assert belong == narrow
    (case, *_) = steps.STEPS
    assert case.tolerance_in(FLOAT32) == case.tolerance == steps.KINKED_TOLERANCE
    assert case.tolerance_in(TF32) == steps.TOLERANCES["bfloat16 training step"]
