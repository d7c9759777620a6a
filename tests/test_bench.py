"""The bench command: its tables, its checks before timing, what it prints and writes. No times."""

import dataclasses
import json
import math
import re
import time

import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

from jaxconv import reference
from jaxconv._core.dispatch.choose import candidates
from jaxconv._core.dispatch.primitive import OPERANDS
from jaxconv._core.geometry.spec import normalise
from jaxconv.bench import (
    cases,
    contestants,
    float64_answers,
    learning,
    measure,
    models,
    peers,
    plane_programs,
    regret,
    suites,
    tables,
    torch_blocks,
)
from jaxconv.bench.figure import ratios
from jaxconv.bench.measure import Measured, contest, race
from jaxconv.bench.peers import Program
from jaxconv.cli import load
from jaxconv.cli.app import app

TINY = cases.Layer(
    name="tiny", x=(2, 6, 5, 4), w=(3, 3, 2, 6), stride=2, padding=1, groups=2, quick=True
)
LAYERS = (
    TINY,
    cases.Layer(name="causal", x=(2, 9, 4), w=(3, 1, 4), padding="causal", dilation=2, groups=4),
    cases.Layer(
        name="up",
        x=(1, 4, 4, 3),
        w=(3, 3, 2, 3),
        stride=2,
        padding=1,
        output_padding=1,
        transposed=True,
    ),
)


pytestmark = pytest.mark.usefixtures("as_a_command")


def _bench(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def _program(label, values, *, peer="lax"):
    return Program(
        peer=peer, label=label, function=lambda: values, arguments=[], values=lambda y: {"y": y}
    )


def _record(case, ratio, *, suite="networks", mode="forward", compile_seconds=0.1, memory=1.0):
    measured = {
        "jaxconv": Measured(peer="jaxconv", seconds=ratio, compile_seconds=compile_seconds),
        "lax NHWC": Measured(peer="lax", seconds=1.0, compile_seconds=0.1),
        "lax NCHW": Measured(peer="lax", seconds=2.0, compile_seconds=0.2),
    }
    shapes = {"x": (1, 4), "w": (3,), "y": (1, 2)}
    found = suites.record(suite, case, mode, shapes, measured, {"output": "lax"})
    return found | {"memory": memory}


def test_the_tables_are_well_formed():
    assert len({layer.name for layer in cases.LAYERS}) == len(cases.LAYERS) >= 44
    assert {layer.rank for layer in cases.LAYERS} == {1, 2, 3}
    for layer in cases.LAYERS:
        assert layer.y[0] == layer.x[0]
        assert min(layer.y) >= 1
        # nothing that takes a peer a minute, nothing that one call's overhead hides
        work = math.prod(layer.y) * math.prod(layer.w[:-1])
        assert 1e6 < work < 3e10, layer.name
    assert sum(layer.transposed for layer in cases.LAYERS) >= 3
    assert {plane.kernel for plane in cases.PLANES} == {(3, 3), (1, 2), (7, 7), (31, 31), (64, 64)}
    assert {plane.size for plane in cases.PLANES} == {512, 1024, 2048, 4096}
    for table in (cases.LAYERS, cases.PLANES, learning.LESSONS, torch_blocks.MODELS):
        assert sum(case.quick for case in table) > 0


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.name)
def test_float64_answers_are_the_definition(case):
    x, w, ct = contestants.arrays(case)
    found = float64_answers.layer(case, x, w, ct)
    a, b = (ct, x) if case.transposed else (x, ct)
    want = {
        "output": reference.CONTRACTIONS["output"](a, w, case.spec),
        "input": reference.CONTRACTIONS["input"](b, w, case.spec),
        "kernel": reference.CONTRACTIONS["kernel"](a, b, case.spec),
    }
    names = ("dx", "y", "dw") if case.transposed else ("y", "dx", "dw")
    for name, expected in zip(names, want.values(), strict=True):
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("contraction", ["output", "input", "kernel"])
def test_negative_padding_is_the_definition(contraction):
    x, w = (2, 9, 8, 4), (3, 2, 2, 6)
    spec = normalise("test", x, w, stride=(1, 2), padding=((-1, 2), (3, -2)), groups=2)
    rng = np.random.default_rng(0)
    a, b = (
        rng.standard_normal({"x": x, "w": w, "y": (2, *spec.output_size, 6)}[name], np.float32)
        for name in OPERANDS[contraction]
    )
    want = reference.CONTRACTIONS[contraction](a, b, spec)
    found = float64_answers.contract(contraction, a, b, spec)
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.name)
@pytest.mark.usefixtures("torch")
def test_every_contestant_of_a_layer_gives_the_exact_values(case):
    expected = float64_answers.layer(case, *contestants.arrays(case))
    programs = contestants.programs(case, "forward+backward", method="auto", peers=["lax", "torch"])
    found = contest(programs, expected, budget=1e-9, compiles=1)
    assert len(found) == (5 if case.rank == 2 else 4)
    for label, measured in found.items():
        assert measured.error is not None, (label, measured.left_out)
        assert measured.error < 1e-5
    assert found["jaxconv"].temporary_bytes is not None
    assert found["jaxconv"].compile_seconds is not None
    assert found["jaxconv"].calls >= 1


@pytest.mark.parametrize("kernel", [(1, 2), (4, 3), (12, 11)])
@pytest.mark.usefixtures("torch")
def test_every_contestant_of_a_plane_gives_the_exact_values(kernel):
    case = cases.Plane(size=24, kernel=kernel)
    programs = plane_programs.programs(case, method="auto", peers=["lax", "torch", "scipy"])
    expected = float64_answers.plane(case, *plane_programs.arrays(case))
    found = contest(programs, expected, budget=1e-9, compiles=1)
    assert {measured.peer for measured in found.values()} == {"jaxconv", "lax", "torch", "scipy"}
    assert all(m.error is not None and m.error < 1e-5 for m in found.values()), found


def test_wrong_values_are_caught_before_timing():
    right = np.linspace(-1, 1, 7)
    programs = [
        _program("right", right),
        _program("off", right + 1e-3),
        _program("nan", np.where(right > 0.9, np.nan, right)),
        _program("cut", right[:-1]),
    ]
    found = contest(programs, {"y": right}, budget=1e-3)
    assert found["right"].seconds is not None
    assert [found[label].seconds for label in ("off", "nan", "cut")] == [None] * 3
    assert found["off"].left_out == "wrong: y is off by 1.0e-03 of its largest value"
    assert found["nan"].left_out == "wrong: y is off by nan of its largest value"
    assert found["cut"].left_out == "failed: ValueError: y has shape (6,), the exact one (7,)"


def test_a_long_call_is_timed_once(monkeypatch):
    monkeypatch.setattr(measure, "TIMED_ONCE", 0.01)
    made = []

    def slow():
        made.append(time.sleep(0.02))
        return np.ones(2)

    programs = [_program("slow", np.ones(2)), _program("quick", np.ones(2))]
    programs[0] = dataclasses.replace(programs[0], function=slow)
    found = contest(programs, {"y": np.ones(2)}, budget=1e-3)
    assert (found["slow"].calls, len(made)) == (1, 1)
    assert found["slow"].seconds >= 0.02
    assert found["quick"].calls > 1


def test_only_the_best_layout_of_a_peer_runs_on():
    calls = {"fast": lambda: None, "slow": lambda: time.sleep(0.02), "alone": lambda: None}
    times = race(calls, {"fast": "lax", "slow": "lax", "alone": "torch"}, budget=1e-3)
    assert times["slow"] == []
    assert len(times["fast"]) >= 5
    assert len(times["alone"]) >= 5


def test_means_worst_cases_and_limits():
    """Ratios 0.5 and 2 have the mean 1; one is above 1.05; one compiles too long."""
    records = [_record("a", 0.5, memory=2.5), _record("b", 2.0, compile_seconds=0.3)]
    found = tables.summary(records, plugin=False)
    expected = {"ratio": 1.0, "worst": 2.0, "cases": 2}
    assert found["geometric_means"]["networks, forward"]["lax"] == expected
    assert found["worst"] == {"lax": {"case": "b, forward", "ratio": 2.0}}
    limits = {limit["limit"]: limit for limit in found["limits"]}
    assert [limit["exceeded"] for limit in limits.values()] == [1, 1, 1]
    compiling = limits["compile time less 50 ms beside lax"]
    assert compiling["worst"] == pytest.approx(2.5)
    both = [_record("a", 0.2, mode="forward+backward"), _record("b", 0.2, mode="forward+backward")]
    for plugin, exceeded in ((False, 0), (True, 1)):  # 0.3 without, 0.12 with
        limits = tables.summary(both, plugin=plugin)["limits"]
        mean = next(limit for limit in limits if "geometric mean beside lax" in limit["limit"])
        assert (mean["of"], mean["exceeded"]) == (1, exceeded)


def test_a_missing_peer_is_left_out_with_a_line(monkeypatch):
    find = peers.importlib.util.find_spec
    monkeypatch.setattr(
        peers.importlib.util, "find_spec", lambda name: None if name == "cv2" else find(name)
    )
    there, missing = peers.present()
    assert "opencv" not in there
    assert missing["opencv"] == "opencv is left out: pip install opencv-python-headless"


@pytest.mark.usefixtures("torch")
def test_the_command_runs_a_tiny_case(tmp_path, monkeypatch):
    monkeypatch.setattr(cases, "LAYERS", (TINY, LAYERS[1]))
    file, picture = tmp_path / "bench.json", tmp_path / "bench.png"
    result = _bench(
        *("--suite", "networks", "--quick", "--only", "tiny", "--budget", "0.001"),
        *("--json", file, "--plot", picture, "--against", "lax,torch"),
    )
    assert result.exit_code == 0, result.output
    assert re.search(r"tiny, forward\+backward +[a-z]+", result.stdout)
    assert "causal" not in result.stdout
    assert "geometric mean, networks, forward: " in result.stdout
    found = json.loads(file.read_text())
    assert [r["mode"] for r in found["records"]] == ["forward", "forward+backward"]
    for r in found["records"]:
        assert set(r["ratios"]) == {"lax", "torch"}
        ours, lax = r["best"]["jaxconv"], r["best"]["lax"]
        assert r["ratios"]["lax"] == pytest.approx(ours / lax)
    # what is read back tells the same story
    again = tables.summary(found["records"], plugin=tables.has_plugin())
    assert json.loads(json.dumps(again)) == found["summary"]
    assert {"jax", "numpy"} <= set(found["machine"]["versions"])
    assert picture.read_bytes().startswith(b"\x89PNG")
    figure = ratios(found["records"], found["machine"])
    assert [axes.get_title().split(":")[0] for axes in figure.axes] == [
        "beside lax",
        "beside torch",
    ]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["tiny"]
    for axes, peer in zip(figure.axes, ("lax", "torch"), strict=True):
        points = [tuple(map(float, line.get_xydata()[0])) for line in axes.lines[:2]]
        assert points == [(r["ratios"][peer], 0) for r in found["records"]]
        assert len({line.get_markerfacecolor() for line in axes.lines[:2]}) == 2


def test_wrong_values_of_ours_are_told_and_fail_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(cases, "LAYERS", (TINY,))
    right = contestants.function
    monkeypatch.setattr(
        contestants, "function", lambda *a: lambda x, w: right(*a)(x, w) * jnp.float32(1.01)
    )
    result = _bench("--suite", "networks", "--only", "forward$", "--against", "lax")
    assert result.exit_code == 1
    assert "NOT RIGHT: tiny, forward: wrong: y is off by 1.0e-02" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--suite", "all"],
            "--suite 'all' is unknown; known: filters, networks, learn, models, steps, known, and "
            "regret alone",
        ),
        (["--only", "("], "--only '(' is not a regular expression: "),
        (
            ["--against", "numpy"],
            "peer 'numpy' is unknown; known: lax, torch, torch.compile, scipy, opencv, float32, "
            "causal-conv1d",
        ),
        (["--budget", "0"], "--budget must be above 0, got 0.0"),
        (["--json", "/nowhere/a.json"], "cannot write /nowhere/a.json: /nowhere is not a folder"),
        (
            ["--suite", "regret", "--count", "0"],
            "--count must be 1 or more, and --seed 0 or more",
        ),
        (
            ["--suite", "filters", "--only", "9x9"],
            "no case of filters matches --only '9x9'",
        ),
    ],
)
def test_refusals(monkeypatch, arguments, message):
    monkeypatch.setattr(load, "busy_cores", lambda: 0.0)
    result = _bench(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(f"jaxconv bench: {message}")


@pytest.mark.usefixtures("torch")
def test_learning_is_checked_by_its_losses():
    case = learning.Lesson(name="two", kernels=2)
    programs = learning.programs(case, peers=["torch"], quick=True)
    found = contest(programs, learning.exact(case), budget=1e-9, compiles=1)
    assert list(found) == ["jaxconv", "torch eager"]
    assert all(m.error is not None and m.error < 1e-5 for m in found.values()), found


@pytest.mark.usefixtures("torch")
def test_a_block_takes_the_same_step_everywhere(monkeypatch):
    monkeypatch.setattr(measure, "DROPPED_ABOVE", float("inf"))  # no layout is dropped
    case = models.Model(
        name="tiny", x=(2, 4, 4, 4), block=models.MobileNet(), in_torch=torch_blocks.mobilenet
    )
    expected = models.exact(case)
    assert expected["conv1/kernel"].dtype == np.float64
    programs = models.programs(case, method="auto", peers=["lax", "torch"])
    found = contest(programs, expected, budget=1e-9, compiles=1, tolerance=models.TOLERANCE)
    assert len(found) == 4
    assert all(m.left_out is None and m.error < 1e-4 for m in found.values()), found


def test_random_shapes_are_within_their_limits_and_of_every_kind():
    drawn = [regret.shape(3, index) for index in range(100)]
    assert drawn[7] == regret.shape(3, 7) != regret.shape(4, 7)
    kinds = set()
    for shape in drawn:
        spec = normalise("regret", shape["x"], shape["w"], **shape["arguments"])
        assert spec.output_size == shape["y"][1:-1]
        assert regret.LEAST_WORK <= shape["work"] <= regret.MOST_WORK
        depthwise = spec.groups > 1 and shape["w"][-2] == 1
        kinds.add((spec.rank, "depthwise" if depthwise else min(spec.groups, 2)))
    assert {(r, k) for r in (1, 2, 3) for k in (1, 2, "depthwise")} <= kinds


def _row(index, contraction, chosen, **times):
    return {
        "seed": 0,
        "index": index,
        "contraction": contraction,
        "chosen": chosen,
        "times": times,
        "once": {},
        "skipped": {},
    }


def test_regret_is_chosen_over_best():
    rows = [
        _row(0, "output", "lax", lax=2.0, taps=1.0),
        _row(1, "output", "taps", lax=2.0, taps=1.0),
        _row(2, "kernel", "lax", lax=3.0, taps=1.0) | {"once": {"fft": 90.0}},
        _row(3, "kernel", "fft", lax=3.0, taps=1.0),
        _row(4, "kernel", "lax", lax=3.0),
    ]
    assert [regret.regret(row) for row in rows] == [2.0, 1.0, 3.0, math.inf, None]
    found = regret.summary(rows)
    assert found["output"] == {"problems": 2, "median": 1.5, "95th percentile": 2.0, "max": 2.0}
    assert found["all"]["problems"] == 4
    assert [row["index"] for row in regret.worst(rows, 2)] == [3, 2]
    assert "all, without the plugin" not in found


def test_regret_without_the_plugin_is_listed_too():
    row = _row(0, "output", "onednn", lax=4.0, taps=2.0, onednn=1.0) | {
        "chosen without plugin": "lax"
    }
    assert (regret.regret(row), regret.regret(row, plugin=False)) == (1.0, 2.0)
    assert regret.summary([row])["all, without the plugin"]["max"] == 2.0


def test_regret_goes_on_where_the_file_ends(tmp_path, monkeypatch):
    small = {
        "x": (1, 6, 2),
        "w": (3, 2, 2),
        "y": (1, 4, 2),
        "arguments": {"padding": 0},
        "work": 48,
    }
    monkeypatch.setattr(regret, "shape", lambda seed, index: small)
    monkeypatch.setattr(regret, "BUDGET", 1e-9)
    file = tmp_path / "rows.json"
    first = _bench("--suite", "regret", "--count", 3, "--json", file)
    assert first.exit_code == 0, first.output
    rows = json.loads(file.read_text())["rows"]
    assert [row["contraction"] for row in rows] == ["output", "input", "kernel"]
    for row in rows:
        methods = set(row["times"]) | set(row["once"]) | set(row["skipped"])
        assert methods == set(candidates("fastest"))
    assert regret.load(file, 0) == rows
    assert regret.load(file, 1) == []
    monkeypatch.setattr(regret, "measure", lambda *_: pytest.fail("measured again"))
    assert regret.rows(0, 3, rows, save=lambda _: None) == rows
