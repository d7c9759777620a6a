"""Measure each case of a suite; return its record: numbers and strings, ready for JSON."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._transforms.explain import explain
from jaxconv.bench import (
    cases,
    contestants,
    float64_answers,
    learning,
    plane_programs,
    torch_blocks,
)
from jaxconv.bench import models as blocks
from jaxconv.bench.measure import Measured, contest
from jaxconv.bench.peers import OURS

SUITES = ("filters", "networks", "learn", "models")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a run.

    Attributes:
        only: a regular expression to find in "suite: case, mode".
        quick: whether to run only the cases marked quick, and compile each once.
        method: of every call of ours.
        peers: names of the peers to measure.
        budget: seconds of timing for each case.
    """

    only: str = ""
    quick: bool = False
    method: str = "auto"
    peers: Sequence[str] = ()
    budget: float = 1.5

    @property
    def compiles(self) -> int:
        """Number of times each program is compiled; the fastest counts."""
        return 1 if self.quick else 2


Record = dict[str, Any]


def run(suite: str, options: Options) -> Iterator[Record]:
    """Yield a record for each case and mode, as soon as it is measured."""
    suites = {"filters": filters, "networks": networks, "learn": learn, "models": models}
    yield from suites[suite](options)


def filters(options: Options) -> Iterator[Record]:
    """One plane, one kernel."""
    for case in cases.PLANES:
        if not _wanted(case, "filters", "forward", options):
            continue
        x, k = plane_programs.arrays(case)
        programs = plane_programs.programs(case, method=options.method, peers=options.peers)
        measured = contest(
            programs,
            float64_answers.plane(case, x, k),
            budget=options.budget,
            compiles=options.compiles,
        )
        shapes = {"x": x.shape, "w": k.shape, "y": x.shape}
        methods = _methods(programs[0].function, programs[0].arguments)
        yield record("filters", case.name, "forward", shapes, measured, methods)


def networks(options: Options) -> Iterator[Record]:
    """Layers of networks, forward and with gradients."""
    for case in cases.LAYERS:
        modes = [mode for mode in cases.MODES if _wanted(case, "networks", mode, options)]
        if not modes:
            continue
        expected = float64_answers.layer(case, *contestants.arrays(case))
        for mode in modes:
            programs = contestants.programs(case, mode, method=options.method, peers=options.peers)
            measured = contest(programs, expected, budget=options.budget, compiles=options.compiles)
            shapes = {"x": case.x, "w": case.w, "y": case.y}
            methods = _methods(programs[0].function, programs[0].arguments)
            yield record("networks", case.name, mode, shapes, measured, methods) | {
                "arguments": case.arguments | {"transposed": case.transposed}
            }


def learn(options: Options) -> Iterator[Record]:
    """Ten steps of learning a kernel."""
    for case in learning.LESSONS:
        if not _wanted(case, "learn", "learning", options):
            continue
        x, y, start = learning.arrays(case)
        programs = learning.programs(case, peers=options.peers, quick=options.quick)
        measured = contest(
            programs, learning.exact(case), budget=options.budget, compiles=options.compiles
        )
        shapes = {"x": x.shape, "w": start.shape, "y": y.shape}
        methods = _methods(programs[0].function, programs[0].arguments)
        # its temporary buffers are those of a scan, not of a convolution
        yield record("learn", case.name, "learning", shapes, measured, methods) | {"memory": None}


def models(options: Options) -> Iterator[Record]:
    """A training step of a block, with `accelerate` and without."""
    for case in torch_blocks.MODELS:
        if not _wanted(case, "models", "training step", options):
            continue
        programs = blocks.programs(case, method=options.method, peers=options.peers)
        measured = contest(
            programs,
            blocks.exact(case),
            budget=options.budget,
            compiles=options.compiles,
            tolerance=blocks.TOLERANCE,
        )
        shapes = {"x": case.x, "w": (), "y": case.x}
        methods = _methods(programs[0].function, programs[0].arguments)
        # its temporary buffers are the block's activations
        yield record("models", case.name, "training step", shapes, measured, methods) | {
            "memory": None
        }


def record(
    suite: str,
    case: str,
    mode: str,
    shapes: Mapping[str, Sequence[int]],
    measured: Mapping[str, Measured],
    methods: Mapping[str, str],
) -> Record:
    """Return one case's record: all measurements, each peer's best time, and ratios.

    `ratios` are our time over each peer's best; `memory` is our temporary buffers over the larger
    of input and output (float32).
    """
    ours = measured[OURS]
    best: dict[str, float] = {}
    compiled: list[float] = []
    for found in measured.values():
        if found.seconds is not None:
            best[found.peer] = min(found.seconds, best.get(found.peer, found.seconds))
        if found.peer == "lax" and found.compile_seconds is not None:
            compiled.append(found.compile_seconds)
    larger = 4 * max(_size(shapes["x"]), _size(shapes["y"]))
    return {
        "suite": suite,
        "case": case,
        "mode": mode,
        "shapes": {name: list(shape) for name, shape in shapes.items()},
        "methods": dict(methods),
        "contestants": {label: asdict(found) for label, found in measured.items()},
        "best": best,
        "ratios": {
            peer: ours.seconds / seconds
            for peer, seconds in best.items()
            if peer != OURS and ours.seconds is not None
        },
        "compile": {
            "ours": ours.compile_seconds,
            # the faster of the two layouts: a user compiles only one
            "lax": min(compiled, default=None),
        },
        "memory": None if ours.temporary_bytes is None else ours.temporary_bytes / larger,
    }


def _size(shape: Sequence[int]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def _methods(function: Any, arguments: Sequence[Any]) -> dict[str, str]:
    """The chosen methods of each contraction in a function."""
    platform = jax.default_backend()
    taken: dict[str, set[str]] = {}
    for found in explain(function, *arguments, platform=platform):
        taken.setdefault(found.contraction, set()).add(found.method)
    return {contraction: " ".join(sorted(methods)) for contraction, methods in taken.items()}


def _wanted(case: Any, suite: str, mode: str, options: Options) -> bool:
    if options.quick and not case.quick:
        return False
    return re.search(options.only, f"{suite}: {case.name}, {mode}") is not None


def warm_up() -> None:
    """Compile once before the first case, which would otherwise include the process's start-up."""
    x, w = jnp.ones((1, 4, 4, 1)), jnp.ones((2, 2, 1, 1))
    function = contestants.with_gradients(
        contestants.function(cases.Layer(name="", x=x.shape, w=w.shape), "auto"), "both"
    )
    jax.block_until_ready(jax.jit(function)(x, w, jnp.ones((1, 3, 3, 1))))
