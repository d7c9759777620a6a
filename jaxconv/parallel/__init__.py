"""Convolution of arrays that are sharded over a mesh of devices.

| | |
|---|---|
| `conv`, `conv_transpose` | the layer and its adjoint, each device on its own part of the array |
| `halo_bytes` | what they send to each other |
"""

from jaxconv.parallel.layers import conv, conv_transpose
from jaxconv.parallel.traffic import halo_bytes

__all__ = ["conv", "conv_transpose", "halo_bytes"]
