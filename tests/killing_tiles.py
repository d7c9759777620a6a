"""Kills tiled runs at random moments, resumes them, and compares: `killing_tiles.py SEED KILLS`.

One process imports everything and forks a child for each run: JAX's backends start in the child,
so that the fork happens while there is one thread. After each kill every tile that the journal has
is compared with the result of a run left alone. Run by test_tiles_journal.py.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import tifffile

from jaxconv.tiles import apply_tiled

TILE, SIZE = 48, 480
X = np.random.default_rng(0).integers(1, 255, (SIZE, SIZE), np.uint8)
K = np.full((5, 4), 1 / 20, np.float32)


def fork(source: Path, target: Path) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            apply_tiled(source, K, target, tile=TILE, resume=True, padding_mode="circular")
            code = 0
        finally:
            os._exit(code)
    return pid


def recorded(target: Path) -> list[int]:
    journal = target.with_name(target.name + ".unfinished")
    if not journal.exists():
        return []
    whole = [line for line in journal.read_bytes().splitlines(True) if line.endswith(b"\n")]
    return [json.loads(line)[0] for line in whole[1:]]


def tiles_of(target: Path) -> Callable[[int, int], np.ndarray]:
    """Read a tile without tensorstore, whose threads forbid to fork: a chunk is a plain file."""
    if target.suffix == ".zarr":
        return lambda y, x: np.fromfile(target / "c" / str(y) / str(x), np.uint8)
    whole = tifffile.imread(target).reshape(SIZE // TILE, TILE, SIZE // TILE, TILE)
    return lambda y, x: whole[y, :, x].ravel()


def killed(pid: int, target: Path, tiles: int, delay: float) -> bool:
    """Kill the child once so many tiles are on record; False if it had ended by then."""
    while len(recorded(target)) < tiles:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def main(seed: int, kills: int) -> None:
    rng = random.Random(seed)
    root = Path(tempfile.mkdtemp())
    tifffile.imwrite(root / "x.tif", X)
    count = (SIZE // TILE) ** 2
    for suffix in ("zarr", "tif"):
        alone, target = root / f"alone.{suffix}", root / f"y.{suffix}"
        os.waitpid(fork(root / "x.tif", alone), 0)
        moments, least = [], 0
        while len(moments) < kills:
            tiles = rng.randint(least, least + (count - least) // 2)
            if killed(fork(root / "x.tif", target), target, tiles, rng.uniform(0, 0.005)):
                done = recorded(target)
                moments.append(len(done))
                least = len(done)
                compare(alone, target, done, moments)
            else:
                break  # it was quicker than we
        os.waitpid(fork(root / "x.tif", target), 0)
        compare(alone, target, range(count), moments)
        if not target.with_name(target.name + ".finished").exists():
            sys.exit(f"{suffix}: did not finish after kills at {moments}")
        print(f"{suffix}: {len(moments)} kills, after {moments} of {count} tiles")
    shutil.rmtree(root)


def compare(alone: Path, target: Path, done: Iterable[int], moments: list[int]) -> None:
    if not done:
        return
    want, have = tiles_of(alone), tiles_of(target)
    for number in done:
        place = divmod(number, SIZE // TILE)
        if not np.array_equal(want(*place), have(*place)):
            sys.exit(f"{target.name}: tile {number} is torn; kills so far after {moments} tiles")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # jax warns of every fork
        main(int(sys.argv[1]), int(sys.argv[2]))
