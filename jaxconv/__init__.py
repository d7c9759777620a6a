"""Convolution for JAX as pure functions: definitions you can read, kernels you can learn.

Channels last: x (*batch, *space, in), w (*kernel, in // groups, out), y (*batch, *space', out).

| | |
|---|---|
| `conv`, `conv_transpose` | the layer and its adjoint |
| `corr2d`, `correlate`, `convolve` | planes, lines, volumes: one kernel, no channels |
| `unfold`, `fold` | windows as columns, and back |
| `causal_conv1d` | a sequence that arrives in pieces |
| `pad`, `unpad` | boundary extension and its adjoint |
| `jaxconv.filters` | Sobel, Gaussian, Gabor, ... |
| `jaxconv.linen`, `jaxconv.nnx` | Flax modules |
| `jaxconv.learn` | kernels from input and output |
"""

from jaxconv import filters
from jaxconv.functional import conv, conv_transpose
from jaxconv.padding import pad, unpad
from jaxconv.planes import convolve, corr2d, correlate
from jaxconv.streaming import causal_conv1d
from jaxconv.windows import fold, unfold

__all__ = [
    "causal_conv1d",
    "conv",
    "conv_transpose",
    "convolve",
    "corr2d",
    "correlate",
    "filters",
    "fold",
    "pad",
    "unfold",
    "unpad",
]
__version__ = "0.1.0"
