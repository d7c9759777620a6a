"""The commands explain and tune: functions and models of files, arrays by dtype and shape."""

import json
import sys

import pytest
from typer.testing import CliRunner

from jaxconv import Policy
from jaxconv._core import machine
from jaxconv.cli import load
from jaxconv.cli.app import app

FILE = """
import jax
from flax import nnx

import helper
import jaxconv


class Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.second = jaxconv.nnx.Conv(4, 2, (3, 3), rngs=rngs)

    def __call__(self, x):
        return self.second(nnx.relu(self.first(x)))


model = Net(nnx.Rngs(0))
number = helper.NUMBER


def forward(x, w):
    return jaxconv.conv(x, w, padding="same")


def nothing(x):
    return 2 * x
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    (tmp_path / "layers.py").write_text(FILE)
    (tmp_path / "helper.py").write_text("NUMBER = 3")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(load, "busy_cores", lambda: 0.0)
    yield "layers.py"
    for name in ("layers", "helper"):
        sys.modules.pop(name, None)


def _run(*arguments):
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_a_function_is_explained(file):
    code, printed, _ = _run("explain", f"{file}:forward", "float32[2,8,8,3]", "f32[3, 3, 3, 4]")
    assert code == 0
    heads, row = printed.splitlines()
    assert heads.split()[:4] == ["where", "call", "contraction", "shapes"]
    assert "float32[2,8,8,3] * float32[3,3,3,4] -> float32[2,8,8,4]" in row


def test_rows_as_json(file):
    arrays = "bf16[1,8,8,3]", "bfloat16[3,3,3,4]"
    code, printed, _ = _run("explain", f"{file}:forward", *arrays, "--json", "--platform", "tpu")
    (row,) = json.loads(printed)
    assert (code, row["contraction"], row["method"]) == (0, "output", "lax")
    assert row["spec"]["padding"] == [[1, 1], [1, 1]]
    assert row["shapes"].startswith("bfloat16[1,8,8,3]")


def test_gradients_in_arguments_and_in_a_models_parameters(file):
    _, printed, _ = _run("explain", f"{file}:forward", "f32[1,8,8,3]", "f32[3,3,3,4]", "--json")
    assert [row["contraction"] for row in json.loads(printed)] == ["output"]
    arguments = "f32[1,8,8,3]", "f32[3,3,3,4]", "--json", "--gradients"
    _, printed, _ = _run("explain", f"{file}:forward", *arguments)
    found = sorted(row["contraction"] for row in json.loads(printed))
    assert found == ["input", "kernel", "output"]
    _, printed, _ = _run("explain", f"{file}:model", "f32[1,8,8,3]", "--json", "--gradients")
    where = [row["where"] for row in json.loads(printed)]
    assert len(where) == 6
    assert sum("second" in place for place in where) == 3


def test_a_policy_is_measured_and_written(file):
    arguments = ("f32[1,8,8,3]", "--seconds", "0.01", "--output", "found.json")
    code, printed, _ = _run("tune", f"{file}:model", *arguments)
    policy = Policy.load("found.json")
    assert (code, len(policy)) == (0, 2)
    assert printed.startswith(f"{policy!r}\n")
    assert "policy=jaxconv.Policy.load('found.json')" in printed
    _, printed, _ = _run("explain", f"{file}:model", "f32[1,8,8,3]", "--seconds", "0.01", "--json")
    assert all({"lax", "taps"} <= set(row["seconds"]) for row in json.loads(printed))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["layers.py"], "'layers.py' must be FILE.py:FUNCTION, such as model.py:forward"),
        (["other.py:f"], "other.py must be a Python file that exists"),
        (["layers.py:f"], "layers.py: f is not there; it has Net, model, forward, nothing"),
        (
            ["layers.py:number"],
            "layers.py: number is of type int, not a function; it has Net, model, forward, nothing",
        ),
        (
            ["layers.py:forward", "f32[1,8,8,3]"],
            "layers.py:forward takes (x, w): missing a required argument: 'w'; describe its arrays "
            "as float32[8,32,32,3]",
        ),
        (
            ["layers.py:nothing", "1,8,8"],
            "'1,8,8' must be an array's dtype and shape, as float32[8,32,32,3]",
        ),
        (["layers.py:nothing", "float7[1]"], "data type 'float7' not understood"),
    ],
)
def test_mistakes_are_one_line(file, arguments, message):
    assert _run("explain", *arguments) == (2, "", f"jaxconv explain: {message}\n")


def test_nothing_to_tune(file):
    code, _, printed = _run("tune", f"{file}:nothing", "f32[2]")
    assert (code, printed) == (2, "jaxconv tune: layers.py:nothing has no convolution to tune\n")
    code, _, printed = _run("tune", f"{file}:nothing", "f32[2]", "--output", "no/where.json")
    assert code == 2
    assert printed.startswith("jaxconv tune: cannot write no/where.json: ")


@pytest.mark.parametrize(("busy", "said"), [(0.1, ""), (1.5, "1.5 cores busy")])
def test_measurements_beside_other_programs_are_warned_of(monkeypatch, capsys, busy, said):
    monkeypatch.setattr(load, "busy_cores", lambda: busy)
    load.warn_of_load("bench")
    printed = capsys.readouterr().err
    assert said in printed
    assert bool(printed) == bool(said)


def test_busy_cores_are_those_that_are_not_idle(monkeypatch):
    counts = iter([(100, 200), (150, 400)])
    monkeypatch.setattr(machine, "_ticks", lambda: next(counts))
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 8)
    assert machine.busy_cores(0) == 6.0
