"""What the kernels for GPUs and TPUs compute along each dimension, and the loops they share.

The layer and its transpose are one sum: element `u phases + f` of the result adds, for each entry j
of phase f, the product of a kernel entry with element `u stride + offset + j dilation` of what is
read. The layer has one phase and its own stride; the transpose has `stride` phases and reads
without stride, so that no product with an inserted zero is ever formed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax import lax

from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods.residues import Residue, residues

# Entries of the kernel that are unrolled; more are looped over.
UNROLLED = 64


class Side(NamedTuple):
    """One dimension of a sum.

    Attributes:
        read: elements of the array that is read.
        made: elements of the result.
        stride: elements read between steps.
        phases: the entries for each phase of the result; a phase may have none.
    """

    read: int
    made: int
    stride: int
    phases: tuple[Residue, ...]

    @property
    def steps(self) -> int:
        """Steps u that cover the result."""
        return -(-self.made // len(self.phases))

    @property
    def offsets(self) -> tuple[int, int]:
        """The lowest and the highest element that step 0 reads."""
        ends = [
            phase.offset + j * phase.dilation
            for phase in self.phases
            if phase.number
            for j in (0, phase.number - 1)
        ]
        return min(ends), max(ends)

    def inside(self, steps: int) -> tuple[bool, bool]:
        """Whether so many steps read no element before the first, and none after the last."""
        low, high = self.offsets
        return low >= 0, (steps - 1) * self.stride + high < self.read


ONE = Side(1, 1, 1, (Residue(0, 0, 1, 1, 0, 1),))


def forward(spec: ConvSpec) -> tuple[Side, Side]:
    """The rows and columns of y as sums over x; a line is a single row."""
    sides = [
        Side(n, m, s, (Residue(0, 0, 1, k, -lo, d),)) for n, m, k, s, d, (lo, _) in spec.dimensions
    ]
    return _two(sides)


def backward(spec: ConvSpec) -> tuple[Side, Side]:
    """The rows and columns of x as sums over y.

    Element p of x adds w[k] y[t] where t s + k d = p + lo.
    """
    sides = []
    for n, m, k, s, d, (lo, _) in spec.dimensions:
        phases = [Residue(f, 0, 1, 0, 0, 1) for f in range(s)]
        for entry in residues(k, s, d):
            # p + lo = v s + phase reads y[v - offset - j dilation], and p = u s + f
            f = (entry.phase - lo) % s
            ahead = (entry.phase - lo - f) // s
            phases[f] = Residue(
                f, entry.first, entry.step, entry.number, -ahead - entry.offset, -entry.dilation
            )
        sides.append(Side(m, n, 1, tuple(phases)))
    return _two(sides)


def _two(sides: list[Side]) -> tuple[Side, Side]:
    return (ONE, sides[0]) if len(sides) == 1 else (sides[0], sides[1])


def entry(phase: Residue, j: Any) -> Any:
    """Return which entry of the kernel is number j of a phase."""
    return phase.first + phase.step * j


def element(phase: Residue, j: Any) -> Any:
    """Return which element step 0 reads for entry j of a phase."""
    return phase.offset + phase.dilation * j


def over(number: int, size: int, body: Callable[[Any, int, Any], Any], carry: Any) -> Any:
    """Fold body(first, count, carry) over parts of `size`, and what is left: one loop.

    `first` is traced where there are several whole parts.
    """
    whole, rest = divmod(number, size)
    if whole == 1:
        carry = body(0, size, carry)
    elif whole > 1:
        one = np.int32(size)
        carry = lax.fori_loop(
            np.int32(0), np.int32(whole), lambda i, carry: body(i * one, size, carry), carry
        )
    return body(whole * size, rest, carry) if rest else carry


def over_entries(
    rows: Residue,
    columns: Residue,
    body: Callable[[Any, int, Any, int, Any], Any],
    carry: Any,
    *,
    most: int | None = None,
) -> Any:
    """Fold body(first row, rows, first column, columns, carry) over the entries of two phases.

    At most `most` entries come at once, by default `UNROLLED`.
    """
    if not rows.number * columns.number:
        return carry
    most = most or UNROLLED
    wide = min(columns.number, most)
    high = min(rows.number, most // wide)

    def some_rows(row, count, carry):
        return over(
            columns.number,
            wide,
            lambda column, width, carry: body(row, count, column, width, carry),
            carry,
        )

    return over(rows.number, high, some_rows, carry)
