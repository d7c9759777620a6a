"""Train LeNet on eight devices, with batch or images sharded; then stop, and finish on four.

    python examples/lenet_on_a_mesh.py

The devices are eight virtual CPU devices, so this shows equal results, not a speed-up. The batch is
sharded over `data` devices. The rows of every image are sharded over `rows` devices, which exchange
halos (`jaxconv.parallel.conv`); the widest dense layer is sharded over them too. Printed are the
differences of the losses from those on one device, the collectives in one step of the compiled
program, and the accuracy on test digits.

Then half of a run is done on eight devices, saved as a sharded checkpoint, and finished on four.
"""

import os

if __name__ == "__main__":  # before JAX looks for devices
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import re
import tempfile
from collections import Counter
from typing import Any

import _lenet
import jax
import numpy as np
from _digits import digits
from jax.sharding import AxisType, Mesh

from jaxconv.learn import Checkpoints, run_segments

COLLECTIVES = r" (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?\("


def mesh_of(data: int, rows: int) -> Mesh:
    devices = np.array(jax.devices()[: data * rows]).reshape(data, rows)
    return Mesh(devices, ("data", "rows"), axis_types=(AxisType.Auto, AxisType.Auto))


def train(mesh: Mesh | None, learned: Any, epochs: int, **how: Any) -> tuple[Any, np.ndarray]:
    """Return the state after some epochs, or `steps`, and the loss of every step."""
    run = _lenet.training(mesh, *learned, epochs)
    step, state, data = run.pop("step"), run.pop("state"), run.pop("data")
    steps = how.pop("steps", len(data[-1]))
    state, losses = run_segments(step, state, *data, steps=steps, **run, **how)
    return state, np.asarray(losses)


def traffic(mesh: Mesh, learned: Any) -> Counter:
    """Return the numbers of collectives in one compiled step."""
    run = _lenet.training(mesh, *learned, 1)
    shardings = (_lenet.shardings(run["state"], mesh), None)
    program = jax.jit(run["step"], out_shardings=shardings).lower(run["state"], *run["data"])
    return Counter(re.findall(COLLECTIVES, program.compile().as_text()))


def main(*, epochs: int = 3) -> dict[str, Any]:
    x, y, *unseen = digits()
    learned = x, y
    _, alone = train(None, learned, epochs)
    print(f"{'devices':<20} {'difference':>12} {'test accuracy':>13}  collectives in one step")
    apart, sent = [], []
    for data, rows in ((8, 1), (2, 4)):
        mesh = mesh_of(data, rows)
        state, losses = train(mesh, learned, epochs)
        apart.append(float(np.abs(losses - alone).max()))
        sent.append(traffic(mesh, learned))
        collectives = ", ".join(f"{count} {name}" for name, count in sorted(sent[-1].items()))
        score = _lenet.accuracy(state["params"], *unseen)
        print(f"{data} data x {rows} rows     {apart[-1]:12.1e} {score:13.1%}  {collectives}")
    with tempfile.TemporaryDirectory() as folder:
        kept = Checkpoints(directory=folder, every=len(alone) // 2, resume=True)
        train(mesh_of(2, 4), learned, epochs, steps=len(alone) // 2, checkpoints=kept)
        state, losses = train(mesh_of(1, 4), learned, epochs, checkpoints=kept)
    apart.append(float(np.abs(losses - alone).max()))
    dense = state["params"]["dense1"]["kernel"]
    part = dense.addressable_shards[0].data.shape
    score = _lenet.accuracy(state["params"], *unseen)
    print(f"eight, then four     {apart[-1]:12.1e} {score:13.1%}")
    print(
        f"{len(alone)} steps; the last loss is {alone[-1]:.4f}; of dense1's kernel {dense.shape} "
        f"each of the four devices has {part}"
    )
    return {"apart": apart, "sent": sent, "part": part, "losses": alone}


if __name__ == "__main__":
    main()
