"""SciPy's signatures, differentiable and under `jit`: `signal` and `ndimage`.

    from scipy import signal, ndimage   ->   from jaxconv.compat.scipy import signal, ndimage

SciPy itself is not imported. What differs by design:

| | scipy | here |
|---|---|---|
| numbers | float64 wherever it can | JAX's: float32 unless `jax_enable_x64` is set |
| `convolve(..., method="auto")` of integers | FFT where the values are small enough | always direct, hence exact: under `jit` values are unknown |
| `ndimage` with `output=array` | writes into it | refused, arrays are immutable; `output=dtype` works |
| `uint8` weights and inputs of `ndimage` | summed in float64 | summed in integers when the result is one |
| bool planes and volumes, float16 | mostly refused | computed: "or" of "and"s; summed in float32 |
| filters larger than the image in `sepfir2d` | reads beyond its memory | the mirror extension, however often it repeats |

Errors are SciPy's classes (`RuntimeError` included) with the function named in front.
"""

from jaxconv.compat.scipy import ndimage, signal

__all__ = ["ndimage", "signal"]
