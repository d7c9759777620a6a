"""The suite of reported cases: their table, and small ones of each kind by every contestant."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from jaxconv import reference
from jaxconv.bench import cases, contestants, float64_answers, known, suites
from jaxconv.bench.measure import contest
from jaxconv.bench.numerics import BFLOAT16, FLOAT32, applied
from jaxconv.bench.results import RESULTS
from jaxconv.cli.app import app

pytestmark = pytest.mark.usefixtures("as_a_command")


def test_the_table_is_well_formed():
    assert len({case.name for case in known.KNOWN}) == len(known.KNOWN)
    sources = {source for case in known.KNOWN for source in case.sources}
    assert all(source.startswith("https://github.com/") for source in sources)
    numbers = {source.rpartition("/")[2] for source in sources}
    assert {"34273", "31662", "13800", "26266", "causal-conv1d"} <= numbers
    for case in known.KNOWN:
        assert case.reported
        assert case.modes
        assert set(case.modes) <= set(RESULTS)
        assert case.layer.y[0] == case.layer.x[0]
        small = case.small
        assert small.name == f"{case.name} (small)"
        assert np.prod(small.x) < 2e4
        kept = ("rank", "stride", "padding", "dilation", "transposed", "output_padding")
        for name in kept:
            assert getattr(small, name) == getattr(case.layer, name)
        assert (small.groups > 1) == (case.layer.groups > 1)
        assert (small.groups == small.x[-1]) == (case.layer.groups == case.layer.x[-1])
    modes = {mode for case in known.KNOWN for mode in case.modes}
    assert modes == set(RESULTS)


def test_the_reported_sizes():
    """As jax#31662 and #13800 have them, channels last; the measure of causal-conv1d."""
    by_source = {
        source.rpartition("/")[2]: case.layer for case in known.KNOWN for source in case.sources
    }
    assert by_source["31662"] is by_source["34273"]
    up = by_source["31662"]
    assert (up.x, up.w, up.y) == ((1, 64, 64, 32, 64), (3, 3, 3, 1, 64), (1, 128, 128, 64, 1))
    deep = by_source["13800"]
    assert (deep.x, deep.w, deep.y) == ((32, 1024, 512), (5, 1, 512), (32, 1024, 512))
    causal = [case.layer for case in known.KNOWN if known.CAUSAL in case.sources]
    assert {(layer.w, layer.x[1:]) for layer in causal} == {((4, 1, 2048), (4096, 2048))}


def test_the_gradient_of_each_image_is_the_definition():
    plain = cases.plain("dense", (3, 5, 4, 2), 4, 3, padding=1, stride=2)
    up = cases.up("up", (3, 4, 4, 2), 4, 3, stride=2, padding=1)
    for case in (plain, up):
        x, _, ct = contestants.arrays(case)
        found = float64_answers.of_each(case, x, ct)["dw of each"]
        a, b = (ct, x) if case.transposed else (x, ct)
        want = [
            reference.CONTRACTIONS["kernel"](a[n : n + 1], b[n : n + 1], case.spec)
            for n in range(3)
        ]
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)
        whole = float64_answers.layer(case, *contestants.arrays(case))["dw"]
        np.testing.assert_allclose(found.sum(0), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.cover
@pytest.mark.parametrize("mode", RESULTS)
@pytest.mark.parametrize("kind", ["dense", "depthwise", "transposed"])
@pytest.mark.usefixtures("torch")
def test_every_mode_in_every_layout(kind, mode):
    case = {
        "dense": cases.plain("dense", (3, 6, 5, 4), 6, 3, padding=1, stride=2),
        "depthwise": cases.depthwise("depthwise", (3, 12, 8), 4, padding="causal", dilation=2),
        "transposed": cases.up("up", (3, 4, 4, 3), 2, 3, stride=2, padding=1, output_padding=1),
    }[kind]
    x, w, ct = contestants.arrays(case)
    expected = float64_answers.layer(case, x, w, ct) | float64_answers.of_each(case, x, ct)
    programs = contestants.programs(case, mode, method="auto", peers=["lax", "torch"])
    found = contest(programs, expected, budget=1e-9, compiles=1)
    assert len(found) == (4 if case.rank == 1 else 5)
    for label, measured in found.items():
        assert measured.error is not None, (label, measured.left_out)
        assert measured.error < 1e-5


@pytest.mark.parametrize(
    ("precision", "only", "modes"),
    [
        (FLOAT32, "backward|images", {"forward+backward", "per-example gradients"}),
        (BFLOAT16, "kernel gradient", {"kernel gradient"}),
    ],
    ids=["float32", "bfloat16"],
)
@pytest.mark.usefixtures("torch")
def test_small_cases_are_right(precision, only, modes):
    options = suites.Options(
        quick=True, peers=["lax", "torch"], budget=1e-9, precision=precision, only=only
    )
    with applied(precision, options.peers):
        found = [*suites.reported(options)]
    assert {r["mode"] for r in found} == modes
    for record in found:
        assert record["sources"]
        for label, measured in record["contestants"].items():
            assert measured["error"] is not None, (record["case"], label, measured["left_out"])
            assert measured["error"] <= precision.tolerance


def test_the_command_measures_reported_cases(tmp_path):
    file = tmp_path / "known.json"
    ways = ("--suite", "known", "--quick", "--against", "lax", "--budget", "0.001", "--json", file)
    result = CliRunner().invoke(app, ["bench", *map(str, ways), "--only", "images"])
    assert result.exit_code == 0, result.output
    (record,) = json.loads(file.read_text())["records"]
    assert record["mode"] == "per-example gradients"
    assert record["case"] == "3x3, 64 to 64, of 64 images (small)"
    assert "geometric mean, known, per-example gradients" in result.stdout
    assert record["memory"] == record["contestants"]["jaxconv"]["temporary_bytes"] / (
        4 * 3 * 9 * 64 * 64
    )
