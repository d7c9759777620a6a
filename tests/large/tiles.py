"""Filter a very large image with little memory: `tiles.py FOLDER [--size 40000]`.

Generates a uint8 image tile by tile into FOLDER/x.zarr (1.6 GB for 40,000 x 40,000; kept for the
next call), filters it into FOLDER/y.zarr in a process of its own, and compares boxes at corners of
tiles and of the image with the filter in memory. Prints, and fails without:

- the peak of resident memory beyond the runtime (the same process after a small run): below 1 GiB;
- pixels a second, beside those of the same filter on a piece in memory: at least half.
"""

import argparse
import itertools
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np

from jaxconv._files.zarr import ZarrSource, ZarrTarget
from jaxconv.tiles import _program as program
from jaxconv.tiles import apply_tiled

CHUNK, PIECE = 2048, 4096
MODE = "symmetric"
KERNEL = (np.outer([1, 2, 1], [1, 2, 1]) / 16).astype(np.float32)
GIB = 2**30


def generate(path: Path, size: int) -> None:
    """Noise, a tile at a time; the marker file is written after the last one."""
    marker = path.with_name("x.whole")
    if marker.exists() and ZarrSource(path).shape == (size, size):
        return
    shutil.rmtree(path, ignore_errors=True)
    store = ZarrTarget(path, (size, size), "uint8", (min(CHUNK, size),) * 2)
    for y, x in itertools.product(range(0, size, CHUNK), repeat=2):
        height, width = min(CHUNK, size - y), min(CHUNK, size - x)
        values = np.random.default_rng((y, x)).integers(0, 256, (height, width), np.uint8)
        store.write((slice(y, y + height), slice(x, x + width)), values)
    marker.touch()


def in_memory(x: np.ndarray, method: str) -> tuple[np.ndarray, float]:
    """The same program on an extended plane, and the median of its seconds."""
    rule = program.Rule(2, (1, 1), (1, 1), 1, False, method, None, False, False, "uint8")
    valid = np.array([n - k + 1 for n, k in zip(x.shape, KERNEL.shape, strict=True)], np.int32)
    numbers = np.array([255, 0, 0, 1, 255], np.float32)
    operands = KERNEL[..., None, None], np.zeros(1, np.float32), numbers, valid
    operands = jax.device_put((x[..., None], *operands))
    y = np.asarray(program.run(*operands, rule=rule)[0])[..., 0]
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        jax.block_until_ready(program.run(*operands, rule=rule))
        seconds.append(time.perf_counter() - began)
    return y, statistics.median(seconds)


def peak() -> int:
    """The most memory this process ever had, in bytes (Linux)."""
    # getrusage would count the memory that the parent had before it started this process
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def run(folder: Path, tile: int, method: str, small: int) -> None:
    """A small run, which loads the runtime, then the large one; prints their memory and time."""
    store = ZarrTarget(folder / "small.zarr", (small, small), "uint8", (small, small))
    store.write((slice(0, small),) * 2, np.zeros((small, small), np.uint8))
    options = {"padding_mode": MODE, "method": method}
    apply_tiled(folder / "small.zarr", KERNEL, folder / "small-y.zarr", tile=small, **options)
    runtime, began = peak(), time.perf_counter()
    done = apply_tiled(folder / "x.zarr", KERNEL, folder / "y.zarr", tile=tile, **options)
    seconds = time.perf_counter() - began
    report = {"runtime": runtime, "peak": peak(), "seconds": seconds}
    report |= {"tiles": done.tiles, "method": done.method}
    print(json.dumps(report))


def compare(folder: Path, size: int, tile: int, method: str) -> int:
    """Boxes around corners of tiles and of the image; returns how many."""
    x, y = ZarrSource(folder / "x.zarr"), ZarrSource(folder / "y.zarr")
    reach = max(KERNEL.shape)
    last = (size - 1) // tile * tile
    places = {0, min(tile, size - 1), last, max(size - 64, 0)}
    for top, left in itertools.product(sorted(places), repeat=2):
        box, wide, pads = [], [], []
        for n, k in ((top, KERNEL.shape[0]), (left, KERNEL.shape[1])):
            a, b = max(n - 32, 0), min(n + 32, size)
            lo, hi = (k - 1) // 2, k - 1 - (k - 1) // 2
            box.append(slice(a, b))
            wide.append(slice(max(a - reach, 0), min(b + reach, size)))
            # positive: to extend beyond the image; negative: read in excess
            cut = (a - lo - wide[-1].start, wide[-1].stop - b - hi)
            pads.append(cut)
        values = np.pad(x.read(tuple(wide)), [(max(-c, 0), max(-d, 0)) for c, d in pads], MODE)
        values = values[
            tuple(
                slice(max(c, 0), n - max(d, 0))
                for n, (c, d) in zip(values.shape, pads, strict=True)
            )
        ]
        want, _ = in_memory(values, method)
        if not np.array_equal(want, y.read(tuple(box))):
            sys.exit(f"differs from the filter in memory around {top}, {left}")
    return len(places) ** 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=40_000)
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--method", default="auto")
    parser.add_argument("--only-run", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder, size, tile = given.folder, given.size, min(given.tile, given.size)
    if given.only_run:
        run(folder, tile, given.method, small=64)
        return
    folder.mkdir(parents=True, exist_ok=True)
    generate(folder / "x.zarr", size)
    for name in ("small.zarr", "small-y.zarr", "y.zarr"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / f"{name}.finished").unlink(missing_ok=True)
        (folder / f"{name}.unfinished").unlink(missing_ok=True)
    arguments = [folder, "--only-run", "--tile", tile, "--method", given.method]
    piece = ZarrSource(folder / "x.zarr").read((slice(min(PIECE, size)),) * 2)
    before = in_memory(piece, given.method)[1]
    child = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)], stdout=subprocess.PIPE, check=True
    )
    alone = statistics.mean((before, in_memory(piece, given.method)[1]))
    report = json.loads(child.stdout)
    boxes = compare(folder, size, tile, report["method"])
    beyond = report["peak"] - report["runtime"]
    rates = size**2 / report["seconds"] / 1e6, piece.size / alone / 1e6
    h, w = KERNEL.shape
    print(
        f"{size} x {size} uint8, {h}x{w} kernel, {report['method']}, "
        f"{report['tiles']} tiles of {tile}"
    )
    print(f"equal to the filter in memory in {boxes} boxes at corners of tiles and of the image")
    print(f"peak memory {beyond / GIB:.2f} GiB beyond the runtime's {report['runtime'] / GIB:.2f}")
    print(
        f"{report['seconds']:.1f} s: {rates[0]:.0f} million pixels/s; in memory, on "
        f"{'x'.join(map(str, piece.shape))}: {rates[1]:.0f}; ratio {rates[0] / rates[1]:.2f}"
    )
    if beyond > GIB or rates[0] < rates[1] / 2:
        sys.exit("too much memory, or too slow")


if __name__ == "__main__":
    main()
