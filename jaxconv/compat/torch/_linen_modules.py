"""Flax Linen modules of layer specs."""

from typing import Any

import jax
from flax import linen as nn

from jaxconv import linen
from jaxconv.compat.torch._layer_specs import LayerSpec, SequentialSpec, check_dimensions


class Layer(nn.Module):
    """A function of an array, and of parameters, that Flax has no module for.

    Attributes:
        spec: the function and its parameters.
    """

    spec: LayerSpec

    @nn.compact
    def __call__(self, x: jax.Array) -> Any:
        """Apply the function."""
        check_dimensions(self.spec, self.name, x)
        params = {
            name: self.param(name, nn.initializers.zeros, value.shape, value.dtype)
            for name, value in self.spec.params.items()
        }
        return self.spec.apply(x, params)


class Sequential(nn.Module):
    """A `torch.nn.Sequential`; its layers have torch's names.

    Attributes:
        spec: the layers.
    """

    spec: SequentialSpec

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Any:
        """Apply the layers to a channels-last array.

        Args:
            x: the input of torch's module, with torch's dimension 1 last.
            train: use batch statistics and update the running ones (`mutable=["batch_stats"]`), and
                apply dropout (`rngs={"dropout": key}`).
        """
        for name, layer in self.spec.layers:
            module = module_of(layer, name=name, train=train)
            if isinstance(layer, LayerSpec):
                check_dimensions(layer, name, x)
            x = module(x, train=train) if isinstance(layer, SequentialSpec) else module(x)
        return x


def module_of(
    spec: LayerSpec | SequentialSpec, *, name: str | None = None, train: bool = False
) -> nn.Module:
    """Return the Linen module of a layer spec."""
    if isinstance(spec, SequentialSpec):
        return Sequential(spec, name=name)
    if spec.kind is None:
        return Layer(spec, name=name)
    kind = getattr(linen if spec.kind in ("Conv", "ConvTranspose") else nn, spec.kind)
    arguments = {**spec.arguments, **spec.linen}
    for mode in ("use_running_average", "deterministic"):
        if mode in arguments:
            arguments[mode] = not train
    return kind(**arguments, name=name)
