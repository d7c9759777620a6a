"""Programs that run a layer, one for each peer: arrays in its layout, the call its users write."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

import jaxconv
from jaxconv.bench import each_method
from jaxconv.bench.cases import Layer
from jaxconv.bench.numerics import FLOAT32, Precision
from jaxconv.bench.peers import OURS, Program
from jaxconv.bench.results import channels_last, named


def arrays(
    case: Layer, precision: Precision = FLOAT32
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random x, w and cotangent of y; w scaled so that y is of order one.

    They are float32 arrays, of numbers that the precision's dtype holds.
    """
    rng = np.random.default_rng(0)
    x = rng.standard_normal(case.x, np.float32)
    w = rng.standard_normal(case.w, np.float32) / np.float32(np.prod(case.w[:-1])) ** 0.5
    ct = rng.standard_normal(case.y, np.float32)
    x, w, ct = precision.arrays(x, w.astype(np.float32), ct)
    return x, w, ct


def programs(
    case: Layer,
    mode: str,
    *,
    method: str,
    peers: Sequence[str],
    precision: Precision = FLOAT32,
) -> list[Program]:
    """Return every way to run one layer, ours first."""
    given = arrays(case, precision)
    found = _ours(case, mode, given, method, precision)
    if "lax" in peers:
        found += [_lax(case, mode, given, precision, first) for first in (False, True)]
    if {"torch", "causal-conv1d"} & {*peers}:
        from jaxconv.bench import torch_layers

        found += torch_layers.programs(case, mode, given, precision, peers)
    return found


def function(case: Layer, method: str) -> Callable[..., jax.Array]:
    """Return `(x, w) -> y` as a user of this package writes it."""
    layer = jaxconv.conv_transpose if case.transposed else jaxconv.conv

    def run(x: jax.Array, w: jax.Array) -> jax.Array:
        return layer(x, w, method=method, **case.arguments)

    return run


def with_gradients(run: Callable[..., Any], mode: str) -> Callable[..., Any]:
    """Return `(x, w, ct) ->` the tuple of the mode's `RESULTS`."""

    def forward(x: jax.Array, w: jax.Array, ct: jax.Array) -> Any:
        del ct
        return (run(x, w),)

    def both(x: jax.Array, w: jax.Array, ct: jax.Array) -> Any:
        y, pull = jax.vjp(run, x, w)
        return (y, *pull(ct))

    def of_kernel(x: jax.Array, w: jax.Array, ct: jax.Array) -> Any:
        return jax.vjp(lambda w: run(x, w), w)[1](ct)

    def of_each(x: jax.Array, w: jax.Array, ct: jax.Array) -> Any:
        return jax.vmap(lambda x, ct: of_kernel(x[None], w, ct[None]))(x, ct)

    ways = {"forward": forward, "kernel gradient": of_kernel, "per-example gradients": of_each}
    return ways.get(mode, both)


def _ours(
    case: Layer, mode: str, given: Sequence[np.ndarray], method: str, precision: Precision
) -> list[Program]:
    placed = [precision.place(a) for a in given]

    def make(method: str) -> Program:
        return Program(
            peer=OURS,
            label=OURS,
            function=with_gradients(function(case, method), mode),
            arguments=placed,
            values=lambda results: named(mode, results),
            compiled=True,
        )

    return each_method.programs(make, method)


def _lax(
    case: Layer, mode: str, given: Sequence[np.ndarray], precision: Precision, channels_first: bool
) -> Program:
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
        return precision.place(np.moveaxis(a, -1, 1) if channels_first else a)

    def arranged_kernel(a: np.ndarray) -> jax.Array:
        if case.transposed:
            a = np.swapaxes(np.flip(a, spatial), -1, -2)
        return precision.place(np.moveaxis(a, (-1, -2), (0, 1)) if channels_first else a)

    def values(results: Sequence[Any]) -> dict[str, np.ndarray]:
        found = named(mode, results)
        found = channels_last(found) if channels_first else found
        if not case.transposed:
            return found
        axes = tuple(axis - case.rank - 2 for axis in spatial)
        return {
            name: np.flip(np.swapaxes(a, -1, -2), axes) if name.startswith("dw") else a
            for name, a in found.items()
        }

    x, w, ct = given
    return Program(
        peer="lax",
        label="lax NCHW" if channels_first else "lax NHWC",
        function=with_gradients(run, mode),
        arguments=[arranged(x), arranged_kernel(w), arranged(ct)],
        values=values,
        compiled=True,
    )
