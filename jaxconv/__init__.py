"""Convolution for JAX as pure functions: definitions you can read, kernels you can learn.

Channels last: x (*batch, *space, in), w (*kernel, in // groups, out), y (*batch, *space', out).

| | |
|---|---|
| `conv`, `conv_transpose` | the layer and its adjoint |
| `corr2d`, `correlate`, `convolve` | planes, lines, volumes: one kernel, no channels |
| `unfold`, `fold` | windows as columns, and back |
| `causal_conv1d`, `causal_conv_transpose1d` | a sequence that arrives in pieces |
| `pad`, `unpad` | boundary extension and its adjoint |
| `output_size`, `input_size`, `explicit_padding` | sizes both ways |
| `receptive_field` | what the outputs of a chain of layers see |
| `accelerate`, `explain` | run any function's convolutions here; say how each is computed |
| `tune`, `Policy` | measure which method is fastest for each of them on this device |
| `Problem`, `ConvSpec` | the keys of a `Policy` |
| `MachineProfile` | of a `Policy`: how the expected times of a machine differ |

Modules, each loaded on first use; some need an extra, such as `pip install 'jaxconv[flax]'`:

| | |
|---|---|
| `jaxconv.analysis` | dense layers, matrices, what outputs depend on, equivariance |
| `jaxconv.compat` | the signatures of lax, torch, SciPy, OpenCV and ONNX |
| `jaxconv.filters`, `jaxconv.psf` | Sobel, Gaussian, Gabor, ...; motion, defocus and Airy blurs |
| `jaxconv.learn` | kernels from input and output (extra `learn`) |
| `jaxconv.linen`, `jaxconv.nnx` | Flax modules (extra `flax`) |
| `jaxconv.parallel` | arrays sharded over a mesh of devices |
| `jaxconv.plots` | figures of kernels, fields and runs (extra `cli`) |
| `jaxconv.reference` | the definitions as explicit loops |
| `jaxconv.restore` | undo a blur: Wiener, Tikhonov, Richardson-Lucy, any penalty |
| `jaxconv.tiles` | images larger than memory (extra `tiles` for files) |
| `jaxconv.varying` | kernels that vary from place to place: fit and apply them |
"""

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING

from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.dispatch.profile import MachineProfile
from jaxconv._core.extras import can_be_imported as _can_be_imported
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._functional.convolution import conv, conv_transpose
from jaxconv._functional.padding import pad, unpad
from jaxconv._functional.planes import convolve, corr2d, correlate
from jaxconv._functional.sizes import explicit_padding, input_size, output_size
from jaxconv._functional.streaming import causal_conv1d, causal_conv_transpose1d
from jaxconv._functional.windows import fold, unfold
from jaxconv._transforms.accelerate import accelerate
from jaxconv._transforms.explain import explain
from jaxconv._transforms.tune import tune

if _TYPE_CHECKING:
    from jaxconv import (
        analysis,
        compat,
        filters,
        learn,
        linen,
        nnx,
        parallel,
        plots,
        psf,
        reference,
        restore,
        tiles,
        varying,
    )
    from jaxconv.analysis import receptive_field

__version__ = "0.1.0"
__all__ = [
    "ConvSpec",
    "MachineProfile",
    "Policy",
    "Problem",
    "accelerate",
    "analysis",
    "causal_conv1d",
    "causal_conv_transpose1d",
    "compat",
    "conv",
    "conv_transpose",
    "convolve",
    "corr2d",
    "correlate",
    "explain",
    "explicit_padding",
    "filters",
    "fold",
    "input_size",
    "learn",
    "linen",
    "nnx",
    "output_size",
    "pad",
    "parallel",
    "plots",
    "psf",
    "receptive_field",
    "reference",
    "restore",
    "tiles",
    "tune",
    "unfold",
    "unpad",
    "varying",
]
_PUBLIC = tuple(__all__)
# modules whose extra is not installed: `from jaxconv import *` and `dir` leave them out
__all__[:] = filter(_can_be_imported, _PUBLIC)


def __getattr__(name: str):
    """Import a public module of the package on its first use."""
    if name == "receptive_field":
        return _importlib.import_module("jaxconv.analysis").receptive_field
    if name in _PUBLIC:
        return _importlib.import_module(f"jaxconv.{name}")
    raise AttributeError(f"module 'jaxconv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
