"""`scipy.ndimage`'s linear filters and extremes: same signatures, values, dtypes and errors.

Padding of the input by mode, of any width:

    reflect, grid-mirror      4321|1234|4321      wrap, grid-wrap          1234|1234|1234
    mirror                     432|1234|321       constant, grid-constant  cccc|1234|cccc (`cval`)
    nearest                   1111|1234|4444

Results have the input's dtype, or the dtype given as `output`; integers are rounded towards zero
after every pass, and wrap around where the dtype cannot hold them. An array as `output` is an
error: JAX's arrays are immutable.
"""

from jaxconv.compat.scipy._correlate import convolve, convolve1d, correlate, correlate1d
from jaxconv.compat.scipy._derivatives import (
    gaussian_gradient_magnitude,
    gaussian_laplace,
    generic_gradient_magnitude,
    generic_laplace,
)
from jaxconv.compat.scipy._extremes import (
    maximum_filter,
    maximum_filter1d,
    minimum_filter,
    minimum_filter1d,
)
from jaxconv.compat.scipy._fixed_kernels import (
    laplace,
    prewitt,
    sobel,
    uniform_filter,
    uniform_filter1d,
)
from jaxconv.compat.scipy._gaussian_filter import gaussian_filter, gaussian_filter1d
from jaxconv.compat.scipy._missing import missing

__all__ = [
    "convolve",
    "convolve1d",
    "correlate",
    "correlate1d",
    "gaussian_filter",
    "gaussian_filter1d",
    "gaussian_gradient_magnitude",
    "gaussian_laplace",
    "generic_gradient_magnitude",
    "generic_laplace",
    "laplace",
    "maximum_filter",
    "maximum_filter1d",
    "minimum_filter",
    "minimum_filter1d",
    "prewitt",
    "sobel",
    "uniform_filter",
    "uniform_filter1d",
]


def __getattr__(name: str):
    raise missing("ndimage", name, __all__)
