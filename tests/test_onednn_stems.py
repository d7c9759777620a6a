"""The plugin's kernels for dense layers of few input channels, such as a network's first."""

import os
import subprocess
import sys
from functools import partial

import cases
import jax
import numpy as np
import pytest
from cases import OPERANDS

from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.methods import onednn
from jaxconv.bench import float64_answers

pytest.importorskip(
    "jaxconv_onednn", reason="the plugin jaxconv-onednn is not installed: pip install ./native"
)

# As few results as these kernels are for. Two to four vectors of outputs at once, full and not, and
# blocks of several widths; ends of rows; steps of the copied rows that are known when the kernels
# are compiled and others; entries that are neighbours in x and such that are not.
STEMS = (
    cases.Case("RGB", (1, 128, 130, 3), (3, 3, 3, 64), {"padding": "same"}),
    cases.Case("grey, ragged", (2, 150, 152, 1), (5, 4, 1, 24), {"padding": (2, 3)}),
    cases.Case(
        "strided and dilated",
        (2, 361, 251, 4),
        (3, 4, 4, 40),
        {"stride": (3, 2), "dilation": (2, 3), "padding": ((5, 2), (3, 8))},
    ),
    cases.Case("two blocks", (1, 99, 301, 2), (2, 3, 2, 112), {"stride": (1, 3)}),
    cases.Case("line", (2, 80100, 1), (10, 1, 33), {"stride": 5}),
    cases.Case("causal line", (2, 8200, 3), (4, 3, 80), {"dilation": 7, "padding": "causal"}),
    cases.Case("volume", (1, 9, 70, 63, 3), (3, 2, 3, 3, 34), {"padding": (1, 0, 2)}),
    cases.Case("wider than x", (1, 1000, 4, 2), (7, 5, 2, 48), {"padding": ((9, 8), (8, 9))}),
    cases.Case("one column", (1, 40000, 2, 4), (5, 2, 4, 32), {"padding": ((2, 1), (0, 0))}),
    cases.Case("cut", (1, 180, 190, 3), (4, 5, 3, 48), {"padding": ((-3, 1), (2, -9))}),
)
RGB, STRIDED, VOLUME = STEMS[0], STEMS[2], STEMS[6]


def compiled(contraction, case, dtype="float32"):
    return jax.jit(partial(contract, contraction, spec=case.spec, dtype=dtype, method="onednn"))


def implementation(contraction, case):
    """What the plugin calls its way."""
    return onednn.implementation(contraction, case.spec, case.x[0], case.w[-2], case.w[-1])


def vectors():
    """The instruction set that the plugin's own kernels use here, "" where they do not run."""
    name = implementation("kernel", RGB)
    return name.removeprefix("jaxconv_stem:") if name.startswith("jaxconv") else ""


@pytest.mark.cover
@pytest.mark.parametrize("case", STEMS, ids=str)
@pytest.mark.parametrize("contraction", ["output", "kernel"])
def test_exact_on_the_scale_of_each_results_terms(contraction, case):
    if vectors():
        # on AVX2 oneDNN's is the faster one for some outputs of few channels
        onednns = ["jit:avx2"] if vectors() == "avx2" and contraction == "output" else []
        assert implementation(contraction, case) in [f"jaxconv_stem:{vectors()}", *onednns]
    a, b = case.operands(contraction)
    want = float64_answers.contract(contraction, a, b, case.spec)
    scale = float64_answers.contract(contraction, np.abs(a), np.abs(b), case.spec)
    error = np.abs(compiled(contraction, case)(a, b) - want)
    assert (error <= cases.TOLERANCE["float32"] * scale).all(), error.max()


@pytest.mark.parametrize("case", [RGB, STRIDED, VOLUME], ids=str)
@pytest.mark.parametrize("contraction", ["output", "kernel"])
def test_what_is_not_finite_reaches_what_sees_it_alone(contraction, case):
    """And what sees nothing of it has the same bits."""
    a, b = case.operands(contraction)
    f = compiled(contraction, case)
    clean = np.asarray(f(a, b))
    at = (case.x[0] - 1, *(0 for _ in case.spec.input_size), case.x[-1] - 1)
    seen = np.zeros_like(a)
    seen[at] = 1
    sees = float64_answers.contract(contraction, seen, np.ones_like(b), case.spec) > 0
    assert sees.any()
    a[at] = np.nan
    found = np.asarray(f(a, b))
    np.testing.assert_array_equal(np.isnan(found), sees)
    np.testing.assert_array_equal(found[~sees], clean[~sees])


def test_an_image_has_the_same_bits_in_any_batch():
    x, w = cases.Case("", (3, *RGB.x[1:]), RGB.w, RGB.arguments).operands("output")
    f = compiled("output", RGB)
    np.testing.assert_array_equal(f(x, w)[1:2], f(x[1:2], w))


@pytest.mark.parametrize("contraction", ["output", "kernel"])
def test_half_precision_is_rounded_once(contraction):
    a, b = (array.astype("bfloat16") for array in RGB.operands(contraction))
    want = compiled(contraction, RGB)(a.astype("float32"), b.astype("float32"))
    got = compiled(contraction, RGB, "bfloat16")(a, b)
    wrong = np.abs(np.asarray(got, np.float32) - np.asarray(want)) > 2**-7 * np.abs(want)
    assert not wrong.any()


def test_smaller_layers_and_more_channels_are_for_onednn():
    spec = RGB.arguments
    small = cases.Case("", (1, 32, 32, 3), RGB.w, spec)
    many = cases.Case("", (*RGB.x[:3], 16), (3, 3, 16, 64), spec)
    lanes = 8 if vectors() == "avx2" else 16
    few = cases.Case("", (4, *RGB.x[1:]), (3, 3, 3, lanes), spec)
    for case in (small, many, few):
        for contraction in OPERANDS:
            assert "stem" not in implementation(contraction, case)
    assert "stem" not in implementation("input", RGB)


@pytest.mark.parametrize(("limit", "ours"), [("AVX2", {"avx2"}), ("SSE41", set())])
def test_a_limit_that_onednn_was_given_holds(limit, ours):
    depthwise = cases.Case("", (2, 9, 8, 64), (9, 9, 1, 64), {"groups": 64, "padding": 4})
    calls = [
        f"onednn.implementation({contraction!r}, {case.spec!r}, {case.x[0]}, {case.w[-2]}, "
        f"{case.w[-1] // case.spec.groups})"
        for case in (RGB, depthwise)
        for contraction in OPERANDS
    ]
    program = (
        "from jaxconv._core.methods import onednn\n"
        "from jaxconv._core.geometry.spec import ConvSpec\n"
        f"print({', '.join(calls)})"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": limit}
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert len(found.stdout.split()) >= len(calls)
    own = [name for name in found.stdout.split() if name.startswith("jaxconv")]
    assert {name.rpartition(":")[2] for name in own} == (ours if vectors() else set())
    assert "avx512" not in found.stdout
