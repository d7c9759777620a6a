"""Several processes learn what one does; one that dies ends the others, and the run goes on."""

import os
import runpy
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def main(monkeypatch, tmp_path):
    """The example, whose processes are started from here."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    # what some processes compile others need not; and LLVM would take most of the time
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    return runpy.run_path(str(ROOT / "examples" / "multiprocess.py"))["main"]


def test_two_processes_learn_what_one_does(main):
    assert_alike(main(processes=(2,))["results"])


def assert_alike(results):
    alone, *others = (results[processes] for processes in sorted(results))
    assert others
    assert alone["losses"][-1] < 0.5 * alone["losses"][0]
    np.testing.assert_allclose(alone["kernel"], [[1, 0], [0, -2]], atol=0.2)
    assert len(alone["weights"]) == 44426
    for together in others:
        for name, right in alone.items():
            np.testing.assert_allclose(together[name], right, rtol=0, atol=1e-5)


@pytest.mark.thorough
def test_several_processes_of_which_one_is_killed(main):
    """One test, since one start serves it all: 1, 2 and 4 processes; of 4 one killed; resumed."""
    found = main(processes=(2, 4), kill=(4,))
    assert sorted(found["results"]) == [1, 2, 4]
    assert_alike(found["results"])

    # a process that dies ends the others within a minute, each saying why
    lost = found["lost"][4]
    assert lost["took"] < 60
    assert lost["ends"].pop(1) == -9
    assert set(lost["ends"]) <= {3, -6}  # in its own words, or in JAX's
    lost["said"].pop(1)
    for rank, said in zip((0, 2, 3), lost["said"], strict=True):
        own = f"process {rank} of 4 ends, another process is gone: "
        assert said.startswith(own) or said.endswith("another task died"), said
    assert 8 <= lost["kept"][-1] < 24  # what is on disk is whole

    # and the run goes on to the same bits
    assert lost["same"]
