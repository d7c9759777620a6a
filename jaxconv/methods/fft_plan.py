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
from typing import NamedTuple

from jaxconv.shapes import fast_length

# Nanoseconds a point and a factor of two of the length for a transform there, the product and the
# transform back, on one thread (XLA's CPU FFT takes one). Fitted to planes of 512^2 to 4096^2 with
# kernels of 15^2 to 64^2; 2 cores of AVX-512 x86, jax 0.10.2, 2026-11. Only ratios matter here.
REAL = 0.48  # a whole array
REAL_LARGE = 0.63  # one beyond the outer cache: 2160^2 where 1080^2 takes 0.48
LARGE = 1 << 21
COMPLEX = 0.85  # a block, its copying included: 128^2; 96^2 and 144^2 are within 5%
COMPLEX_LARGE = 1.02  # one beyond the inner cache: 160^2 to 512^2
INNER = 24_000
TURN = 1e4  # nanoseconds for a turn of the loop over blocks


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


@functools.cache
def plan(lines: tuple[Line, ...], planes: Planes, *, real: bool) -> Plan:
    """Return the cheapest way to cut.

    Example:
        >>> plan((Line(28, 15, 15, 31),) * 2, Planes(1, 1, 1), real=True).lengths
        (45, 45)
        >>> plan((Line(176400, 0, 0, 4096),), Planes(1, 1, 1), real=True).counts[0] > 1
        True
    """
    most = 64 if len(lines) < 3 else 8
    lengths, steps = zip(*((fast_length(line.circle), line.outputs) for line in lines), strict=True)
    plans = [Plan(lengths, steps, (1,) * len(lines))]
    halved, half = halves(lines) if real else (None, 0)
    cuts = [
        _cuts(line, half, line.size + line.lo + line.hi, most)
        if axis == halved
        else _cuts(line, line.outputs, line.circle, most)
        for axis, line in enumerate(lines)
    ]
    for axes in itertools.product(*cuts):
        plans.append(Plan(*zip(*axes, strict=True), halved, half))
    return min(plans, key=lambda p: cost(p, planes, real=real))


def halves(lines: tuple[Line, ...]) -> tuple[int, int]:
    """Return the axis with most outputs, and half of them."""
    axis = max(range(len(lines)), key=lambda axis: lines[axis].outputs)
    return axis, -(-lines[axis].outputs // 2)


def cost(plan: Plan, planes: Planes, *, real: bool) -> float:
    """Nanoseconds on the machine of the constants above.

    A transform of V points takes V log2 V operations. Blocks of a real array go two by two, one as
    the real and one as the imaginary part of a complex transform.
    """
    points = math.prod(plan.lengths)
    work = points * math.log2(max(points, 2))
    through = (planes.cut + planes.result) / 2
    cached = points < INNER
    block = work * (COMPLEX if cached else COMPLEX_LARGE)
    if not plan.whole:
        turns = math.prod(plan.counts)
        return turns * (block * through + TURN) + block * planes.kernels / 2
    if real:
        block = work * (REAL if points < LARGE else REAL_LARGE)
    return block * (through + planes.kernels / 2)


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
