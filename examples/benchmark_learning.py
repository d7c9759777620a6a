"""Time ten learning steps, compiled, against torch's eager loop: one process, turn by turn.

    python examples/benchmark_learning.py

Both start at the same kernel of the 6x8 edge image and their losses are compared before anything is
timed. Each time is that of one run of ten steps, results waited for; medians after a warm-up.
"""

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from compare_with_torch import RATE, START, STEPS, edge_images, learn_in_torch
from jax import lax

from jaxconv import learn

REPEATS, WARM_UP = 200, 20


def compiled_steps(x: jax.Array, y: jax.Array):
    """Ten steps from a kernel to its losses and its end, as one program."""
    optimizer = optax.sgd(RATE)

    @jax.jit
    def run(kernel):
        def body(state, _):
            return learn.step(state, x, y, optimizer=optimizer)

        state, losses = lax.scan(body, learn.init(kernel, optimizer=optimizer), None, length=STEPS)
        return losses, state.kernel

    return run


def seconds(run) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    # For torch's good: on so small an image its threads only wait for each other
    torch.set_num_threads(1)
    x, y = edge_images()
    start = jnp.asarray(START)
    jax_x, jax_y = jnp.asarray(x), jnp.asarray(y)
    steps = compiled_steps(jax_x, jax_y)
    torch_x, torch_y = torch.from_numpy(x)[None, None], torch.from_numpy(y.copy())
    programs = {
        "torch, eager": lambda: learn_in_torch(torch_x, torch_y),
        "jaxconv, one compiled scan": lambda: jax.block_until_ready(steps(start)),
        "jaxconv, fit_kernel": lambda: jax.block_until_ready(
            learn.fit_kernel(jax_x, jax_y, (1, 2), init=start, steps=STEPS)
        ),
    }
    losses = [float(loss) for loss in programs["torch, eager"]()[0]]
    np.testing.assert_allclose(steps(start)[0], losses, rtol=1e-5)
    times = {name: [] for name in programs}
    for repeat in range(WARM_UP + REPEATS):
        for name, run in programs.items():
            taken = seconds(run)
            if repeat >= WARM_UP:
                times[name].append(taken)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    for name, median in medians.items():
        ratio = median / medians["torch, eager"]
        print(f"{name:<28} {median * 1e6:9.1f} us   {ratio:.4f} of torch")


if __name__ == "__main__":
    main()
