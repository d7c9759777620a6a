"""Kernels that vary from place to place."""

from jaxconv.varying._apply import convolve, correlate
from jaxconv.varying._grid import kernel_at

__all__ = ["convolve", "correlate", "kernel_at"]
