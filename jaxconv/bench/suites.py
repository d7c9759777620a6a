"""Measure each case of a suite; return its record: numbers and strings, ready for JSON."""

import itertools
import math
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
from jaxconv.bench.networks import steps as whole_networks
from jaxconv.bench.peers import OURS, Program

# Times the budget of a case for a step of a whole network, whose calls are longer
STEP_BUDGET = 3


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a run.

    Attributes:
        only: a regular expression to find in "suite: case, mode".
        quick: whether to run only the cases marked quick, and compile each once.
        method: of every call of ours.
        peers: names of the peers to measure.
        budget: seconds of timing for each case, of a whole network `STEP_BUDGET` times as many.
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


def filters(options: Options) -> Iterator[Record]:
    """One plane, one kernel."""
    for case in cases.PLANES:
        if not _wanted(case, "filters", "forward", options):
            continue
        x, k = plane_programs.arrays(case)
        programs = plane_programs.programs(case, method=options.method, peers=options.peers)
        shapes = {"x": x.shape, "w": k.shape, "y": x.shape}
        expected = float64_answers.plane(case, x, k)
        yield _measured("filters", case, "forward", shapes, programs, expected, options)


def networks(options: Options) -> Iterator[Record]:
    """Layers of networks, forward and with gradients."""
    for case in cases.LAYERS:
        modes = [mode for mode in cases.MODES if _wanted(case, "networks", mode, options)]
        if not modes:
            continue
        shapes = {"x": case.x, "w": case.w, "y": case.y}
        arguments = {"arguments": case.arguments | {"transposed": case.transposed}}
        expected = float64_answers.layer(case, *contestants.arrays(case))
        for mode in modes:
            programs = contestants.programs(case, mode, method=options.method, peers=options.peers)
            found = _measured("networks", case, mode, shapes, programs, expected, options)
            yield found | arguments


def learn(options: Options) -> Iterator[Record]:
    """Ten steps of learning a kernel."""
    for case in learning.LESSONS:
        if not _wanted(case, "learn", "learning", options):
            continue
        x, y, start = learning.arrays(case)
        programs = learning.programs(case, peers=options.peers, quick=options.quick)
        shapes = {"x": x.shape, "w": start.shape, "y": y.shape}
        expected = learning.exact(case)
        found = _measured("learn", case, "learning", shapes, programs, expected, options)
        # its temporary buffers are those of a scan, not of a convolution
        yield found | {"memory": None}


def models(options: Options) -> Iterator[Record]:
    """A training step of a block, with `accelerate` and without."""
    for case in torch_blocks.MODELS:
        mode = "training step"
        if not _wanted(case, "models", mode, options):
            continue
        programs = blocks.programs(case, method=options.method, peers=options.peers)
        shapes = {"x": case.x, "w": (), "y": case.x}
        expected, limits = blocks.exact(case), {"tolerance": blocks.TOLERANCE}
        found = _measured("models", case, mode, shapes, programs, expected, options, **limits)
        # its temporary buffers are the block's activations
        yield found | {"memory": None}


def steps(options: Options) -> Iterator[Record]:
    """A training step or an inference of a whole network, with `accelerate` and without."""
    ways = {"method": options.method, "peers": options.peers, "quick": options.quick}
    # compiled once: each attempt takes seconds
    limits = {"compiles": 1, "budget": STEP_BUDGET * options.budget}
    for _, cases_of in itertools.groupby(chosen_steps(options), lambda case: case.values):
        expected = None
        for case in cases_of:
            expected = expected or whole_networks.exact(case)
            programs = whole_networks.programs(case, **ways)
            y = expected["y"].shape if "y" in expected else ()
            shapes = {"x": (case.batch, *case.network.image), "w": (), "y": y}
            limits["tolerance"] = case.tolerance
            found = _measured(
                "steps", case, case.mode, shapes, programs, expected, options, **limits
            )
            beside = whole_networks.memory_beside_lax(found["contestants"])
            yield found | {"memory": None, "memory beside lax": beside}


def chosen_steps(options: Options) -> list[whole_networks.Step]:
    """The cases of `steps` that were asked for."""
    return [case for case in whole_networks.STEPS if _wanted(case, "steps", case.mode, options)]


SUITES = {
    "filters": filters,
    "networks": networks,
    "learn": learn,
    "models": models,
    "steps": steps,
}
"""Each suite yields a record for each case and mode, as soon as it is measured."""


def _measured(
    suite: str,
    case: Any,
    mode: str,
    shapes: Mapping[str, Sequence[int]],
    programs: Sequence[Program],
    expected: Mapping[str, Any],
    options: Options,
    **limits: Any,
) -> Record:
    """Check and time the programs of one case; `limits` are those of `contest`."""
    limits = {"budget": options.budget, "compiles": options.compiles, **limits}
    measured = contest(programs, expected, **limits)
    methods = _methods(programs[0].function, programs[0].arguments)
    return record(suite, case.name, mode, shapes, measured, methods)


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
    larger = 4 * max(math.prod(shapes["x"]), math.prod(shapes["y"]))
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
