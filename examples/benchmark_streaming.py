"""Time streaming: one step of a causal layer, and a small WaveNet, beside what they could cost.

    python examples/benchmark_streaming.py

A step convolves one new input with the state of those before, and returns the output and the next
state: beside the matrix product alone, and beside the same step written by hand with `jnp`; called
from Python, and as the body of a `jax.lax.scan`. The WaveNet has ten layers of 32 channels, dilated
by 1 to 512, each with a gate and a 1x1 layer, on 16,000 samples: beside the same network of lax's
convolutions. Values are checked first. Prints microseconds, and ratios of our time.

Source:
    van den Oord et al. (2016), "WaveNet: A Generative Model for Raw Audio", sections 2.1 and 2.3.
"""

import statistics
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from rich import box
from rich.console import Console
from rich.table import Table

import jaxconv
from jaxconv.bench import tables
from jaxconv.bench.measure import race

BUDGET = 1.0  # seconds a contestant
STEPS = 200  # of a state from call to call, and of a scan
# name, kernel: (K, in // groups, out)
STEP_CASES = (
    ("dense, 64 channels, K = 3", (3, 64, 64)),
    ("dense, 512 channels, K = 3", (3, 512, 512)),
    ("depthwise, 512 channels, K = 4", (4, 1, 512)),
)
CHANNELS, SAMPLES, DILATIONS = 32, 16_000, [2**n for n in range(10)]

Step = Callable[..., tuple[jax.Array, jax.Array]]


def main() -> None:
    """Measure and print two tables."""
    console = Console(width=120, highlight=False)
    tables.print_machine(console, tables.machine())
    table = Table(
        "a step, microseconds", "product", "by hand", "ours", "ours / product", "/ by hand"
    )
    table.box = box.SIMPLE_HEAD
    for name, shape in STEP_CASES:
        for where, contestants in (("", from_python(shape)), (", in a scan", in_a_scan(shape))):
            found = raced(contestants)
            times = {label: seconds / STEPS for label, seconds in found.items()}
            ratios = [f"{times['ours'] / times[peer]:.2f}" for peer in ("product", "by hand")]
            row = [f"{1e6 * times[label]:.1f}" for label in ("product", "by hand", "ours")]
            table.add_row(name + where, *row, *ratios)
    console.print(table)
    times = raced(networks())
    table = Table("10 layers of 32 channels, 16,000 samples, milliseconds", "lax", "ours", "ratio")
    table.box = box.SIMPLE_HEAD
    ratio = f"{times['ours'] / times['lax']:.2f}"
    table.add_row("WaveNet", *(f"{1e3 * times[label]:.1f}" for label in ("lax", "ours")), ratio)
    console.print(table)


def raced(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the median seconds of a call, measured in turns."""
    found = race(calls, {label: label for label in calls}, budget=BUDGET * len(calls))
    times = {label: statistics.median(taken) for label, taken in found.items()}
    print({label: f"{1e6 * taken:.1f}" for label, taken in times.items()}, file=sys.stderr)
    return times


def layer(shape: tuple[int, int, int]) -> tuple[jax.Array, Step, Step, Callable[..., jax.Array]]:
    """Return the kernel, our step, the one by hand and the product; the steps are checked."""
    _, inputs, outputs = shape
    draw = np.random.default_rng(0)
    w = jnp.asarray(draw.normal(size=shape), jnp.float32)

    def product(window: jax.Array, w: jax.Array) -> jax.Array:  # (1, K, channels) -> (1, 1, out)
        if inputs == 1:
            return jnp.sum(window * w[:, 0], axis=1, keepdims=True)
        return (window.reshape(1, -1) @ w.reshape(-1, outputs))[:, None]

    def by_hand(state: jax.Array, x: jax.Array, w: jax.Array):
        seen = jnp.concatenate([state, x], axis=1)
        return product(seen, w), seen[:, 1:]

    def ours(state: jax.Array, x: jax.Array, w: jax.Array):
        return jaxconv.causal_conv1d(x, w, state=state)

    state, x = state_and_input(shape)
    for one, other in zip(ours(state, x, w), by_hand(state, x, w), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)
    return w, ours, by_hand, product


def state_and_input(shape: tuple[int, int, int]) -> tuple[jax.Array, jax.Array]:
    """Return zeros before the first input, and an input."""
    kernel, inputs, outputs = shape
    channels = outputs if inputs == 1 else inputs
    x = np.random.default_rng(1).normal(size=(1, 1, channels))
    return jnp.zeros((1, kernel - 1, channels)), jnp.asarray(x, jnp.float32)


def from_python(shape: tuple[int, int, int]) -> dict[str, Callable[[], Any]]:
    """Return calls that make `STEPS` compiled steps, each with the state of the one before."""
    w, ours, by_hand, product = layer(shape)
    _, x = state_and_input(shape)
    window = jnp.concatenate([x] * shape[0], axis=1)
    compiled = jax.jit(product)

    def products() -> None:
        y = x
        for _ in range(STEPS):
            y = compiled(window, w)
        y.block_until_ready()

    def steps(step: Step) -> Callable[[], None]:
        one = jax.jit(step, donate_argnums=0)

        def run() -> None:
            state, y = state_and_input(shape)
            for _ in range(STEPS):
                y, state = one(state, x, w)
            y.block_until_ready()

        return run

    return {"product": products, "by hand": steps(by_hand), "ours": steps(ours)}


def in_a_scan(shape: tuple[int, int, int]) -> dict[str, Callable[[], Any]]:
    """Return calls of a scan of `STEPS` steps, each with the output of the one before as input."""
    w, ours, by_hand, product = layer(shape)
    state, x = state_and_input(shape)

    def scanned(step: Step, state: jax.Array) -> Callable[[], Any]:
        def body(carry, _):
            state, x = carry
            y, state = step(state, x, w)
            return (state, jnp.tanh(y)), ()

        run = jax.jit(lambda state, x: lax.scan(body, (state, x), length=STEPS)[0])
        return lambda: jax.block_until_ready(run(state, x))

    def product_alone(window: jax.Array, x: jax.Array, w: jax.Array):
        """The product of a window of which one row is new, in place."""
        return product(window.at[:, :1].set(x), w), window

    window = jnp.concatenate([state, x], axis=1)
    return {
        "product": scanned(product_alone, window),
        "by hand": scanned(by_hand, state),
        "ours": scanned(ours, state),
    }


def networks() -> dict[str, Callable[[], Any]]:
    """Return calls of the network by lax and by `causal_conv1d`, with equal results."""
    draw = np.random.default_rng(0)

    def drawn(*shape: int) -> jax.Array:
        return jnp.asarray(draw.normal(size=shape) * 0.1, jnp.float32)

    layers = [
        (drawn(2, CHANNELS, 2 * CHANNELS), drawn(1, CHANNELS, 2 * CHANNELS)) for _ in DILATIONS
    ]
    x = drawn(1, SAMPLES, CHANNELS)

    def by_lax(x: jax.Array, w: jax.Array, dilation: int) -> jax.Array:
        padding = [((w.shape[0] - 1) * dilation, 0)]
        numbers = ("NHC", "HIO", "NHC")
        return lax.conv_general_dilated(
            x, w, (1,), padding, rhs_dilation=(dilation,), dimension_numbers=numbers
        )

    def ours(x: jax.Array, w: jax.Array, dilation: int) -> jax.Array:
        return jaxconv.causal_conv1d(x, w, dilation=dilation)[0]

    def network(convolve: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
        def run(layers: list[tuple[jax.Array, jax.Array]], x: jax.Array) -> jax.Array:
            skip = jnp.zeros_like(x)
            for (dilated, mixed), dilation in zip(layers, DILATIONS, strict=True):
                h = convolve(x, dilated, dilation)
                gated = jnp.tanh(h[..., :CHANNELS]) * jax.nn.sigmoid(h[..., CHANNELS:])
                made = convolve(gated, mixed, 1)
                x, skip = x + made[..., :CHANNELS], skip + made[..., CHANNELS:]
            return skip

        return jax.jit(run)

    runs = {"lax": network(by_lax), "ours": network(ours)}
    np.testing.assert_allclose(*(run(layers, x) for run in runs.values()), rtol=1e-4, atol=1e-5)
    return {
        label: lambda run=run: jax.block_until_ready(run(layers, x)) for label, run in runs.items()
    }


if __name__ == "__main__":
    main()
