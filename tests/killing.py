"""Kills runs of learning at random moments, resumes them, and compares: `killing.py SEED KILLS`.

One process imports everything and forks a child for each run: JAX's backends start in the child,
so that the fork happens while there is one thread. Run by test_learn_long.py.
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import optax
import orbax.checkpoint  # noqa: F401 (imported once, for all children)

from jaxconv.cli.metrics import metrics
from jaxconv.learn import Checkpoints, fit_kernel
from jaxconv.learn.checkpoints import kept_steps

X = np.random.default_rng(0).normal(size=(12, 13)).astype(np.float32)
Y = X[:-2, :-1] - 2 * X[1:-1, 1:]
STEPS = 6


def child(folder: Path, checkpoints: Checkpoints | None) -> None:
    """One run, which leaves its result in a file if it is let."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.3, 40))  # moments and a count to lose
    with metrics(folder / "metrics.csv", None) as files:
        fit = fit_kernel(
            X,
            Y,
            (3, 2),
            optimizer=optimizer,
            steps=STEPS,
            init=np.zeros((3, 2)),
            checkpoints=checkpoints,
            on_losses=lambda before, losses: files.add("grey", before, losses),
        )
    result = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(fit))
    (folder / "result.new").write_bytes(result)
    (folder / "result.new").rename(folder / "result")


def fork(folder: Path, checkpoints: Checkpoints | None) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child(folder, checkpoints)
            code = 0
        finally:
            os._exit(code)
    return pid


def killed(pid: int, after: float) -> bool:
    """Kill the child after so many seconds; False if it had ended by then."""
    end = time.monotonic() + after
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def outcome(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "result").read_bytes(), (folder / "metrics.csv").read_bytes()


def main(seed: int, kills: int) -> None:
    rng = random.Random(seed)
    root = Path(tempfile.mkdtemp())
    alone = root / "alone"
    alone.mkdir()
    began = time.monotonic()
    os.waitpid(fork(alone, None), 0)  # left alone, and nothing kept
    moments, runs, within = [], 0, time.monotonic() - began
    while len(moments) < kills:
        folder = root / str(runs)
        folder.mkdir()
        ours = Checkpoints(directory=folder / "kept", every=1, keep=2, resume=True)
        # the machine's speed changes under us: later where all are killed, sooner where none is
        while killed(fork(folder, ours), rng.uniform(0.2, 1.0) * within):
            moments.append(max(kept_steps(folder / "kept"), default=0))
            within *= 1.1
        within *= 0.7
        if not (folder / "result").exists():
            sys.exit(f"run {runs} failed by itself after kills at {moments}")
        if outcome(folder) != outcome(alone):
            sys.exit(f"run {runs} ended elsewhere; kills so far came at steps {moments}")
        runs += 1
    shutil.rmtree(root)
    print(f"{len(moments)} kills, {runs} runs, {time.monotonic() - began:.0f} s, steps {moments}")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # jax warns of every fork
        main(int(sys.argv[1]), int(sys.argv[2]))
