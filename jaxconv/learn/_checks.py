"""Checks of the learning functions' arguments beside images, before anything is traced."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxconv._core.geometry.dtypes import as_array
from jaxconv._core.geometry.messages import shown
from jaxconv._core.geometry.scalars import is_real
from jaxconv.learn._checkpoints import Checkpoints

EXAMPLE = "such as jaxconv.learn.losses.mean_squared_error"
LEFT_OUT = {"x": "usable_outputs(jnp.isfinite(x), kernel_size)", "y": "jnp.isfinite(y)"}


def floating(caller: str, name: str, value: Any, *, complexes: bool = False) -> jax.Array:
    """Return an argument as an array of floating-point numbers, or of complex ones where allowed.

    Raises:
        TypeError: it is not an array, or has another dtype.
    """
    array = as_array(caller, name, value)
    if jnp.issubdtype(array.dtype, jnp.inexact if complexes else jnp.floating):
        return array
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        remedy = "use solve_kernel, which finds complex kernels"
    elif array.dtype == jnp.bool_ or array.dtype.itemsize > 2:  # whose range no image fills
        remedy = f"convert it, as in {name}.astype('float32')"
    else:
        largest = jnp.iinfo(array.dtype).max
        remedy = f"convert it, as in {name}.astype('float32') / {largest}"
    raise TypeError(
        f"{caller}: {name} must hold floating-point numbers, got {name}.dtype={array.dtype}: "
        f"{remedy}"
    )


def check_finite(caller: str, **arrays: Any) -> None:
    """Refuse NaN and infinity, if values are known: not under jit and the like.

    Raises:
        ValueError: an array holds NaN or infinity.
    """
    for name, several in arrays.items():
        for array in several:
            if not isinstance(array, Tracer) and not bool(jnp.isfinite(array).all()):
                raise ValueError(
                    f"{caller}: {name} has values that are NaN or infinite; leave them out by "
                    f"weights={LEFT_OUT[name]}"
                )


def check_optimizer(caller: str, optimizer: Any) -> None:
    """Check that an argument is an optax gradient transformation.

    Raises:
        TypeError: it is not.
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
        f"{caller}: optimizer={shown(optimizer)} must be an optax gradient transformation, such as "
        "optax.sgd(0.03)"
    )


def check_loss(caller: str, loss: Any, *, weighted: bool) -> None:
    """Check that an argument is a function, of three arguments if there are weights.

    Raises:
        TypeError: it is not.
    """
    if not callable(loss):
        raise TypeError(
            f"{caller}: loss={shown(loss)} must be a function (prediction, target) -> scalar, "
            f"{EXAMPLE}"
        )
    if not weighted:
        return
    try:
        inspect.signature(loss).bind(None, None, None)
    except TypeError:
        raise TypeError(
            f"{caller}: loss={shown(loss)} must take weights as its third argument when weights "
            f"are given, as those of jaxconv.learn.losses do"
        ) from None
    except ValueError:
        return  # a function without a signature


def one_number(
    caller: str, loss: Any, prediction: jax.Array, *target_and_weights: jax.Array
) -> jax.Array:
    """Call a loss and check, while it is traced, that it returns one real number.

    Raises:
        TypeError: it returns something else.
        ValueError: it returns several numbers.
    """
    found = loss(prediction, *target_and_weights)
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
    """Check that an argument is one key of jax.random.

    Raises:
        TypeError: it is not a key.
        ValueError: it is an array of several keys.
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
    """Return the kernel to start from, in this dtype.

    Raises:
        TypeError: it does not hold real numbers.
        ValueError: it has another shape.
    """
    init = as_array(caller, "init", init)
    if not is_real(init.dtype):
        raise TypeError(f"{caller}: init must hold real numbers, got init.dtype={init.dtype}")
    if init.shape != shape:
        raise ValueError(f"{caller}: init.shape={init.shape}, but the kernel is {shape}")
    return init.astype(dtype)


def check_host(caller: str, arrays: Any, options: dict[str, Any]) -> None:
    """Check the options that work on the host, which needs values.

    Args:
        caller: the public function's name, for messages.
        arrays: of the run; may contain None.
        options: checkpoints and functions to call, by argument; None where not given.

    Raises:
        TypeError: an option has the wrong type, or one is given and an array is traced.
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
