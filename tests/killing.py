"""Kills runs of learning at random moments, resumes them, and compares: `killing.py SEED N M`.

N kills of `jaxconv learn` on two files, and M of runs of random crops of two images.

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
from matplotlib.figure import Figure

from jaxconv import cli
from jaxconv._files import images
from jaxconv.cli import learn as command  # noqa: F401 (imported once, for all children)
from jaxconv.cli.metrics import metrics
from jaxconv.learn import Checkpoints, fit_conv
from jaxconv.learn._checkpoints import kept_steps

X = np.random.default_rng(0).normal(size=(12, 13)).astype(np.float32)
Y = X[:-2, :-1] - 2 * X[1:-1, 1:]
STEPS = 16
KINDS = ("the command", "crops of two")


def child(kind: str, folder: Path, kept: Path | None) -> None:
    """One run, which leaves its result in a file if it is let."""
    result = run_command(folder, kept) if kind == "the command" else run_crops(folder, kept)
    (folder / "result.new").write_bytes(result)
    (folder / "result.new").rename(folder / "result")


def run_command(folder: Path, kept: Path | None) -> bytes:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    Figure.savefig = lambda _, path: path.write_bytes(b"")
    long = [] if kept is None else ["--checkpoint", kept, "--checkpoint-every", 1, "--resume"]
    arguments = [folder.parent / "x.tif", folder.parent / "y.tif", *long, "--steps", STEPS]
    arguments += ["--out", folder / "out", "--metrics", folder / "metrics.csv"]
    if code := cli.main(["learn", *map(str, arguments)]):
        sys.exit(code)
    return b"".join((folder / "out" / name).read_bytes() for name in ("kernel.npy", "losses.csv"))


def run_crops(folder: Path, kept: Path | None) -> bytes:
    optimizer = optax.adam(optax.cosine_decay_schedule(0.3, 40))  # moments and a count to lose
    checkpoints = kept and Checkpoints(directory=kept, every=1, keep=2, resume=True)
    with metrics(folder / "metrics.csv", None) as files:
        # which piece of which image a step sees is drawn
        x, y = X[..., None], Y[..., None]
        fit = fit_conv(
            [x, -x[1:]],
            [y, -y[1:]],
            (3, 2),
            crop=(4, 5),
            crops=2,
            optimizer=optimizer,
            steps=STEPS,
            checkpoints=checkpoints,
            on_losses=lambda before, losses: files.add("grey", before, losses),
        )
    return b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(fit))


def fork(kind: str, folder: Path, kept: Path | None) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        jax.config.update("jax_disable_most_optimizations", True)  # most of the time is LLVM's
        try:
            child(kind, folder, kept)
            code = 0
        finally:
            os._exit(code)
    return pid


def killed(pid: int, kept: Path, after: float, *, save_first: bool) -> bool:
    """Kill the child after so many seconds, from its start or from its first save.

    Returns:
        False if it had ended by then.
    """
    before, end = kept_steps(kept), None if save_first else time.monotonic() + after
    while end is None or time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        if end is None and kept_steps(kept) != before:
            end = time.monotonic() + after
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def outcome(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "result").read_bytes(), (folder / "metrics.csv").read_bytes()


def main(seed: int, *kills: int) -> None:
    rng = random.Random(seed)
    root = Path(tempfile.mkdtemp())
    images.write(root / "x.tif", 0.5 + X / 10, bits=16)
    images.write(root / "y.tif", 0.5 + Y / 20, bits=16)
    start, runs = time.monotonic(), 0
    for kind, wanted in zip(KINDS, kills, strict=True):
        if not wanted:
            continue
        alone = root / kind
        alone.mkdir()
        began = time.monotonic()
        os.waitpid(fork(kind, alone, None), 0)  # left alone, and nothing kept
        moments, within = [], time.monotonic() - began
        while len(moments) < wanted:
            folder = root / str(runs)
            folder.mkdir()
            ours = folder / "kept"
            kept = ours / "grey" if kind == "the command" else ours  # a folder a plane
            while len(moments) < wanted:
                # in turns at any moment and, since imports and compilation take most, among saves
                save_first = len(moments) % 2 == 1
                after = within * (rng.uniform(0, 0.3) if save_first else rng.uniform(0.2, 1))
                if not killed(fork(kind, folder, ours), kept, after, save_first=save_first):
                    break
                moments.append(max(kept_steps(kept), default=0))
            else:
                os.waitpid(fork(kind, folder, ours), 0)
            if not (folder / "result").exists():
                sys.exit(f"{kind}, run {runs}: failed by itself after kills at {moments}")
            if outcome(folder) != outcome(alone):
                sys.exit(f"{kind}, run {runs}: ended elsewhere; kills so far at steps {moments}")
            runs += 1
        print(f"{kind}: {len(moments)} kills, steps {moments}")
    shutil.rmtree(root)
    print(f"{runs} runs, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # jax warns of every fork
        main(*map(int, sys.argv[1:]))
