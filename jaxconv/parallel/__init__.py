"""Convolution of arrays that are sharded over a mesh of devices.

| | |
|---|---|
| `conv`, `conv_transpose` | the layer and its adjoint, each device on its part of the array |
| `halo_bytes` | the bytes that devices send each other, computed from the shapes |
| `permuted_bytes` | the bytes that a compiled program sends |
"""

from jaxconv.parallel._sharded_conv import conv, conv_transpose
from jaxconv.parallel._traffic import halo_bytes, permuted_bytes

__all__ = ["conv", "conv_transpose", "halo_bytes", "permuted_bytes"]
