"""Layers that users reported as slow in JAX on a GPU, at the reported sizes.

Each has a small layer of the same kind for quick runs. Times that a report gives are those of its
author's machine and versions.
"""

import dataclasses
from dataclasses import dataclass

from jaxconv.bench.cases import Layer, depthwise, plain, up


@dataclass(frozen=True, kw_only=True)
class Known:
    """A reported case.

    Attributes:
        layer: at the reported size.
        space: (*space) of the small layer.
        batch: of the small layer.
        channels: of the small layer's input, None for those of the layer.
        modes: what is computed, of `results.RESULTS`.
        sources: addresses of the reports.
        reported: what they say, and what of the size is ours.
    """

    layer: Layer
    space: tuple[int, ...]
    batch: int = 1
    channels: int | None = None
    modes: tuple[str, ...] = ("forward", "forward+backward")
    sources: tuple[str, ...]
    reported: str
    quick: bool = True

    @property
    def name(self) -> str:
        """Kind and size of the layer."""
        return self.layer.name

    @property
    def small(self) -> Layer:
        """The layer on a smaller input."""
        layer, channels = self.layer, self.channels or self.layer.x[-1]
        w, groups = layer.w, layer.groups
        if self.channels and groups > 1:  # depthwise
            w, groups = (*w[:-1], channels), channels
        x = (self.batch, *self.space, channels)
        return dataclasses.replace(layer, name=f"{self.name} (small)", x=x, w=w, groups=groups)


_GRADIENTS = ("forward", "forward+backward", "kernel gradient")
_JAX, _XLA = "https://github.com/jax-ml/jax/issues/", "https://github.com/openxla/xla/issues/"
CAUSAL = "https://github.com/Dao-AILab/causal-conv1d"

KNOWN = (
    Known(
        layer=up(
            "transposed 3x3x3 x2, 64 to 1",
            (1, 64, 64, 32, 64),
            1,
            3,
            stride=2,
            padding=1,
            output_padding=1,
        ),
        space=(6, 5, 4),
        modes=_GRADIENTS,
        sources=(f"{_JAX}31662", f"{_XLA}34273"),
        reported="bfloat16, kernel gradient: 48.6 ms beside torch's 1.9 and 1.5 compiled (RTX 5060 "
        "Ti); 41.3 beside 0.46 and 0.54",
    ),
    Known(
        layer=depthwise("depthwise 5, 512 channels", (32, 1024, 512), 5, padding=2),
        space=(40,),
        batch=2,
        channels=16,
        modes=_GRADIENTS,
        sources=(f"{_JAX}13800",),
        reported="float32, a stack of twelve: forward on par with torch, backward as slow as with "
        "one group",
    ),
    Known(
        layer=depthwise(
            "depthwise 3 dilated 16, 128 channels", (32, 1024, 128), 3, padding=16, dilation=16
        ),
        space=(40,),
        batch=2,
        channels=16,
        sources=(f"{_JAX}26266",),
        reported="float32, slower with the dilation, and than one group (T4, P100, H100); kernel, "
        "channels and dilation are ours",
    ),
    Known(
        layer=depthwise("causal depthwise 4, 2048 channels", (1, 4096, 2048), 4, padding="causal"),
        space=(40,),
        channels=16,
        modes=_GRADIENTS,
        sources=(CAUSAL,),
        reported="bfloat16: the kernels of causal-conv1d 1.7 are the measure",
    ),
    Known(
        layer=depthwise(
            "causal depthwise 4, 2048 channels, batch 4", (4, 4096, 2048), 4, padding="causal"
        ),
        space=(40,),
        batch=2,
        channels=16,
        sources=(CAUSAL,),
        reported="as before, and longer than a dispatch on a large GPU; the batch is ours",
    ),
    Known(
        layer=depthwise("depthwise 3x3, 256 channels", (1, 124, 124, 256), 3, padding=1),
        space=(9, 8),
        channels=16,
        sources=(f"{_JAX}23713", "https://github.com/google/flax/issues/4207"),
        reported="float32, forward: slower than torch and TensorFlow (on a CPU, in comments)",
    ),
    Known(
        layer=plain("3x3, 64 to 64, of 64 images", (64, 32, 32, 64), 64, 3, padding=1),
        space=(6, 5),
        batch=3,
        modes=("per-example gradients",),
        sources=(f"{_JAX}1606", "https://github.com/tensorflow/privacy/issues/86"),
        reported="one gradient an image costs many times that of the batch, and compiles long; "
        "the size is ours",
    ),
)
