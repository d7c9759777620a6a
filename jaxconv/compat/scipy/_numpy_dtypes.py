"""NumPy's dtype promotion and C's casts, which SciPy's results follow."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxconv._core.geometry.dtypes import as_array

Dtype = Any


def common_dtype(*wanted: Dtype) -> np.dtype:
    """Return NumPy's common dtype, in 32 bits unless `jax_enable_x64` is on.

    For int32 and float32 this is float64 in NumPy, and float32 in JAX.
    """
    try:
        found = np.result_type(*(np.dtype(dtype) for dtype in wanted))
    except TypeError:  # bfloat16 and a dtype without a common one in NumPy
        with jax.numpy_dtype_promotion("standard"):
            found = jnp.result_type(*wanted)
    return jax.dtypes.canonicalize_dtype(found)


def is_complex(dtype: Dtype) -> bool:
    """Whether the dtype has an imaginary part."""
    return jnp.issubdtype(dtype, jnp.complexfloating)


def is_integral(dtype: Dtype) -> bool:
    """Whether the dtype is an integer or bool."""
    return jnp.issubdtype(dtype, jnp.integer) or dtype == jnp.bool_


def widest(kind: Dtype) -> np.dtype:
    """Return float64, complex128 or int64, in 32 bits per part unless `jax_enable_x64` is on."""
    return jax.dtypes.canonicalize_dtype(kind)


def cast(values: jax.Array, dtype: Dtype) -> jax.Array:
    """Cast as C does: floats towards zero, integers modulo 2^bits, complex to the real part.

    XLA's own cast clamps floats to the range of the integer.
    """
    dtype = jnp.dtype(dtype)
    if values.dtype == dtype:
        return values
    if is_complex(values.dtype) and not is_complex(dtype):
        values = jnp.real(values)
    if jnp.issubdtype(dtype, jnp.integer) and jnp.issubdtype(values.dtype, jnp.floating):
        whole = values.astype(widest(jnp.int64)).astype(dtype)
        if dtype == widest(jnp.uint64):  # the upper half of uint64 does not fit int64
            return jnp.where(values < 0, whole, values.astype(dtype))
        return whole
    if dtype == jnp.bool_ and jnp.issubdtype(values.dtype, jnp.floating):
        values = jnp.trunc(values)
    return values.astype(dtype)


def is_concrete(value: Any) -> bool:
    """Whether the value is known: not traced by `jit` or `grad`."""
    return not isinstance(value, Tracer)


def check_scalar(caller: str, name: str, value: Any) -> jax.Array:
    """Return a number, or an array with one element, as a scalar array.

    Raises:
        ValueError: it does not have exactly one element.
    """
    array = as_array(caller, name, value)
    if array.size != 1:
        raise ValueError(
            f"{caller}: `{name}` must be scalar or an array with one element, not one of shape "
            f"{array.shape}"
        )
    return array.reshape(())
