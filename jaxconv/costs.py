"""Seconds that a method is expected to take on a CPU, as a sum of positive terms.

    seconds = sum over terms of constant * term

The terms of a problem say what grows with what: multiply-adds, elements read and written, entries
of the kernel that are looped over. The constants of each method and contraction are in
`jaxconv.constants`, fitted to measured times by `python -m jaxconv.bench.fit`.
"""

import math
from collections.abc import Callable, Mapping

from jaxconv.constants import CONSTANTS
from jaxconv.methods.rows import ACCUMULATORS
from jaxconv.methods.slabs import plane_of
from jaxconv.methods.taps import PAIRS, UNROLLED
from jaxconv.policy import Problem
from jaxconv.shapes import extent, fast_length
from jaxconv.simplify import simplify
from jaxconv.spec import ConvSpec

Terms = Mapping[str, float]


def simpler(problem: Problem) -> Problem:
    """Return the problem that methods get on one CPU: that of `jaxconv.simplify`.

    Args:
        problem: the contraction and its sizes.
    """
    simple = simplify(problem.spec)
    batch = problem.batch * math.prod(problem.spec.output_size[: simple.folded])
    return problem._replace(spec=simple.spec, batch=batch)


def seconds(method: str, problem: Problem) -> float:
    """Return the expected time of one call, infinite for a method without constants.

    Args:
        method: the method's name.
        problem: the contraction and its sizes.
    """
    constants = CONSTANTS.get((method, problem.contraction))
    if constants is None:
        return math.inf
    found = terms(method, problem)
    return sum(constant * found[name] for name, constant in constants.items())


def terms(method: str, problem: Problem) -> Terms:
    """Return the terms of a method's time on a problem, by name.

    Args:
        method: the method's name.
        problem: the contraction and its sizes.
    """
    return {**_common(problem), **_OF.get(method, _none)(problem)}


def _common(problem: Problem) -> dict[str, float]:
    spec, n, i, o = problem.spec, problem.batch, problem.inputs, problem.outputs
    g, kernel = spec.groups, math.prod(spec.kernel_size)
    x = n * math.prod(spec.input_size) * g * i
    y = n * math.prod(spec.output_size) * g * o
    whole = {"x": x, "y": y, "w": kernel * g * i * o, "work": y * i * kernel}
    # what grows more slowly than what is computed: threads that are woken, caches that are filled
    roots = {f"root of {name}": math.sqrt(term) for name, term in whole.items()}
    return {"call": 1.0, **whole, **roots, "inner work": n * _pairs(spec) * g * i * o}


def _pairs(spec: ConvSpec) -> int:
    """Pairs of an output position and an entry of the kernel that meet inside the input."""
    return math.prod(
        sum(
            # outputs t with 0 <= t s + j d - lo < n
            max(0, min(m, (n - 1 + lo - j * d) // s + 1) - max(0, -((j * d - lo) // s)))
            for j in range(k)
        )
        for n, m, k, s, d, (lo, _) in zip(
            spec.input_size,
            spec.output_size,
            spec.kernel_size,
            spec.stride,
            spec.dilation,
            spec.padding,
            strict=True,
        )
    )


def _none(problem: Problem) -> dict[str, float]:
    del problem
    return {}


def _lax(problem: Problem) -> dict[str, float]:
    """Dense convolutions are matrix products of windows that are copied out; grouped ones loops.

    A window is copied run by run: fast where all of a row of it lies together in memory and
    channels fill vectors, element by element where something is dilated.
    """
    spec, common = problem.spec, _common(problem)
    work, dense, kernel = common["work"], spec.groups == 1, math.prod(spec.kernel_size)
    strides = math.prod(spec.stride)
    spread = strides if problem.contraction == "input" else 1
    i, o, n = problem.inputs, problem.outputs, problem.batch
    if problem.contraction == "output":
        read, made, places, sparse = i, o, n * math.prod(spec.output_size), spec.dilation
    elif problem.contraction == "input":
        read, made, places, sparse = o, i, n * math.prod(spec.input_size), spec.dilation
    else:  # batch and channels trade places, and so do kernel and output
        read, made, places, sparse = n, o, kernel * i, spec.stride
    windows = work * spread / made
    odd = spread > 1 or max(sparse) > 1
    runs = places * kernel / (1 if odd else spec.kernel_size[-1])
    pairs = (i * o > 1) * spec.groups
    found = {
        "windows": windows,
        "odd windows": windows if odd else 0.0,
        "ragged windows": windows if read % 8 else 0.0,
        "runs": runs if problem.contraction != "kernel" else 0.0,
        "work a channel read": work * spread / max(read, 1),
        "all work": work * spread,
        "work of few": work * spread / min(made, 16),
        "work of few places": work * spread / min(max(places, 1), 1024),
    }
    kind = "grouped" if not dense else "volume" if spec.rank > 2 else "plane"
    named = {
        f"{which} {name}": term if which == kind else 0.0
        for which in ("plane", "volume", "grouped")
        for name, term in found.items()
    }
    # a gradient of groups is computed for every pair of groups, but for depthwise ones
    every_pair = problem.contraction == "kernel" and not dense
    return named | {"work of pairs of groups": work * pairs if every_pair else 0.0}


def _taps(problem: Problem) -> dict[str, float]:
    """Running sums vectorise along the last axis: channels, or a plane's rows."""
    if problem.contraction == "kernel":
        few = problem.spec.groups > 1 and problem.inputs * problem.outputs <= PAIRS
        taken, other = (_rows, _products) if few else (_products, _rows)
        return dict.fromkeys(other(problem), 0.0) | taken(problem)
    spec, common = problem.spec, _common(problem)
    kernel, pairs = math.prod(spec.kernel_size), problem.inputs * problem.outputs
    made, read = problem.outputs, problem.inputs
    if problem.contraction == "input":
        made, read = read, made
    # what is last in `methods.taps._Form`
    if made == 1:
        last = spec.groups if spec.groups > 1 else spec.output_size[-1]
    else:
        last = spec.groups if spec.groups > 1 and read > 1 else made
    strides = math.prod(spec.stride)
    return {
        "scalar work": common["work"] / min(last, 16),
        "half work": common["work"] / min(last, 64),
        "entries": kernel,
        "pairs": kernel * pairs,
        "looped work": common["work"] if kernel * read > UNROLLED else 0.0,
        "looped passes": kernel * read * common["y" if problem.contraction == "output" else "x"]
        if kernel * read > UNROLLED
        else 0.0,
        "lines": common["y"] / last,
        "strided": common["x"] if strides > 1 else 0.0,
    }


def _rows(problem: Problem) -> dict[str, float]:
    """A loop over rows with an accumulator for each entry of the kernel."""
    spec, common = problem.spec, _common(problem)
    kernel, pairs = math.prod(spec.kernel_size), problem.inputs * problem.outputs
    width = spec.output_size[-1] * problem.batch
    return {
        "rows work": common["work"] / min(spec.groups, 16),
        "rows": math.prod(spec.output_size[:-1]) * kernel,
        "rows entries": kernel * pairs,
        "rows sums": kernel * pairs * width * spec.groups,
        "rows looped": common["work"] if kernel * pairs > ACCUMULATORS else 0.0,
    }


def _products(problem: Problem) -> dict[str, float]:
    """A batched matrix product for each entry of the kernel."""
    spec, common = problem.spec, _common(problem)
    kernel = math.prod(spec.kernel_size)
    pairs = problem.inputs * problem.outputs
    return {
        "entries": kernel,
        "groups": kernel * spec.groups,
        "reads": kernel * common["y"] * (problem.inputs + problem.outputs) / problem.outputs,
        "thin work": common["work"] / min(pairs, 16),
        "very thin work": common["work"] / min(problem.inputs, problem.outputs, 16),
    }


def _columns(problem: Problem) -> dict[str, float]:
    """Windows copied out, one image at a time, then one matrix product."""
    spec, common = problem.spec, _common(problem)
    windows = common["y"] / problem.outputs * problem.inputs * math.prod(spec.kernel_size)
    return {"windows": windows, "images": problem.batch, "groups": problem.batch * spec.groups}


def _fft(problem: Problem) -> dict[str, float]:
    """Transforms of what is read and made, and products of spectra."""
    spec, n, i, o = problem.spec, problem.batch, problem.inputs, problem.outputs
    circles, blocks = [], []
    for size, kernel, dilation, (lo, hi) in zip(
        spec.input_size, spec.kernel_size, spec.dilation, spec.padding, strict=True
    ):
        span = extent(kernel, dilation)
        circle = fast_length(max(size + max(lo, hi), span, 1))
        circles.append(circle)
        blocks.append(min(circle, 8 * span))
    points, block = math.prod(circles), math.prod(blocks)
    planes = n * spec.groups * (i + o)
    return {
        "transforms": planes * points * math.log2(max(block, 2)),
        "kernels": spec.groups * i * o * block * math.log2(max(block, 2)),
        "spectra": n * spec.groups * i * o * points,
        "planes": planes * points / circles[-1],
    }


def _phases(problem: Problem) -> dict[str, float]:
    """Lax's convolution of y with as many channels as there are phases, which are interleaved."""
    spec = problem.spec
    strides = math.prod(spec.stride)
    kernel = tuple(
        -(-(k if s == 1 else extent(k, d)) // s)
        for k, s, d in zip(spec.kernel_size, spec.stride, spec.dilation, strict=True)
    )
    dilation = tuple(d if s == 1 else 1 for s, d in zip(spec.stride, spec.dilation, strict=True))
    reach = (extent(k, d) - 1 for k, d in zip(kernel, dilation, strict=True))
    padding = tuple((r // 2, r - r // 2) for r in reach)
    ones = (1,) * spec.rank
    inner = ConvSpec(ones, dilation, padding, spec.groups, spec.output_size, kernel)
    sizes = problem.batch, problem.outputs, problem.inputs * strides
    found = _lax(Problem("output", inner, *sizes, problem.dtype, problem.platform))
    return {**found, "interleaved": _common(problem)["x"] if strides > 1 else 0.0}


def _slabs(problem: Problem) -> dict[str, float]:
    """Sums of planes' convolutions, one for each entry of the kernel along the first axes."""
    spec, common = problem.spec, _common(problem)
    if spec.rank < 3:
        return {**_lax(problem), "sums": 0.0}
    entries = math.prod(spec.kernel_size[:-2])
    batch = problem.batch * math.prod(spec.output_size[:-2])
    found = _lax(problem._replace(spec=plane_of(spec), batch=batch))
    several = {name: term * entries for name, term in found.items()}
    return {**several, "sums": entries * (common["x"] + common["y"])}


def _onednn(problem: Problem) -> dict[str, float]:
    """Kernels of four kinds, on blocks of 16 channels; what does not fill one is slower."""
    spec, common = problem.spec, _common(problem)
    g, i, o = spec.groups, problem.inputs, problem.outputs
    work = common["inner work"]
    kind = "dense" if g == 1 else "depthwise" if i == o == 1 else "grouped"
    kind = "single" if g * i * o == 1 else kind
    wide = g if kind == "depthwise" else o
    odd = max(spec.stride) > 1 or max(spec.dilation) > 1
    found = {
        "work": work,
        "read": common["x"],
        "made": common["y"],
        "entries": common["w"],
        "work of few read": work / min(i, 16),
        "work of few made": work / min(wide, 16),
        "lines": common["y"] / spec.output_size[-1] * math.prod(spec.kernel_size[:-1]),
        "odd work": work if odd else 0.0,
        "volume work": work if spec.rank > 2 else 0.0,
        "line work": work if spec.rank == 1 else 0.0,
        "ragged work": work if wide % 16 or (i % 16 and kind != "depthwise") else 0.0,
    }
    return {
        f"{which} {name}": term if which == kind else 0.0
        for which in ("single", "depthwise", "grouped", "dense")
        for name, term in found.items()
    }


_OF: Mapping[str, Callable[[Problem], dict[str, float]]] = {
    "lax": _lax,
    "taps": _taps,
    "products": _products,
    "columns": _columns,
    "fft": _fft,
    "phases": _phases,
    "slabs": _slabs,
    "onednn": _onednn,
}
