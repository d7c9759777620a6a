"""Times of the methods on layers of real networks and on planes, for `jaxconv.bench.fit`.

    python -m jaxconv.bench.layers layers.json [REGEX]

Random shapes are small, so that hundreds can be measured; what large layers and planes cost must be
measured on large ones. Every method that may be chosen for a layer must be among those measured:
what its constants say of large sizes would be a guess otherwise.
"""

import math
import re
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxconv.bench import peers, regret
from jaxconv.bench.cases import LAYERS, PLANES
from jaxconv.bench.report import machine
from jaxconv.choose import CANDIDATES, worth_expecting
from jaxconv.policy import Problem
from jaxconv.spec import normalise
from jaxconv.trilinear import OPERANDS

# Products of a plane, whose exact values take minutes beyond.
MOST = 2e10


def cases() -> list[tuple[str, Problem, dict[str, np.ndarray]]]:
    """Return every layer in its three contractions and every plane, named, with their operands."""
    found = []
    for index, layer in enumerate(LAYERS):
        draw = np.random.default_rng(index)
        x, y = (layer.y, layer.x) if layer.transposed else (layer.x, layer.y)
        shapes = {"x": x, "w": layer.w, "y": y}
        arrays = {name: draw.standard_normal(of, np.float32) for name, of in shapes.items()}
        found += [(layer.name, layer.spec, names, arrays) for names in OPERANDS.items()]
    for index, plane in enumerate(PLANES):
        if plane.size**2 * math.prod(plane.kernel) > MOST:
            continue
        draw = np.random.default_rng(index)
        shapes = {"x": (1, plane.size, plane.size, 1), "w": (*plane.kernel, 1, 1)}
        spec = normalise("layers", *shapes.values(), padding="same")
        arrays = {name: draw.standard_normal(of, np.float32) for name, of in shapes.items()}
        found.append((plane.name, spec, ("output", OPERANDS["output"]), arrays))
    return [
        (
            name,
            Problem.of(
                contraction, *(arrays[o] for o in names), spec, dtype=jnp.float32, platform="cpu"
            ),
            {o: arrays[o] for o in names},
        )
        for name, spec, (contraction, names), arrays in found
    ]


def main(path: Path, pattern: str = "") -> None:
    """Measure all whose names match."""
    found: list[regret.Row] = []
    for index, (name, problem, operands) in enumerate(cases()):
        if not re.search(pattern, name):
            continue
        methods = [m for m in CANDIDATES if worth_expecting(m, problem)]
        measured = regret.measure(problem, operands, methods)
        found.append({"seed": -1, "index": index, "layer": name} | measured)
        regret.save(path, machine({"xla": peers.cores()}), found)
        print(name, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
