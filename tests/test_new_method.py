"""A new method is one file and one line: everything that knows methods takes it up."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

from jaxconv import accelerate, conv, explain, tune
from jaxconv._core.methods import METHODS
from jaxconv.cli.app import app

# The whole of the method's file.
TOY = '''
"""Lax's convolution, said to be free."""

from jaxconv._core.methods import lax
from jaxconv._core.methods.method import Method

CALLS = []


def output(x, w, spec, *, precision=None, dtype):
    CALLS.append(spec)
    return {factor} * lax.output(x, w, spec, precision=precision, dtype=dtype)


METHOD = Method(
    name="toy",
    summary="free",
    contractions={{"output": output}},
    constants={{"output": {{"call": 1e-12}}}},
)
'''
X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 13, 11, 3)), jnp.float32)
W = jnp.asarray(np.random.default_rng(1).normal(size=(3, 2, 3, 5)), jnp.float32)


def written(folder: Path, factor: int) -> Path:
    file = folder / "toy.py"
    file.write_text(TOY.format(factor=factor))
    return file


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The module, its method in the table."""
    spec = importlib.util.spec_from_file_location("toy", written(tmp_path, 1))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    wanted = conv(X, W, method="lax")
    jax.clear_caches()  # programs that were compiled before it was there
    monkeypatch.setitem(METHODS, "toy", module.METHOD)
    yield module, wanted
    jax.clear_caches()


def test_the_rules_and_the_tools_take_it_up(toy):
    module, wanted = toy
    [row] = explain(conv, X, W)
    assert (row.method, row.reason) == ("toy", "expected to be the fastest on a CPU")
    assert f"  toy {1e3 * row.seconds['toy']:.3g}" in str(explain(conv, X, W))
    np.testing.assert_allclose(conv(X, W), wanted, rtol=1e-5, atol=1e-5)
    assert len(module.CALLS) == 1
    np.testing.assert_allclose(conv(X, W, method="toy"), wanted, rtol=1e-5, atol=1e-5)
    # the contractions that it does not offer are left to others
    assert jax.grad(lambda w: conv(X, w, method="toy").sum())(W).shape == W.shape
    with pytest.raises(ValueError, match=r"method='magic' must be one of .*'toy'"):
        conv(X, W, method="magic")

    module.CALLS.clear()
    policy = tune(conv, X, W, seconds=0.001)
    assert module.CALLS
    np.testing.assert_allclose(accelerate(conv, policy=policy)(X, W), wanted, rtol=1e-5, atol=1e-5)

    found = json.loads(CliRunner().invoke(app, ["info", "--json"]).stdout)["methods"]["toy"]
    assert found == {
        "summary": "free",
        "contractions": ["output"],
        "available": True,
        "note": None,
        "needs": "",
    }


def test_the_table_of_cases_finds_a_wrong_one(tmp_path):
    written(tmp_path, 2)
    line = "from jaxconv._core.methods import METHODS\nimport toy\nMETHODS['toy'] = toy.METHOD\n"
    (tmp_path / "in_the_table.py").write_text(line)
    case = "test_methods.py::test_methods_of_some_problems_match_the_reference[1d]"
    run = [sys.executable, "-m", "pytest", "-q", "-p", "in_the_table", "-p", "no:cacheprovider"]
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*run, str(Path(__file__).parent / case)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout
