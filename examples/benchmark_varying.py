"""Times of kernels that vary from place to place, beside one kernel and a sum over all nodes.

    python examples/benchmark_varying.py [--repeats 9]

An image of 1024x1024 in float32 and 8x8 nodes. The calls take turns; each number is the least of
its times in milliseconds, which other programs disturb least. "naive" is the definition, a plain
correlation for each node under its hats.
"""

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import correlate, varying

SIDE, NODES = 1024, 8


def naive(x: jax.Array, kernels: jax.Array) -> jax.Array:
    """Sum the correlations with all nodes' kernels under their hats."""
    place = np.arange(SIDE)[:, None] * (NODES - 1) / (SIDE - 1)
    hats = jnp.asarray(np.maximum(0, 1 - abs(place - np.arange(NODES))), x.dtype)

    def add(total: jax.Array, node: Any) -> tuple[jax.Array, None]:
        kernel, down, across = node
        return total + down[:, None] * across * correlate(x, kernel, mode="same"), None

    rows, columns = (each.reshape(-1) for each in np.indices((NODES, NODES)))
    nodes = (kernels.reshape(-1, *kernels.shape[2:]), hats.T[rows], hats.T[columns])
    return jax.lax.scan(add, jnp.zeros_like(x), nodes)[0]


def transposed(x: jax.Array, kernels: jax.Array) -> jax.Array:
    """The adjoint in x, as restorations need it."""
    return jax.linear_transpose(lambda x: varying.correlate(x, kernels, mode="same"), x)(x)[0]


def least(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Return each call's least time in milliseconds; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            if turn:  # the first compiles
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: min(each) for name, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((SIDE, SIDE)), jnp.float32)
    print("kernel " + "".join(f"{name:>12}" for name in NAMES))
    for size in (5, 9, 15, 31):
        kernels = jnp.asarray(rng.standard_normal((NODES, NODES, size, size)), jnp.float32)
        same = functools.partial(varying.correlate, mode="same")
        functions = (
            lambda x, kernels: correlate(x, kernels[0, 0], mode="same"),
            same,
            functools.partial(same, at="input"),
            transposed,
            functools.partial(same, method="fft"),
            naive,
        )
        calls = {
            name: functools.partial(jax.jit(function), x, kernels)
            for name, function in zip(NAMES, functions, strict=True)
        }
        found = least(calls, repeats)
        print(f"{size:>2}x{size:<4}" + "".join(f"{found[name]:12.1f}" for name in NAMES))


NAMES = ("plain", "output", "input", "transposed", "output, fft", "naive")

if __name__ == "__main__":
    main()
