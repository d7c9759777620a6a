"""A model of Flax NNX whose convolutions are computed by jaxconv."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from flax import nnx

from jaxconv._core.dispatch.arguments import check_method, check_policy
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.geometry.messages import shown
from jaxconv._transforms.accelerate import accelerate as accelerated
from jaxconv.nnx._conv import Conv, ConvTranspose
from jaxconv.nnx._separable import DepthwiseConv

_Model = TypeVar("_Model", bound=nnx.Module)


def accelerate(model: _Model, *, method: str = "auto", policy: Policy | None = None) -> _Model:
    """Return the same model with the convolutions of its layers computed by jaxconv.

        accelerate(model)(x) = model(x)

    up to rounding, for every `flax.nnx.Conv` and `flax.nnx.ConvTranspose` in it, their subclasses
    included. The result is a model of the same class, with the same attributes, parameters, state
    and shared layers under the same names: its state loads into the first and the other way round,
    and `nnx.jit`, `nnx.grad`, `nnx.Optimizer` and checkpoints take it as they took the first.

    The model given is left as it is. The new one has modules and Variables of its own, so that
    training one leaves the other alone. They share only what does not change: the arrays that the
    Variables hold now (a step that donates one model's arrays takes them from the other), and
    attributes such as functions and numbers.

    Call the result under `nnx.jit`: eagerly, its layers are traced anew at every call, as functions
    are by `jaxconv.accelerate`. Convolutions that a module computes without these layers stay with
    lax: `jaxconv.accelerate(f)` takes any function, such as a training step, and replaces all.

    Args:
        model: a `flax.nnx.Module`, a single layer included.
        method: as in `jaxconv.accelerate`; layers of `jaxconv.nnx` get it too, if their method is
            "auto" and they have no policy.
        policy: as in `jaxconv.accelerate`, for the same layers.

    Returns:
        A model of the same class. In it `conv_general_dilated` of a `flax.nnx.Conv` is another
        function; a `flax.nnx.ConvTranspose` is of a subclass with the same name, which `pickle`
        does not find: save states, not models.

    Raises:
        TypeError: model is not a `flax.nnx.Module`, or policy is not a `jaxconv.Policy`.
        ValueError: method is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> rngs = nnx.Rngs(0)
        >>> up = nnx.ConvTranspose(8, 3, (4, 4), 2, rngs=rngs)
        >>> model = nnx.Sequential(nnx.Conv(3, 8, (3, 3), 2, rngs=rngs), nnx.relu, up)
        >>> fast, x = accelerate(model), jnp.ones((2, 16, 16, 3))
        >>> bool(jnp.allclose(fast(x), model(x), atol=1e-5)), fast.layers[2].kernel.shape
        (True, (4, 4, 8, 3))
        >>> names = [e.primitive.name for e in jax.make_jaxpr(fast)(x).eqns]
        >>> names.count("conv"), names.count("conv_general_dilated")
        (2, 0)
    """
    if not isinstance(model, nnx.Module):
        raise TypeError(
            f"accelerate: model={shown(model)} must be a flax.nnx.Module, not "
            f"{type(model).__name__}; jaxconv.accelerate(f) takes any function"
        )
    numerics = {
        "method": check_method("accelerate", method),
        "policy": check_policy("accelerate", policy),
    }
    model = nnx.clone(model, graph=True)
    for _, module in nnx.iter_modules(model, graph=True):
        if isinstance(module, nnx.Conv):
            plain = module.conv_general_dilated
            plain = plain.function if isinstance(plain, _Accelerated) else plain
            module.conv_general_dilated = _Accelerated(plain, **numerics)
        elif isinstance(module, nnx.ConvTranspose):
            _accelerate_transposed(module, _Accelerated(None, **numerics))
        elif isinstance(module, (Conv, ConvTranspose, DepthwiseConv)) and (
            module.method == "auto" and module.policy is None
        ):
            module.method, module.policy = numerics["method"], numerics["policy"]
    return model


@dataclasses.dataclass(frozen=True)
class _Accelerated:
    """A function under `jaxconv.accelerate`; equal to others of the same, as `nnx.jit` needs it."""

    function: Callable[..., Any] | None
    method: str
    policy: Policy | None

    def __call__(self, *args: Any, **kwargs: Any) -> jax.Array:
        return self.of(self.function)(*args, **kwargs)

    def of(self, function: Any) -> Callable[..., jax.Array]:
        return accelerated(function, method=self.method, policy=self.policy)


def _accelerate_transposed(module: Any, accelerated: _Accelerated) -> None:
    module.__class__ = _accelerated_class(type(module))
    module.accelerated = accelerated


@functools.cache
def _accelerated_class(plain: type) -> type:
    """A subclass of a `flax.nnx.ConvTranspose`, which has no attribute for a function."""
    if "plain_class" in vars(plain):  # it is one already
        return plain

    def call(self: Any, *args: Any, **kwargs: Any) -> jax.Array:
        return self.accelerated.of(functools.partial(plain.__call__, self))(*args, **kwargs)

    attributes = {
        "__call__": call,
        "__doc__": plain.__doc__,
        "__module__": plain.__module__,
        "__qualname__": plain.__qualname__,
        "plain_class": plain,
    }
    return type(plain)(plain.__name__, (plain,), attributes)
