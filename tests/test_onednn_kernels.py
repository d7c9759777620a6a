"""The plugin's own kernels, for what oneDNN computes slowly or not at all."""

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
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.methods import onednn
from jaxconv.bench import float64_answers

plugin = pytest.importorskip(
    "jaxconv_onednn", reason="the plugin jaxconv-onednn is not installed: pip install ./native"
)

DEPTHWISE = (
    cases.Case("7x7, 64 wide", (2, 9, 8, 64), (7, 7, 1, 64), {"groups": 64, "padding": "same"}),
    cases.Case("4 causal, 32 wide", (3, 11, 32), (4, 1, 32), {"groups": 32, "padding": "causal"}),
    cases.Case(
        "3x10, 16 wide",
        (1, 7, 23, 16),
        (3, 10, 1, 16),
        {"groups": 16, "stride": (2, 1), "dilation": (1, 2), "padding": ((3, 1), (12, 5))},
    ),
    cases.Case("wider than x", (2, 3, 2, 48), (3, 9, 1, 48), {"groups": 48, "padding": (1, 5)}),
    cases.Case("9x10, 27 wide", (1, 12, 17, 27), (9, 10, 1, 27), {"groups": 27, "padding": 4}),
    cases.Case("volume", (1, 4, 5, 6, 21), (5, 4, 3, 1, 21), {"groups": 21, "padding": 2}),
    cases.Case(
        "strided volume, 70 wide",
        (2, 3, 5, 31, 70),
        (2, 1, 4, 1, 70),
        {"groups": 70, "stride": (2, 1, 3), "dilation": (1, 1, 2), "padding": (1, 0, 4)},
    ),
)

# A vector of several groups, ragged ends, strides and dilations along each dimension.
SMALL_GROUPS = (
    cases.Case("16 groups of 4", (2, 9, 8, 64), (3, 3, 4, 64), {"groups": 16, "padding": "same"}),
    cases.Case("9 groups of 2", (1, 7, 11, 18), (4, 5, 2, 18), {"groups": 9, "padding": (2, 4)}),
    cases.Case("line", (3, 21, 12), (6, 4, 12), {"groups": 3, "padding": "causal"}),
    cases.Case(
        "strided and dilated",
        (2, 13, 15, 40),
        (3, 4, 4, 40),
        {"groups": 10, "stride": (2, 3), "dilation": (3, 2), "padding": ((5, 2), (3, 1))},
    ),
    cases.Case("volume", (1, 4, 5, 6, 6), (2, 3, 3, 2, 6), {"groups": 3, "padding": 1}),
)
GROUPS_OF_8 = cases.Case("", (2, 9, 10, 40), (3, 3, 8, 40), {"groups": 5, "padding": 1})

# Widths of less than a vector and of several, with the ragged end of a row; kernels of fewer rows
# than are made together, of as many, and of more.
PLANES = (
    cases.Case("line", (1, 1200, 1), (3, 1, 1), {"padding": "same"}),
    cases.Case("strided line", (1, 333, 1), (6, 1, 1), {"stride": 3, "dilation": 2, "padding": 7}),
    cases.Case("1x2", (1, 6, 150, 1), (1, 2, 1, 1)),
    cases.Case("3x3", (2, 10, 85, 1), (3, 3, 1, 1), {"padding": "same"}),
    cases.Case("4x5, narrow", (1, 23, 9, 1), (4, 5, 1, 1), {"padding": ((3, 0), (2, 4))}),
    cases.Case("9x8", (1, 13, 47, 1), (9, 8, 1, 1), {"padding": 4}),
    cases.Case("more rows than x has", (1, 4, 70, 1), (7, 3, 1, 1), {"padding": (4, 0)}),
    cases.Case("dilated", (1, 15, 95, 1), (3, 4, 1, 1), {"dilation": (2, 7), "padding": (2, 9)}),
    cases.Case(
        "strided and dilated",
        (2, 13, 75, 1),
        (5, 4, 1, 1),
        {"stride": (2, 3), "dilation": (3, 2), "padding": ((5, 2), (3, 1))},
    ),
    cases.Case("gaps between windows", (1, 9, 40, 1), (1, 2, 1, 1), {"stride": (4, 3)}),
    cases.Case("volume of planes", (1, 4, 5, 37, 1), (3, 2, 5, 1, 1), {"padding": (1, 0, 2)}),
    cases.Case(
        "strided volume of planes",
        (1, 5, 6, 40, 1),
        (2, 3, 4, 1, 1),
        {"stride": (2, 1, 2), "dilation": (1, 2, 1), "padding": (1, 2, 3)},
    ),
)

# A vector holds the channels of several positions: once over, or in as many vectors as there are
# before the channels come again (3 of 3 channels, 5 of 5, 3 of 6).
FEW_CHANNELS = (
    cases.Case("2 channels", (2, 9, 31, 2), (3, 4, 1, 2), {"groups": 2, "padding": (1, 3)}),
    cases.Case("3 channels", (1, 8, 50, 3), (5, 3, 1, 3), {"groups": 3, "padding": "same"}),
    cases.Case("line of 3", (2, 700, 3), (19, 1, 3), {"groups": 3, "padding": ((15, 2),)}),
    cases.Case("5 channels, narrow", (3, 7, 2, 5), (2, 2, 1, 5), {"groups": 5, "padding": 1}),
    cases.Case(
        "6 channels, strided rows",
        (1, 11, 23, 6),
        (3, 2, 1, 6),
        {"groups": 6, "stride": (3, 1), "dilation": (2, 4), "padding": (4, 3)},
    ),
    cases.Case(
        "volume of 8", (1, 4, 5, 9, 8), (2, 3, 3, 1, 8), {"groups": 8, "dilation": (1, 1, 2)}
    ),
)


# Rows of the kernel of which several vectors read the same: more of them than are made together,
# fewer, and a ragged end; kernels longer than x; the channels of a vector.
LINES = (
    cases.Case("causal", (2, 4000, 1), (300, 1, 1), {"padding": "causal"}),
    cases.Case("shorter than the kernel", (3, 50, 1), (129, 1, 1), {"padding": ((128, 40),)}),
    cases.Case("one output", (1, 333, 1), (333, 1, 1)),
    cases.Case("cut", (2, 700, 1), (61, 1, 1), {"padding": ((-3, -30),)}),
    cases.Case("rows", (2, 5, 430, 1), (1, 49, 1, 1), {"stride": (2, 1), "padding": (0, 24)}),
    cases.Case("4 channels", (2, 420, 4), (101, 1, 4), {"groups": 4, "padding": "causal"}),
    cases.Case("8 channels", (1, 77, 8), (11, 1, 8), {"groups": 8, "padding": ((7, 2),)}),
)
LINES_OUTSIDE_THE_KERNEL = (
    cases.Case("dilated", (2, 900, 1), (33, 1, 1), {"dilation": 4, "padding": ((70, 20),)}),
    cases.Case(
        "2 channels, dilated", (1, 300, 2), (20, 1, 2), {"groups": 2, "dilation": 8, "padding": 76}
    ),
)

# Rows of x in bands of several; chunks of rows; rows that no row of the kernel meets.
LARGE_KERNELS = (
    cases.Case("31x31", (2, 40, 45, 1), (31, 31, 1, 1), {"padding": "same"}),
    cases.Case(
        "15x20, long rows", (1, 20, 1100, 1), (15, 20, 1, 1), {"padding": ((3, 9), (19, 0))}
    ),
    cases.Case("stride", (1, 60, 63, 1), (19, 18, 1, 1), {"stride": 2, "padding": 9}),
    cases.Case(
        "stride of 3", (1, 61, 80, 1), (9, 14, 1, 1), {"stride": 3, "padding": ((2, 8), (13, -2))}
    ),
    cases.Case("two rows of outputs", (3, 10, 40, 1), (9, 5, 1, 1)),
    cases.Case("gaps", (2, 60, 50, 1), (5, 7, 1, 1), {"stride": (7, 1), "dilation": (2, 3)}),
    cases.Case("3 channels", (1, 40, 200, 3), (9, 12, 1, 3), {"groups": 3, "padding": "same"}),
)


# Where oneDNN is told another way than its own first: blocks of channels, a matrix product.
BLOCKS, PRODUCT = "jit:avx512_core in blocks", "x64:gemm:jit"
LED = (
    ("kernel", BLOCKS, cases.Case("", (2, 9, 7, 128), (3, 3, 128, 144), {"stride": 2})),
    ("kernel", BLOCKS, cases.Case("", (2, 31, 128), (4, 128, 130), {"stride": 3, "padding": 2})),
    ("output", BLOCKS, cases.Case("", (2, 33, 512), (3, 512, 40), {"stride": 2})),
    ("input", PRODUCT, cases.Case("", (2, 9, 8, 3), (3, 3, 3, 16), {"padding": 1})),
    ("input", PRODUCT, cases.Case("", (1, 5, 6, 8, 3), (2, 3, 3, 3, 64))),
)


# On AVX2 alone: images of more than 2^17 elements, gradients of which are computed in blocks.
LARGE = (
    ("jit:avx2 in blocks", cases.Case("", (1, 64, 66, 36), (3, 2, 36, 20), {"padding": 1})),
    ("jit:avx2", cases.Case("", (1, 32, 66, 36), (3, 2, 36, 20), {"padding": 1})),
)


def implementation(contraction, case):
    """What the plugin calls its way."""
    outputs = case.w[-1] // case.spec.groups
    return onednn.implementation(contraction, case.spec, case.x[0], case.w[-2], outputs)


def vectors():
    """The instruction set that the plugin's own kernels use here, "" where they do not run."""
    name = implementation("output", PLANES[0])
    return name.removeprefix("jaxconv_plane:") if name.startswith("jaxconv") else ""


def assert_own(contraction, case, name):
    """On AVX2 oneDNN's depthwise kernels are the faster ones for small kernels."""
    if vectors():
        found = implementation(contraction, case)
        onednns = vectors() == "avx2" and "_dw:avx2" in found
        assert onednns or found == f"{name}:{vectors()}"


def assert_matches(case, name):
    for contraction in OPERANDS:
        assert_own(contraction, case, name)
        a, b = case.operands(contraction)
        compute = partial(contract, contraction, spec=case.spec, dtype="float32", method="onednn")
        cases.assert_matches(jax.jit(compute)(a, b), contraction, a, b, case.spec)


@pytest.mark.parametrize("case", DEPTHWISE, ids=str)
def test_depthwise(case):
    """oneDNN's own serve only small kernels and what is strided or dilated."""
    assert_matches(case, "jaxconv_depthwise")


@pytest.mark.parametrize(("channels", "ours"), [(40, True), (64, False)])
def test_strided_depthwise_layers_of_few_channels(channels, ours):
    arguments = {"groups": channels, "stride": 2, "padding": (1, 2)}
    case = cases.Case("", (2, 9, 71, channels), (3, 5, 1, channels), arguments)
    if vectors():
        ours = ours and vectors() == "avx512f"
        assert implementation("output", case).startswith("jaxconv_depthwise") == ours
    a, b = case.operands("output")
    cases.assert_matches(compiled("output", case)(a, b), "output", a, b, case.spec)


@pytest.mark.parametrize("case", SMALL_GROUPS, ids=str)
def test_small_groups(case):
    assert_matches(case, "jaxconv_grouped")


def test_groups_of_8_for_the_output():
    if vectors():
        names = [implementation(contraction, GROUPS_OF_8) for contraction in OPERANDS]
        own = [name.startswith("jaxconv_grouped") for name in names]
        assert own == [vectors() == "avx512f", False, False]
    a, b = GROUPS_OF_8.operands("output")
    f = partial(contract, "output", spec=GROUPS_OF_8.spec, dtype="float32", method="onednn")
    cases.assert_matches(jax.jit(f)(a, b), "output", a, b, GROUPS_OF_8.spec)


@pytest.mark.parametrize("case", PLANES, ids=str)
def test_single_planes(case):
    assert_matches(case, "jaxconv_plane")


@pytest.mark.parametrize("case", FEW_CHANNELS, ids=str)
def test_few_channels(case):
    assert_matches(case, "jaxconv_plane")


def compiled(contraction, case):
    return jax.jit(partial(contract, contraction, spec=case.spec, dtype="float32", method="onednn"))


def assert_exact(case, contraction):
    """On the scale of each result's own terms."""
    a, b = case.operands(contraction)
    error = np.abs(
        compiled(contraction, case)(a, b) - float64_answers.contract(contraction, a, b, case.spec)
    )
    scale = float64_answers.contract(contraction, np.abs(a), np.abs(b), case.spec)
    assert (error <= cases.TOLERANCE["float32"] * scale).all(), error.max()


@pytest.mark.parametrize("case", [*LINES, *LINES_OUTSIDE_THE_KERNEL], ids=str)
def test_long_lines(case):
    for contraction in OPERANDS:
        if vectors() == "avx512f":  # how long a line must be depends on the vectors
            served = contraction != "kernel" or case in LINES
            name = "jaxconv_line" if served else "jaxconv_plane"
            assert implementation(contraction, case) == f"{name}:avx512f"
        assert_exact(case, contraction)


@pytest.mark.parametrize("case", LARGE_KERNELS, ids=str)
def test_large_kernels(case):
    for contraction in OPERANDS:
        assert_own(contraction, case, "jaxconv_plane")
        assert_exact(case, contraction)


@pytest.mark.parametrize("case", [LINES[0], LINES[4], LINES[5], LARGE_KERNELS[0]], ids=str)
def test_what_is_not_finite_reaches_what_sees_it_alone(case):
    """And an image has the same bits in any batch."""
    for contraction in ("output", "input", "kernel"):
        a, b = case.operands(contraction)
        f = compiled(contraction, case)
        clean = np.asarray(f(a, b))
        if contraction != "kernel":
            one = cases.Case("", (1, *case.x[1:]), case.w, case.arguments)
            np.testing.assert_array_equal(compiled(contraction, one)(a[1:], b), clean[1:])
        at = (a.shape[0] - 1, *(n // 3 for n in a.shape[1:]))
        seen = np.zeros_like(a)
        seen[at] = 1
        sees = float64_answers.contract(contraction, seen, np.ones_like(b), case.spec) > 0
        a[at] = np.nan
        found = np.asarray(f(a, b))
        np.testing.assert_array_equal(np.isnan(found), sees)
        np.testing.assert_array_equal(found[~sees], clean[~sees])


@pytest.mark.parametrize(("contraction", "name", "case"), LED)
def test_where_onednn_is_led(contraction, name, case):
    if vectors() == "avx512f":
        assert implementation(contraction, case) == name
    a, b = case.operands(contraction)
    compute = partial(contract, contraction, spec=case.spec, dtype="float32", method="onednn")
    cases.assert_matches(jax.jit(compute)(a, b), contraction, a, b, case.spec)


@pytest.mark.parametrize(
    ("shape", "channels", "stride"),
    [
        ((1031, 1100), 1, 1),
        ((1031, 1100), 1, 2),
        ((1_100_000,), 1, 1),
        ((1_100_000,), 1, 2),
        ((400, 611), 5, 1),
    ],
)
def test_large_planes_on_several_threads(shape, channels, stride):
    """Large enough for large pages too."""
    arguments = {"padding": 1, "stride": stride, "groups": channels}
    case = cases.Case("", (1, *shape, channels), (*(3,) * len(shape), 1, channels), arguments)
    for contraction in OPERANDS:
        a, b = case.operands(contraction)
        compute = partial(contract, contraction, spec=case.spec, dtype="float32", method="onednn")
        want = float64_answers.contract(contraction, a, b, case.spec)
        got = np.asarray(jax.jit(compute)(a, b))
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * np.abs(want).max())


@pytest.mark.parametrize(
    ("x", "w", "arguments"),
    [
        ((2, 40, 3), (12, 1, 6), {"stride": 2, "padding": 5}),
        ((1, 9, 8, 5), (4, 3, 1, 20), {"padding": (2, 1), "dilation": (1, 2)}),
        ((2, 5, 6, 7, 2), (2, 3, 2, 1, 6), {"padding": 1}),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_several_outputs_a_channel_are_outputs_of_equal_channels(x, w, arguments, dtype):
    case = cases.Case("", x, w, {**arguments, "groups": x[-1]})
    arrays = case.arrays(dtype)
    for contraction, names in OPERANDS.items():
        a, b = (arrays[name] for name in names)
        f = partial(contract, contraction, spec=case.spec, dtype="float32", method="onednn")
        lowered = jax.jit(f).lower(a, b)
        assert f"groups = {w[-1]} : i64" in lowered.as_text()
        cases.assert_matches(lowered.compile()(a, b), contraction, a, b, case.spec)


@pytest.mark.skipif("ONEDNN_MAX_CPU_ISA" in os.environ, reason="it is this test that sets it")
@pytest.mark.skipif(vectors() != "avx512f", reason="these vectors are the only ones here")
def test_the_same_holds_for_narrower_vectors():
    """These tests and those of first layers, with the kernels that CPUs without AVX-512 have."""
    files = [__file__, os.path.join(os.path.dirname(__file__), "test_onednn_stems.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize(("way", "case"), LARGE, ids=["many elements", "fewer"])
def test_gradients_of_kernels_of_large_images(way, case):
    """On AVX2 oneDNN walks through channels last with strides that miss the caches."""
    if vectors() == "avx2":
        assert implementation("kernel", case) == way
    x, y = case.operands("kernel")
    exact = float64_answers.contract("kernel", x, y, case.spec)
    found = compiled("kernel", case)(x, y)
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-6 * np.abs(exact).max())


@pytest.mark.parametrize(
    ("stride", "way", "wanted"),
    [
        (2, "brgconv_strided:avx2", False),
        (2, "brgconv_strided:avx512_core", True),
        (1, "brgconv_strided:avx2", True),
    ],
)
def test_windows_that_do_not_overlap_are_left_to_columns_on_avx2(monkeypatch, stride, way, wanted):
    case = cases.Case("", (1, 8, 8, 16), (2, 2, 16, 24), {"stride": stride})
    a, b = case.operands("input")
    problem = Problem.of("input", a, b, case.spec, dtype="float32", platform="cpu")
    monkeypatch.setattr(onednn, "implementation", lambda *_: way)
    assert onednn.METHOD.considered(problem) == wanted
    assert onednn.METHOD.considered(problem._replace(contraction="kernel"))
