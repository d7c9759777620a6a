"""How `methods.fft` cuts a correlation into transforms: lengths and blocks, by a cost formula.

Along one axis a correlation without stride or dilation reads

    y[t] = sum over k < kernel of x[t + k - lo] w[k], t < outputs

and is exact on a circle of N elements as soon as no index that wraps around meets an element of x:
N need only be max(size + lo, size + hi), not size + lo + hi, since the zeros before and after may
be the same zeros. Or it is cut into blocks of `step` outputs, each from its own window of
step + kernel - 1 elements (overlap-save; Oppenheim and Schafer, "Discrete-Time Signal Processing",
section 8.7.3).
"""

import functools
import itertools
import math
import operator
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from jaxconv._core.geometry.shapes import extent, fast_length
from jaxconv._core.geometry.spec import ConvSpec

# Nanoseconds for a unit of each of `features`, one after another. Measured on 2 cores of x86 with
# AVX-512, jax 0.10.2, 2026-11-22, float32, by `python -m jaxconv.bench.fft_constants`: rounded
# between two runs of it. Three runs differ by up to 30% in the transforms, but by factors of 2 to 8
# in the last three, which are small beside them: an element moved, a turn of the loop, a call.
CONSTANTS = (0.85, 1.05, 0.55, 0.6, 1.6, 0.4, 3e3, 1.3e5)
LARGE = 1 << 21  # points of a plane beyond the outer cache
INNER = 24_000  # points of a complex block that the inner cache holds


class Line(NamedTuple):
    """One axis: elements of x, zeros before and after (negative: cut off), taps."""

    size: int
    lo: int
    hi: int
    kernel: int

    @property
    def outputs(self) -> int:
        """Positions of the kernel."""
        return self.size + self.lo + self.hi - self.kernel + 1

    @property
    def circle(self) -> int:
        """Elements of the smallest circle on which the whole axis is exact."""
        span = self.size + self.lo + self.hi
        return max(min(span, self.size + max(self.lo, self.hi)), self.kernel, self.outputs)


class Plan(NamedTuple):
    """Transform lengths, outputs a block and blocks, an entry an axis.

    Of a real array that is cut, the outputs of one axis are halved first: `half` outputs along
    `halved` are real parts, as many after them imaginary parts, and steps and counts are a half's.
    """

    lengths: tuple[int, ...]
    steps: tuple[int, ...]
    counts: tuple[int, ...]
    halved: int | None = None
    half: int = 0

    @property
    def whole(self) -> bool:
        """Whether everything is one block."""
        return self.halved is None and max(self.counts) == 1


class Planes(NamedTuple):
    """How many planes are transformed: a block of what is cut, a block of the result, kernels."""

    cut: int
    result: int
    kernels: int
    products: int = 1  # of two spectra

    @classmethod
    def of(cls, images: int, groups: int, inputs: int, outputs: int) -> "Planes":
        """Count them for a layer with so many channels in a group."""
        one = images * groups
        return cls(one * inputs, one * outputs, groups * inputs * outputs, one * inputs * outputs)


@functools.cache
def plan(lines: tuple[Line, ...], planes: Planes, *, real: bool) -> Plan:
    """Return the cheapest way to cut.

    Example:
        >>> plan((Line(28, 15, 15, 31),) * 2, Planes(1, 1, 1), real=True).lengths
        (45, 45)
        >>> plan((Line(176400, 0, 0, 4096),), Planes(1, 1, 1), real=True).counts[0] > 1
        True
    """
    found = plans(lines, real=real)
    return min(found, key=lambda p: cost(p, planes, real=real))


def plans(lines: tuple[Line, ...], *, real: bool) -> list[Plan]:
    """Every way that is considered, the one without blocks first."""
    most = 64 if len(lines) < 3 else 8
    lengths, steps = zip(*((fast_length(line.circle), line.outputs) for line in lines), strict=True)
    halved, half = halves(lines) if real else (None, 0)
    cuts = [
        _cuts(line, half, line.size + line.lo + line.hi, most)
        if axis == halved
        else _cuts(line, line.outputs, line.circle, most)
        for axis, line in enumerate(lines)
    ]
    found = [Plan(lengths, steps, (1,) * len(lines))]
    for axes in itertools.product(*cuts):
        lengths, steps, counts = zip(*axes, strict=True)
        found.append(Plan(lengths, steps, counts, halved, half))
    return found


def halves(lines: tuple[Line, ...]) -> tuple[int, int]:
    """Return the axis with most outputs, and half of them."""
    axis = max(range(len(lines)), key=lambda axis: lines[axis].outputs)
    return axis, -(-lines[axis].outputs // 2)


def cost(plan: Plan, planes: Planes, *, real: bool) -> float:
    """Nanoseconds on the machine of the constants above: linear in the features."""
    return sum(map(operator.mul, CONSTANTS, features(plan, planes, real=real)))


def features(plan: Plan, planes: Planes, *, real: bool) -> tuple[float, ...]:
    """Work of transforms in and beyond the caches, blocks and wholes; products; elements; turns; 1.

    A transform of V points takes V log2 V operations. A block of a cut real array is transformed
    with its other half's as one complex array, a whole one by itself.
    """
    points = math.prod(plan.lengths)
    through = (planes.cut + planes.result) / 2
    turns = math.prod(plan.counts)
    work = points * math.log2(max(points, 2)) * (turns * through + planes.kernels / 2)
    if plan.whole and not real:
        work *= 2  # as much as two real ones
    where = 2 * plan.whole + (points >= (LARGE if plan.whole else INNER))
    works = [work if place == where else 0.0 for place in range(4)]
    covered = math.prod(map(operator.mul, plan.steps, plan.counts))
    moved = covered * (planes.cut + planes.result)
    rest = (turns * points * planes.products, moved, 0 if plan.whole else turns, 1)
    return (*works, *map(float, rest))


def _cuts(line: Line, outputs: int, circle: int, most: int) -> list[tuple[int, int, int]]:
    """(length, step, count) of an axis: uncut, then in more and more blocks."""
    cuts = [(fast_length(min(circle, outputs + line.kernel - 1)), outputs, 1)]
    count = 2
    while count <= min(most, outputs):
        step = -(-outputs // count)
        length = fast_length(step + line.kernel - 1)
        if length >= cuts[-1][0]:
            break
        # what rounding to a fast length adds is room for more outputs
        step = min(length - line.kernel + 1, outputs)
        cuts.append((length, step, -(-outputs // step)))
        count += -(-count // 4)
    return cuts


def axes_of(spec: ConvSpec) -> tuple[Line, ...]:
    """The axes of the correlation without stride or dilation; what no window reaches is cut."""
    lines = []
    for n, m, k, s, d, (lo, _) in spec.dimensions:
        taps = extent(k, d)
        lines.append(Line(n, lo, (m - 1) * s + taps - n - lo, taps))
    return tuple(lines)


def corners(axes: Iterable[Iterable[int]]) -> np.ndarray:
    """(count, rank): every combination of one start an axis."""
    return np.array(list(itertools.product(*axes)), np.int32)
