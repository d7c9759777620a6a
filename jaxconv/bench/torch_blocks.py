"""The blocks of `models` in torch, as functions of Flax's weights, named by their paths.

Images are channels first, sequences channels last.
"""

from collections.abc import Mapping
from typing import Any

from jaxconv.bench.models import Causal, ConvNeXt, MobileNet, Model, ResNeXt

Weights = Mapping[str, Any]


def resnext(weights: Weights, x: Any) -> Any:
    """As `models.ResNeXt` of 32 groups."""
    functional = _functional()
    h = functional.conv2d(x, weights["conv1/kernel"])
    h = functional.relu(_norm(weights, "norm1", h))
    h = functional.conv2d(h, weights["conv2/kernel"], padding=1, groups=32)
    h = functional.relu(_norm(weights, "norm2", h))
    h = functional.conv2d(h, weights["conv3/kernel"])
    return functional.relu(x + _norm(weights, "norm3", h))


def convnext(weights: Weights, x: Any) -> Any:
    """As `models.ConvNeXt`."""
    functional = _functional()
    channels = x.shape[1]
    h = functional.conv2d(
        x, weights["conv1/kernel"], weights["conv1/bias"], padding=3, groups=channels
    )
    h = h.permute(0, 2, 3, 1)
    h = functional.layer_norm(
        h, (channels,), weights["norm1/scale"], weights["norm1/bias"], eps=1e-6
    )
    h = functional.linear(h, weights["dense1/kernel"], weights["dense1/bias"])
    h = functional.linear(functional.gelu(h), weights["dense2/kernel"], weights["dense2/bias"])
    return x + h.permute(0, 3, 1, 2)


def mobilenet(weights: Weights, x: Any) -> Any:
    """As `models.MobileNet`."""
    functional = _functional()
    h = functional.conv2d(x, weights["conv1/kernel"], padding=1, groups=x.shape[1])
    h = functional.relu(_norm(weights, "norm1", h))
    h = functional.conv2d(h, weights["conv2/kernel"])
    return functional.relu(_norm(weights, "norm2", h))


def causal(weights: Weights, x: Any) -> Any:
    """As `models.Causal`; padded on both sides and cut, as Mamba's own code does."""
    functional = _functional()
    kernel = weights["conv1/kernel"]
    h = functional.linear(x, weights["dense1/kernel"], weights["dense1/bias"])
    h, gate = h.chunk(2, dim=-1)
    h = functional.conv1d(
        h.transpose(1, 2), kernel, weights["conv1/bias"], padding=3, groups=len(kernel)
    )
    h = functional.silu(h[..., : x.shape[1]].transpose(1, 2)) * functional.silu(gate)
    return x + functional.linear(h, weights["dense2/kernel"], weights["dense2/bias"])


def _functional() -> Any:
    import torch

    return torch.nn.functional


def _norm(weights: Weights, name: str, x: Any) -> Any:
    # without running statistics: torch has less to do than Flax here
    return _functional().batch_norm(
        x, None, None, weights[f"{name}/scale"], weights[f"{name}/bias"], training=True, eps=1e-5
    )


MODELS = (
    Model(name="ResNeXt block", x=(4, 28, 28, 512), block=ResNeXt(256), in_torch=resnext),
    Model(name="ConvNeXt block", x=(4, 28, 28, 192), block=ConvNeXt(), in_torch=convnext),
    Model(
        name="MobileNet block",
        x=(4, 28, 28, 256),
        block=MobileNet(),
        in_torch=mobilenet,
        quick=True,
    ),
    Model(name="causal block", x=(1, 1024, 256), block=Causal(), in_torch=causal, quick=True),
)
