"""The steps of `flax_steps` in torch: eager or by torch.compile, in float32 or with autocast."""

import contextlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from jaxconv.bench import devices
from jaxconv.bench.networks.definitions import Network
from jaxconv.bench.networks.flax_steps import RATE
from jaxconv.bench.networks.in_torch import TorchNetwork, as_images, as_torch, gradients
from jaxconv.bench.peers import Program


def program(
    network: Network,
    variables: Mapping[str, Any],
    x: np.ndarray,
    target: np.ndarray | None,
    *,
    dtype: str = "float32",
    compiled: bool = False,
) -> Program:
    """Return a training step, or an inference where there is no target.

    Args:
        network: which.
        variables: the weights, as linen has them.
        x: images, channels last.
        target: of the network's output.
        dtype: "bfloat16" for `torch.autocast`.
        compiled: whether by torch.compile, which compiles here, before the first step.
    """
    module = as_torch(network, variables, training=target is not None)
    images = [as_images(x)] if target is None else [as_images(x), _arranged(target)]
    function = _inference if target is None else _training
    run: Callable[..., Any] = function(module, module, dtype)
    if compiled:
        try:
            run = function(module, _compiled(module, dtype, *images), dtype)
        except Exception as error:  # it fails in many ways; the others go on without it
            run = _raising(error)
    return Program(
        peer="torch.compile" if compiled else "torch",
        label="torch.compile" if compiled else "torch channels_last",
        function=run,
        arguments=images,
        values=lambda result: _values(module, result, training=target is not None),
        on_cuda=devices.torch_device() == "cuda",
    )


def _arranged(target: np.ndarray) -> torch.Tensor:
    if target.ndim == 4:
        return as_images(target)
    return torch.from_numpy(np.array(target)).to(devices.torch_device())


def _numerics(dtype: str) -> contextlib.AbstractContextManager[Any]:
    if dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(devices.torch_device(), getattr(torch, dtype))


def _loss(
    forward: Callable[..., torch.Tensor], x: torch.Tensor, target: torch.Tensor, dtype: str
) -> torch.Tensor:
    with _numerics(dtype):
        y = forward(x)
    return torch.mean(torch.square(y - target))


def _training(
    module: TorchNetwork, forward: Callable[..., torch.Tensor], dtype: str
) -> Callable[..., torch.Tensor]:
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE)

    def step(x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = _loss(forward, x, target, dtype)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def _inference(
    module: TorchNetwork, forward: Callable[..., torch.Tensor], dtype: str
) -> Callable[..., torch.Tensor]:
    del module

    def run(x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), _numerics(dtype):
            return forward(x)

    return run


def _compiled(
    module: TorchNetwork, dtype: str, x: torch.Tensor, target: torch.Tensor | None = None
) -> Callable[..., torch.Tensor]:
    """Compile for these arguments, forward and backward, with no change of the weights."""
    if shutil.which("c++") is None and shutil.which("g++") is None:
        raise RuntimeError("torch.compile needs a C++ compiler")
    forward: Callable[..., torch.Tensor] = torch.compile(module)
    if target is None:
        _inference(module, forward, dtype)(x)
    else:
        _loss(forward, x, target, dtype).backward()
    return forward


def _raising(error: Exception) -> Callable[..., Any]:
    def run(*_: Any) -> Any:
        raise error

    return run


def _values(module: TorchNetwork, result: torch.Tensor, *, training: bool) -> dict[str, np.ndarray]:
    if training:
        return {"loss": result.cpu().numpy()} | gradients(module)
    y = result.float().cpu().numpy()
    return {"y": np.moveaxis(y, 1, -1) if y.ndim == 4 else y}
