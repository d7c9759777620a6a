"""Activations of torch as functions of a channels-last array."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv.compat.torch._layer_specs import LayerContext, LayerSpec, Layout

Function = Callable[[jax.Array], jax.Array]

# torch's class -> function of the torch module that returns a function of the array
_ELEMENTWISE: dict[str, Callable[[Any], Function]] = {
    "CELU": lambda m: functools.partial(jax.nn.celu, alpha=m.alpha),
    "ELU": lambda m: functools.partial(jax.nn.elu, alpha=m.alpha),
    "GELU": lambda m: functools.partial(jax.nn.gelu, approximate=m.approximate == "tanh"),
    "Hardshrink": lambda m: lambda x: jnp.where(jnp.abs(x) > m.lambd, x, 0),
    "Hardsigmoid": lambda m: jax.nn.hard_sigmoid,
    "Hardswish": lambda m: jax.nn.hard_swish,
    "Hardtanh": lambda m: lambda x: jnp.clip(x, m.min_val, m.max_val),
    "Identity": lambda m: lambda x: x,
    "LeakyReLU": lambda m: functools.partial(jax.nn.leaky_relu, negative_slope=m.negative_slope),
    "LogSigmoid": lambda m: jax.nn.log_sigmoid,
    "Mish": lambda m: jax.nn.mish,
    "ReLU": lambda m: jax.nn.relu,
    "ReLU6": lambda m: jax.nn.relu6,
    "SELU": lambda m: jax.nn.selu,
    "SiLU": lambda m: jax.nn.silu,
    "Sigmoid": lambda m: jax.nn.sigmoid,
    "Softplus": lambda m: (
        lambda x: jnp.where(x * m.beta > m.threshold, x, jax.nn.softplus(x * m.beta) / m.beta)
    ),
    "Softshrink": lambda m: lambda x: jnp.sign(x) * jax.nn.relu(jnp.abs(x) - m.lambd),
    "Softsign": lambda m: jax.nn.soft_sign,
    "Tanh": lambda m: jnp.tanh,
    "Tanhshrink": lambda m: lambda x: x - jnp.tanh(x),
    "Threshold": lambda m: lambda x: jnp.where(x > m.threshold, x, m.value),
}
_ALONG: dict[str, Callable[..., jax.Array]] = {
    "GLU": jax.nn.glu,
    "LogSoftmax": jax.nn.log_softmax,
    "Softmax": jax.nn.softmax,
    "Softmin": lambda x, axis: jax.nn.softmax(-x, axis),
}
NAMES = (*_ELEMENTWISE, *_ALONG, "Softmax2d")


def layer_spec(module: Any, context: LayerContext) -> tuple[LayerSpec, Layout]:
    """Return the layer spec of an activation, and the layout after it."""
    if context.kind in _ELEMENTWISE:
        return LayerSpec(function=_ELEMENTWISE[context.kind](module)), context.layout
    if context.kind == "Softmax2d":
        return LayerSpec(function=functools.partial(jax.nn.softmax, axis=-1)), context.image(2)
    axis, dimensions = context.axis(module.dim)
    function = functools.partial(_ALONG[context.kind], axis=axis)
    return LayerSpec(function=function, dimensions=dimensions), context.layout
