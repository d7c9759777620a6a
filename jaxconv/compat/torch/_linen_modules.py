"""Steps as Flax Linen modules."""

from typing import Any

import jax
from flax import linen as nn

from jaxconv import linen
from jaxconv.compat.torch._layer_specs import Chain, Step, check_dimensions


class Layer(nn.Module):
    """A function of an array and of parameters that no module of Flax's has.

    Attributes:
        step: what is applied.
    """

    step: Step

    @nn.compact
    def __call__(self, x: jax.Array) -> Any:
        """Apply it."""
        check_dimensions(self.step, self.name, x)
        params = {
            name: self.param(name, nn.initializers.zeros, value.shape, value.dtype)
            for name, value in self.step.params.items()
        }
        return self.step.apply(x, params)


class Sequential(nn.Module):
    """A `torch.nn.Sequential`: its layers one after another, under torch's names.

    Attributes:
        chain: the layers.
    """

    chain: Chain

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Any:
        """Apply them to a channels-last array.

        Args:
            x: what torch's module takes, with torch's dimension 1 last.
            train: take batch statistics and update the running ones (`mutable=["batch_stats"]`),
                and drop out (`rngs={"dropout": key}`).
        """
        for name, step in self.chain.steps:
            layer = module_of(step, name=name, train=train)
            if isinstance(step, Step):
                check_dimensions(step, name, x)
            x = layer(x, train=train) if isinstance(step, Chain) else layer(x)
        return x


def module_of(step: Step | Chain, *, name: str | None = None, train: bool = False) -> nn.Module:
    """Return the module of a step, without parameters."""
    if isinstance(step, Chain):
        return Sequential(step, name=name)
    if step.kind is None:
        return Layer(step, name=name)
    kind = getattr(linen if step.kind in ("Conv", "ConvTranspose") else nn, step.kind)
    arguments = {**step.arguments, **step.linen}
    for mode in ("use_running_average", "deterministic"):
        if mode in arguments:
            arguments[mode] = not train
    return kind(**arguments, name=name)
