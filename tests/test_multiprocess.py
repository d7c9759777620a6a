"""Several processes learn what one does; one that dies ends the others, and the run goes on."""

import os
import runpy
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """One start of all: one process, two, four; two of which one is killed; those two resumed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "examples"))
        # what the first two processes compile the next ones need not
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        example = runpy.run_path(str(ROOT / "examples" / "multiprocess.py"))
        return example["main"](processes=(2, 4), kill=(2,))


@pytest.mark.parametrize("processes", [2, 4])
def test_they_learn_what_one_learns(found, processes):
    alone, together = found["results"][1], found["results"][processes]
    assert alone["losses"][-1] < 0.5 * alone["losses"][0]
    np.testing.assert_allclose(alone["kernel"], [[1, 0], [0, -2]], atol=0.2)
    assert len(alone["weights"]) == 44426
    for name, right in alone.items():
        np.testing.assert_allclose(together[name], right, rtol=0, atol=1e-5)


def test_a_process_that_dies_ends_the_others(found):
    """Within a minute, each saying why; what is on disk is whole."""
    lost = found["lost"][2]
    assert lost["took"] < 60
    assert lost["ends"][1] == -9
    assert lost["ends"][0] in (3, -6)  # its own words, or JAX's
    assert any(
        part in lost["said"][0]
        for part in ("process 0 of 2 ends, another process is gone: ", "another task died")
    )
    assert 8 <= lost["kept"][-1] < 40


def test_the_run_goes_on_to_the_same_bits(found):
    assert found["lost"][2]["same"]
