"""Times of the methods on layers of real networks and on planes, for `jaxconv.bench.fit`.

    python -m jaxconv.bench.method_times layers.json [REGEX]

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

from jaxconv._core.dispatch.choose import candidates
from jaxconv._core.dispatch.primitive import OPERANDS
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import Contraction, ConvSpec, normalise
from jaxconv._core.methods import METHODS
from jaxconv.bench import peers, regret
from jaxconv.bench.cases import LAYERS, PLANES, Layer
from jaxconv.bench.report import machine

# Kernels whose windows share no element. Few random shapes have them, and no layer has as few
# channels as where XLA's matrix products change.
APART = tuple(
    Layer(
        name=f"{kernel}x{kernel} /{kernel}, {i}->{o} in {groups} on {n}x{size}^2",
        x=(n, size, size, groups * i),
        w=(kernel, kernel, i, groups * o),
        stride=kernel,
        padding=padding,
        groups=groups,
    )
    for n, size, kernel, padding, groups, pairs in (
        (8, 64, 1, 0, 1, ((2, 2), (3, 3), (3, 8), (8, 3), (5, 5), (12, 3), (16, 16), (64, 3))),
        (1, 28, 1, 0, 1, ((3, 2), (256, 8), (8, 256), (64, 64))),
        (2, 56, 2, 0, 1, ((3, 3), (3, 16), (96, 192), (256, 8))),
        (1, 56, 4, 0, 1, ((3, 3), (256, 8), (8, 64))),
        (4, 28, 1, 1, 1, ((2, 3), (64, 16))),
        (4, 28, 1, 0, 8, ((2, 2), (3, 5), (16, 8), (32, 32), (5, 1))),
    )
    for i, o in pairs
)
# Products of a plane, whose exact values take minutes beyond.
MOST = 2e10
# Entries of a kernel whose gradients are measured on planes too.
SMALL = 9


def cases() -> list[tuple[str, Problem, dict[str, np.ndarray]]]:
    """Return layers and planes, named, with their operands, most of them in three contractions."""
    drawn: list[tuple[str, ConvSpec, list[Contraction], dict[str, np.ndarray]]] = []
    for index, layer in enumerate((*LAYERS, *APART)):
        x, y = (layer.y, layer.x) if layer.transposed else (layer.x, layer.y)
        arrays = _random(index, x=x, w=layer.w, y=y)
        wanted: list[Contraction] = ["output", "input", "kernel"]
        wanted = wanted[:2] if layer in APART else wanted
        drawn.append((layer.name, layer.spec, wanted, arrays))
    for index, plane in enumerate(PLANES):
        if plane.size**2 * math.prod(plane.kernel) > MOST:
            continue
        x, w = (1, plane.size, plane.size, 1), (*plane.kernel, 1, 1)
        spec = normalise("layers", x, w, padding="same")
        # the exact gradients of larger kernels take minutes too
        small = math.prod(plane.kernel) <= SMALL
        wanted = ["output", "input", "kernel"] if small else ["output"]
        drawn.append((plane.name, spec, wanted, _random(index, x=x, w=w, y=x)))
    found = []
    for name, spec, contractions, arrays in drawn:
        for contraction in contractions:
            operands = {array: arrays[array] for array in OPERANDS[contraction]}
            a, b = operands.values()
            problem = Problem.of(contraction, a, b, spec, dtype=jnp.float32, platform="cpu")
            found.append((name, problem, operands))
    return found


def _random(seed: int, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {name: draw.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def main(path: Path, pattern: str = "") -> None:
    """Measure all whose names match."""
    found: list[regret.Row] = []
    for index, (name, problem, operands) in enumerate(cases()):
        if not re.search(pattern, name):
            continue
        methods = [m for m in candidates("fastest") if METHODS[m].considered(problem)]
        measured = regret.measure(problem, operands, methods)
        found.append({"seed": -1, "index": index, "layer": name} | measured)
        regret.save(path, machine({"xla": peers.cores()}), found)
        print(name, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
