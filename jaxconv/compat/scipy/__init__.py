"""SciPy's signatures, differentiable and under `jit`: `signal` and `ndimage`.

    from scipy import signal, ndimage   ->   from jaxconv.compat.scipy import signal, ndimage

SciPy itself is not imported. What differs by design:

| | scipy | here |
|---|---|---|
| numbers | float64 wherever it can | JAX's: float32 without `jax_enable_x64` |
| `method="auto"` | FFT where it is expected to be faster | direct sums; `method="fft"` by name |
| `ndimage` with `output=array` | writes into it | refused; `output=dtype` works |
| integer weights on integers | summed in float64 | summed in integers (but uint64) |
| bool, float16 | mostly refused | "or" of "and"s; summed in float32 |
| `sepfir2d`, lines beyond the image | reads foreign memory | mirrors again and again |
| empty planes | some refused, some empty | refused |

Errors are SciPy's classes (`RuntimeError` included) with the function named in front.
"""

from jaxconv.compat.scipy import ndimage, signal

__all__ = ["ndimage", "signal"]
