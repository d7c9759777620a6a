"""`from_torch`: every layer, alone and in a Sequential, against torch itself."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx as flax_nnx
from test_torch import close, first, normal

from jaxconv.compat.torch import from_torch, to_torch

pytestmark = pytest.mark.usefixtures("quick_compilation")
nn = torch.nn
VECTOR, LINE, IMAGE, VOLUME = (4, 6), (2, 9, 6), (2, 7, 8, 6), (2, 4, 5, 4, 6)  # channels last


def started(module):
    """With numbers that are not those of the start."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            tensor.copy_(torch.rand_like(tensor) + 0.5 if "var" in name else torch.randn_like(tensor))
    return module.eval()


def in_torch(module, x, *, moved=True):
    """torch's result for an array with channels last, with channels last."""
    with torch.no_grad():
        y = module(torch.tensor(first(x) if moved and x.ndim > 2 else x)).numpy()
    return np.moveaxis(y, 1, -1) if moved and y.ndim > 2 else y


def compare(module, x, *, moved=True):
    module = started(module)
    want = in_torch(module, x, moved=moved)
    port = from_torch(module)
    with jax.default_matmul_precision("highest"):
        close(jax.jit(port.layer.apply)(port.variables, x), want)
        close(flax_nnx.jit(lambda m, x: m(x))(port.nnx(), x), want)
    state = {n: t for n, t in module.state_dict().items() if not n.endswith("num_batches_tracked")}
    back = to_torch(port.variables)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in back)
    held = to_torch(flax_nnx.state(port.nnx(), flax_nnx.Not(flax_nnx.RngState)))
    assert held.keys() == state.keys()
    assert all(torch.equal(held[name], state[name]) for name in held)
    return port


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
    compare(module, normal(*shape))


@pytest.mark.parametrize("module", ACTIVATIONS, ids=str)
def test_activations(module):
    compare(module, normal(*VECTOR) * 3)
