"""ONNX's convolutions of 8-bit integers, as its specification defines them, under `jit` and `vmap`.

`ConvInteger` and `QLinearConv` take the inputs and attributes of the operators by their names, as
`onnxscript` writes them; onnx itself is not imported. Every sum of products is exact: intermediate
sums do not saturate on any machine.

Source: ONNX, "Operators", https://onnx.ai/onnx/operators/: ConvInteger (version 10), QLinearConv
(10) and QuantizeLinear (10), for rounding.
"""

from jaxconv._core.missing_names import missing_name
from jaxconv.compat.onnx._convolutions import ConvInteger, QLinearConv

__all__ = ["ConvInteger", "QLinearConv"]


def __getattr__(name: str):
    floats = (
        "ONNX's Conv and ConvTranspose of floats are jaxconv.compat.torch's conv1d to conv3d and "
        "conv_transpose1d to conv_transpose3d"
    )
    raise missing_name(__name__, name, __all__, floats)


def __dir__() -> list[str]:
    return sorted(__all__)
