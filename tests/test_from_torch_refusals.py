"""Errors of `from_torch` and `to_torch`, with whole messages."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from test_torch import normal
from torch_here import torch

from jaxconv.compat.torch import from_torch, to_torch

nn = torch.nn


def sequential(*layers):
    return lambda: from_torch(nn.Sequential(*layers))


def state_dict(module):
    return lambda: from_torch(module.state_dict())


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))


class Halved(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) / 2


class Padded(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(nn.functional.pad(x, (1, 1)), weight, bias)


class Alike(nn.Conv2d):
    """A subclass that computes the same."""


def hooked():
    layer = nn.ReLU()
    layer.register_forward_hook(lambda module, inputs, output: output + 1)
    return from_torch(nn.Sequential(layer))


def patched():
    layer = nn.ReLU()
    layer.forward = lambda x: x + 1
    return from_torch(layer)


def shared():
    layer = nn.Linear(2, 2)
    return from_torch(nn.Sequential(layer, nn.ReLU(), layer))


NO_STATE_DICT = (
    "load it into its module and convert that: module.load_state_dict(state); from_torch(module)"
)
NOT_CONVERTED = (
    "is not among the layers that from_torch converts (its docstring lists them); convert the "
    "other modules, and build this one by hand"
)
PARAMETRISED = (
    "is computed from other parameters (weight_norm, spectral_norm or similar); remove that first, "
    "e.g. with torch.nn.utils.parametrize.remove_parametrizations"
)
LAST = (
    "acts on torch's last dimension, but its input is an image with 2 spatial dimensions, whose "
    "last dimension is spatial in torch and channels here; put a Flatten before it, or convert the "
    "parts separately and move the axes between them"
)
FEATURES = (
    "but its input is an array of features (the output of Linear, Embedding, LayerNorm or "
    "Flatten); convert the parts separately and move the axes between them"
)
REFUSALS = {
    "no module": (
        lambda: from_torch(3),
        "from_torch: module must be a torch.nn.Module, not int",
    ),
    # a state dict
    "Embedding": (
        state_dict(nn.Embedding(5, 3)),
        "from_torch: a state dict does not contain the types of its layers ('weight' may belong to "
        f"a Linear or an Embedding); {NO_STATE_DICT}",
    ),
    "Conv or ConvTranspose": (
        state_dict(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3))),
        "from_torch: a state dict does not contain the types of its layers ('1.weight' may belong "
        f"to a Conv2d or a ConvTranspose2d); {NO_STATE_DICT}",
    ),
    "norm or PReLU": (
        state_dict(nn.PReLU(3)),
        "from_torch: a state dict does not contain the types of its layers ('weight' may belong to "
        f"a norm or a PReLU); {NO_STATE_DICT}",
    ),
    "empty": (
        lambda: from_torch({}),
        f"from_torch: a state dict does not contain the types of its layers; {NO_STATE_DICT}",
    ),
    # weights that are not plain arrays
    "weight norm": (
        sequential(nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 1, 1))),
        f"from_torch: '0.weight' {PARAMETRISED}",
    ),
    "spectral norm": (
        lambda: from_torch(nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2))),
        f"from_torch: 'weight' {PARAMETRISED}",
    ),
    "older spectral norm": (
        lambda: from_torch(nn.utils.spectral_norm(nn.Linear(2, 2))),
        f"from_torch: 'weight' {PARAMETRISED}",
    ),
    "lazy": (
        lambda: from_torch(nn.LazyConv2d(3, 3)),
        "from_torch: 'weight' has no shape yet; call the module once on an input",
    ),
    "meta": (
        lambda: from_torch(nn.Linear(2, 2, device="meta")),
        "from_torch: 'weight' is on the meta device and has no values; load them",
    ),
    "our name": (
        lambda: from_torch(Named()),
        "from_torch: 'scale' has a name that Flax uses (kernel, scale, embedding, negative_slope, "
        "mean, var), which to_torch would change; rename it in the module",
    ),
    "shared": (
        shared,
        "from_torch: '0.weight' and '2.weight' are one shared parameter, which would become two; "
        "convert the parts separately and share it by hand",
    ),
    # layers that cannot be converted
    "unknown": (
        lambda: from_torch(nn.LSTM(2, 3)),
        f"from_torch: LSTM {NOT_CONVERTED}",
    ),
    "unknown inside": (
        lambda: from_torch(nn.ModuleDict({"attention": nn.MultiheadAttention(4, 2)})),
        f"from_torch: 'attention' is a MultiheadAttention, which {NOT_CONVERTED}",
    ),
    "unknown function": (
        sequential(nn.ReLU(), nn.AlphaDropout()),
        f"from_torch: '1' is an AlphaDropout, which {NOT_CONVERTED}",
    ),
    "own forward": (
        sequential(Halved(1, 1, 1)),
        "from_torch: '0' is a Halved, which overrides the forward method of Conv2d and cannot be "
        "converted; convert a plain Conv2d with its weights",
    ),
    "own inner forward": (
        lambda: from_torch(Padded(1, 1, 1)),
        "from_torch: Padded overrides the forward method of Conv2d and cannot be converted; "
        "convert a plain Conv2d with its weights",
    ),
    "patched": (
        patched,
        "from_torch: ReLU overrides the forward method of ReLU and cannot be converted; convert a "
        "plain ReLU with its weights",
    ),
    "hooks": (
        hooked,
        "from_torch: '0' has forward hooks, which are Python code and cannot be converted; remove "
        "them first",
    ),
    # arguments that Flax does not have
    "max_norm": (
        lambda: from_torch(nn.Embedding(5, 3, max_norm=1.0)),
        "from_torch: Embedding has max_norm or scale_grad_by_freq, which no Flax layer has",
    ),
    "momentum": (
        sequential(nn.BatchNorm2d(3, momentum=None)),
        "from_torch: '0' is a BatchNorm2d, which has momentum=None (a mean over all batches), "
        "which Flax does not support; set a number",
    ),
    "statistics of instances": (
        lambda: from_torch(nn.InstanceNorm1d(3, track_running_stats=True)),
        "from_torch: InstanceNorm1d has running statistics, which Flax's InstanceNorm does not "
        "have; set track_running_stats=False, or for evaluation use a BatchNorm with its "
        "statistics",
    ),
    "indices": (
        lambda: from_torch(nn.MaxPool2d(2, return_indices=True)),
        "from_torch: MaxPool2d returns indices too; set return_indices=False",
    ),
    "mode": (
        lambda: from_torch(nn.Upsample(3, mode="area")),
        "from_torch: Upsample has mode='area', which cannot be converted",
    ),
    "RMSNorm": (
        lambda: from_torch(nn.RMSNorm(3)),
        "from_torch: RMSNorm can be converted only with one normalised dimension, a weight and "
        "an explicit eps",
    ),
    "no dim": (
        lambda: from_torch(nn.Softmax()),
        "from_torch: Softmax has dim=None; give the dimension, e.g. dim=1",
    ),
    "which dim": (
        lambda: from_torch(nn.Softmax(2)),
        "from_torch: Softmax has dim=2, whose axis depends on the rank of its input, which is "
        "unknown",
    ),
    "Flatten": (
        lambda: from_torch(nn.Flatten(0)),
        "from_torch: Flatten has start_dim=0, end_dim=-1; only (1, -1), all but the batch, and "
        "(2, -1), the space of an image, can be converted",
    ),
    "Unflatten": (
        sequential(nn.Conv1d(2, 4, 1), nn.Unflatten(1, (2, 2))),
        "from_torch: '1' is an Unflatten, which can be converted only with dim=1 on (batch, "
        "features)",
    ),
    # layers that would act on another dimension
    "Linear on an image": (
        sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Linear(4, 4)),
        f"from_torch: '2' is a Linear, which {LAST}",
    ),
    "LayerNorm on an image": (
        sequential(nn.Sequential(nn.Conv2d(1, 1, 1)), nn.LayerNorm(4)),
        f"from_torch: '1' is a LayerNorm, which {LAST}",
    ),
    "Conv of features": (
        sequential(nn.Embedding(5, 3), nn.Conv1d(3, 3, 1)),
        f"from_torch: '1' is a Conv1d, which takes 1 spatial dimension and channels, {FEATURES}",
    ),
    "Conv of another rank": (
        sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm1d(3)),
        "from_torch: '1' is a BatchNorm1d, which takes 1 spatial dimension and channels, but "
        "its input is an image with 2 spatial dimensions; convert the parts separately and move "
        "the axes between them",
    ),
    "Embedding later": (
        sequential(nn.Conv2d(3, 3, 1), nn.Embedding(5, 3)),
        "from_torch: '1' is an Embedding, which takes indices, but is not the first layer",
    ),
    # the argument flattened
    "flattened layer": (
        lambda: from_torch(nn.Linear(6, 2), flattened={"head": (3, 2)}),
        "from_torch: flattened={'head': (3, 2)} needs a dense layer of that name with 6 inputs, "
        "found no such layer",
    ),
    "flattened no layer": (
        lambda: from_torch(nn.Sequential(nn.ReLU()), flattened={"0": (3, 2)}),
        "from_torch: flattened={'0': (3, 2)} needs a dense layer of that name with 6 inputs, "
        "found no such layer",
    ),
    "flattened twice": (
        lambda: from_torch(nn.Sequential(nn.Flatten(), nn.Linear(6, 2)), flattened={"1": (3, 2)}),
        "from_torch: '1' is a Linear, which comes after Flatten, so flattened must not name it",
    ),
    "flattened size": (
        lambda: to_torch({"head": {"kernel": np.ones((6, 2))}}, flattened={"head": (3, 4)}),
        "to_torch: flattened={'head': (3, 4)} needs a dense layer of that name with 12 inputs, "
        "found a kernel of shape (6, 2)",
    ),
    "flattened nothing": (
        lambda: to_torch({"head": {"bias": np.ones(2)}}, flattened={"head": (3, 4)}),
        "to_torch: flattened={'head': (3, 4)} needs a dense layer of that name with 12 inputs, "
        "found no such layer",
    ),
    # to_torch
    "no tree": (lambda: to_torch([1]), "to_torch: variables must be a nested dict, not list"),
    "no numbers": (
        lambda: to_torch({"conv": {"kernel": "wide"}}),
        "to_torch: conv.kernel must be an array of numbers, not str",
    ),
    "no kernel": (
        lambda: to_torch({"conv": {"kernel": np.ones(3)}}),
        "to_torch: conv.kernel has shape (3,), but a kernel is (*kernel, in // groups, out)",
    ),
    "two of a name": (
        lambda: to_torch({"conv": {"scale": np.ones(3), "kernel": np.ones((2, 1, 1))}}),
        "to_torch: two leaves of variables have the torch name 'conv.weight'",
    ),
}
TYPE_ERRORS = (
    *("no module", "Embedding", "Conv or ConvTranspose", "norm or PReLU", "empty"),
    *("no tree", "no numbers"),
)


# torch warns of lazy modules and of deprecated functions
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.filterwarnings("ignore:.*is deprecated in favor of")
@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    call, message = REFUSALS[name]
    error = TypeError if name in TYPE_ERRORS else ValueError
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()


def test_a_subclass_that_computes_the_same():
    assert from_torch(nn.Sequential(Alike(2, 3, 1))).parts["0"].layer.features == 3


WRONG_RANKS = {
    # torch normalises dimension 1, which is not the last one here
    "BatchNorm1d of sequences": (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), (2, 4, 4)),
    "Linear after channels": (nn.Sequential(nn.GroupNorm(1, 4), nn.Linear(4, 4)), (2, 4, 4)),
    "last of channels": (nn.Sequential(nn.Softmax(-1)), (2, 4, 4)),
    "unbatched": (nn.Sequential(nn.Conv2d(4, 4, 1), nn.Flatten()), (4, 4, 4)),
}


@pytest.mark.parametrize("name", WRONG_RANKS)
def test_arrays_of_a_rank_for_which_a_layer_would_act_differently(name):
    module, shape = WRONG_RANKS[name]
    converted, x = from_torch(module), jnp.asarray(normal(*shape))
    for call in (lambda: converted.layer.apply(converted.variables, x), lambda: converted.nnx()(x)):
        with pytest.raises(ValueError, match=r"converted from torch, needs an array of \d dim"):
            call()
