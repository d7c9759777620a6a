"""Time the methods on layers of real networks and on planes, for `jaxconv.bench.fit`.

    python -m jaxconv.bench.method_times layers.json [REGEX]

Random shapes are small, so that hundreds can be measured; here the constants get large layers and
planes to fit. Every method that may be chosen for a layer is measured: without that its constants
would be extrapolated to large sizes.
"""

import math
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.dispatch.choose import candidates
from jaxconv._core.dispatch.primitive import OPERANDS
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import Contraction, ConvSpec, normalise
from jaxconv._core.machine import device_kind
from jaxconv._core.methods import METHODS
from jaxconv.bench import regret
from jaxconv.bench.cases import LAYERS, PLANES, Layer
from jaxconv.bench.tables import machine

# Kernels whose windows do not overlap, which few random shapes have, down to so few channels that
# XLA computes their matrix products in another way.
WITHOUT_OVERLAP = tuple(
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
# Multiply-adds above which the float64 values of a plane take minutes.
MOST_PRODUCTS = 2e10
# Largest number of entries of a kernel whose gradients are measured on planes too: the float64
# values of larger ones take minutes.
MOST_GRADIENT_ENTRIES = 9


def cases() -> list[tuple[str, Problem, dict[str, np.ndarray]]]:
    """Return (name, problem, operands) of layers and planes, most of them in three contractions."""
    drawn: list[tuple[str, ConvSpec, list[Contraction], dict[str, np.ndarray]]] = []
    for index, layer in enumerate((*LAYERS, *WITHOUT_OVERLAP)):
        x, y = (layer.y, layer.x) if layer.transposed else (layer.x, layer.y)
        arrays = _random(index, x=x, w=layer.w, y=y)
        wanted: list[Contraction] = ["output", "input", "kernel"]
        wanted = wanted[:2] if layer in WITHOUT_OVERLAP else wanted
        drawn.append((layer.name, layer.spec, wanted, arrays))
    for index, plane in enumerate(PLANES):
        if plane.size**2 * math.prod(plane.kernel) > MOST_PRODUCTS:
            continue
        x, w = (1, plane.size, plane.size, 1), (*plane.kernel, 1, 1)
        spec = normalise("layers", x, w, padding="same")
        small = math.prod(plane.kernel) <= MOST_GRADIENT_ENTRIES
        wanted = ["output", "input", "kernel"] if small else ["output"]
        drawn.append((plane.name, spec, wanted, _random(index, x=x, w=w, y=x)))
    platform = jax.default_backend()
    device = {"platform": platform, "device_kind": device_kind(platform)}
    found = []
    for name, spec, contractions, arrays in drawn:
        for contraction in contractions:
            operands = {array: arrays[array] for array in OPERANDS[contraction]}
            a, b = operands.values()
            problem = Problem.of(contraction, a, b, spec, dtype=jnp.float32, **device)
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
        serving = candidates("fastest", problem.platform)
        methods = [m for m in serving if METHODS[m].considered(problem)]
        measured = regret.measure(problem, operands, methods)
        found.append({"seed": -1, "index": index, "layer": name} | measured)
        regret.save(path, machine(), found)
        print(name, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
