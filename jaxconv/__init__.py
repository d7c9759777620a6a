"""Convolution for JAX as pure functions: definitions you can read, kernels you can learn."""

from jaxconv.functional import corr2d

__all__ = ["corr2d"]
__version__ = "0.1.0"
