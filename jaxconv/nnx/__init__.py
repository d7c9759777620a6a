"""Flax NNX modules: `Conv2D` of D2L, chapter 6, Flax's own, and depthwise and separable layers.

Parameters have the names, shapes and initial values of `flax.nnx`, so its states can be loaded.
"""

from jaxconv._core.extras import needed_by

with needed_by("jaxconv.nnx"):
    from jaxconv.nnx._conv import Conv, Conv2D, ConvTranspose
    from jaxconv.nnx._separable import DepthwiseConv, SeparableConv

__all__ = ["Conv", "Conv2D", "ConvTranspose", "DepthwiseConv", "SeparableConv"]
