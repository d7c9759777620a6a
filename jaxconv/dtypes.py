"""Which dtype a convolution sums in and returns; the rules of numerics, apart from the geometry.

| operands | result without `preferred_element_type` | summed in |
|---|---|---|
| float16, bfloat16 | the same | float32, rounded once at the end |
| float32, float64 | the same | the same |
| complex64, complex128 | the same | the same |
| integers | the same, wrapping around | the same |
| bool | must be asked for | the result's dtype |

`preferred_element_type` replaces the result's dtype: a wider integer or any float for integers, any
float or complex for floats. Gradients always have the dtype of the array they are taken in.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

_KINDS = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)


def result_dtype(
    caller: str, first: tuple[str, jax.Array], second: tuple[str, jax.Array], preferred: Any = None
) -> jnp.dtype:
    """Return the result's dtype for two named operands, or say why there is none.

    Raises:
        TypeError: the operands differ in dtype, bool without a preferred dtype, or a preferred
            dtype that cannot hold the sums.
    """
    (name, a), (other, b) = first, second
    if a.dtype != b.dtype:
        raise TypeError(
            f"{caller}: {name} is {a.dtype} but {other} is {b.dtype}; cast one: "
            f"{other}.astype({name}.dtype), or both and give preferred_element_type"
        )
    if preferred is None:
        if a.dtype == jnp.bool_:
            raise TypeError(
                f"{caller}: {name} and {other} are bool, which has no sums; give "
                "preferred_element_type=jnp.int32 to count"
            )
        if _kind(a.dtype) < 0:
            raise TypeError(f"{caller}: {name} is {a.dtype}, which is no number")
        return jnp.dtype(a.dtype)
    wanted = jax.dtypes.canonicalize_dtype(preferred)
    narrower = (
        jnp.issubdtype(a.dtype, jnp.integer)
        and jnp.issubdtype(wanted, jnp.integer)
        and wanted.itemsize < a.dtype.itemsize
    )
    if wanted == jnp.bool_ or _kind(wanted) < _kind(a.dtype) or narrower:
        raise TypeError(
            f"{caller}: preferred_element_type={wanted} cannot hold sums of {a.dtype}; "
            "leave it out, or cast the operands first"
        )
    return wanted


def accumulation_dtype(a: jax.Array, b: jax.Array, dtype: jnp.dtype) -> jnp.dtype:
    """Return the dtype to sum in: that of operands and result together, half precision widened."""
    if jnp.issubdtype(dtype, jnp.integer):
        return jnp.dtype(dtype)
    return _common(a.dtype, b.dtype, dtype, jnp.float32)


def operand_dtype(a: jax.Array, b: jax.Array, sums: jnp.dtype) -> jnp.dtype:
    """Return the dtype to hand both operands over in: their common one, of the sums' kind."""
    common = _common(a.dtype, b.dtype)
    return common if _kind(common) == _kind(sums) else jnp.dtype(sums)


def check_precision(caller: str, precision: Any) -> Any:
    """Return `precision` as None, a `jax.lax.Precision` or a pair of them.

    Raises:
        ValueError: it names no precision.
    """
    if precision is None:
        return None
    if isinstance(precision, (tuple, list)) and len(precision) == 2:
        return (check_precision(caller, precision[0]), check_precision(caller, precision[1]))
    try:
        return jax.lax.Precision(precision)
    except ValueError:
        raise ValueError(
            f"{caller}: precision={precision!r} is none of None, 'default', 'high', 'highest', a "
            "jax.lax.Precision, or a pair of these"
        ) from None


def _common(*wanted: Any) -> jnp.dtype:
    # our own rule, whatever promotion the user's program has switched on
    with jax.numpy_dtype_promotion("standard"):
        return jnp.dtype(functools.reduce(jnp.promote_types, wanted))


def _kind(dtype: Any) -> int:
    """Position in bool < integer < float < complex; -1 for what is no number."""
    return next((n for n, kind in enumerate(_KINDS) if jnp.issubdtype(dtype, kind)), -1)
