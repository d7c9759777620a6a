"""Flax Linen modules: Flax's own convolutions, and `Conv2D` of D2L, chapter 6.

Beside Flax's are depthwise, separable and locally connected layers, and causal ones that take
sequences in pieces.
Parameters have the names, shapes and initial values of `flax.linen`, so its checkpoints can be
loaded.
"""

from jaxconv._core.extras import needed_by
from jaxconv._core.missing_names import missing_name

with needed_by("jaxconv.linen"):
    from flax import linen as _flax

    from jaxconv.linen._conv import Conv, Conv2D, ConvTranspose
    from jaxconv.linen._local import ConvLocal
    from jaxconv.linen._separable import DepthwiseConv, SeparableConv
    from jaxconv.linen._streaming import CausalConv1D, CausalConvTranspose1D

__all__ = [
    "CausalConv1D",
    "CausalConvTranspose1D",
    "Conv",
    "Conv2D",
    "ConvLocal",
    "ConvTranspose",
    "DepthwiseConv",
    "SeparableConv",
]


def __getattr__(name: str):
    theirs = not name.startswith("_") and hasattr(_flax, name)
    raise missing_name(__name__, name, __all__, f"flax.linen.{name} is Flax's" if theirs else "")


def __dir__() -> list[str]:
    return sorted(__all__)
