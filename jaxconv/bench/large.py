"""Time direct sums of large kernels beside FFT: the price of errors that stay local.

    python -m jaxconv.bench.large [REGEX]

Forward, gradient in x and gradient in w of planes, lines and depthwise layers, by each method that
sums directly; the values are checked against FFT in float64 first. Prints milliseconds, and shares
of the time of our method "fft".
"""

import re
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from jaxconv._core.dispatch.choose import refusal, select
from jaxconv._core.dispatch.primitive import OPERANDS, contract
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import Contraction, ConvSpec, normalise
from jaxconv.bench import float64_answers, tables
from jaxconv.bench.measure import estimate, race
from jaxconv.bench.numerics import FLOAT32
from jaxconv.bench.regret import NO_PLUGIN

METHODS = ("fft", "taps", "shifts", "onednn", "lax")
CONTRACTIONS: tuple[Contraction, ...] = ("output", "input", "kernel")
# Methods that loop over single multiply-adds are left out above this number of them.
MOST_LOOPED = 5e8
BUDGET = 0.8

Case = tuple[str, tuple[int, ...], tuple[int, ...]]
CASES: tuple[Case, ...] = (
    *(
        (f"{k}x{k} on {size}^2", (1, size, size, 1), (k, k, 1, 1))
        for size in (512, 1024, 2048)
        for k in (31, 47, 64)
    ),
    *((f"{k}x{k} on 512^2", (1, 512, 512, 1), (k, k, 1, 1)) for k in (11, 15, 21)),
    ("31x31 on 8x128^2", (8, 128, 128, 1), (31, 31, 1, 1)),
    *(
        (f"{taps} taps on {length:,}", (1, length, 1), (taps, 1, 1))
        for length in (10_000, 100_000, 1_000_000)
        for taps in (101, 1000)
    ),
    *((f"31x31 depthwise, {c} on 56^2", (1, 56, 56, c), (31, 31, 1, c)) for c in (8, 64)),
    ("13x13 depthwise, 64 on 56^2", (1, 56, 56, 64), (13, 13, 1, 64)),
    ("13x13 depthwise, 64 on 8x56^2", (8, 56, 56, 64), (13, 13, 1, 64)),
)


def main(pattern: str = "") -> None:
    """Measure all whose names match, and print a table."""
    console = Console(width=150, highlight=False)
    tables.print_machine(console, tables.machine())
    table = Table("case", "without plugin", *METHODS, box=box.SIMPLE_HEAD)
    for name, problem, operands in cases():
        if not re.search(pattern, name):
            continue
        times = seconds(problem, operands)
        row = [tables.milliseconds(times.get("fft"))]
        for method in METHODS[1:]:
            share = f" ({times[method] / times['fft']:.2f})" if method in times else ""
            row.append(tables.milliseconds(times.get(method)) + share)
        # what is taken without the plugin
        table.add_row(name, select(problem, ffi_unavailable_reason=NO_PLUGIN).method, *row)
        print(name, {m: f"{1e3 * t:.3g}" for m, t in times.items()}, file=sys.stderr, flush=True)
    console.print("Milliseconds, and shares of FFT's; - for methods that refuse or take seconds")
    console.print(table)


def cases() -> Iterator[tuple[str, Problem, list[np.ndarray]]]:
    """Each case in three contractions, with random operands."""
    for name, x, w in CASES:
        groups = x[-1]
        spec = normalise("large", x, w, padding="same", groups=groups)
        draw = np.random.default_rng(0)
        y = (x[0], *spec.output_size, w[-1])
        arrays = {
            n: draw.standard_normal(s, np.float32) for n, s in zip("xwy", (x, w, y), strict=True)
        }
        for contraction in CONTRACTIONS:
            operands = [arrays[n] for n in OPERANDS[contraction]]
            problem = Problem(contraction, spec, x[0], 1, 1, "float32", "cpu")
            yield f"{name}, {contraction}", problem, operands


def seconds(problem: Problem, operands: list[np.ndarray]) -> dict[str, float]:
    """Median time of each method that can compute a problem; raises if its values are wrong."""
    spec = problem.spec
    a, b = operands
    wanted = _by_fft(problem.contraction, a, b, spec)
    work = problem.batch * spec.groups * np.prod([*spec.output_size, *spec.kernel_size])
    calls: dict[str, Callable[[], Any]] = {}
    for method in METHODS:
        slow = method == "lax" or (method == "taps" and problem.contraction == "kernel")
        if refusal(problem, method) or (slow and work > MOST_LOOPED):
            continue

        def run(a: jax.Array, b: jax.Array, method: str = method) -> jax.Array:
            return contract(problem.contraction, a, b, spec, dtype="float32", method=method)

        arrays = [jnp.asarray(a) for a in operands]
        compiled = jax.jit(run).lower(*arrays).compile()
        call = lambda compiled=compiled, arrays=arrays: jax.block_until_ready(compiled(*arrays))  # noqa: E731
        (error,) = float64_answers.errors(
            {"result": np.asarray(call())}, {"result": wanted}
        ).values()
        if not error <= FLOAT32.tolerance:
            raise AssertionError(f"{method} is off by {error:.1e} of the largest value: {problem}")
        calls[method] = call
    once = {method: estimate(call) for method, call in calls.items()}
    near = {m: call for m, call in calls.items() if once[m] < 40 * min(once.values())}
    raced = race(near, {m: m for m in near}, budget=BUDGET * len(near), rounds=3)
    return once | {method: statistics.median(taken) for method, taken in raced.items()}


def _by_fft(contraction: str, a: np.ndarray, b: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """The result in float64 for unstrided layers of one channel a group, by NumPy's FFT."""
    axes = tuple(range(1, 1 + spec.rank))
    size = tuple(n + lo + hi for n, (lo, hi) in zip(spec.input_size, spec.padding, strict=True))

    def spectrum(array: np.ndarray) -> np.ndarray:
        return np.fft.rfftn(array.astype(np.float64), size, axes)

    def embedded(x: np.ndarray) -> np.ndarray:
        return np.pad(x, [(0, 0), *spec.padding, (0, 0)])

    def plane(product: np.ndarray, first: list[int], shape: tuple[int, ...]) -> np.ndarray:
        found = np.fft.irfftn(product, size, axes)
        places = (slice(lo, lo + n) for lo, n in zip(first, shape, strict=True))
        return found[:, *places]

    origin = [0] * spec.rank
    if contraction == "kernel":
        product = spectrum(embedded(a)) * spectrum(b).conj()
        return plane(product.sum(0, keepdims=True), origin, spec.kernel_size)[0][..., None, :]
    kernel = spectrum(b[..., 0, :][None])
    if contraction == "output":
        return plane(spectrum(embedded(a)) * kernel.conj(), origin, spec.output_size)
    return plane(spectrum(a) * kernel, [lo for lo, _ in spec.padding], spec.input_size)


if __name__ == "__main__":
    main(*sys.argv[1:])
