"""`from_torch`: every layer, single and in a Sequential, compared with torch."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx
from test_torch import assert_close, first, normal
from torch_here import torch

from jaxconv.compat.torch import from_torch, to_torch

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel lengths"),
]
nn = torch.nn
VECTOR, LINE, IMAGE, VOLUME = (4, 6), (2, 9, 6), (2, 7, 8, 6), (2, 4, 5, 4, 6)  # channels last


def started(module):
    """Set parameters and statistics to other than the initial values."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if not tensor.is_floating_point():
                continue
            tensor.copy_(
                torch.rand_like(tensor) + 0.5 if "var" in name else torch.randn_like(tensor)
            )
    return module.eval()


def in_torch(module, x, *, moved=True):
    """Return torch's result, with channels last in input and output."""
    with torch.no_grad():
        y = module(torch.tensor(first(x) if moved and x.ndim > 2 else x)).numpy()
    return np.moveaxis(y, 1, -1) if moved and y.ndim > 2 else y


def both(converted_modules, arrays):
    """Return the results of Linen and NNX for each array, from one program."""

    @flax_nnx.jit
    def run(modules, variables, arrays):
        pairs = zip(converted_modules, variables, modules, arrays, strict=True)
        return [(converted.layer.apply(each, x), module(x)) for converted, each, module, x in pairs]

    with jax.default_matmul_precision("highest"):
        return run(
            [converted.nnx() for converted in converted_modules],
            [converted.variables for converted in converted_modules],
            arrays,
        )


def assert_same_as_torch(module, x, *, moved=True):
    module = started(module)
    want = in_torch(module, x, moved=moved)
    converted = from_torch(module)
    for y in both([converted], [x])[0]:
        assert_close(y, want)
    state = {n: t for n, t in module.state_dict().items() if not n.endswith("num_batches_tracked")}
    back = to_torch(converted.variables)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in back)
    held = to_torch(flax_nnx.state(converted.nnx(), flax_nnx.Not(flax_nnx.RngState)))
    assert held.keys() == state.keys()
    assert all(torch.equal(held[name], state[name]) for name in held)
    return converted


CONVOLUTIONS = {
    "1-D": (nn.Conv1d(6, 4, 3), LINE),
    "2-D": (nn.Conv2d(6, 8, (3, 2), stride=(2, 1), padding=(1, 0), groups=2), IMAGE),
    "3-D": (nn.Conv3d(6, 4, (2, 3, 1), padding=1, dilation=(1, 2, 1), bias=False), VOLUME),
    "depthwise": (nn.Conv2d(6, 12, 3, padding=2, dilation=2, groups=6), IMAGE),
    "same, odd total": (nn.Conv2d(6, 4, (4, 3), padding="same", dilation=(1, 2)), IMAGE),
    "valid": (nn.Conv2d(6, 4, 3, padding="valid", stride=2), IMAGE),
    **{
        f"{mode} {padding}": (
            nn.Conv2d(6, 4, (4, 3), padding=padding, padding_mode=mode, stride=stride),
            IMAGE,
        )
        for mode in ("reflect", "replicate", "circular")
        for padding, stride in (((2, 1), 2), ("same", 1))
    },
    "transposed 1-D": (nn.ConvTranspose1d(6, 4, 4, stride=2, padding=1), LINE),
    # the same shape and other values without the layer's two flags
    "transposed 2-D": (nn.ConvTranspose2d(6, 6, 3, stride=2, padding=1), IMAGE),
    "transposed 3-D": (
        nn.ConvTranspose3d(6, 4, (3, 2, 2), (2, 1, 2), (1, 0, 1), (1, 0, 1), groups=2, bias=False),
        VOLUME,
    ),
    "transposed, output_padding over stride": (
        nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=2, dilation=3),
        IMAGE,
    ),
    "transposed, stride over kernel": (nn.ConvTranspose2d(6, 4, 2, stride=3), IMAGE),
}
LAYERS = {
    "Linear": (nn.Linear(6, 5), VECTOR),
    "Linear, no bias": (nn.Linear(6, 5, bias=False), VECTOR),
    "BatchNorm1d of vectors": (nn.BatchNorm1d(6, eps=0.1), VECTOR),
    "BatchNorm1d": (nn.BatchNorm1d(6), LINE),
    "BatchNorm2d": (nn.BatchNorm2d(6, eps=1e-3, momentum=0.3), IMAGE),
    "BatchNorm2d, plain": (nn.BatchNorm2d(6, affine=False), IMAGE),
    "BatchNorm3d": (nn.BatchNorm3d(6), VOLUME),
    "BatchNorm1d of the batch": (nn.BatchNorm1d(6, track_running_stats=False), VECTOR),
    "BatchNorm2d of the batch": (nn.BatchNorm2d(6, track_running_stats=False, affine=False), IMAGE),
    "GroupNorm": (nn.GroupNorm(3, 6, eps=0.1), IMAGE),
    "GroupNorm, plain": (nn.GroupNorm(2, 6, affine=False), LINE),
    "InstanceNorm1d": (nn.InstanceNorm1d(6), LINE),
    "InstanceNorm2d": (nn.InstanceNorm2d(6, affine=True, eps=0.2), IMAGE),
    "InstanceNorm3d": (nn.InstanceNorm3d(6, affine=True), VOLUME),
    "LayerNorm": (nn.LayerNorm(6, eps=0.1), VECTOR),
    "LayerNorm, no bias": (nn.LayerNorm(6, bias=False), VECTOR),
    "LayerNorm, plain": (nn.LayerNorm(6, elementwise_affine=False), VECTOR),
    "LayerNorm of an image": (nn.LayerNorm((6, 7, 8)), IMAGE),
    "LayerNorm of a line, plain": (nn.LayerNorm((6, 9), elementwise_affine=False), LINE),
    "RMSNorm": (nn.RMSNorm(6, eps=1e-2), VECTOR),
    "PReLU": (nn.PReLU(), IMAGE),
    "PReLU of channels": (nn.PReLU(6), IMAGE),
    "Dropout": (nn.Dropout(), IMAGE),
    "Dropout2d": (nn.Dropout2d(), IMAGE),
}
FUNCTIONS = {
    "MaxPool1d": (nn.MaxPool1d(3, 2, 1, 2), LINE),
    "MaxPool2d": (nn.MaxPool2d((3, 2), padding=1), IMAGE),
    "MaxPool2d, ceil": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    "MaxPool2d, ceil drops": (nn.MaxPool2d((1, 2), (4, 3), (0, 1), ceil_mode=True), IMAGE),
    "MaxPool3d": (nn.MaxPool3d(2, (1, 2, 1)), VOLUME),
    "AvgPool1d": (nn.AvgPool1d(2, 3, 1, ceil_mode=True), LINE),
    "AvgPool2d": (nn.AvgPool2d(3, 2, 1), IMAGE),
    "AvgPool2d, ceil": (nn.AvgPool2d((3, 4), 3, 1, ceil_mode=True), IMAGE),
    "AvgPool2d, ceil, inside": (
        nn.AvgPool2d((3, 4), 3, 1, ceil_mode=True, count_include_pad=False),
        IMAGE,
    ),
    "AvgPool2d, divisor": (nn.AvgPool2d(2, divisor_override=3), IMAGE),
    "AvgPool3d": (nn.AvgPool3d((1, 2, 3), padding=(0, 1, 1), count_include_pad=False), VOLUME),
    "AdaptiveAvgPool1d": (nn.AdaptiveAvgPool1d(4), LINE),
    "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d((3, None)), IMAGE),
    "AdaptiveAvgPool3d": (nn.AdaptiveAvgPool3d(1), VOLUME),
    "AdaptiveMaxPool2d": (nn.AdaptiveMaxPool2d((3, 5)), IMAGE),
    "ZeroPad1d": (nn.ZeroPad1d((1, 2)), LINE),
    "ZeroPad2d": (nn.ZeroPad2d((1, 2, 3, -1)), IMAGE),
    "ConstantPad3d": (nn.ConstantPad3d((1, 2, 0, 1, 2, 0), 2.5), VOLUME),
    "ReflectionPad2d": (nn.ReflectionPad2d((1, 2, 3, 0)), IMAGE),
    "ReplicationPad1d": (nn.ReplicationPad1d(2), LINE),
    "CircularPad3d": (nn.CircularPad3d((1, 2, 0, 1, 2, 0)), VOLUME),
    "nearest": (nn.Upsample(scale_factor=(1.7, 2.3)), IMAGE),
    "nearest, size": (nn.Upsample((5, 17)), IMAGE),
    "nearest-exact": (nn.Upsample(13, mode="nearest-exact"), LINE),
    "UpsamplingNearest2d": (nn.UpsamplingNearest2d(scale_factor=2), IMAGE),
    "linear": (nn.Upsample(scale_factor=2.5, mode="linear"), LINE),
    "bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE),
    "bilinear, smaller": (nn.Upsample((3, 5), mode="bilinear"), IMAGE),
    "bilinear, recomputed": (
        nn.Upsample(scale_factor=1.3, mode="bilinear", recompute_scale_factor=True),
        IMAGE,
    ),
    "UpsamplingBilinear2d": (nn.UpsamplingBilinear2d((13, 9)), IMAGE),
    "trilinear": (nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True), VOLUME),
    "bicubic": (nn.Upsample(scale_factor=1.5, mode="bicubic"), IMAGE),
    "bicubic, corners": (nn.Upsample((4, 11), mode="bicubic", align_corners=True), IMAGE),
    "Flatten": (nn.Flatten(), IMAGE),
    "Flatten of vectors": (nn.Flatten(), VECTOR),
    "Unflatten": (nn.Unflatten(1, (2, 1, 3)), VECTOR),
    "PixelShuffle": (nn.PixelShuffle(2), (2, 3, 5, 12)),
    "PixelUnshuffle": (nn.PixelUnshuffle(2), (2, 4, 6, 3)),
    "Softmax2d": (nn.Softmax2d(), IMAGE),
    "Softmax": (nn.Softmax(1), IMAGE),
    "LogSoftmax": (nn.LogSoftmax(1), VECTOR),
    "Softmin": (nn.Softmin(1), VECTOR),
    "GLU": (nn.GLU(1), IMAGE),
    "Softmax, last": (nn.Softmax(-1), VECTOR),
}
ACTIVATIONS = [
    *(nn.CELU(0.7), nn.ELU(0.7), nn.GELU(), nn.GELU("tanh"), nn.Hardshrink(), nn.Hardsigmoid()),
    *(nn.Hardswish(), nn.Hardtanh(-0.3, 0.4), nn.Identity(), nn.LeakyReLU(0.2), nn.LogSigmoid()),
    *(nn.Mish(), nn.ReLU(), nn.ReLU6(), nn.SELU(), nn.SiLU(), nn.Sigmoid(), nn.Softplus(2, 1)),
    *(nn.Softshrink(0.3), nn.Softsign(), nn.Tanh(), nn.Tanhshrink(), nn.Threshold(0.2, 0.7)),
]


@pytest.mark.parametrize("name", [*CONVOLUTIONS, *LAYERS, *FUNCTIONS])
def test_layers(name):
    module, shape = {**CONVOLUTIONS, **LAYERS, **FUNCTIONS}[name]
    assert_same_as_torch(module, normal(*shape))


def test_activations():
    x = normal(*VECTOR) * 3
    for module, found in zip(
        ACTIVATIONS, both([*map(from_torch, ACTIVATIONS)], [x] * len(ACTIVATIONS)), strict=True
    ):
        for y in found:
            assert_close(y, in_torch(module, x))


SEQUENTIALS = {
    "classifier": (
        nn.Sequential(
            *(nn.Conv2d(6, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
            *(
                nn.Flatten(),
                nn.Linear(4 * 2 * 2, 7),
                nn.BatchNorm1d(7),
                nn.Dropout(),
                nn.Linear(7, 3),
            ),
            nn.LogSoftmax(-1),
        ),
        IMAGE,
    ),
    "generator": (
        nn.Sequential(
            *(nn.Linear(6, 24), nn.Unflatten(1, (6, 2, 2)), nn.ConvTranspose2d(6, 4, 3, 2, 1, 1)),
            *(nn.PReLU(4), nn.GroupNorm(2, 4), nn.Softmax(-1), nn.Upsample(scale_factor=2)),
            *(nn.Softmax(2), nn.Flatten(2), nn.Conv1d(4, 2, 3)),
        ),
        VECTOR,
    ),
    "nested": (
        nn.Sequential(
            nn.Sequential(nn.Conv1d(6, 4, 3), nn.Sequential(nn.InstanceNorm1d(4, affine=True))),
            nn.LayerNorm((4, 7)),
            nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(28, 2))),
        ),
        LINE,
    ),
    "from vectors": (nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 4), nn.LayerNorm(4)), VECTOR),
    "flattened first": (nn.Sequential(nn.Flatten(), nn.Linear(6 * 7 * 8, 3)), IMAGE),
    "empty": (nn.Sequential(), IMAGE),
}


@pytest.mark.parametrize("name", SEQUENTIALS)
def test_sequentials(name):
    module, shape = SEQUENTIALS[name]
    assert_same_as_torch(module, normal(*shape))


def test_features_stay_where_they_are():
    """A layer that acts on torch's last dimension gets an array laid out as in torch."""
    x = normal(2, 5, 6)
    layers = (nn.Linear(6, 6), nn.LayerNorm(6), nn.LayerNorm((5, 6)), nn.Softmax(1))
    assert_same_as_torch(nn.Sequential(*layers, nn.Flatten(), nn.Linear(30, 3)), x, moved=False)
    indices = np.arange(10).reshape(2, 5) % 4
    module = started(nn.Sequential(nn.Embedding(4, 6, padding_idx=0), nn.Linear(6, 2)))
    want = module(torch.tensor(indices)).detach().numpy()
    for y in both([from_torch(module)], [jnp.asarray(indices)])[0]:
        assert_close(y, want)


def test_names_are_torchs():
    module = nn.Sequential()
    module.add_module("stem", nn.Conv2d(6, 4, 1))
    module.add_module("norm", nn.BatchNorm2d(4))
    converted = assert_same_as_torch(module, normal(*IMAGE))
    assert jax.tree.map(np.shape, converted.variables) == {
        "params": {
            "stem": {"kernel": (1, 1, 6, 4), "bias": (4,)},
            "norm": {"scale": (4,), "bias": (4,)},
        },
        "batch_stats": {"norm": {"mean": (4,), "var": (4,)}},
    }
    expected = jax.eval_shape(converted.layer.init, jax.random.key(0), normal(*IMAGE))
    assert jax.tree.map(np.shape, expected) == jax.tree.map(np.shape, converted.variables)
    assert converted.parts["stem"].variables["params"] is converted.variables["params"]["stem"]
    assert converted.nnx().stem.kernel.shape == (1, 1, 6, 4)


def test_training_is_torchs_but_for_the_variance():
    module = started(nn.Sequential(nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.GELU()))
    converted, x = from_torch(module), normal(*IMAGE)
    before = module[1].running_var.numpy().copy()
    want = in_torch(module.train(), x)
    y, updated = converted.layer.apply(converted.variables, x, train=True, mutable=["batch_stats"])
    assert_close(y, want)
    held = converted.nnx()
    held.train()
    assert_close(held(x), want)
    for found in (updated["batch_stats"]["1"], flax_nnx.to_pure_dict(flax_nnx.state(held))["1"]):
        assert_close(found["mean"], module[1].running_mean.numpy())
        n = 2 * 5 * 6  # elements of a channel
        step = (module[1].running_var.numpy() - 0.7 * before) * (n - 1) / n
        assert_close(found["var"], 0.7 * before + step)


def test_dropout_drops_in_training():
    module = nn.Sequential(nn.Dropout2d(0.5), nn.Identity())
    converted, x = from_torch(module), np.ones((2, 7, 8, 64), np.float32)
    key = jax.random.key(0)
    y = converted.layer.apply(converted.variables, x, train=True, rngs={"dropout": key})
    held = converted.nnx(rngs=flax_nnx.Rngs(1))
    held.train()
    for found in (np.asarray(y), np.asarray(held(x))):
        assert set(np.unique(found)) == {0, 2}
        assert (found == found[:, :1, :1]).all()  # whole channels


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4))
        self.up = nn.ConvTranspose2d(4, 2, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList([nn.Linear(2, 2), nn.ReLU()])
        self.loss = nn.CrossEntropyLoss()
        self.head = nn.Linear(2 * 9 * 11, 3)
        self.shift = nn.Parameter(torch.ones(3))
        self.register_buffer("grid", torch.arange(3))
        self.register_buffer("passing", torch.arange(2), persistent=False)

    def forward(self, x):
        return self.head(torch.flatten(self.up(self.features(x)), 1)) + self.shift


def test_a_module_with_a_forward_of_its_own():
    """A custom forward, rewritten with the converted parts and parameters."""
    module, x = started(Own()), normal(*IMAGE)
    flattened = {"head": (2, 9, 11)}
    converted = from_torch(module, flattened=flattened)
    state = {n: t for n, t in module.state_dict().items() if "num_batches" not in n}
    back = to_torch(converted.variables, flattened=flattened)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in back)
    assert converted.variables["buffers"]["grid"].tolist() == [0, 1, 2]

    def forward(variables, x):
        for name in ("features", "up"):
            own = {kind: tree[name] for kind, tree in variables.items() if name in tree}
            x = converted.parts[name].layer.apply(own, x)
        head = {"params": variables["params"]["head"]}
        y = converted.parts["head"].layer.apply(head, x.reshape(len(x), -1))
        return y + variables["params"]["shift"]

    with jax.default_matmul_precision("highest"):
        assert_close(jax.jit(forward)(converted.variables, x), in_torch(module, x))
    message = (
        "from_torch: Own has its own forward method, which cannot be converted; write it with the "
        "layers of its parts, such as converted.parts['features'].layer, and converted.variables"
    )
    for call in (lambda: converted.layer, converted.nnx):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call()
    inner = from_torch(nn.Sequential(nn.ReLU(), Own()))
    assert inner.variables["params"]["1"].keys() == converted.variables["params"].keys()
    message = (
        "from_torch: '1', an Own, has its own forward method, which cannot be converted; write it "
        "with the layers of its parts and converted.variables. Where a Linear such as "
        "'1.blocks.0' takes a flattened image, torch has channels first: "
        "from_torch(module, flattened={'1.blocks.0': (channels, *space)})"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        _ = inner.layer


# torch warns when complex modules are created
@pytest.mark.filterwarnings("ignore:Complex modules are a new feature")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64"])
def test_dtypes_come_over(dtype):
    module = nn.ConvTranspose2d(6, 4, 3, stride=2).to(getattr(torch, dtype))
    converted = from_torch(module)
    assert (
        converted.variables["params"]["kernel"].dtype
        == converted.layer.param_dtype
        == jnp.dtype(dtype)
    )
    assert torch.equal(to_torch(converted.variables)["weight"], module.weight)
    if dtype not in ("float64", "complex64"):
        x = jnp.asarray(normal(*IMAGE), dtype)
        y = converted.layer.apply(converted.variables, x)
        assert y.dtype == converted.nnx()(x).dtype == x.dtype
        want = module(torch.tensor(first(np.asarray(x, np.float32))).to(module.weight.dtype))
        want = np.moveaxis(want.detach().float().numpy(), 1, -1)
        tolerance = 8 * float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(y.astype("float32"), want, rtol=tolerance, atol=tolerance)


def test_a_converted_module_does_not_change_with_its_module():
    module = nn.Conv2d(6, 4, 3)
    converted = from_torch(module)
    kernel = converted.variables["params"]["kernel"].copy()
    nn.init.constant_(module.weight, 7)
    module.stride = (3, 3)
    np.testing.assert_array_equal(converted.variables["params"]["kernel"], kernel)
    assert converted.layer.strides == (1, 1)
