"""Transform lengths and blocks for `methods.fft`, chosen by a cost formula.

Along one axis a correlation without stride or dilation reads

    y[t] = sum over k < kernel of x[t + k - lo] w[k], t < outputs

and is exact on a circle of N elements if no index that wraps around meets an element of x: N need
only be max(size + lo, size + hi), not size + lo + hi, since the zeros before and after may be the
same zeros. Or the outputs are cut into blocks of `step`, each computed from a window of
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

# Nanoseconds per unit of each of `features`, in order. Measured on 2 cores of x86 with AVX-512, jax
# 0.10.2, 2026-11-22, float32, by `python -m jaxconv.bench.fft_constants`: rounded values between
# those of two runs. Three runs differ by up to 30% in the transforms, and by factors of 2 to 8 in
# the last three (an element moved, an iteration of the loop, a call), which matter little.
CONSTANTS = (0.85, 1.05, 0.55, 0.6, 1.6, 0.4, 3e3, 1.3e5)
LARGE = 1 << 21  # points of a plane from which it does not fit the outer cache
INNER = 24_000  # points of a complex block from which it does not fit the inner cache


class Line(NamedTuple):
    """One axis: size of x, zeros before and after (negative: cut off), size of the kernel."""

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
        """Size of the smallest circle on which the uncut axis is exact."""
        span = self.size + self.lo + self.hi
        return max(min(span, self.size + max(self.lo, self.hi)), self.kernel, self.outputs)


class Plan(NamedTuple):
    """Per axis: the transform length, the outputs of a block and the number of blocks.

    If a real array is cut, the outputs along the axis `halved` are halved first: the first `half`
    are real parts, the others imaginary parts, and steps and counts are for one half.
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
    """Numbers of planes to transform: of the array that is cut, of the result, and of kernels."""

    cut: int
    result: int
    kernels: int
    products: int = 1  # of two spectra

    @classmethod
    def of(cls, images: int, groups: int, inputs: int, outputs: int) -> "Planes":
        """Count them for a layer; `inputs` and `outputs` are channels of one group."""
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
    """Return all plans to consider, the one without blocks first."""
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
    """Return the expected nanoseconds on the machine of `CONSTANTS`: linear in the features."""
    return sum(map(operator.mul, CONSTANTS, features(plan, planes, real=real)))


def features(plan: Plan, planes: Planes, *, real: bool) -> tuple[float, ...]:
    """Return the factors of `CONSTANTS`.

    They are the operations of the transforms, in one of four places (blocks within and beyond the
    inner cache, whole arrays within and beyond the outer one), products, elements moved, iterations
    of the loop, and 1.

    A transform of V points takes V log2 V operations. A block of a real array is transformed
    together with the block of the other half, as one complex array.
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
    """Return (length, step, count) of an axis: uncut, then in more and more blocks."""
    cuts = [(fast_length(min(circle, outputs + line.kernel - 1)), outputs, 1)]
    count = 2
    while count <= min(most, outputs):
        step = -(-outputs // count)
        length = fast_length(step + line.kernel - 1)
        if length >= cuts[-1][0]:
            break
        # a fast length is longer than needed: use the rest for more outputs
        step = min(length - line.kernel + 1, outputs)
        cuts.append((length, step, -(-outputs // step)))
        count += -(-count // 4)
    return cuts


def axes_of(spec: ConvSpec) -> tuple[Line, ...]:
    """Return the axes of the correlation without stride or dilation, without unread elements."""
    lines = []
    for n, m, k, s, d, (lo, _) in spec.dimensions:
        taps = extent(k, d)
        lines.append(Line(n, lo, (m - 1) * s + taps - n - lo, taps))
    return tuple(lines)


def corners(axes: Iterable[Iterable[int]]) -> np.ndarray:
    """Return every combination of one start per axis, (count, rank)."""
    return np.array(list(itertools.product(*axes)), np.int32)
