"""Drop-in replacements with the signatures of `lax`, `scipy`, `torch`, OpenCV (`cv2`) and ONNX."""

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING

from jaxconv._core.missing_names import missing_name as _missing_name

if _TYPE_CHECKING:
    from jaxconv.compat import cv2, lax, onnx, scipy, torch

__all__ = ["cv2", "lax", "onnx", "scipy", "torch"]


def __getattr__(name: str):
    """Import a module on its first use."""
    if name in __all__:
        return _importlib.import_module(f"jaxconv.compat.{name}")
    raise _missing_name(__name__, name, __all__)


def __dir__() -> list[str]:
    return sorted(__all__)
