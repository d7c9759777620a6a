"""What a method's time on a CPU grows with, by method: the terms of `costs`.

Multiply-adds, elements read and written, entries of the kernel that are looped over. Each name is a
constant's in `constants`.
"""

import math
from collections.abc import Callable, Mapping

from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.shapes import extent, fast_length
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods.fft import UNROLLED
from jaxconv._core.methods.onednn import implementation, repeats
from jaxconv._core.methods.residues import reach
from jaxconv._core.methods.rows import ACCUMULATORS
from jaxconv._core.methods.shifts import reads
from jaxconv._core.methods.slabs import plane_of
from jaxconv._core.methods.taps import PAIRS, loops

Terms = Mapping[str, float]
# Channels of a result up to which they are unrolled and positions fill the vectors.
FEW = 4
# Elements of a result from which it is taken from the system anew for each call, page by page
# (32 MiB are where the C library's allocator stops keeping what is freed).
FRESH = 1 << 23
# Elements of a result from which XLA gives a loop that does little with each to two threads.
SHARED = 1 << 17
# Channels of a depthwise layer up to which the plugin reads its rows element by element, if the
# last dimension is not strided: kRowChannels in native/src/plan.cc.
ROW_CHANNELS = 8


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
    # a kernel's gradient is small, but not the padded copy of what it is made from
    made = {"output": y, "input": x, "kernel": max(x, y)}[problem.contraction]
    fresh = {"fresh": made if made >= FRESH else 0}
    inner = {"inner work": n * _pairs(spec) * g * i * o}
    return {"call": 1.0, **whole, **roots, **fresh, **inner}


def _pairs(spec: ConvSpec) -> int:
    """Pairs of an output position and an entry of the kernel that meet inside the input."""
    return math.prod(
        sum(
            # outputs t with 0 <= t s + j d - lo < n
            max(0, min(m, (n - 1 + lo - j * d) // s + 1) - max(0, -((j * d - lo) // s)))
            for j in range(k)
        )
        for n, m, k, s, d, (lo, _) in spec.dimensions
    )


def _none(problem: Problem) -> dict[str, float]:
    del problem
    return {}


def _lax(problem: Problem) -> dict[str, float]:
    """Convolutions of XLA's, or a loop over elements."""
    return _or_elements(problem, _windows(problem), only=_elementwise(problem))


def _or_elements(problem: Problem, found: Terms, *, only: bool) -> dict[str, float]:
    """`found`, or if `only` the terms of a loop that does no more than read and write elements."""
    common = _common(problem)
    result = common["x" if problem.contraction == "input" else "y"]
    elements = {
        "elementwise": common["x"] + common["y"],
        "elementwise shared": float(result >= SHARED),
    }
    if not only:
        return {**found, **dict.fromkeys(elements, 0.0)}
    kept = {"call": 1.0, "fresh": common["fresh"]}
    return dict.fromkeys({**common, **found}, 0.0) | elements | kept


def _elementwise(problem: Problem) -> bool:
    """Whether XLA makes a loop over elements of a convolution: of entries that meet one channel."""
    spec, entries = problem.spec, math.prod(problem.spec.kernel_size)
    if problem.inputs * problem.outputs > 1:
        return False
    if spec.groups == 1:
        return entries <= 2
    return entries == math.prod(spec.stride) == 1 and problem.contraction != "kernel"


def _windows(problem: Problem) -> dict[str, float]:
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
    product = dense and kernel == strides == 1  # of matrices, with no windows
    windows = 0.0 if product else work / made
    seen = spec.output_size if problem.contraction == "input" else spec.input_size
    if dense and problem.contraction != "kernel" and kernel > math.prod(seen):
        # XLA then slides the image over the kernel: batch and results trade places
        places, made = places // max(n, 1) * made, max(n, 1)
        windows = places * math.prod(seen) * read
    odd = spread > 1 or max(sparse) > 1
    ragged = windows if read % 8 else 0.0
    runs = places * kernel / (1 if odd else spec.kernel_size[-1])
    found = {
        "windows": windows,
        "plane windows": windows if spec.rank > 1 else 0.0,
        "spread windows": windows * spread if spread > 1 else 0.0,
        "odd windows": windows if odd else 0.0,
        "ragged windows": ragged,
        "thin windows": windows / max(read, 1),
        "padded windows": ragged if any(map(any, spec.padding)) else 0.0,
        "runs": 0.0 if problem.contraction == "kernel" or product else runs,
        "product": work if product else 0.0,
        "work of few": work / min(made, 16),
        "work of few read": work / min(max(read, 1), 16),
        "spread work": work * spread if spread > 1 else 0.0,
        "work of few places": work / min(max(places, 1), 1024),
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
    return named | {"work of pairs of groups": work * pairs if every_pair else 0.0}


def _taps(problem: Problem) -> dict[str, float]:
    """Running sums vectorise along the last axis: channels, or a plane's rows."""
    if problem.contraction == "kernel":
        few = problem.spec.groups > 1 and problem.inputs * problem.outputs <= PAIRS
        taken, other = (_rows, _products) if few else (_products, _rows)
        return dict.fromkeys(other(problem), 0.0) | taken(problem)
    spec, n = problem.spec, problem.batch
    kernel, pairs = math.prod(spec.kernel_size), problem.inputs * problem.outputs
    strides = math.prod(spec.stride)
    one = kernel == strides == problem.inputs == problem.outputs == 1
    made, read, size, source = problem.outputs, problem.inputs, spec.output_size, spec.input_size
    if problem.contraction == "input":
        made, read, size, source = read, made, source, size
    places = math.prod(size)
    if problem.contraction == "input" and strides > 1:
        places = math.prod(m + q for m, q in zip(source, reach(spec), strict=True)) * strides
    result = n * places * spec.groups * made
    work = result * kernel * read / (strides if problem.contraction == "input" else 1)
    # what is last in `methods.taps._Form`
    if made == 1:
        last = spec.groups if spec.groups > 1 else max(size[-1], 1)
    else:
        last = spec.groups if spec.groups > 1 and read > 1 else made
    row = made == spec.groups == 1
    few = not row and last <= FEW
    lanes = last * max(size[-1], 1) if few else last
    # terms that are added to the result in one pass over it, and how many passes there are
    counts = tuple(-(-k // s) for k, s in zip(spec.kernel_size, spec.stride, strict=True))
    turns = loops(counts, read, not row).passes
    moved = read > 1 and spec.groups > 1
    found = {
        "done": work,
        "scalar work": work / min(lanes, 16),
        "half work": work / min(lanes, 64),
        "few work": work if few else 0.0,
        "row work": work if row else 0.0,
        "lines": result / last,
        "result": result,
        "entries": kernel,
        "pairs": kernel * pairs,
        "moved work": work if moved else 0.0,
        "looped work": work if turns > 1 else 0.0,
        "passes": turns * result if turns > 1 else 0.0,
        "moved": n * spec.groups * (math.prod(source) * read + places * made) if moved else 0.0,
        "strided": n * math.prod(spec.input_size) * spec.groups * problem.inputs
        if strides > 1
        else 0.0,
    }
    return _or_elements(problem, found, only=one)


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
    """One matrix product of windows, which are x as it is for unstrided kernels of one entry.

    Gradients of kernels copy windows image by image.
    """
    spec, common = problem.spec, _common(problem)
    i, o, g = problem.inputs, problem.outputs, spec.groups
    windows = common["y"] / max(o, 1) * i * math.prod(spec.kernel_size)
    if problem.contraction == "kernel":
        return {
            "windows": windows,
            "dilated work": common["work"] if max(spec.dilation) > 1 else 0.0,
            "images": problem.batch,
            "groups": problem.batch * g,
        }
    moved = windows if math.prod(spec.stride) > 1 or any(map(any, spec.padding)) else 0.0
    entries, work = math.prod(spec.kernel_size), common["work"]
    summed, made = (entries * i, o) if problem.contraction == "output" else (o, entries * i)
    places = problem.batch * math.prod(spec.output_size)
    found = {
        "moved": moved,
        "moved thinly": moved / min(max(i, 1), 16),
        "lines": places * g,
        "tiny lines": places * g if summed < FEW else 0.0,
        "tiny work": work if summed < FEW else 0.0,
        "work of few": work / min(max(made, 1), 16),
        "work of few read": work / min(max(summed, 1), 16),
        "work of few places": work / min(max(places, 1), 64),
    }
    # XLA makes a loop over elements of products of single ones, and tiny products of its own code
    kind = "elementwise" if summed == made == 1 else "dense" if g == 1 else "grouped"
    return {
        f"{which} {name}": term if which == kind else 0.0
        for which in ("elementwise", "dense", "grouped")
        for name, term in found.items()
    }


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
    kernels = spec.groups * i * o * block
    summed = {"output": i, "input": o, "kernel": 1}[problem.contraction]
    arrays = _common(problem)
    return {
        # a single plane lies as the transforms want it
        "channels first": arrays["x"] + arrays["y"] if spec.groups * i * o > 1 else 0.0,
        "transforms": planes * points * math.log2(max(block, 2)),
        "kernels": kernels * math.log2(max(block, 2)),
        "fresh kernels": kernels if kernels >= FRESH else 0.0,
        "spectra": n * spec.groups * i * o * points,
        "spectra in products": n * spec.groups * i * o * points if summed > UNROLLED else 0.0,
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
    found = _windows(Problem("output", inner, *sizes, problem.dtype, problem.platform))
    return {**found, "interleaved": _common(problem)["x"] if strides > 1 else 0.0}


def _slabs(problem: Problem) -> dict[str, float]:
    """Sums of planes' convolutions, one for each entry of the kernel along the first axes."""
    spec, common = problem.spec, _common(problem)
    entries = math.prod(spec.kernel_size[:-2])
    batch = problem.batch * math.prod(spec.output_size[:-2])
    found = _windows(problem._replace(spec=plane_of(spec), batch=batch))
    several = {name: term * entries for name, term in found.items()}
    return {**several, "sums": entries * (common["x"] + common["y"])}


def _shifts(problem: Problem) -> dict[str, float]:
    """A matrix product a row of the result, or of x in a kernel's gradient, for each group."""
    spec, read, made = problem.spec, problem.inputs, problem.outputs
    if spec.rank == 2:
        (columns, height), (down, across) = reads(problem.contraction, spec), spec.kernel_size
    else:  # it serves planes alone
        columns = height = down = across = math.inf
    if problem.contraction == "input":
        read, made = made, read
    products = problem.batch * spec.groups * height
    return {
        "products": products,
        "product work": products * columns * down * read * across * made,
        "read rows": products * columns * down * read,
        "made rows": products * columns * across * made,
        "sums": products * down * read * across * made,
        "shifts": products * across,
    }


def _onednn(problem: Problem) -> dict[str, float]:
    """Kernels of several kinds, on blocks of 16 channels; what does not fill one is slower."""
    spec, common = problem.spec, _common(problem)
    g, i, o = spec.groups, problem.inputs, problem.outputs
    work = common["inner work"]
    kind = "dense" if g == 1 else "depthwise" if i == o == 1 else "grouped"
    kind = "single" if g * i * o == 1 else kind
    repeated = repeats(problem.contraction, i, g * o, spec)
    kind = "repeated" if repeated else kind
    if kind in ("depthwise", "repeated") and g * o <= ROW_CHANNELS and spec.stride[-1] == 1:
        kind = "few"  # rows of elements, whatever their channel
    if "gemm" in implementation(problem.contraction, spec, problem.batch, i, o):
        kind = "product"  # of matrices, of windows that are copied out one image after the other
    wide = {"depthwise": g, "repeated": g * o, "few": g * o}.get(kind, o)
    odd = max(spec.stride) > 1 or max(spec.dilation) > 1
    found = {
        "work": work,
        "read": common["x"] * (o if repeated else 1),
        "made": common["y"],
        "entries": common["w"],
        "windows": problem.batch * math.prod(spec.kernel_size + spec.output_size) * g * i,
        "images": problem.batch * g,
        "work of few read": work / min(i, 16),
        "work of few made": work / min(wide, 16),
        "lines": common["y"] / spec.output_size[-1] * math.prod(spec.kernel_size[:-1]),
        "odd work": work if odd else 0.0,
        "volume work": work if spec.rank > 2 else 0.0,
        "line work": work if spec.rank == 1 else 0.0,
        "ragged work": work if wide % 16 or (i % 16 and wide == o) else 0.0,
    }
    return {
        f"{which} {name}": term if which == kind else 0.0
        for which in ("single", "few", "depthwise", "repeated", "grouped", "dense", "product")
        for name, term in found.items()
    }


_OF: Mapping[str, Callable[[Problem], dict[str, float]]] = {
    "lax": _lax,
    "taps": _taps,
    "products": _products,
    "columns": _columns,
    "fft": _fft,
    "phases": _phases,
    "shifts": _shifts,
    "slabs": _slabs,
    "onednn": _onednn,
}
