"""The bench by every method and in other precisions, as a command."""

import json

import jax
import pytest
from bench_layers import NETWORK, TINY, bench

from jaxconv._core.dispatch.choose import candidates
from jaxconv.bench import (
    cases,
    each_method,
    plane_programs,
    tables,
)
from jaxconv.bench.measure import Measured
from jaxconv.bench.networks import steps
from jaxconv.cli import load

pytestmark = pytest.mark.usefixtures("as_a_command")


# Every method


def test_every_method_that_serves_has_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr(cases, "LAYERS", (TINY,))
    file = tmp_path / "every.json"
    ways = ("--method", "every", "--against", "lax", "--budget", "0.001", "--json", file)
    result = bench("--suite", "networks", "--quick", "--only", "forward$", *ways)
    assert result.exit_code == 0, result.output
    (record,) = json.loads(file.read_text())["records"]
    forced = {label.removeprefix("jaxconv "): taken for label, taken in record["ways"].items()}
    assert forced.pop("jaxconv") == record["methods"]
    assert {"lax", "taps", "products", "fft"} <= set(forced) <= set(candidates("fastest"))
    for name, taken in forced.items():
        assert taken == {"output": name}
        assert record["contestants"][f"jaxconv {name}"]["error"] < 1e-4
        assert f"{name}: {name}" in result.stdout
    # no ratio of theirs counts as one beside a peer
    assert set(record["ratios"]) == {"lax", *(f"jaxconv {name}" for name in forced)}
    summary = tables.summary([record], plugin=False)
    assert set(summary["geometric_means"]["networks, forward"]) == {"lax"}


def test_a_wrong_method_is_told(monkeypatch):
    measured = {
        "jaxconv": Measured(peer="jaxconv", seconds=1.0),
        "jaxconv taps": Measured(peer="jaxconv taps", left_out="wrong: y is off by 1"),
        "jaxconv fft": Measured(peer="jaxconv fft", left_out="slower than the peer's other way"),
    }
    record = {
        "contestants": {label: vars(found) for label, found in measured.items()},
        "compile": {"ours": None, "lax": None},
    }
    record |= {
        "suite": "networks",
        "case": "a",
        "mode": "forward",
        "ratios": {"lax": 2},
        "memory": None,
    }
    found = tables.summary([record], plugin=False)
    assert found["not_right"] == {"a, forward, jaxconv taps": "wrong: y is off by 1"}
    assert [limit["exceeded"] for limit in found["limits"]] == [1]


def test_goals_are_those_of_the_platform():
    record = {"contestants": {}, "compile": {"ours": 9, "lax": 1}, "memory": 9, "methods": {}}
    record |= {"suite": "known", "case": "a", "mode": "forward", "ratios": {"lax": 0.5, "torch": 2}}
    limits = {
        platform: {
            limit["limit"]: limit["exceeded"]
            for limit in tables.summary([record], plugin=True, platform=platform)["limits"]
        }
        for platform in ("cpu", "gpu", "tpu")
    }
    assert limits["gpu"] == {
        "all suites: every case beside lax": 0,
        "known: geometric mean beside lax": 1,
        "known: geometric mean beside torch": 1,
    }
    assert limits["tpu"] == {}
    assert limits["cpu"]["all suites: every case beside torch"] == 1
    assert not any("known" in name for name in limits["cpu"])


def test_every_method_of_a_step_and_of_a_plane():
    case = steps.Step(network=NETWORK, written="nnx", batch=2, training=False)
    programs = steps.programs(case, method="every", peers=[], quick=True)
    labels = {program.label for program in programs}
    assert {"jaxconv", "jaxconv lax", "jaxconv taps"} <= labels
    plane = cases.Plane(size=8, kernel=(3, 3))
    programs = plane_programs.programs(plane, method="every", peers=[])
    assert {"jaxconv", "jaxconv lax", "jaxconv taps", "jaxconv fft"} <= {p.label for p in programs}
    assert "jaxconv loops" not in labels
    methods = each_method.methods(programs[-1].function, programs[-1].arguments)
    assert methods == {"output": programs[-1].label.removeprefix("jaxconv ")}


# The command


@pytest.mark.parametrize("name", ["tf32", "bfloat16"])
def test_the_command_says_device_and_precision(tmp_path, monkeypatch, name):
    monkeypatch.setattr(cases, "LAYERS", (TINY,))
    file = tmp_path / "bench.json"
    ways = ("--against", "lax,torch", "--budget", "0.001", "--json", file, "--precision", name)
    result = bench("--suite", "networks", "--quick", "--only", "backward", *ways)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"cpu (cpu), {jax.device_count()} devices, {name}, 20")
    found = json.loads(file.read_text())
    assert found["machine"]["precision"] == name
    assert {"device_kind", "devices", "runtime", "date"} <= set(found["machine"])
    contestants = found["records"][0]["contestants"]
    errors = [c["error"] for c in contestants.values() if c["error"] is not None]
    assert (min(errors) > 1e-4) == (name == "bfloat16")


def test_suites_that_are_not_named(monkeypatch):
    ran = []

    def run(name):
        return lambda options: iter(ran.append(name) or ())

    from jaxconv.bench import suites

    monkeypatch.setattr(load, "busy_cores", lambda: 0.0)
    monkeypatch.setattr(suites, "SUITES", {name: run(name) for name in suites.SUITES})
    monkeypatch.setattr(suites, "warm_up", lambda: None)
    for arguments, expected in (
        ([], ["filters", "networks", "learn", "models", "steps"]),
        (["--precision", "tf32"], ["filters", "networks", "steps"]),
        (["--method", "every"], ["filters", "networks", "steps"]),
        (["--suite", "known,learn"], ["known", "learn"]),
    ):
        ran.clear()
        assert bench("--against", "lax", *arguments).exit_code == 2  # no case
        assert ran == expected
    assert suites.usual("gpu") == ("filters", "networks", "steps", "known")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--precision", "half"],
            "precision 'half' is unknown; known: float32, tf32, bfloat16",
        ),
        (
            ["--suite", "learn", "--precision", "tf32"],
            "--suite learn runs in float32, and by one method: --precision and --method every are "
            "for filters, networks, steps, known",
        ),
        (["--suite", "models", "--method", "every"], "--suite models runs in float32, and by one"),
        (
            ["--suite", "regret", "--precision", "tf32"],
            "--suite regret measures in float32: leave --precision out",
        ),
        (
            ["--suite", "steps", "--profile", "--method", "every"],
            "--profile takes one method, not every",
        ),
    ],
)
def test_refusals(monkeypatch, arguments, message):
    monkeypatch.setattr(load, "busy_cores", lambda: 0.0)
    result = bench(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(f"jaxconv bench: {message}")
