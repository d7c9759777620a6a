"""Several processes learn what one does; one that dies ends the others, and the run goes on."""

import os
import runpy
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]


def test_several_processes(monkeypatch, tmp_path):
    """One test, since one start serves it all: 1, 2 and 4 processes; of 2 one killed; resumed."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    # what some processes compile others need not; and LLVM would take most of the time
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    main = runpy.run_path(str(ROOT / "examples" / "multiprocess.py"))["main"]
    found = main(processes=(2, 4), kill=(2,))

    # they learn what one learns
    alone = found["results"][1]
    assert alone["losses"][-1] < 0.5 * alone["losses"][0]
    np.testing.assert_allclose(alone["kernel"], [[1, 0], [0, -2]], atol=0.2)
    assert len(alone["weights"]) == 44426
    for processes in (2, 4):
        for name, right in alone.items():
            together = found["results"][processes][name]
            np.testing.assert_allclose(together, right, rtol=0, atol=1e-5)

    # a process that dies ends the others within a minute, each saying why
    lost = found["lost"][2]
    assert lost["took"] < 60
    assert lost["ends"][1] == -9
    assert lost["ends"][0] in (3, -6)  # its own words, or JAX's
    assert any(
        part in lost["said"][0]
        for part in ("process 0 of 2 ends, another process is gone: ", "another task died")
    )
    assert 8 <= lost["kept"][-1] < 40  # what is on disk is whole

    # and the run goes on to the same bits
    assert lost["same"]
