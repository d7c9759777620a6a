"""What `from_torch` and `to_torch` refuse, with whole messages."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from test_torch import normal

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
    "load it into its module and pass that: module.load_state_dict(state); from_torch(module)"
)
NOT_CARRIED = (
    "is not among the layers that are carried over (they are listed at from_torch); port the "
    "modules around it, and build this one by hand"
)
PLAIN = (
    "is computed from other parameters (weight_norm, spectral_norm or the like); make it plain "
    "first, e.g. with torch.nn.utils.parametrize.remove_parametrizations"
)
LAST = (
    "acts on torch's last dimension, but finds an image with 2 spatial dimensions, whose last "
    "dimension is one of space there and the channels here; put a Flatten before it, or port the "
    "parts on their own and move the axes between them"
)
FEATURES = (
    "but finds an array of features, as Linear, Embedding, LayerNorm and Flatten make it; port the "
    "parts on their own and move the axes between them"
)
REFUSALS = {
    "no module": (
        lambda: from_torch(3),
        "from_torch: module must be a torch.nn.Module, not int",
    ),
    # a state dict
    "Embedding": (
        state_dict(nn.Embedding(5, 3)),
        "from_torch: a state dict does not say what its entries are (is 'weight' of a Linear or an "
        f"Embedding?); {NO_STATE_DICT}",
    ),
    "Conv or ConvTranspose": (
        state_dict(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3))),
        "from_torch: a state dict does not say what its entries are (is '1.weight' of a Conv2d or "
        f"a ConvTranspose2d, of what stride?); {NO_STATE_DICT}",
    ),
    "norm or PReLU": (
        state_dict(nn.PReLU(3)),
        "from_torch: a state dict does not say what its entries are (is 'weight' of a norm or a "
        f"PReLU?); {NO_STATE_DICT}",
    ),
    "empty": (
        lambda: from_torch({}),
        f"from_torch: a state dict does not say what its entries are; {NO_STATE_DICT}",
    ),
    # weights that are none
    "weight norm": (
        sequential(nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 1, 1))),
        f"from_torch: '0.weight' {PLAIN}",
    ),
    "spectral norm": (
        lambda: from_torch(nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2))),
        f"from_torch: 'weight' {PLAIN}",
    ),
    "older spectral norm": (
        lambda: from_torch(nn.utils.spectral_norm(nn.Linear(2, 2))),
        f"from_torch: 'weight' {PLAIN}",
    ),
    "lazy": (
        lambda: from_torch(nn.LazyConv2d(3, 3)),
        "from_torch: 'weight' has no shape yet; call the module once on an input",
    ),
    "meta": (
        lambda: from_torch(nn.Linear(2, 2, device="meta")),
        "from_torch: 'weight' is on the meta device and has no numbers; load them",
    ),
    "our name": (
        lambda: from_torch(Named()),
        "from_torch: 'scale' has a name that is one of ours (kernel, scale, embedding, "
        "negative_slope, mean, var), so that to_torch would rename it; rename it in the module",
    ),
    "shared": (
        shared,
        "from_torch: '0.weight' and '2.weight' are one parameter, which would become two; port the "
        "parts on their own and share it by hand",
    ),
    # layers that are others
    "unknown": (
        lambda: from_torch(nn.LSTM(2, 3)),
        f"from_torch: LSTM {NOT_CARRIED}",
    ),
    "unknown inside": (
        lambda: from_torch(nn.ModuleDict({"attention": nn.MultiheadAttention(4, 2)})),
        f"from_torch: 'attention' is a MultiheadAttention, which {NOT_CARRIED}",
    ),
    "unknown function": (
        sequential(nn.ReLU(), nn.AlphaDropout()),
        f"from_torch: '1' is an AlphaDropout, which {NOT_CARRIED}",
    ),
    "own forward": (
        sequential(Halved(1, 1, 1)),
        "from_torch: '0' is a Halved, a Conv2d with a forward of its own, which is not carried "
        "over; port a plain Conv2d with its weights",
    ),
    "own inner forward": (
        lambda: from_torch(Padded(1, 1, 1)),
        "from_torch: a Padded, a Conv2d with a forward of its own, which is not carried over; port "
        "a plain Conv2d with its weights",
    ),
    "patched": (
        patched,
        "from_torch: a ReLU, a ReLU with a forward of its own, which is not carried over; port a "
        "plain ReLU with its weights",
    ),
    "hooks": (
        hooked,
        "from_torch: '0' has forward hooks, which are Python code and are not carried over; remove "
        "them first",
    ),
    # arguments that Flax has not
    "max_norm": (
        lambda: from_torch(nn.Embedding(5, 3, max_norm=1.0)),
        "from_torch: Embedding has max_norm or scale_grad_by_freq, which no layer of Flax's has",
    ),
    "momentum": (
        sequential(nn.BatchNorm2d(3, momentum=None)),
        "from_torch: '0' is a BatchNorm2d, which has momentum=None, a mean over all batches that "
        "no layer of Flax's takes; give it a number",
    ),
    "statistics of instances": (
        lambda: from_torch(nn.InstanceNorm1d(3, track_running_stats=True)),
        "from_torch: InstanceNorm1d has running statistics, which no InstanceNorm of Flax's has; "
        "set track_running_stats=False, or in evaluation use a BatchNorm with its numbers",
    ),
    "indices": (
        lambda: from_torch(nn.MaxPool2d(2, return_indices=True)),
        "from_torch: MaxPool2d returns indices too; set return_indices=False",
    ),
    "mode": (
        lambda: from_torch(nn.Upsample(3, mode="area")),
        "from_torch: Upsample has mode='area', which is not carried over",
    ),
    "RMSNorm": (
        lambda: from_torch(nn.RMSNorm(3)),
        "from_torch: RMSNorm is carried over one dimension, with a weight and a given eps, alone",
    ),
    "no dim": (
        lambda: from_torch(nn.Softmax()),
        "from_torch: Softmax has dim=None; give the dimension, e.g. dim=1",
    ),
    "which dim": (
        lambda: from_torch(nn.Softmax(2)),
        "from_torch: Softmax has dim=2, of which it cannot be told which axis it is here",
    ),
    "Flatten": (
        lambda: from_torch(nn.Flatten(0)),
        "from_torch: Flatten has start_dim=0, end_dim=-1; all but the batch (1, -1), or the space "
        "of an image (2, -1), are carried over",
    ),
    "Unflatten": (
        sequential(nn.Conv1d(2, 4, 1), nn.Unflatten(1, (2, 2))),
        "from_torch: '1' is an Unflatten, which is carried over where it makes (batch, features) "
        "an image: dim=1",
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
        "finds an image with 2 spatial dimensions; port the parts on their own and move the axes "
        "between them",
    ),
    "Embedding later": (
        sequential(nn.Conv2d(3, 3, 1), nn.Embedding(5, 3)),
        "from_torch: '1' is an Embedding, which takes indices, but does not come first",
    ),
    # flattened
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
        "from_torch: '1' is a Linear, which comes after Flatten, so that flattened need not name "
        "it",
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
    # and back
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
        "to_torch: two leaves of variables are 'conv.weight' in torch",
    ),
}
TYPE_ERRORS = (
    *("no module", "Embedding", "Conv or ConvTranspose", "norm or PReLU", "empty"),
    *("no tree", "no numbers"),
)


# torch warns of lazy modules when they are made, and of what it has a newer way for
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
def test_arrays_for_which_a_layer_would_mean_another_thing(name):
    module, shape = WRONG_RANKS[name]
    port, x = from_torch(module), jnp.asarray(normal(*shape))
    for call in (lambda: port.layer.apply(port.variables, x), lambda: port.nnx()(x)):
        with pytest.raises(ValueError, match=r"carried over from torch, needs an array of \d dim"):
            call()
