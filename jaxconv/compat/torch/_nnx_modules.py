"""Steps as Flax NNX modules that hold their parameters."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx as flax

from jaxconv import nnx
from jaxconv.compat.torch._layer_specs import Chain, Step, check_dimensions


class Layer(flax.Module):
    """A function of an array and of parameters that no module of Flax's has."""

    def __init__(self, step: Step, name: str):
        self.step, self.name = step, name
        for leaf, value in step.params.items():
            setattr(self, leaf, flax.Param(jnp.asarray(value)))

    def __call__(self, x: jax.Array) -> Any:
        """Apply it."""
        check_dimensions(self.step, self.name, x)
        params = {name: getattr(self, name)[...] for name in self.step.params}
        return self.step.apply(x, params)


class Sequential(flax.Module):
    """A `torch.nn.Sequential`: its layers one after another, as attributes under torch's names."""

    def __init__(self, chain: Chain, rngs: flax.Rngs):
        self.chain = chain
        for name, step in chain.steps:
            setattr(self, name, module_of(step, rngs, name=name))

    def __call__(self, x: jax.Array) -> Any:
        """Apply them to a channels-last array."""
        for name, step in self.chain.steps:
            if isinstance(step, Step):
                check_dimensions(step, name, x)
            x = getattr(self, name)(x)
        return x


def module_of(step: Step | Chain, rngs: flax.Rngs, *, name: str = "") -> flax.Module:
    """Return the module of a step with its parameters and statistics, in evaluation."""
    if isinstance(step, Chain):
        return Sequential(step, rngs)
    if step.kind is None:
        return Layer(step, name)
    arguments: dict[str, Any] = {**step.arguments, **step.nnx, "rngs": rngs}
    if step.kind in ("Conv", "ConvTranspose"):
        module = getattr(nnx, step.kind)(**arguments)
    else:
        kind = "Linear" if step.kind == "Dense" else step.kind
        module = getattr(flax, kind)(**arguments)
    for leaf, value in {**step.params, **step.stats}.items():
        getattr(module, leaf)[...] = jnp.asarray(value)
    return module
