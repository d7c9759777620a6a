"""The plugin's own threads, which oneDNN gets in the names of OpenMP."""

import ctypes
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

plugin = pytest.importorskip("jaxconv_onednn", reason="the oneDNN plugin is not installed")

OPENMP = plugin._LIBRARY
OPENMP.GOMP_loop_static_start.restype = OPENMP.GOMP_loop_static_next.restype = ctypes.c_bool
WORK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def on_team(threads: int, work: Callable[[], Any]) -> list[Any]:
    """What `work` returns on each thread of a team, the first thread's first."""
    results = {}

    def call(data):
        results[OPENMP.omp_get_thread_num()] = work()

    call = WORK(call)
    OPENMP.GOMP_parallel_start(call, None, threads)
    call(None)
    OPENMP.GOMP_parallel_end()
    return [results[number] for number in sorted(results)]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_thread_of_a_team_works_once(threads):
    def facts():
        return (
            OPENMP.omp_get_thread_num(),
            OPENMP.omp_get_num_threads(),
            bool(OPENMP.omp_in_parallel()),
        )

    assert on_team(threads, facts) == [(n, threads, threads > 1) for n in range(threads)]
    assert facts() == (0, 1, False)


def test_a_team_within_a_team_is_its_caller_alone():
    def alone():
        return (
            OPENMP.omp_get_num_threads(),
            bool(OPENMP.omp_in_parallel()),
            threading.get_native_id(),
        )

    def inner():
        inside = on_team(3, lambda: (alone(), on_team(3, alone)))
        mine = (1, True, threading.get_native_id())
        # and the outer place is taken up again
        return inside == [(mine, [mine])], OPENMP.omp_get_thread_num()

    assert on_team(2, inner) == [(True, 0), (True, 1)]


def test_helpers_have_the_limit_of_whom_they_help():
    cores = len(os.sched_getaffinity(0))
    assert OPENMP.omp_get_max_threads() == cores
    assert on_team(3, OPENMP.omp_get_max_threads) == [cores] * 3


def test_a_barrier_lets_nobody_go_before_all_have_come():
    come, seen = [], []

    def meet():
        for turn in range(50):
            come.append(turn)
            OPENMP.GOMP_barrier()
            seen.append(come.count(turn))
            OPENMP.GOMP_barrier()

    on_team(3, meet)
    assert seen == [3] * 150


def test_threads_that_call_share_their_helpers():
    helpers = set()

    def from_another_thread():
        caller, *others = on_team(3, threading.get_native_id)
        assert caller == threading.get_native_id()
        helpers.update(others)

    for _ in range(6):
        caller = threading.Thread(target=from_another_thread)
        caller.start()
        caller.join()
    assert len(helpers) == 2


def test_teams_at_once_have_helpers_of_their_own():
    teams = {}
    both = threading.Barrier(2)

    def call(name):
        def work():
            if OPENMP.omp_get_thread_num() == 0:
                both.wait(30)  # the other team works meanwhile
            return threading.get_native_id()

        teams[name] = on_team(3, work)

    callers = [threading.Thread(target=call, args=(name,)) for name in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len({*teams[0], *teams[1]}) == 6


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("start", "end", "step", "chunk"),
    [
        (0, 10, 1, 0),
        (0, 2, 1, 0),
        (5, 5, 1, 0),
        (9, 3, 1, 2),
        (3, 20, 4, 0),
        (20, 3, -4, 0),
        (0, 17, 1, 2),
        (7, -8, -2, 3),
    ],
)
def test_a_loop_is_shared_out_whole(threads, start, end, step, chunk):
    def iterations():
        first, last, taken = ctypes.c_long(), ctypes.c_long(), []
        place = ctypes.byref(first), ctypes.byref(last)
        more = OPENMP.GOMP_loop_static_start(*map(ctypes.c_long, (start, end, step, chunk)), *place)
        while more:
            taken.append(list(range(first.value, last.value, step)))
            more = OPENMP.GOMP_loop_static_next(*place)
        OPENMP.GOMP_loop_end_nowait()
        return taken

    turns = on_team(threads, iterations)
    whole = list(range(start, end, step))
    assert sorted(n for turn in turns for part in turn for n in part) == sorted(whole)
    if chunk:
        parts = [whole[at : at + chunk] for at in range(0, len(whole), chunk)]
        assert turns == [parts[number::threads] for number in range(threads)]
    else:
        sizes = [len(part) for turn in turns for part in turn]
        assert all(len(turn) <= 1 for turn in turns)
        assert max(sizes, default=0) - min(sizes, default=0) <= 1


def run(code: str) -> str:
    """What a new process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.strip()


# AddressSanitizer ends a process that loads a library with RTLD_DEEPBIND, which is needed here.
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="no RTLD_DEEPBIND under it")
def test_they_serve_where_libgomp_is_known_to_all_libraries():
    """As it is once torch is imported."""
    code = (
        "import ctypes; ctypes.CDLL('libgomp.so.1', ctypes.RTLD_GLOBAL)\n"
        "import jaxconv_onednn; print(jaxconv_onednn.version())"
    )
    assert run(code) == plugin.version()


def test_it_says_so_where_they_cannot_serve():
    code = (
        "import ctypes; from importlib.metadata import distribution\n"
        "files = distribution('onednn-cpu-gomp').files\n"
        "[library] = [file for file in files if file.name == 'libdnnl.so.3']\n"
        "ctypes.CDLL(str(library.locate()))\n"
        "try:\n    import jaxconv_onednn\nexcept ImportError as error:\n    print(error)"
    )
    assert run(code) == (
        "jaxconv_onednn: the oneDNN that is loaded does not run on the plugin's threads: another "
        "library loaded it before, or it is not that of onednn-cpu-gomp"
    )


def test_a_forked_child_has_helpers_of_its_own():
    code = (
        "import ctypes, os, jaxconv_onednn\n"
        "openmp, seen = jaxconv_onednn._LIBRARY, []\n"
        "work = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(\n"
        "    lambda data: seen.append(openmp.omp_get_thread_num()))\n"
        "def team():\n"
        "    openmp.GOMP_parallel(work, None, 3, 0)\n"
        "    return sorted(seen)\n"
        "assert team() == [0, 1, 2]\n"
        "seen.clear()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if team() == [0, 1, 2] else 1)\n"
        "print(os.waitpid(child, 0)[1])"
    )
    assert run(code) == "0"


# Of a copy of the plugin that is not beside oneDNN.
MOVED = """
import jax.numpy as jnp, jaxconv, jaxconv_onednn
x, w = jnp.ones((1, 8, 8, 16)), jnp.ones((3, 3, 16, 16))
y = jaxconv.conv(x, w, method="onednn")
print(jaxconv_onednn.__file__, jaxconv_onednn._LIBRARY.jaxconv_onednn_has_own_threads(), y.sum())
"""


def test_onednn_is_found_where_its_wheel_is_installed(tmp_path):
    package = Path(plugin.__file__).parent
    moved = shutil.copytree(package, tmp_path / package.name)
    shutil.copy(plugin._LIBRARY._name, moved / "_plugin.so")
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    given = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    printed = subprocess.check_output([sys.executable, "-c", MOVED], env=given, text=True)
    assert printed == f"{moved / '__init__.py'} 1 {36 * 16 * 144}.0\n"
