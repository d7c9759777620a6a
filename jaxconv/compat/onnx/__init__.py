"""ONNX's convolutions of 8-bit integers, as its specification defines them, under `jit` and `vmap`.

`ConvInteger` and `QLinearConv` take the inputs and attributes of the operators by their names, as
`onnxscript` writes them; onnx itself is not imported. Every sum of products is exact: intermediate
sums do not saturate on any machine.

Source: ONNX, "Operators", https://onnx.ai/onnx/operators/: ConvInteger (version 10), QLinearConv
(10) and QuantizeLinear (10), for rounding.
"""

from jaxconv.compat.onnx._convolutions import ConvInteger, QLinearConv

__all__ = ["ConvInteger", "QLinearConv"]


def __getattr__(name: str):
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    raise AttributeError(
        f"jaxconv.compat.onnx has no {name}; it has {', '.join(__all__)}. ONNX's Conv and "
        "ConvTranspose of floats are jaxconv.compat.torch's conv1d to conv3d and conv_transpose1d "
        "to conv_transpose3d"
    )


def __dir__() -> list[str]:
    return sorted(__all__)
