"""Convolutions, finite filters and extremes with SciPy's signatures, under `jit` and `grad`.

    from scipy import signal, ndimage   ->   from jaxconv.compat.scipy import signal, ndimage

SciPy itself computes the designs alone (`firwin`, `get_window`, `savgol_coeffs`), on the host; it
is imported by what needs them. Recursive filters are refused. Intended differences:

| | scipy | here |
|---|---|---|
| precision | float64 where possible | float32 unless `jax_enable_x64` is on |
| `method="auto"` | FFT where it is expected to be faster | direct sums; `method="fft"` by name |
| `ndimage` with `output=array` | writes into the array | an error; `output=dtype` works |
| integer weights on integers | summed in float64 | summed in integers (except uint64) |
| bool; float16 | mostly errors | logical or of products; summed in float32 |
| `sepfir2d`, lines longer than the image | reads other memory | mirrors repeatedly |
| empty 2-D inputs | an error or an empty result | an error |

Errors have SciPy's classes (also `RuntimeError`); messages start with the function's name.
"""

from jaxconv.compat.scipy import ndimage, signal
from jaxconv.compat.scipy._missing import missing

__all__ = ["ndimage", "signal"]


def __getattr__(name: str):
    raise missing("", name, __all__)
