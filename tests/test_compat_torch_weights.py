"""torch's weights in the functions of `jaxconv.compat.torch`, and `to_torch` of other trees."""

import jax
import jax.numpy as jnp
import numpy as np
from test_torch import assert_close, first, normal
from torch_here import torch

import jaxconv.compat.torch as F  # noqa: N812
from jaxconv.compat.torch import from_torch, to_torch


class Torch(torch.nn.Module):
    """A network with every kind of parameter that has a layout."""

    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 4, 2, 1, padding_mode="reflect"), nn.BatchNorm2d(8)
        )
        self.depthwise = nn.Conv2d(8, 8, 3, padding="same", dilation=2, groups=8, bias=False)
        self.up = nn.ConvTranspose2d(8, 6, 3, 2, 1, 1, groups=2)
        self.norm = nn.BatchNorm2d(6)
        self.last = nn.Conv2d(6, 4, 1)
        self.head = nn.Linear(4 * 10 * 12, 5)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(self.norm(self.up(self.depthwise(x))))
        return self.head(torch.flatten(self.last(x), 1))


def network():
    """Set running statistics, scales and shifts to other than the initial values."""
    torch.manual_seed(0)
    module = Torch()
    for norm in (module.stem[1], module.norm):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    for _ in range(3):
        module(torch.randn(2, 3, 10, 12) + 1)
    return module.eval()


def test_torch_weights_are_used_as_they_are_by_the_functions():
    """The functions take torch's layout, so weights need no conversion."""
    module, x = network(), first(normal(2, 10, 12, 3))
    w = {name: tensor.numpy() for name, tensor in module.state_dict().items()}

    def norm(x, name):
        mean, var, scale, shift = (
            w[f"{name}.{leaf}"][:, None, None]
            for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / jnp.sqrt(var + 1e-5) * scale + shift

    @jax.jit
    def forward(x):
        x = F.pad(x, (1, 1, 1, 1), "reflect")
        x = jax.nn.relu(norm(F.conv2d(x, w["stem.0.weight"], w["stem.0.bias"], 2), "stem.1"))
        x = F.conv2d(x, w["depthwise.weight"], None, 1, "same", 2, 8)
        x = F.conv_transpose2d(x, w["up.weight"], w["up.bias"], 2, 1, 1, 2)
        x = F.conv2d(jax.nn.relu(norm(x, "norm")), w["last.weight"], w["last.bias"])
        return x.reshape(2, -1) @ w["head.weight"].T + w["head.bias"]

    with jax.default_matmul_precision("highest"):
        assert_close(forward(x), module(torch.tensor(x)).detach().numpy())


def test_trees_of_ones_own_become_state_dicts():
    module = network()
    converted = from_torch(module, flattened={"head": (4, 10, 12)})
    # parameters and statistics in one tree of JAX arrays, as in nnx.state
    tree = jax.tree.map(jnp.asarray, converted.variables["params"])
    for name in ("mean", "var"):
        tree["norm"][name] = converted.variables["batch_stats"]["norm"][name]
        tree["stem"]["1"][name] = converted.variables["batch_stats"]["stem"]["1"][name]
    state = to_torch(tree, flattened={"head": (4, 10, 12)})
    want = {n: t for n, t in module.state_dict().items() if not n.endswith("num_batches_tracked")}
    assert state.keys() == want.keys()
    for name, tensor in state.items():
        assert tensor.dtype == want[name].dtype
        assert torch.equal(tensor, want[name])
        tensor.fill_(9)  # a copy
    np.testing.assert_array_equal(tree["up"]["bias"], module.up.bias.detach())
    module.load_state_dict(to_torch(tree, flattened={"head": (4, 10, 12)}))
