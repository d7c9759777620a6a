"""Time filters of images with OpenCV's signatures beside OpenCV's own.

    python examples/benchmark_opencv.py [REGEX]

One image of 1024x1024, uint8 and float32; ours is called eagerly and within `jax.jit`. Values are
compared first: those of uint8 may differ by one level, where OpenCV's own are not the nearest.
Prints milliseconds, and ratios of our time.
"""

import re
import statistics
import sys
from collections.abc import Callable
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from jaxconv.bench import tables
from jaxconv.bench.measure import race
from jaxconv.bench.peers import cores
from jaxconv.compat import cv2 as ours

BUDGET = 0.5  # seconds a contestant and case
WIDTH = 1024
SIZES = (3, 5, 9, 31)
DTYPES = ("uint8", "float32")


def filters(size: int) -> dict[str, Callable[[Any, Any], Any]]:
    """Return calls of a module of filters by name."""
    kernel = np.random.default_rng(0).integers(1, 9, (size, size)).astype(np.float32)
    kernel /= kernel.sum()
    return {
        "GaussianBlur": lambda module, x: module.GaussianBlur(x, (size, size), 0),
        "filter2D": lambda module, x: module.filter2D(x, -1, kernel),
        "blur": lambda module, x: module.blur(x, (size, size)),
    }


def main(pattern: str = "") -> None:
    """Measure all whose names match, and print a table."""
    cv2.setNumThreads(cores())
    console = Console(width=120, highlight=False)
    tables.print_machine(console, tables.machine())
    names = ("OpenCV", "eager", "jit")
    table = Table("filter", *names, "eager / OpenCV", "jit / OpenCV")
    table.box = box.SIMPLE_HEAD
    image = np.random.default_rng(1).integers(0, 256, (WIDTH, WIDTH))
    for size in SIZES:
        for name, call in filters(size).items():
            for dtype in DTYPES:
                case = f"{name} {size}x{size} {dtype}"
                if not re.search(pattern, case):
                    continue
                calls = contestants(call, image.astype(dtype))
                found = race(calls, {label: label for label in calls}, budget=BUDGET * len(calls))
                times = {label: statistics.median(taken) for label, taken in found.items()}
                ratios = [f"{times[label] / times['OpenCV']:.2f}" for label in names[1:]]
                table.add_row(case, *(tables.milliseconds(times[n]) for n in names), *ratios)
                print(case, *ratios, file=sys.stderr, flush=True)
    console.print(table)


def contestants(call: Callable[[Any, Any], Any], image: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Return the calls by label, checked.

    Raises:
        AssertionError: a value of ours is another than OpenCV's, by more than its own error.
    """
    x = jnp.asarray(image)
    compiled = jax.jit(lambda x: call(ours, x)).lower(x).compile()
    calls = {
        "OpenCV": lambda: call(cv2, image),
        "eager": lambda: jax.block_until_ready(call(ours, x)),
        "jit": lambda: jax.block_until_ready(compiled(x)),
    }
    theirs = np.asarray(calls["OpenCV"](), np.float64)
    for label in ("eager", "jit"):
        most = 1 if image.dtype == np.uint8 else 1e-3
        assert np.abs(np.asarray(calls[label](), np.float64) - theirs).max() <= most, label
    return calls


if __name__ == "__main__":
    main(*sys.argv[1:])
