"""Programs that run a layer, one for each peer: arrays in its layout, the call its users write."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxconv
from jaxconv.bench.cases import Layer
from jaxconv.bench.peers import OURS, Program


def arrays(case: Layer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random x, w and cotangent of y; w scaled so that y is of order one."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(case.x, np.float32)
    w = rng.standard_normal(case.w, np.float32) / np.float32(np.prod(case.w[:-1])) ** 0.5
    return x, w.astype(np.float32), rng.standard_normal(case.y, np.float32)


def programs(case: Layer, mode: str, *, method: str, peers: Sequence[str]) -> list[Program]:
    """Return every way to run one layer, ours first."""
    x, w, ct = arrays(case)
    found = [_ours(case, mode, x, w, ct, method)]
    if "lax" in peers:
        found += [_lax(case, mode, x, w, ct, first) for first in (False, True)]
    if "torch" in peers:
        # channels_last is a memory format of four and five dimensions
        formats = [None, "channels_last"] if case.rank == 2 else [None]
        formats = [None, "channels_last_3d"] if case.rank == 3 else formats
        found += [_torch(case, mode, x, w, ct, form) for form in formats]
    return found


def function(case: Layer, method: str) -> Callable[..., jax.Array]:
    """Return `(x, w) -> y` as a user of this package writes it."""
    layer = jaxconv.conv_transpose if case.transposed else jaxconv.conv

    def run(x: jax.Array, w: jax.Array) -> jax.Array:
        return layer(x, w, method=method, **case.arguments)

    return run


def with_gradients(run: Callable[..., Any], mode: str) -> Callable[..., Any]:
    """Return `(x, w, ct) -> y` or `-> (y, dx, dw)`."""

    def forward(x: jax.Array, w: jax.Array, ct: jax.Array) -> Any:
        del ct
        return (run(x, w),)

    def both(x: jax.Array, w: jax.Array, ct: jax.Array) -> Any:
        y, pull = jax.vjp(run, x, w)
        return (y, *pull(ct))

    return forward if mode == "forward" else both


def _named(results: Sequence[Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(a) for name, a in zip(("y", "dx", "dw"), results, strict=False)}


def _ours(case: Layer, mode: str, x: Any, w: Any, ct: Any, method: str) -> Program:
    return Program(
        peer=OURS,
        label=OURS,
        function=with_gradients(function(case, method), mode),
        arguments=[jnp.asarray(a) for a in (x, w, ct)],
        values=_named,
        compiled=True,
    )


def _lax(case: Layer, mode: str, x: Any, w: Any, ct: Any, channels_first: bool) -> Program:
    space = "DHW"[-case.rank :]
    layout = f"NC{space}" if channels_first else f"N{space}C"
    kernel = f"OI{space}" if channels_first else f"{space}IO"
    spatial = tuple(range(case.rank))
    spec = case.spec
    pads, lhs_dilation, strides = spec.padding, (1,) * case.rank, spec.stride
    if case.transposed:
        # a convolution of the dilated input with the flipped kernel, its channels swapped
        span = [(k - 1) * d for k, d in zip(spec.kernel_size, spec.dilation, strict=True)]
        pads = tuple(
            (s - lo, s - hi + case.output_padding)
            for s, (lo, hi) in zip(span, spec.padding, strict=True)
        )
        lhs_dilation, strides = spec.stride, lhs_dilation

    def run(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x,
            w,
            strides,
            pads,
            lhs_dilation=lhs_dilation,
            rhs_dilation=spec.dilation,
            dimension_numbers=(layout, kernel, layout),
            feature_group_count=case.groups,
        )

    def arranged(a: np.ndarray) -> jax.Array:
        return jnp.asarray(np.ascontiguousarray(np.moveaxis(a, -1, 1) if channels_first else a))

    def arranged_kernel(a: np.ndarray) -> jax.Array:
        if case.transposed:
            a = np.swapaxes(np.flip(a, spatial), -1, -2)
        a = np.moveaxis(a, (-1, -2), (0, 1)) if channels_first else a
        return jnp.asarray(np.ascontiguousarray(a))

    def values(results: Sequence[Any]) -> dict[str, np.ndarray]:
        named = _named(results)
        if channels_first:
            named = {
                name: np.moveaxis(a, (0, 1), (-1, -2)) if name == "dw" else np.moveaxis(a, 1, -1)
                for name, a in named.items()
            }
        if case.transposed and "dw" in named:
            named["dw"] = np.flip(np.swapaxes(named["dw"], -1, -2), spatial)
        return named

    return Program(
        peer="lax",
        label="lax NCHW" if channels_first else "lax NHWC",
        function=with_gradients(run, mode),
        arguments=[arranged(x), arranged_kernel(w), arranged(ct)],
        values=values,
        compiled=True,
    )


def _torch(case: Layer, mode: str, x: Any, w: Any, ct: Any, memory_format: str | None) -> Program:
    import torch

    gradients = mode != "forward"
    name = "conv_transpose" if case.transposed else "conv"
    layer = getattr(torch.nn.functional, f"{name}{case.rank}d")
    arguments = case.arguments
    causal = case.padding == "causal"
    if causal:
        arguments["padding"] = (case.w[0] - 1) * case.dilation
    form = torch.contiguous_format if memory_format is None else getattr(torch, memory_format)

    def arranged(a: np.ndarray, *axes: Any) -> torch.Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(a, *axes)))
        return tensor.contiguous(memory_format=form)

    # (*kernel, i, o) -> (o, i, *kernel): torch's own order for both layers
    tensors = [arranged(x, -1, 1), arranged(w, (-1, -2), (0, 1)), arranged(ct, -1, 1)]
    for tensor in tensors[:2]:
        tensor.requires_grad_(gradients)

    def run(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        y = layer(x, w, **arguments)
        return y[..., : x.shape[-1]] if causal else y

    def forward(x: torch.Tensor, w: torch.Tensor, ct: torch.Tensor) -> Any:
        del ct
        with torch.inference_mode():
            return (run(x, w),)

    def both(x: torch.Tensor, w: torch.Tensor, ct: torch.Tensor) -> Any:
        y = run(x, w)
        return (y, *torch.autograd.grad(y, (x, w), ct))

    def values(results: Sequence[torch.Tensor]) -> dict[str, np.ndarray]:
        named = _named([a.detach().numpy() for a in results])
        return {
            name: np.moveaxis(a, (0, 1), (-1, -2)) if name == "dw" else np.moveaxis(a, 1, -1)
            for name, a in named.items()
        }

    return Program(
        peer="torch",
        label=f"torch {'contiguous' if memory_format is None else 'channels_last'}",
        function=both if gradients else forward,
        arguments=tensors,
        values=values,
    )
