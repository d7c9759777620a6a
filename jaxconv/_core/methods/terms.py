"""What the time of a method on a CPU grows with: the terms that several methods share.

    seconds = sum over terms of constant * term

A term is a count of a problem, 0 or more: elements read or written, multiply-adds, windows copied.
Its name says how it is counted; one name has one meaning in all methods.

| name | counts |
|---|---|
| `call` | 1 |
| `x`, `y`, `w` | elements of the arrays |
| `work` | multiply-adds, padding included: elements of y, times inputs, times kernel entries |
| `work inside` | multiply-adds without those that meet padding |
| `sqrt(...)` | the square root: waking threads, filling caches |
| `fresh` | elements of the result, if they are so many that each call gets new memory |
| `windows` | elements of the windows of x that are copied for a matrix product |
| `runs` | rows of neighbours that these copies consist of |
| `read`, `made` (in a formula) | channels summed over, channels made |
| `positions` (in a formula) | rows of the matrix product |
"""

import math
from collections.abc import Mapping

from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.shapes import outputs_inside
from jaxconv._core.geometry.spec import ConvSpec

Terms = Mapping[str, int | float]
# Channels of a result up to which they are unrolled and positions fill the vectors.
FEW = 4
# Elements of a result from which it is taken from the system anew for each call, page by page
# (32 MiB are where the C library's allocator stops keeping what is freed).
FRESH = 1 << 23
# Elements of a result from which XLA gives a loop that does little with each to two threads.
SHARED = 1 << 17
# Elements of x with its padding, for each element of x and y, beyond which it is mostly padding.
PADDED = 16


def common(problem: Problem) -> dict[str, int | float]:
    """Return the terms that every method has."""
    spec, n, i, o = problem.spec, problem.batch, problem.inputs, problem.outputs
    g, kernel = spec.groups, math.prod(spec.kernel_size)
    x = n * math.prod(spec.input_size) * g * i
    y = n * math.prod(spec.output_size) * g * o
    whole = {"x": x, "y": y, "w": kernel * g * i * o, "work": y * i * kernel}
    # what grows more slowly than what is computed: threads that are woken, caches that are filled
    roots = {f"sqrt({name})": math.sqrt(term) for name, term in whole.items()}
    # a kernel's gradient is small, but not the padded copy of what it is made from
    made = {"output": y, "input": x, "kernel": max(x, y)}[problem.contraction]
    fresh = {"fresh": made if made >= FRESH else 0}
    inner = {"work inside": n * pairs_inside(spec) * g * i * o}
    return {"call": 1.0, **whole, **roots, **fresh, **inner}


def pairs_inside(spec: ConvSpec) -> int:
    """Count pairs of an output position and an entry of the kernel that meet inside the input."""
    return math.prod(
        sum(len(outputs_inside(n, m, s, j * d - lo)) for j in range(k))
        for n, m, k, s, d, (lo, _) in spec.dimensions
    )


def mostly_padding(problem: Problem) -> bool:
    """Whether x with its padding is many times as large as x and y: under strides as wide."""
    spec = problem.spec
    if spec.is_symbolic:
        return False
    padded = math.prod(n + lo + hi for n, _, _, _, _, (lo, hi) in spec.dimensions)
    x, y = (math.prod(sizes) for sizes in (spec.input_size, spec.output_size))
    i, o = problem.inputs, problem.outputs
    return padded * i > PADDED * (x * i + y * o)


def windows(problem: Problem) -> dict[str, int | float]:
    """Dense convolutions are matrix products of windows that are copied out; grouped ones loops.

    A window is copied run by run: fast where all of a row of it lies together in memory and
    channels fill vectors, element by element where something is dilated.
    """
    spec = problem.spec
    work, dense, kernel = common(problem)["work"], spec.groups == 1, math.prod(spec.kernel_size)
    strides = math.prod(spec.stride)
    spread = strides if problem.contraction == "input" else 1
    i, o, n = problem.inputs, problem.outputs, problem.batch
    if problem.contraction == "output":
        read, made, positions, sparse = i, o, n * math.prod(spec.output_size), spec.dilation
    elif problem.contraction == "input":
        read, made, positions, sparse = o, i, n * math.prod(spec.input_size), spec.dilation
    else:  # batch and channels trade places, and so do kernel and output
        read, made, positions, sparse = n, o, kernel * i, spec.stride
    product = dense and kernel == strides == 1  # of matrices, with no windows
    copied = 0.0 if product else work / made
    seen = spec.output_size if problem.contraction == "input" else spec.input_size
    if dense and problem.contraction != "kernel" and kernel > math.prod(seen):
        # XLA then slides the image over the kernel: batch and results trade places
        positions, made = positions // max(n, 1) * made, max(n, 1)
        copied = positions * math.prod(seen) * read
    odd = spread > 1 or max(sparse) > 1
    ragged = copied if read % 8 else 0.0
    runs = positions * kernel / (1 if odd else spec.kernel_size[-1])
    found = {
        "windows": copied,
        "windows if rank > 1": copied if spec.rank > 1 else 0.0,
        "windows * stride": copied * spread if spread > 1 else 0.0,
        "windows if spread": copied if odd else 0.0,
        "windows if read % 8": ragged,
        "windows / read": copied / max(read, 1),
        "windows if read % 8 and padded": ragged if any(map(any, spec.padding)) else 0.0,
        "runs": 0.0 if problem.contraction == "kernel" or product else runs,
        "work if 1x1": work if product else 0.0,
        "work / min(made, 16)": work / min(made, 16),
        "work / min(read, 16)": work / min(max(read, 1), 16),
        "work * stride": work * spread if spread > 1 else 0.0,
        "work / min(positions, 1024)": work / min(max(positions, 1), 1024),
    }
    kind = "grouped" if not dense else "volume" if spec.rank > 2 else "layer"
    kind = "single" if kind == "layer" and i * o == 1 else kind
    named = {
        f"{which} {name}": term if which == kind else 0.0
        for which in ("single", "layer", "volume", "grouped")
        for name, term in found.items()
    }
    # a gradient of groups is computed for every pair of groups, but for depthwise ones
    every_pair = problem.contraction == "kernel" and not dense
    pairs = (i * o > 1) * spec.groups
    return named | {"work * groups": work * pairs if every_pair else 0.0}


def or_elements(problem: Problem, found: Terms, *, only: bool) -> dict[str, int | float]:
    """Return the terms of a method that XLA may make a loop over elements.

    Args:
        problem: the contraction and its sizes.
        found: the method's own terms where XLA makes another program of it.
        only: whether it is such a loop, which reads and writes elements and does no more.
    """
    shared = common(problem)
    result = shared["x" if problem.contraction == "input" else "y"]
    elements = {
        "elements": shared["x"] + shared["y"],
        "two threads": float(result >= SHARED),
    }
    if not only:
        return {**shared, **found, **dict.fromkeys(elements, 0.0)}
    kept = {"call": 1.0, "fresh": shared["fresh"]}
    return dict.fromkeys({**shared, **found}, 0.0) | elements | kept
