"""Time layers of 8-bit integers beside lax and torch.

    python examples/benchmark_integers.py [--without-plugin] [REGEX]

`conv` of int8 with sums in int32 beside lax, and beside `conv` of the same numbers in float32, from
int8 and to int32, which is not exact; and ONNX's `QLinearConv` beside torch's quantized
layer in channels_last, where torch is installed. Our values and lax's are checked against float64,
which holds all sums. torch's sums saturate on CPUs without VNNI: the share of its results that
differ from ours is printed. Prints milliseconds, and ratios of our time.

With --without-plugin the package jaxconv-onednn is not used, as if it were not installed.
"""

import re
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from rich import box
from rich.console import Console
from rich.table import Table

import jaxconv
from jaxconv._core.geometry.spec import normalise
from jaxconv._core.methods import onednn
from jaxconv.bench import float64_answers, tables
from jaxconv.bench.measure import race
from jaxconv.bench.peers import cores
from jaxconv.compat.onnx import QLinearConv

WITHOUT = "--without-plugin"
BUDGET = 1.0  # seconds a contestant and case
# Of x, w and y; zero points of x and y
SCALES, ZERO = (0.02, 0.01, 0.5), 128

# name, (batch, *space, in), (*kernel, in // groups, out), stride, padding
Case = tuple[str, tuple[int, ...], tuple[int, ...], int, int]
CASES: tuple[Case, ...] = (
    ("3x3, 56^2, 64", (1, 56, 56, 64), (3, 3, 64, 64), 1, 1),
    ("3x3, 28^2, 128", (1, 28, 28, 128), (3, 3, 128, 128), 1, 1),
    ("3x3, 14^2, 256", (1, 14, 14, 256), (3, 3, 256, 256), 1, 1),
    ("3x3, 7^2, 512", (1, 7, 7, 512), (3, 3, 512, 512), 1, 1),
    ("3x3 by 2, 56^2, 64 to 128", (1, 56, 56, 64), (3, 3, 64, 128), 2, 1),
    ("1x1, 14^2, 256 to 1024", (1, 14, 14, 256), (1, 1, 256, 1024), 1, 0),
    ("7x7 by 2, 224^2, 3 to 64", (1, 224, 224, 3), (7, 7, 3, 64), 2, 3),
    ("3x3 in 4 groups, 28^2, 128", (1, 28, 28, 128), (3, 3, 32, 128), 1, 1),
    ("3x3, 8x28^2, 128", (8, 28, 28, 128), (3, 3, 128, 128), 1, 1),
    ("80 by 4, 16000, 1 to 32", (1, 16000, 1), (80, 1, 32), 4, 0),
    ("3x3x3, 12^3, 32", (1, 12, 12, 12, 32), (3, 3, 3, 32, 32), 1, 1),
)

Calls = dict[str, Callable[[], Any]]


def main(*arguments: str) -> None:
    """Measure all whose names match, and print a table."""
    pattern = "".join(argument for argument in arguments if argument != WITHOUT)
    if WITHOUT in arguments:
        onednn.plugin = lambda: "it is left out"
    console = Console(width=150, highlight=False)
    tables.print_machine(console, tables.machine())
    names = ("lax", "float32", "conv", "torch", "QLinearConv")
    shares = [("conv", "lax"), ("conv", "float32"), ("QLinearConv", "torch")]
    table = Table("case", *names, *(f"{ours} / {peer}" for ours, peer in shares), "torch differs")
    table.box = box.SIMPLE_HEAD
    for case in CASES:
        if not re.search(pattern, case[0]):
            continue
        calls, differs = contestants(case)
        raced = race(calls, {label: label for label in calls}, budget=BUDGET * len(calls))
        times = {label: statistics.median(taken) for label, taken in raced.items()}
        row = [tables.milliseconds(times.get(name)) for name in names]
        table.add_row(case[0], *row, *(_share(times, *pair) for pair in shares), differs)
        print(case[0], {m: f"{1e3 * t:.3g}" for m, t in times.items()}, file=sys.stderr, flush=True)
    console.print(table)


def _share(times: dict[str, float], ours: str, peer: str) -> str:
    return f"{times[ours] / times[peer]:.2f}" if peer in times else "-"


def contestants(case: Case) -> tuple[Calls, str]:
    """Return the checked calls by label, and the share of torch's results that are others.

    Raises:
        AssertionError: a value of ours is wrong.
    """
    _, shape, kernel, stride, padding = case
    draw = np.random.default_rng(0)
    groups, rank = shape[-1] // kernel[-2], len(shape) - 2
    x = draw.integers(-128, 128, shape).astype(np.int8)
    w = draw.integers(-127, 128, kernel).astype(np.int8)
    geometry = {"stride": stride, "padding": padding, "groups": groups}
    spec = normalise("integers", shape, kernel, **geometry)
    exact = float64_answers.contract("output", x, w, spec)
    ours = partial(jaxconv.conv, **geometry, preferred_element_type=jnp.int32)
    theirs = partial(
        lax.conv_general_dilated,
        window_strides=(stride,) * rank,
        padding=[(padding, padding)] * rank,
        feature_group_count=groups,
        dimension_numbers=(f"N{'DHW'[-rank:]}C", f"{'DHW'[-rank:]}IO", f"N{'DHW'[-rank:]}C"),
        preferred_element_type=jnp.int32,
    )
    arrays = jnp.asarray(x), jnp.asarray(w)
    calls = {"lax": _compiled(theirs, *arrays), "conv": _compiled(ours, *arrays)}
    for label, call in calls.items():
        np.testing.assert_array_equal(call(), exact, err_msg=label)
    calls["float32"] = _compiled(partial(_in_float32, **geometry), *arrays)
    # uint8, channels first
    stored = np.moveaxis((x.astype(np.int16) + ZERO).astype(np.uint8), -1, 1)
    kernels = np.moveaxis(w, (-1, -2), (0, 1))
    x_scale, w_scale, y_scale = map(np.float32, SCALES)
    zero = np.uint8(ZERO)
    # the kernel is a constant of the program, as in a network; torch's layer packs it before, too
    quantized = partial(_quantized, w=kernels, stride=stride, padding=padding, groups=groups)
    calls["QLinearConv"] = _compiled(quantized, jnp.asarray(stored))
    wanted = np.round(np.float32(exact) * (x_scale * w_scale / y_scale)) + float(zero)
    found = np.moveaxis(np.asarray(calls["QLinearConv"]()), 1, -1)
    np.testing.assert_array_equal(found, np.clip(wanted, 0, 255))
    if rank != 2:  # torch has no quantized layers for channels_last beyond planes
        return calls, "-"
    try:
        call = _of_torch(stored, kernels, stride, padding, groups)
    except ImportError:
        return calls, "-"
    calls["torch"] = call
    differs = np.mean(np.moveaxis(call().int_repr().numpy(), 1, -1) != found)
    return calls, f"{differs:.0%}"


def _in_float32(x: jax.Array, w: jax.Array, **geometry: int) -> jax.Array:
    y = jaxconv.conv(x.astype(jnp.float32), w.astype(jnp.float32), **geometry)
    return y.astype(jnp.int32)


def _quantized(x: jax.Array, *, w: np.ndarray, stride: int, padding: int, groups: int) -> jax.Array:
    x_scale, w_scale, y_scale = map(np.float32, SCALES)
    rank, zero = x.ndim - 2, np.uint8(ZERO)
    return QLinearConv(
        *(x, x_scale, zero, w, w_scale, np.int8(0), y_scale, zero),
        strides=[stride] * rank,
        pads=[padding] * (2 * rank),
        group=groups,
    )


def _compiled(function: Callable[..., jax.Array], *arrays: jax.Array) -> Callable[[], Any]:
    compiled = jax.jit(function).lower(*arrays).compile()
    return lambda: jax.block_until_ready(compiled(*arrays))


def _of_torch(
    x: np.ndarray, w: np.ndarray, stride: int, padding: int, groups: int
) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(cores())
    x_scale, w_scale, y_scale = SCALES
    of_x = torch._make_per_tensor_quantized_tensor(torch.tensor(x), x_scale, ZERO)
    of_w = torch._make_per_tensor_quantized_tensor(torch.tensor(w), w_scale, 0)
    channels = {"in_channels": x.shape[1], "out_channels": w.shape[0], "groups": groups}
    layer: Any = torch.ao.nn.quantized.Conv2d(
        **channels, kernel_size=w.shape[2:], stride=stride, padding=padding, bias=False
    )
    layer.set_weight_bias(of_w, None)
    layer.scale, layer.zero_point = y_scale, ZERO
    of_x = of_x.contiguous(memory_format=torch.channels_last)
    return lambda: layer(of_x)


if __name__ == "__main__":
    main(*sys.argv[1:])
