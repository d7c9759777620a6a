"""What the learning functions are told beside images, checked before anything is traced."""

from numbers import Integral, Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxconv._core.geometry.dtypes import as_array
from jaxconv._core.geometry.messages import shown
from jaxconv.learn._checkpoints import Checkpoints

EXAMPLE = "such as jaxconv.learn.losses.mean_squared_error"


def floating(caller: str, name: str, value: Any) -> jax.Array:
    """Return an argument as an array of floating-point numbers.

    Raises:
        TypeError: it holds others, or is none.
    """
    array = as_array(caller, name, value)
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        remedy = f"give {name}.real and {name}.imag as two images"
    elif array.dtype == jnp.bool_:
        remedy = f"convert it, as in {name}.astype('float32')"
    else:
        remedy = f"convert it, as in {name}.astype('float32') / 255"
    raise TypeError(
        f"{caller}: {name} must hold floating-point numbers, got {name}.dtype={array.dtype}: "
        f"{remedy}"
    )


def check_finite(caller: str, **arrays: Any) -> None:
    """Refuse NaN and infinity where values are known: not under jit and the like.

    Raises:
        ValueError: there are some.
    """
    for name, several in arrays.items():
        for array in several:
            if not isinstance(array, Tracer) and not bool(jnp.isfinite(array).all()):
                raise ValueError(f"{caller}: {name} has values that are NaN or infinite")


def check_number(caller: str, name: str, value: Any, *, traced: bool) -> None:
    """Refuse what is no finite number of 0 or more.

    Args:
        caller: the public function's name, for the messages.
        name: the argument's.
        value: the argument.
        traced: whether it may be unknown yet, under jit and the like.

    Raises:
        TypeError: it is no real number.
        ValueError: it is an array of several, negative, NaN or infinite.
    """
    known: Any = not isinstance(value, Tracer)
    if not (known or traced):
        raise TypeError(
            f"{caller}: {name} must be a fixed number, but is traced here; under jax.jit name it "
            "in static_argnames"
        )
    if known and not (isinstance(value, Real) or _is_real(getattr(value, "dtype", object))):
        raise TypeError(f"{caller}: {name}={shown(value)} must be a number")
    shape = getattr(value, "shape", ())
    if shape:
        several = "; for several use jax.vmap" if traced else ""
        raise ValueError(f"{caller}: {name} must be one number, got shape {shape}{several}")
    if known and not 0 <= float(value) < np.inf:
        raise ValueError(f"{caller}: {name}={shown(value)} must be 0 or more, and finite")


def check_count(caller: str, name: str, value: Any) -> None:
    """Refuse what is no integer of 1 or more.

    Raises:
        TypeError: it is traced.
        ValueError: it is not such an integer.
    """
    if isinstance(value, Tracer):
        raise TypeError(
            f"{caller}: {name} must be a fixed integer, but is traced here; under jax.jit name it "
            "in static_argnames"
        )
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{caller}: {name} must be an integer of 1 or more, got {shown(value)}")


def check_flag(caller: str, name: str, value: Any) -> None:
    """Refuse what is neither True nor False.

    Raises:
        TypeError: it is not.
    """
    if isinstance(value, Tracer):
        raise TypeError(
            f"{caller}: {name} must be True or False, but is traced here; under jax.jit name it in "
            "static_argnames"
        )
    if not isinstance(value, (bool, np.bool)):
        raise TypeError(f"{caller}: {name}={shown(value)} must be True or False")


def check_optimizer(caller: str, optimizer: Any) -> None:
    """Refuse what is no gradient transformation of optax's.

    Raises:
        TypeError: it is none.
    """
    if callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None)):
        return
    if callable(optimizer) and hasattr(optimizer, "__name__"):
        name = optimizer.__name__
        raise TypeError(
            f"{caller}: optimizer is the function {name}, which has to be called first, as in "
            f"{name}(0.03)"
        )
    raise TypeError(
        f"{caller}: optimizer={shown(optimizer)} is no optax transformation; give one, such as "
        "optax.sgd(0.03)"
    )


def check_loss(caller: str, loss: Any) -> None:
    """Refuse what is no function.

    Raises:
        TypeError: it is none.
    """
    if not callable(loss):
        raise TypeError(
            f"{caller}: loss={shown(loss)} must be a function (prediction, target) -> scalar, "
            f"{EXAMPLE}"
        )


def one_number(caller: str, loss: Any, prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Call a loss, and refuse what is not one real number; while it is traced, so at no cost.

    Raises:
        TypeError: it returns something else.
        ValueError: it returns several numbers.
    """
    found = loss(prediction, target)
    dtype = getattr(found, "dtype", type(found).__name__)
    if not (isinstance(found, jax.Array) and jnp.issubdtype(found.dtype, jnp.floating)):
        raise TypeError(
            f"{caller}: loss must return one floating-point number, {EXAMPLE}; got {dtype}"
        )
    if found.shape:
        raise ValueError(
            f"{caller}: loss must return one number, got shape {found.shape}; take its sum or mean"
        )
    return found


def check_key(caller: str, key: Any) -> None:
    """Refuse what is no key of jax.random.

    Raises:
        TypeError: it is none.
        ValueError: it is several.
    """
    dtype = getattr(key, "dtype", None)
    new = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not new and dtype != jnp.uint32:
        raise TypeError(
            f"{caller}: key={shown(key)} must be a key of jax.random, such as jax.random.key(0)"
        )
    if key.ndim != (0 if new else 1):
        raise ValueError(
            f"{caller}: key must be one key, got shape {key.shape}; for several use jax.vmap"
        )


def start_kernel(caller: str, init: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Return the kernel to start from, of this shape and dtype.

    Raises:
        TypeError: it holds no real numbers.
        ValueError: it has another shape.
    """
    init = as_array(caller, "init", init)
    if not _is_real(init.dtype):
        raise TypeError(f"{caller}: init must hold real numbers, got init.dtype={init.dtype}")
    if init.shape != shape:
        raise ValueError(f"{caller}: init.shape={init.shape}, but the kernel is {shape}")
    return init.astype(dtype)


def check_host(caller: str, arrays: Any, options: dict[str, Any]) -> None:
    """Refuse what works on the host where the arrays are traced, and what is none of it.

    Args:
        caller: the public function's name, for the messages.
        arrays: of the run, None among them where there are none.
        options: checkpoints and what is called with values; None where not given.

    Raises:
        TypeError: it is.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if name == "checkpoints" and not isinstance(value, Checkpoints):
            raise TypeError(
                f"{caller}: checkpoints={shown(value)} must be a jaxconv.learn.Checkpoints, as in "
                f"Checkpoints(directory={shown(value)})"
            )
        if name != "checkpoints" and not callable(value):
            raise TypeError(f"{caller}: {name}={shown(value)} must be a function")
    if given and any(isinstance(array, Tracer) for array in jax.tree.leaves(arrays)):
        raise TypeError(
            f"{caller}: leave {' and '.join(given)} out under jit, vmap and grad, where values are "
            "unknown"
        )


def _is_real(dtype: Any) -> bool:
    return any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer))
