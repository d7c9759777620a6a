"""Kernels that vary from place to place, as the blur of a lens does: fit them and apply them.

An even grid of nodes over an array has a kernel at each node; between nodes it is interpolated.
Arrays are (*grid, *kernel), of any rank.

| | |
|---|---|
| `correlate`, `convolve` | apply them, patch by patch, at the cost of 2^rank plain calls |
| `fit` | find all of them from an input and its output, as one least squares |
| `point_sources` | the input of stars or beads, from their places and brightnesses |
| `kernel_at` | the kernel of a place |
"""

from jaxconv.varying._apply import convolve, correlate
from jaxconv.varying._fit import VaryingFit, fit
from jaxconv.varying._grid import kernel_at
from jaxconv.varying._points import point_sources

__all__ = ["VaryingFit", "convolve", "correlate", "fit", "kernel_at", "point_sources"]
