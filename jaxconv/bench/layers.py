"""Times of the methods on the dense layers of real networks, for `jaxconv.bench.fit`.

    python -m jaxconv.bench.layers layers.json

Random shapes are small, so that hundreds can be measured; what large layers cost must be measured
on large layers.
"""

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxconv.bench import peers, regret
from jaxconv.bench.cases import LAYERS
from jaxconv.bench.report import machine
from jaxconv.policy import Problem
from jaxconv.trilinear import OPERANDS

# what may be the fastest on a dense layer
METHODS = ("lax", "onednn", "columns", "phases", "slabs")


def main(path: Path) -> None:
    """Measure every dense layer in its three contractions."""
    found: list[regret.Row] = []
    for index, layer in enumerate(each for each in LAYERS if each.groups == 1):
        draw = np.random.default_rng(index)
        x, y = (layer.y, layer.x) if layer.transposed else (layer.x, layer.y)
        arrays = {
            name: draw.standard_normal(shape, np.float32)
            for name, shape in {"x": x, "w": layer.w, "y": y}.items()
        }
        for contraction, names in OPERANDS.items():
            operands = {name: arrays[name] for name in names}
            a, b = operands.values()
            problem = Problem.of(contraction, a, b, layer.spec, dtype=jnp.float32, platform="cpu")
            measured = regret.measure(problem, operands, METHODS)
            found.append({"seed": -1, "index": index, "layer": layer.name} | measured)
        regret.save(path, machine({"xla": peers.cores()}), found)
        print(layer.name, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
