"""The dtypes in which a convolution sums and which it returns.

| operands | result without `preferred_element_type` | summed in |
|---|---|---|
| float16, bfloat16 | the same | float32, rounded once at the end |
| float32, float64 | the same | the same |
| complex64, complex128 | the same | the same |
| integers of 32 and 64 bits | the same, wrapping around | the same |
| integers of 8 and 16 bits | must be asked for | int32, or the result's dtype if it is wider |
| bool | must be asked for | the result's dtype |
| float8, int4 and the like | refused | |

`preferred_element_type` replaces the result's dtype: for integers an integer that holds all of
their values, or any float; for floats any float or complex. Gradients always have the dtype of the
array they are taken in.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

R = TypeVar("R")
# Bytes of int32: XLA has fast sums in it of narrower integers, and their last bits are the same.
_WORD = 4
_KINDS = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)


def as_array(caller: str, name: str, value: Any) -> jax.Array:
    """Return an argument as an array: what `jnp.asarray` makes of it, in any byte order.

    As there, NumPy's subclasses (memory maps, matrices, quantities with a unit) and whatever has
    `__array__` count by their numbers, and without `jax.enable_x64` 64 bits become 32.

    Raises:
        TypeError: it cannot be made an array of numbers, or it is a masked array.
        ValueError: a Python integer in it is too large.
    """
    refuse_masked(caller, name, value)
    try:
        if isinstance(value, int | float | complex):  # written in the call
            value = constant(value)
        array = value if isinstance(value, jax.Array) else jnp.asarray(native(value))
    except jax.errors.JaxRuntimeError:  # a device's, or a transfer that is not allowed
        raise
    except OverflowError as error:
        raise ValueError(
            f"{caller}: {name} has an integer that is too large ({error}); give floats, or switch "
            "64-bit types on: jax.enable_x64"
        ) from None
    except (TypeError, ValueError, RuntimeError) as error:
        kind = getattr(value, "dtype", type(value).__name__)
        raise TypeError(
            f"{caller}: {name} must be an array of numbers, not {kind}{_way_out(name, kind, error)}"
        ) from None
    if _kind(array.dtype) < 0:
        raise TypeError(f"{caller}: {name} is {array.dtype}, which is not a dtype of numbers")
    return array


def refuse_masked(caller: str, name: str, value: Any) -> None:
    """Refuse masked arrays.

    Raises:
        TypeError: it is a masked array, whatever the mask.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{caller}: {name} is a masked array, and a sum has no rule for masked elements; fill "
            f"them: {name}.filled(0)"
        )


def native(value: Any) -> Any:
    """Return what NumPy holds in the other byte order (as files do) in this machine's."""
    if isinstance(value, jax.Array) or not hasattr(value, "__array__"):
        return value
    dtype = getattr(value, "dtype", None)
    if not isinstance(dtype, np.dtype):
        value = np.asarray(value)
        dtype = value.dtype
    return value if dtype.isnative else np.asarray(value).astype(dtype.newbyteorder("="))


def _way_out(name: str, kind: Any, error: Exception) -> str:
    """How to make an array of numbers of it, where that is known."""
    if isinstance(error, RuntimeError):  # what made it says why: a tensor that needs gradients
        return f": {error}"
    if not isinstance(kind, np.dtype):
        return ""
    if kind.names:
        return f"; take one of its fields: {name}[{kind.names[0]!r}]"
    if kind.kind in "fc":
        return f"; cast it: {name}.astype({'float' if kind.kind == 'f' else 'complex'})"
    return ""


def zero(dtype: Any) -> jax.Array:
    """Return zero as an array that is made on the device, with nothing sent there."""
    return _scalar(0, jnp.dtype(dtype))


def one(dtype: Any) -> jax.Array:
    """Return one as an array that is made on the device, with nothing sent there."""
    return _scalar(1, jnp.dtype(dtype))


def constant(value: Any, dtype: Any = None) -> jax.Array:
    """Return numbers as an array, sent to the device on purpose: transfer guards do not object.

    Not by `jax.device_put`, which is an operation of programs that are traced.
    """
    with jax.transfer_guard_host_to_device("allow"):
        return jnp.asarray(value, dtype)


@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def _scalar(value: int, dtype: jnp.dtype) -> jax.Array:
    return jnp.full((), value, dtype)


def in_64_bits(*dtypes: Any) -> contextlib.AbstractContextManager[Any]:
    """Return the context in which these dtypes keep their 64 bits.

    What is transposed, batched or lowered after `with jax.enable_x64():` around a part of a program
    is left has wide arrays in narrow surroundings.
    """
    return jax.enable_x64(True) if any(map(is_wide, dtypes)) else contextlib.nullcontext()


def in_double_precision(function: Callable[..., R]) -> Callable[..., R]:
    """Return the function with 64-bit types enabled, for its own arrays only.

    It takes and returns trees of arrays. The batching rule is needed because `vmap` is applied to
    a traced program after 64-bit types are disabled again, and would round some sums to 32 bits.
    """

    @jax.custom_batching.custom_vmap
    def run(*arguments: Any) -> R:
        with jax.enable_x64(True):
            return function(*arguments)

    @run.def_vmap
    def _(size: int, mapped: Any, *arguments: Any) -> Any:
        axes = jax.tree.map(lambda each: 0 if each else None, tuple(mapped))
        results = in_double_precision(jax.vmap(function, axes, axis_size=size))(*arguments)
        return results, jax.tree.map(lambda _: True, results)

    return run


def is_wide(dtype: Any) -> bool:
    """Whether `dtype` is one of those that JAX has under `jax_enable_x64` only."""
    dtype = jnp.dtype(dtype)
    return (dtype.itemsize > 4 and dtype.kind in "iuf") or dtype.itemsize > 8


def with_bias(y: jax.Array, b: jax.Array | None) -> jax.Array:
    """Return y (..., channels) plus b (channels,) in y's dtype, if there is one."""
    if b is None:
        return y
    return y + jnp.expand_dims(b.astype(y.dtype), tuple(range(y.ndim - 1)))


def result_dtype(
    caller: str,
    first: tuple[str, jax.Array],
    second: tuple[str, jax.Array],
    preferred: Any = None,
    *,
    taken_by: str = "",
) -> jnp.dtype:
    """Return the result's dtype for two named operands, or raise.

    `taken_by` is the function that takes a preferred dtype, if it is not the caller.

    Raises:
        TypeError: no numbers, operands that differ in dtype, bool or integers of 8 or 16 bits
            without a preferred dtype, or a preferred dtype that cannot hold the sums.
    """
    (name, a), (other, b) = first, second
    for array_name, array in (first, second):
        if (wider := _too_narrow(array.dtype)) is not None:
            raise TypeError(
                f"{caller}: {array_name} is {array.dtype}, which is for storage; compute in a "
                f"wider one: {array_name}.astype(jnp.{wider})"
            )
    if a.dtype != b.dtype:
        common = _common(a.dtype, b.dtype)
        casts = [
            f"{n}.astype(jnp.{common})" for n, array in (first, second) if array.dtype != common
        ]
        raise TypeError(
            f"{caller}: {name} is {a.dtype} but {other} is {b.dtype}; make them one: "
            f"{', '.join(casts)}"
        )
    if preferred is None:
        if a.dtype == jnp.bool_:
            raise TypeError(
                f"{caller}: {name} and {other} are bool, which has no sums; to count, cast both: "
                f"{name}.astype(jnp.int32), {other}.astype(jnp.int32)"
            )
        if jnp.issubdtype(a.dtype, jnp.integer) and a.dtype.itemsize < _WORD:
            raise TypeError(
                f"{caller}: {name} and {other} are {a.dtype}, and sums of products may need more "
                f"bits; use {taken_by and f'{taken_by} with '}preferred_element_type=jnp.int32 (or "
                f"jnp.{a.dtype}, in which they wrap around)"
            )
        return jnp.dtype(a.dtype)
    try:
        wanted = jax.dtypes.canonicalize_dtype(preferred)
    except (TypeError, ValueError):  # ValueError: a dtype of JAX that NumPy does not have
        raise TypeError(f"{caller}: preferred_element_type={preferred!r} is not a dtype") from None
    narrower = (
        jnp.issubdtype(a.dtype, jnp.integer)
        and jnp.issubdtype(wanted, jnp.integer)
        and not np.can_cast(a.dtype, wanted)
    )
    low = _kind(wanted) < _kind(a.dtype) or _too_narrow(wanted) is not None
    if wanted == jnp.bool_ or low or narrower:
        raise TypeError(
            f"{caller}: preferred_element_type={wanted} cannot hold sums of {a.dtype}; "
            "give one that can, or cast the operands first"
        )
    return wanted


def accumulation_dtype(a: jax.Array, b: jax.Array, dtype: jnp.dtype) -> jnp.dtype:
    """Return the dtype to sum in: that of operands and result together, narrow ones widened."""
    if jnp.issubdtype(dtype, jnp.integer):
        return jnp.dtype(jnp.int32 if jnp.dtype(dtype).itemsize < _WORD else dtype)
    return _common(a.dtype, b.dtype, dtype, jnp.float32)


def working_dtype(a: jax.Array, b: jax.Array, dtype: jnp.dtype) -> jnp.dtype:
    """Return what a method is to work in: the operands' dtype, or that of sums beyond float32."""
    sums = accumulation_dtype(a, b, dtype)
    wide = jnp.issubdtype(sums, jnp.inexact) and sums != jnp.float32
    return sums if wide else operand_dtype(a, b, sums)


def check_bias(
    caller: str, b: Any, channels: int, operand: jnp.dtype, result: jnp.dtype, hint: str = ""
) -> jax.Array | None:
    """Return the bias as an array that casts to the result's dtype, or None.

    `hint` is the end of the message about its shape.

    Raises:
        ValueError: it is not one number a channel.
        TypeError: its dtype is neither the operands' nor the result's.
    """
    if b is None:
        return None
    b = as_array(caller, "b", b)
    if b.shape != (channels,):
        raise ValueError(
            f"{caller}: b.shape={b.shape} must be ({channels},), one a channel of the result{hint}"
        )
    if b.dtype not in (operand, result):
        wide = "" if operand == result else f" and the result {result}"
        raise TypeError(
            f"{caller}: b is {b.dtype} but the operands are {operand}{wide}; cast it: "
            f"b.astype(jnp.{result})"
        )
    return b


def operand_dtype(a: jax.Array, b: jax.Array, sums: jnp.dtype) -> jnp.dtype:
    """Return the dtype to hand both operands over in: their common one, of the sums' kind."""
    common = _common(a.dtype, b.dtype)
    return common if _kind(common) == _kind(sums) else jnp.dtype(sums)


def _common(*wanted: Any) -> jnp.dtype:
    # our own rule, whatever promotion the user's program has switched on
    with jax.numpy_dtype_promotion("standard"):
        return jnp.dtype(functools.reduce(jnp.promote_types, wanted))


def _too_narrow(dtype: Any) -> str | None:
    """For a float below 16 bits or an integer below 8, which promote to nothing, a wider dtype."""
    if jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 16:
        return "bfloat16"
    return "int32" if jnp.issubdtype(dtype, jnp.integer) and jnp.iinfo(dtype).bits < 8 else None


def _kind(dtype: Any) -> int:
    """Position in bool < integer < float < complex; -1 for other dtypes."""
    return next((n for n, kind in enumerate(_KINDS) if jnp.issubdtype(dtype, kind)), -1)
