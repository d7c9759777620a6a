"""The convolutions of `torch.nn.functional` on JAX arrays, and conversion of torch modules.

    import jaxconv.compat.torch as F   # in place of: import torch.nn.functional as F

Names, argument order, defaults, channels-first layouts, unbatched inputs, results and rejected
arguments are those of torch 2.13; arrays are NumPy's or JAX's, and all functions work under jit,
grad and vmap. Only `from_torch` and `to_torch` import torch.

| | |
|---|---|
| `conv1d`, `conv2d`, `conv3d` | the layer |
| `conv_transpose1d`, `conv_transpose2d`, `conv_transpose3d` | its adjoint, with output_padding |
| `unfold`, `fold` | windows as columns, and the adjoint |
| `pad` | constant, reflect, replicate, circular |
| `from_torch` | a module as a Flax layer with its arguments, parameters and statistics |
| `to_torch` | Flax parameters and statistics as a state dict |

Intended differences:

| torch | here |
|---|---|
| a RuntimeError, NotImplementedError or IndexError | a ValueError, or a TypeError for dtypes |
| an empty result of `pad` or `conv_transpose` | a ValueError |
| inputs without channels | a ValueError |
| `pad`, circular, wider than the cropped input: may read uninitialised memory | a ValueError |
| `conv_transpose` of int64 | also int32 where JAX has no int64 (`jax_enable_x64` is off) |
| `conv` of int8 and other narrow integers only without dilation | with dilation too |
| float16 and bfloat16 sums, rounded as the backend does | summed in float32, rounded once |
| global settings such as TF32 | the keyword arguments `precision` and `method` |
"""

import jax as _jax

from jaxconv._core.missing_names import missing_name as _missing_name
from jaxconv.compat.torch._convolutions import conv1d, conv2d, conv3d
from jaxconv.compat.torch._fold import fold, unfold
from jaxconv.compat.torch._from_torch import ConvertedModule, from_torch
from jaxconv.compat.torch._pad import pad
from jaxconv.compat.torch._state_dict import to_torch
from jaxconv.compat.torch._transposed import conv_transpose1d, conv_transpose2d, conv_transpose3d

__all__ = [
    "ConvertedModule",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "fold",
    "from_torch",
    "pad",
    "to_torch",
    "unfold",
]


def __getattr__(name: str):
    if not name.startswith("_") and hasattr(_jax.nn, name):
        where = f"JAX has jax.nn.{name}"
    else:
        where = "activations are in jax.nn, pools (channels last) in flax.linen, losses in optax"
    raise _missing_name(__name__, name, __all__, where)


def __dir__() -> list[str]:
    return sorted(__all__)
