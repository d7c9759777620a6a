"""What the table of restored photographs and beads says holds in a small one."""

import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "restore_table.py"


@pytest.fixture(scope="module")
def script():
    with jax.numpy_dtype_promotion("standard"), pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        found = runpy.run_path(str(SCRIPT))
        found["photographs"].__globals__.update(SIDE=96)
        yield found


def test_photographs(script, capsys):
    with jax.numpy_dtype_promotion("standard"):
        rows = script["photographs"](("camera",))
    assert len(rows) == 4 * 2
    assert len(capsys.readouterr().out.splitlines()) == len(rows)
    mean = lambda name: np.mean([row[name] for row in rows])
    for name in ("tikhonov", "lucy", "lucy tv", "tv"):
        assert mean(name) > mean("blurred") + 1, name
        assert mean(name) > mean("sk wiener"), name
        assert mean(name) > mean("sk lucy"), name
    assert mean("tikhonov") > mean("wiener")
    assert mean("wiener") > mean("sk unsup.")


def test_beads(script):
    with jax.numpy_dtype_promotion("standard"):
        errors = script["volume"]((24, 40, 40))
    assert all(np.isfinite(error) for error in errors.values())
    for name in ("lucy", "lucy to 1", "lucy tv"):
        assert errors[name] < errors["sk lucy"] < errors["blurred"], name
