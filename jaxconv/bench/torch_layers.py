"""A layer in torch, on JAX's device, and in the CUDA package causal-conv1d."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from jaxconv.bench import devices
from jaxconv.bench.cases import Layer
from jaxconv.bench.numerics import Precision
from jaxconv.bench.peers import Program
from jaxconv.bench.results import channels_last, named

# Taps that causal-conv1d 1.7 has kernels for, and a number of channels that it divides rows by.
CAUSAL_TAPS, CAUSAL_CHANNELS = (2, 3, 4), 8


def programs(
    case: Layer,
    mode: str,
    given: Sequence[np.ndarray],
    precision: Precision,
    peers: Sequence[str],
) -> list[Program]:
    """Return the layer in torch in each memory format, and in causal-conv1d where it has it."""
    found = []
    if "torch" in peers:
        # channels_last is a memory format of four and five dimensions
        formats = {2: [None, "channels_last"], 3: [None, "channels_last_3d"]}.get(case.rank, [None])
        found += [_program(case, mode, given, precision, form) for form in formats]
    if "causal-conv1d" in peers and _is_causal_depthwise(case):
        found += [_causal(case, mode, given, precision, last) for last in (False, True)]
    return found


def placed(a: np.ndarray, dtype: str, *axes: Any) -> torch.Tensor:
    """Return an array as a tensor on JAX's device, some of its axes moved."""
    moved = np.ascontiguousarray(np.moveaxis(a, *axes) if axes else a)
    return torch.from_numpy(moved).to(devices.torch_device(), getattr(torch, dtype))


def gone(result: torch.Tensor) -> np.ndarray:
    """Return a tensor as a NumPy array of float32."""
    return result.detach().float().cpu().numpy()


def _program(
    case: Layer,
    mode: str,
    given: Sequence[np.ndarray],
    precision: Precision,
    memory_format: str | None,
) -> Program:
    name = "conv_transpose" if case.transposed else "conv"
    layer = getattr(torch.nn.functional, f"{name}{case.rank}d")
    arguments = case.arguments
    causal = case.padding == "causal"
    if causal:
        arguments["padding"] = (case.w[0] - 1) * case.dilation
    form = torch.contiguous_format if memory_format is None else getattr(torch, memory_format)

    def run(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        y = layer(x, w, **arguments)
        return y[..., : x.shape[-1]] if causal else y

    # (*kernel, i, o) -> (o, i, *kernel): torch's own order for both layers
    orders = ((-1, 1), ((-1, -2), (0, 1)), (-1, 1))
    tensors = [
        placed(a, precision.dtype, *axes).contiguous(memory_format=form)
        for a, axes in zip(given, orders, strict=True)
    ]
    return Program(
        peer="torch",
        label=f"torch {'contiguous' if memory_format is None else 'channels_last'}",
        function=with_gradients(run, mode, tensors),
        arguments=tensors,
        values=lambda results: channels_last(named(mode, [gone(a) for a in results])),
        on_cuda=devices.torch_device() == "cuda",
    )


def with_gradients(
    run: Callable[..., torch.Tensor], mode: str, tensors: Sequence[torch.Tensor]
) -> Callable[..., Any]:
    """Return `(x, w, ct) ->` the mode's results; x and w are told that gradients are wanted."""
    x, w, _ = tensors
    x.requires_grad_(mode == "forward+backward")
    w.requires_grad_(mode in ("forward+backward", "kernel gradient"))

    def forward(x: torch.Tensor, w: torch.Tensor, ct: torch.Tensor) -> Any:
        del ct
        with torch.inference_mode():
            return (run(x, w),)

    def both(x: torch.Tensor, w: torch.Tensor, ct: torch.Tensor) -> Any:
        y = run(x, w)
        return (y, *torch.autograd.grad(y, (x, w), ct))

    def of_kernel(x: torch.Tensor, w: torch.Tensor, ct: torch.Tensor) -> Any:
        return torch.autograd.grad(run(x, w), (w,), ct)

    def of_one(w: torch.Tensor, x: torch.Tensor, ct: torch.Tensor) -> torch.Tensor:
        return (run(x[None], w) * ct[None]).sum()

    def of_each(x: torch.Tensor, w: torch.Tensor, ct: torch.Tensor) -> Any:
        return (torch.func.vmap(torch.func.grad(of_one), in_dims=(None, 0, 0))(w, x, ct),)

    ways = {"forward": forward, "kernel gradient": of_kernel, "per-example gradients": of_each}
    return ways.get(mode, both)


def _is_causal_depthwise(case: Layer) -> bool:
    channels = case.x[-1]
    return (
        (case.rank, case.padding, case.stride, case.dilation) == (1, "causal", 1, 1)
        and case.groups == channels == case.w[-1]
        and channels % CAUSAL_CHANNELS == 0
        and case.w[0] in CAUSAL_TAPS
    )


def _causal(
    case: Layer, mode: str, given: Sequence[np.ndarray], precision: Precision, last: bool
) -> Program:
    """The package's call: x (n, channels, steps), contiguous or with channels last in memory."""
    package: Any = importlib.import_module("causal_conv1d")

    def run(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return package.causal_conv1d_fn(x, w)

    # (steps, 1, channels) -> (channels, steps)
    x, w, ct = given
    kernel = placed(w[:, 0].T, precision.dtype)
    moved = [
        placed(a, precision.dtype).transpose(1, 2) if last else placed(a, precision.dtype, -1, 1)
        for a in (x, ct)
    ]
    tensors = [moved[0], kernel, moved[1]]

    def values(results: Sequence[torch.Tensor]) -> dict[str, np.ndarray]:
        found = named(mode, [gone(a) for a in results])
        return {
            name: a.T[:, None] if name == "dw" else np.moveaxis(a, 1, -1)
            for name, a in found.items()
        }

    return Program(
        peer="causal-conv1d",
        label=f"causal-conv1d {'channels last' if last else 'contiguous'}",
        function=with_gradients(run, mode, tensors),
        arguments=tensors,
        values=values,
        on_cuda=devices.torch_device() == "cuda",
    )
