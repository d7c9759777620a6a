"""`from_torch` and `to_torch`: every convolution layer, whole networks, and exactly back."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from test_torch import close, first, last, normal

import jaxconv
import jaxconv.compat.torch as F  # noqa: N812
from jaxconv import linen
from jaxconv import nnx as layers
from jaxconv.compat.torch import from_torch, to_torch

PLAIN = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d, 3: torch.nn.Conv3d}
TRANSPOSED = {
    1: torch.nn.ConvTranspose1d,
    2: torch.nn.ConvTranspose2d,
    3: torch.nn.ConvTranspose3d,
}
SIZES = {1: (7,), 2: (5, 6), 3: (4, 3, 5)}


def assert_same_bits(state, expected):
    assert state.keys() == expected.keys()
    for name, tensor in state.items():
        assert tensor.dtype == expected[name].dtype
        assert torch.equal(tensor, expected[name]), name


def there_and_back(module, **arguments):
    tree = from_torch(module, **arguments)
    assert_same_bits(to_torch(tree, **arguments), module.state_dict())
    # a state dict says the same of these layers, and JAX's arrays come back as NumPy's do
    alike = from_torch(module.state_dict(), **arguments)
    assert jax.tree.structure(alike) == jax.tree.structure(tree)
    assert jax.tree.all(jax.tree.map(np.array_equal, alike, tree))
    return tree


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_layer(rank, groups, bias):
    kernel, x = (3, 2, 2)[:rank], normal(2, *SIZES[rank], 4)
    stride = (2, 1, 2)[:rank]
    arguments = {"stride": stride, "padding": 1, "groups": groups}

    layer = PLAIN[rank](4, 8, kernel, bias=bias, **arguments)
    tree = there_and_back(layer)
    assert jax.tree.map(np.shape, tree) == {
        "kernel": (*kernel, 4 // groups, 8),
        **({"bias": (8,)} if bias else {}),
    }
    ours = linen.Conv(8, kernel, stride, 1, feature_group_count=groups, use_bias=bias)
    close(ours.apply({"params": tree}, x), last(layer(torch.tensor(first(x)))))

    layer = TRANSPOSED[rank](
        4, 8, kernel, bias=bias, output_padding=stride[0] - 1, dilation=2, **arguments
    )
    tree = there_and_back(layer)
    assert jax.tree.map(np.shape, tree) == {
        "kernel": (*kernel, 8 // groups, 4),
        **({"bias": (8,)} if bias else {}),
    }
    theirs = last(layer(torch.tensor(first(x))))
    # jaxconv's output_padding stays below the stride: beyond it, padding after is less
    padding = [(1, 1 - (stride[0] - 1))] * rank
    y = jaxconv.conv_transpose(
        x,
        tree["kernel"],
        tree.get("bias"),
        stride=stride,
        padding=padding,
        dilation=2,
        groups=groups,
    )
    close(y, theirs)


class Torch(torch.nn.Module):
    """A network of everything that has a layout."""

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
    """With running statistics, scales and shifts that are not those of the start."""
    torch.manual_seed(0)
    module = Torch()
    for norm in (module.stem[1], module.norm):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    for _ in range(3):
        module(torch.randn(2, 3, 10, 12) + 1)
    return module.eval()


FLATTENED = {"head": (4, 10, 12)}


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        def norm(name):
            return nn.BatchNorm(use_running_average=True, name=name)

        x = linen.Conv(8, (4, 4), 2, 1, padding_mode="reflect", name="stem_0")(x)
        x = nn.relu(norm("stem_1")(x))
        x = linen.Conv(
            8,
            (3, 3),
            kernel_dilation=2,
            padding="same",
            feature_group_count=8,
            use_bias=False,
            name="depthwise",
        )(x)
        x = linen.ConvTranspose(
            6,
            (3, 3),
            2,
            1,
            transpose_kernel=True,
            use_consistent_padding=True,
            output_padding=1,
            feature_group_count=2,
            name="up",
        )(x)
        x = nn.relu(norm("norm")(x))
        x = linen.Conv(4, (1, 1), name="last")(x)
        return nn.Dense(5, name="head")(x.reshape(x.shape[0], -1))


def test_a_whole_network_in_linen():
    module, x = network(), normal(2, 10, 12, 3)
    tree = there_and_back(module, flattened=FLATTENED)
    stem = tree.pop("stem")
    tree |= {f"stem_{i}": layer for i, layer in stem.items()}
    statistics = {
        name: {leaf: layer.pop(leaf) for leaf in ("mean", "var")}
        for name, layer in tree.items()
        if "mean" in layer
    }
    for name in statistics:
        assert tree[name].pop("num_batches_tracked") == 3
    variables = {"params": tree, "batch_stats": statistics}
    shapes = jax.eval_shape(Linen().init, jax.random.key(0), x)
    assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, shapes)
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(Linen().apply)(variables, x)
    close(ours, module(torch.tensor(first(x))).detach().numpy())


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.conv = layers.Conv(3, 8, (3, 3), 2, padding=1, feature_group_count=1, rngs=rngs)
        self.norm = nnx.BatchNorm(8, use_running_average=True, rngs=rngs)
        self.up = layers.ConvTranspose(
            *(8, 3, (4, 4), 2),
            padding=1,
            transpose_kernel=True,
            use_consistent_padding=True,
            rngs=rngs,
        )

    def __call__(self, x):
        return self.up(self.norm(self.conv(x)))


def test_a_network_in_nnx_is_updated_and_read_back():
    torch.manual_seed(0)
    module = torch.nn.Sequential()
    module.add_module("conv", torch.nn.Conv2d(3, 8, 3, 2, 1))
    module.add_module("norm", torch.nn.BatchNorm2d(8))
    module.add_module("up", torch.nn.ConvTranspose2d(8, 3, 4, 2, 1))
    module(torch.randn(2, 3, 8, 8))
    module.eval()
    x, ours = normal(2, 8, 8, 3), Nnx(nnx.Rngs(0))
    tree = from_torch(module)
    count = tree["norm"].pop("num_batches_tracked")
    nnx.update(ours, tree)
    y = nnx.jit(lambda ours, x: ours(x))(ours, x)
    close(y, last(module(torch.tensor(first(x)))))
    state = to_torch(nnx.state(ours))
    state["norm.num_batches_tracked"] = torch.tensor(count)
    assert_same_bits(dict(sorted(state.items())), dict(sorted(module.state_dict().items())))
    module.load_state_dict(state)


def test_torch_weights_are_used_as_they_are_by_the_functions():
    """The functions of the face take torch's layout, so a port may leave weights alone."""
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
        close(forward(x), module(torch.tensor(x)).detach().numpy())


# torch warns of complex modules when they are made
@pytest.mark.filterwarnings("ignore:Complex modules are a new feature")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64"])
def test_every_dtype_returns_bit_by_bit(dtype):
    """Also float64, which JAX itself narrows unless told not to."""
    layer = torch.nn.Conv2d(2, 3, (2, 3)).to(getattr(torch, dtype))
    tree = there_and_back(layer)
    assert tree["kernel"].dtype == jnp.dtype(dtype)
    if dtype != "float64":
        assert_same_bits(to_torch(jax.tree.map(jnp.asarray, tree)), layer.state_dict())


def test_layers_that_do_not_convolve():
    module = torch.nn.ModuleDict(
        {
            "table": torch.nn.Embedding(5, 3),
            "image": torch.nn.LayerNorm((3, 4)),
            "groups": torch.nn.GroupNorm(2, 4),
            "slope": torch.nn.PReLU(2),
            "still": torch.nn.BatchNorm1d(3, affine=False),
            "bilinear": torch.nn.Bilinear(2, 3, 4),
            "attention": torch.nn.MultiheadAttention(4, 2),
        }
    )
    tree = from_torch(module)
    assert_same_bits(to_torch(tree), module.state_dict())
    assert {name: list(layer) for name, layer in tree.items()} == {
        "table": ["embedding"],
        "image": ["scale", "bias"],
        "groups": ["scale", "bias"],
        "slope": ["scale"],
        "still": ["mean", "var", "num_batches_tracked"],
        "bilinear": ["weight", "bias"],
        "attention": ["in_proj_weight", "in_proj_bias", "out_proj"],
    }
    assert list(tree["attention"]["out_proj"]) == ["kernel", "bias"]
    np.testing.assert_array_equal(tree["image"]["scale"], module["image"].weight.detach().numpy())
    # without the module a matrix is a dense layer's, and comes back all the same
    assert_same_bits(to_torch(from_torch(module.state_dict())), module.state_dict())


def test_the_arrays_are_copies():
    layer = torch.nn.Linear(2, 3)
    tree = from_torch(layer)
    before = tree["kernel"].copy(), tree["bias"].copy()
    state = to_torch(tree)
    torch.nn.init.constant_(layer.weight, 7)
    torch.nn.init.constant_(layer.bias, 7)
    for tensor in state.values():
        tensor.fill_(9)
    np.testing.assert_array_equal(tree["kernel"], before[0])
    np.testing.assert_array_equal(tree["bias"], before[1])


class Named(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(2))


def weight_norm():
    return torch.nn.Sequential(
        torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(1, 1, 1))
    )


CONV = {"kernel": np.ones((2, 1, 1))}
REFUSALS = {
    "no module": (
        lambda: from_torch(3),
        TypeError,
        "from_torch: source must be a torch.nn.Module or its state dict, not int",
    ),
    "no tensor": (
        lambda: from_torch({"conv.weight": np.ones(3)}),
        TypeError,
        "from_torch: 'conv.weight' must be a torch tensor, not ndarray",
    ),
    "weight norm": (
        lambda: from_torch(weight_norm()),
        ValueError,
        "from_torch: '0.weight' is computed from other parameters (weight_norm, spectral_norm or "
        "the like); make it plain first, e.g. with "
        "torch.nn.utils.parametrize.remove_parametrizations",
    ),
    "lazy": (
        lambda: from_torch(torch.nn.LazyConv2d(3, 3)),
        ValueError,
        "from_torch: 'weight' has no shape yet; call the module once on an input",
    ),
    "our name": (
        lambda: from_torch(Named()),
        ValueError,
        "from_torch: 'scale' has a name that is one of ours (kernel, scale, embedding, mean, var), "
        "so that to_torch would rename it; rename it in the module",
    ),
    "flattened layer": (
        lambda: from_torch(torch.nn.Linear(6, 2), flattened={"head": (3, 2)}),
        ValueError,
        "from_torch: flattened={'head': (3, 2)} needs a dense layer of that name with 6 inputs, "
        "found no such layer",
    ),
    "flattened size": (
        lambda: to_torch({"head": {"kernel": np.ones((6, 2))}}, flattened={"head": (3, 4)}),
        ValueError,
        "to_torch: flattened={'head': (3, 4)} needs a dense layer of that name with 12 inputs, "
        "found a kernel of shape (6, 2)",
    ),
    "no tree": (
        lambda: to_torch([1]),
        TypeError,
        "to_torch: params must be a nested dict, not list",
    ),
    "no numbers": (
        lambda: to_torch({"conv": {"kernel": "wide"}}),
        TypeError,
        "to_torch: conv.kernel must be an array of numbers, not str",
    ),
    "no kernel": (
        lambda: to_torch({"conv": {"kernel": np.ones(3)}}),
        ValueError,
        "to_torch: conv.kernel has shape (3,), but a kernel is (*kernel, in // groups, out)",
    ),
    "two of a name": (
        lambda: to_torch({"conv": {"scale": np.ones(3), **CONV}}),
        ValueError,
        "to_torch: two leaves of params are 'conv.weight' in torch",
    ),
}


# torch warns of lazy modules when they are made
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    call, error, message = REFUSALS[name]
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
