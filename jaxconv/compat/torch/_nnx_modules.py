"""Flax NNX modules of layer specs, with their parameters."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx as flax

from jaxconv import nnx
from jaxconv.compat.torch._layer_specs import LayerSpec, SequentialSpec, check_dimensions


class Layer(flax.Module):
    """A function of an array, and of parameters, that Flax has no module for."""

    def __init__(self, spec: LayerSpec, name: str):
        self.spec, self.name = spec, name
        for leaf, value in spec.params.items():
            setattr(self, leaf, flax.Param(jnp.asarray(value)))

    def __call__(self, x: jax.Array) -> Any:
        """Apply the function."""
        check_dimensions(self.spec, self.name, x)
        params = {name: getattr(self, name)[...] for name in self.spec.params}
        return self.spec.apply(x, params)


class Sequential(flax.Module):
    """A `torch.nn.Sequential`; its layers are attributes with torch's names."""

    def __init__(self, spec: SequentialSpec, rngs: flax.Rngs):
        self.spec = spec
        for name, layer in spec.layers:
            setattr(self, name, module_of(layer, rngs, name=name))

    def __call__(self, x: jax.Array) -> Any:
        """Apply the layers to a channels-last array."""
        for name, layer in self.spec.layers:
            if isinstance(layer, LayerSpec):
                check_dimensions(layer, name, x)
            x = getattr(self, name)(x)
        return x


def module_of(spec: LayerSpec | SequentialSpec, rngs: flax.Rngs, *, name: str = "") -> flax.Module:
    """Return the NNX module of a layer spec, with parameters and statistics, in evaluation mode."""
    if isinstance(spec, SequentialSpec):
        return Sequential(spec, rngs)
    if spec.kind is None:
        return Layer(spec, name)
    arguments: dict[str, Any] = {**spec.arguments, **spec.nnx, "rngs": rngs}
    if spec.kind in ("Conv", "ConvTranspose"):
        module = getattr(nnx, spec.kind)(**arguments)
    else:
        kind = "Linear" if spec.kind == "Dense" else spec.kind
        module = getattr(flax, kind)(**arguments)
    for leaf, value in {**spec.params, **spec.stats}.items():
        getattr(module, leaf)[...] = jnp.asarray(value)
    return module
