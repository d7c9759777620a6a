"""`torch.nn.functional`'s convolutions on JAX arrays, and weights there and back.

    import jaxconv.compat.torch as F   # in place of: import torch.nn.functional as F

Names, argument order, defaults, channels-first layouts, unbatched inputs, results and refusals are
torch's; arrays are NumPy's or JAX's, and everything runs under jit, grad and vmap. torch itself is
imported by `from_torch` and `to_torch` alone.

| | |
|---|---|
| `conv1d`, `conv2d`, `conv3d` | the layer |
| `conv_transpose1d`, `conv_transpose2d`, `conv_transpose3d` | its adjoint, with output_padding |
| `unfold`, `fold` | windows as columns, and back |
| `pad` | constant, reflect, replicate, circular |
| `from_torch` | a module as a Flax layer with its arguments, parameters and statistics |
| `to_torch` | the parameters and statistics back as a state dict |

What differs by design:

| torch | here |
|---|---|
| a RuntimeError, NotImplementedError or IndexError | a ValueError, or a TypeError for dtypes |
| an empty result of `pad` or `conv_transpose` | a ValueError |
| inputs without channels | a ValueError |
| `pad`, circular, wider than what a crop left: may read memory never written | a ValueError |
| `conv_transpose` of int64 | also int32 where JAX has no int64 (`jax_enable_x64` is off) |
| `conv` of int8 and other narrow integers, only without dilation | with dilation as well |
| float16 and bfloat16 sums, rounded as the backend does | summed in float32, rounded once |
| global switches for TF32 and the like | `precision` and `method`, keyword arguments of `conv` |
"""

from jaxconv.compat.torch._convolutions import conv1d, conv2d, conv3d
from jaxconv.compat.torch._fold import fold, unfold
from jaxconv.compat.torch._from_torch import Ported, from_torch
from jaxconv.compat.torch._pad import pad
from jaxconv.compat.torch._state_dict import to_torch
from jaxconv.compat.torch._transposed import conv_transpose1d, conv_transpose2d, conv_transpose3d

__all__ = [
    "Ported",
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
