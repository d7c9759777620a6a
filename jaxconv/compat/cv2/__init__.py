"""OpenCV's linear filters with its signatures, depths and borders, under `jit`, `grad` and `vmap`.

    import cv2   ->   import jaxconv.compat.cv2 as cv2

OpenCV itself is not imported. Images are (H, W) or (H, W, channels); each channel is filtered by
itself, and a channel axis of size 1 is dropped, as in OpenCV. Positions and sizes are (x, y) and
(width, height). Kernels are correlated, not flipped.

Outside the image, for kernels of any size:

    BORDER_REFLECT_101  432|1234|321 (the default)   BORDER_REPLICATE  111|1234|444
    BORDER_REFLECT      321|1234|432                 BORDER_CONSTANT   000|1234|000
    BORDER_WRAP         234|1234|123 (`GaussianBlur` of uint8 and uint16 only)

| source | `ddepth` |
|---|---|
| uint8 | -1, CV_8U, CV_16U, CV_16S, CV_32F, CV_64F |
| uint16 | -1, CV_16U, CV_32F, CV_64F |
| int16 | -1, CV_16S, CV_32F, CV_64F |
| float32 | -1, CV_32F, CV_64F |
| float64 | -1, CV_64F |

`blur` and `boxFilter` take int32, too, and `boxFilter` gives CV_32S of integers. float64 is float32
unless `jax_enable_x64` is on. Integer results are rounded half to even and saturated, once.

Intended differences:

| OpenCV | here |
|---|---|
| cv2.error | a ValueError, or a TypeError for dtypes and `dst` |
| `dst` is written into | an error: JAX's arrays do not change |
| `GaussianBlur` of uint8 and uint16: weights rounded to 8 and 16 bits | rounded once, at the end |
| uint8: means of 2 and 4 pixels are rounded up | rounded half to even, as all means |
| `filter2D` skips weights of 0, so NaN under them has no effect | 0 times NaN is NaN |
| Fourier transforms in `filter2D` of floats from 12x12 on, which spread NaN | direct sums |
"""

from jaxconv._core.missing_names import missing_name
from jaxconv.compat.cv2._constants import (
    ALGO_HINT_ACCURATE,
    ALGO_HINT_APPROX,
    ALGO_HINT_DEFAULT,
    BORDER_CONSTANT,
    BORDER_DEFAULT,
    BORDER_ISOLATED,
    BORDER_REFLECT,
    BORDER_REFLECT101,
    BORDER_REFLECT_101,
    BORDER_REPLICATE,
    BORDER_WRAP,
    CV_8U,
    CV_16S,
    CV_16U,
    CV_32F,
    CV_32S,
    CV_64F,
    FILTER_SCHARR,
)
from jaxconv.compat.cv2._derivatives import Laplacian, Scharr, Sobel
from jaxconv.compat.cv2._filters import filter2D, sepFilter2D
from jaxconv.compat.cv2._kernels import getDerivKernels, getGaborKernel, getGaussianKernel
from jaxconv.compat.cv2._smoothing import GaussianBlur, blur, boxFilter

__all__ = [
    "ALGO_HINT_ACCURATE",
    "ALGO_HINT_APPROX",
    "ALGO_HINT_DEFAULT",
    "BORDER_CONSTANT",
    "BORDER_DEFAULT",
    "BORDER_ISOLATED",
    "BORDER_REFLECT",
    "BORDER_REFLECT101",
    "BORDER_REFLECT_101",
    "BORDER_REPLICATE",
    "BORDER_WRAP",
    "CV_8U",
    "CV_16S",
    "CV_16U",
    "CV_32F",
    "CV_32S",
    "CV_64F",
    "FILTER_SCHARR",
    "GaussianBlur",
    "Laplacian",
    "Scharr",
    "Sobel",
    "blur",
    "boxFilter",
    "filter2D",
    "getDerivKernels",
    "getGaborKernel",
    "getGaussianKernel",
    "sepFilter2D",
]


def __getattr__(name: str):
    where = f"what else OpenCV has takes NumPy's arrays: import cv2; cv2.{name}(np.asarray(image))"
    raise missing_name(__name__, name, __all__, where)


def __dir__() -> list[str]:
    return sorted(__all__)
