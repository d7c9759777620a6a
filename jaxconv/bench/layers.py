"""Times of the methods on the layers of real networks, for `jaxconv.bench.fit`.

    python -m jaxconv.bench.layers layers.json

Random shapes are small, so that hundreds can be measured; what large layers cost must be measured
on large layers. Every method that may be chosen for a layer must be among those measured: what its
constants say of large sizes would be a guess otherwise.
"""

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxconv.bench import peers, regret
from jaxconv.bench.cases import LAYERS
from jaxconv.bench.report import machine
from jaxconv.choose import CANDIDATES, worth_expecting
from jaxconv.policy import Problem
from jaxconv.trilinear import OPERANDS


def main(path: Path) -> None:
    """Measure every layer in its three contractions."""
    found: list[regret.Row] = []
    for index, layer in enumerate(LAYERS):
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
            methods = [m for m in CANDIDATES if worth_expecting(m, problem)]
            measured = regret.measure(problem, operands, methods)
            found.append({"seed": -1, "index": index, "layer": layer.name} | measured)
        regret.save(path, machine({"xla": peers.cores()}), found)
        print(layer.name, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
