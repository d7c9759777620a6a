"""Convolution for JAX as pure functions: definitions you can read, kernels you can learn.

Channels last: x (*batch, *space, in), w (*kernel, in // groups, out), y (*batch, *space', out).

| | |
|---|---|
| `conv`, `conv_transpose` | the layer and its adjoint |
| `corr2d`, `correlate`, `convolve` | planes, lines, volumes: one kernel, no channels |
| `unfold`, `fold` | windows as columns, and back |
| `causal_conv1d` | a sequence that arrives in pieces |
| `pad`, `unpad` | boundary extension and its adjoint |
| `jaxconv.filters`, `jaxconv.psf` | Sobel, Gaussian, Gabor, ...; motion, defocus and Airy blurs |
| `output_size`, `input_size`, `receptive_field` | sizes both ways, and what an output sees |
| `jaxconv.dense`, `jaxconv.matrix` | from a dense layer to a kernel; any convolution as a matrix |
| `jaxconv.influence`, `jaxconv.reach`, `jaxconv.equivariance` | of any JAX function |
| `jaxconv.linen`, `jaxconv.nnx` | Flax modules |
| `jaxconv.learn` | kernels from input and output |
| `accelerate`, `explain` | any function's convolutions onto this core, what becomes of each |
| `tune`, `Policy` | which method is fastest for each of them on this device |
| `jaxconv.parallel`: `conv`, `conv_transpose` | arrays sharded over a mesh of devices |
| `jaxconv.compat`: `lax`, `torch`, `scipy` | other libraries' signatures |
"""

from jaxconv import filters
from jaxconv.accelerate import accelerate
from jaxconv.explain import explain
from jaxconv.functional import conv, conv_transpose
from jaxconv.padding import pad, unpad
from jaxconv.planes import convolve, corr2d, correlate
from jaxconv.policy import Policy
from jaxconv.receptive import receptive_field
from jaxconv.sizes import input_size, output_size
from jaxconv.streaming import causal_conv1d
from jaxconv.tune import tune
from jaxconv.windows import fold, unfold

__all__ = [
    "Policy",
    "accelerate",
    "causal_conv1d",
    "conv",
    "conv_transpose",
    "convolve",
    "corr2d",
    "correlate",
    "explain",
    "filters",
    "fold",
    "input_size",
    "output_size",
    "pad",
    "receptive_field",
    "tune",
    "unfold",
    "unpad",
]
__version__ = "0.1.0"
