"""The networks in torch, channels_last, with the weights of the linen ones."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from jaxconv.bench import devices
from jaxconv.bench.networks.definitions import Layers, Network

# torch's names of Flax's arrays
_NAMES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


class _TorchLayers(Layers):
    """Calls torch's layers by name, and makes those that are missing."""

    def __init__(self, made: nn.ModuleDict):
        super().__init__()
        self._made = made

    def _layer(self, kind: str, make: Any, *arguments: Any, **options: Any) -> nn.Module:
        name = self.name(kind)
        if name not in self._made:
            self._made[name] = make(*arguments, **options)
        return self._made[name]

    def channels(self, x):
        return x.shape[1]

    def conv(self, x, features, size, *, stride=1, groups=1, bias=False):
        geometry = {"stride": stride, "padding": size // 2 if size > stride else 0}
        options = geometry | {"groups": groups, "bias": bias}
        return self._layer("conv", nn.Conv2d, x.shape[1], features, size, **options)(x)

    def conv_transpose(self, x, features):
        return self._layer("transposed", nn.ConvTranspose2d, x.shape[1], features, 2, 2)(x)

    def dense(self, x, features):
        layer = self._layer("dense", nn.Linear, x.shape[1], features)
        return layer(x) if x.ndim == 2 else layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def batch_norm(self, x):
        return self._layer("norm", nn.BatchNorm2d, x.shape[1])(x)

    def layer_norm(self, x):
        layer = self._layer("norm", nn.LayerNorm, x.shape[1], eps=1e-6)
        return layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def apply(self, function, x):
        return getattr(functional, function)(x)

    def max_pool(self, x):
        return functional.max_pool2d(x, 2)

    def mean(self, x, *, keep=False):
        return x.mean((2, 3), keepdim=keep)

    def concatenate(self, *xs):
        return torch.cat(xs, 1)


class TorchNetwork(nn.Module):
    """A network as a torch module; its layers are made at the first call."""

    def __init__(self, network: Network):
        super().__init__()
        self.network, self.layers = network, nn.ModuleDict()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the network's output."""
        return self.network.define(_TorchLayers(self.layers), x)


def as_torch(network: Network, variables: Mapping[str, Any], *, training: bool) -> TorchNetwork:
    """Return the torch module with the weights of the linen one, channels_last."""
    module = TorchNetwork(network)
    with torch.no_grad(), torch.device(devices.torch_device()):
        module(as_images(np.zeros((1, *network.image), np.float32)))
        for layers in variables.values():  # "params" and "batch_stats"
            for name, arrays in layers.items():
                for key, array in dict[str, Any](arrays).items():
                    tensor = getattr(module.layers[name], _NAMES.get(key, key))
                    tensor.copy_(torch.from_numpy(_arranged(name, np.asarray(array))))
    module.train(training)
    channels_last: Any = {"memory_format": torch.channels_last}  # an overload torch does not type
    return module.to(devices.torch_device(), **channels_last)


def as_images(array: np.ndarray) -> torch.Tensor:
    """Return channels-last images as a channels_last tensor."""
    return torch.from_numpy(np.moveaxis(np.array(array), -1, 1)).to(devices.torch_device())


def gradients(module: TorchNetwork) -> dict[str, np.ndarray]:
    """Return the gradients by Flax's paths, in Flax's layouts."""
    found = {}
    for path, parameter in module.layers.named_parameters():
        name, key = path.split(".")
        assert parameter.grad is not None
        array = parameter.grad.float().cpu().numpy()
        key = {"weight": "scale" if array.ndim == 1 else "kernel"}.get(key, key)
        found[f"{name}/{key}"] = _arranged(name, array, back=True)
    return found


def _arranged(name: str, array: np.ndarray, *, back: bool = False) -> np.ndarray:
    """Copy an array from Flax's layout to torch's, or back.

    Flax's ConvTranspose correlates with its kernel, torch's convolves: the kernel is flipped.
    """
    if array.ndim == 4:
        transposed, space = name.startswith("transposed"), (2, 3) if back else (0, 1)
        array = np.flip(array, space) if transposed else array
        # (*kernel, in, out) <-> (in, out, *kernel) if transposed, else (out, in, *kernel)
        order = (2, 3, 1, 0) if back else (3, 2, 0, 1)
        array = array.transpose((2, 3, 0, 1) if transposed else order)
    return np.array(array.T if array.ndim == 2 else array, order="C")
