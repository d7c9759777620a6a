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
    batch = problem.batch * math.prod(problem.spec.input_size[: simple.folded])
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
    """Dense convolutions are matrix products; grouped ones a scalar loop."""
    spec, common = problem.spec, _common(problem)
    work, dense = common["work"], spec.groups == 1
    strides = math.prod(spec.stride)
    spread = strides if problem.contraction == "input" else 1
    depth = {"output": problem.inputs, "input": problem.outputs, "kernel": 1}[problem.contraction]
    width = {"output": problem.outputs, "input": problem.inputs, "kernel": problem.outputs}
    made = width[problem.contraction]
    regular, thin = spec.rank < 3, problem.inputs * problem.outputs == 1
    return {
        "dense work": work * spread if dense and regular else 0.0,
        "dense work a channel read": work * spread / depth if dense and regular else 0.0,
        "dense work a channel made": work * spread / made if dense and regular else 0.0,
        "volume work": work * spread if dense and not regular else 0.0,
        "volume work a channel read": work * spread / depth if dense and not regular else 0.0,
        "volume work a channel made": work * spread / made if dense and not regular else 0.0,
        "plane": common["x"] + common["y"] if dense and thin else 0.0,
        "plane work": work * spread if dense and thin else 0.0,
        "grouped work": 0.0 if dense else work * spread,
        "grouped work a channel read": 0.0 if dense else work * spread / depth,
        # a gradient of groups is computed for every pair of groups, but for depthwise ones
        "work of pairs of groups": work * spec.groups
        if problem.contraction == "kernel" and not dense and problem.inputs * problem.outputs > 1
        else 0.0,
    }


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
    """Lax's convolution on a grid as large as y, with as many channels as there are phases."""
    found = _lax(problem)
    strides = math.prod(problem.spec.stride)
    wide = {name: term / strides for name, term in found.items()}
    return {**wide, "interleaved": _common(problem)["x"] if strides > 1 else 0.0}


def _slabs(problem: Problem) -> dict[str, float]:
    """Sums of planes' convolutions, one for each entry of the kernel along the first axes."""
    spec, common = problem.spec, _common(problem)
    if spec.rank < 3:
        return {**_lax(problem), "sums": 0.0}
    entries = math.prod(spec.kernel_size[:-2])
    found = _lax(problem)
    # planes of a volume are as regular as any plane
    planes = {name: found[name.replace("dense", "volume")] for name in found if "dense" in name}
    return {**found, **planes, "sums": entries * (common["x"] + common["y"])}


def _onednn(problem: Problem) -> dict[str, float]:
    """OneDNN's kernels work on blocks of 16 channels; what does not fill one is slower."""
    spec, common = problem.spec, _common(problem)
    work, g, i, o = common["work"], spec.groups, problem.inputs, problem.outputs
    depthwise = g > 1 and i == 1 and o == 1
    strides = math.prod(spec.stride)
    return {
        "dense work": work if g == 1 else 0.0,
        "thin work": work / min(i, 16) + work / min(o, 16) if g == 1 else 0.0,
        "grouped work": work / min(i, 16) + work / min(o, 16) if g > 1 and not depthwise else 0.0,
        "depthwise work": work if depthwise else 0.0,
        "ragged work": work if depthwise and g % 16 else 0.0,
        "plane": common["x"] + common["y"] if g * i * o == 1 else 0.0,
        "plane work": work if g * i * o == 1 else 0.0,
        "strided": work if strides > 1 and problem.contraction == "input" else 0.0,
        "line work": work if spec.rank == 1 and g == 1 else 0.0,
        "multiplied work": work if g > 1 and i == 1 < o else 0.0,
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
