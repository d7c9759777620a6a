"""Measure each case of a suite; return its record: numbers and strings, ready for JSON."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv.bench import (
    cases,
    contestants,
    each_method,
    float64_answers,
    known,
    learning,
    plane_programs,
    torch_blocks,
)
from jaxconv.bench import models as blocks
from jaxconv.bench.measure import Measured, contest
from jaxconv.bench.networks import steps as whole_networks
from jaxconv.bench.numerics import FLOAT32, Precision
from jaxconv.bench.peers import OURS, Program

# Times the budget of a case for a step of a whole network, whose calls are longer
STEP_BUDGET = 3


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a run.

    Attributes:
        only: a regular expression to find in "suite: case, mode".
        quick: whether to run only the cases marked quick, and compile each once.
        method: of every call of ours; "every" for "auto" and each method that serves.
        peers: names of the peers to measure.
        precision: of the arrays and of products.
        budget: seconds of timing for each case, of a whole network `STEP_BUDGET` times as many.
    """

    only: str = ""
    quick: bool = False
    method: str = "auto"
    peers: Sequence[str] = ()
    precision: Precision = FLOAT32
    budget: float = 1.5

    @property
    def compiles(self) -> int:
        """Number of times each program is compiled; the fastest counts."""
        return 1 if self.quick else 2

    @property
    def ways(self) -> dict[str, Any]:
        """The arguments of a case's programs."""
        return {"method": self.method, "peers": self.peers, "precision": self.precision}


Record = dict[str, Any]


def filters(options: Options) -> Iterator[Record]:
    """One plane, one kernel."""
    for case in cases.PLANES:
        if not _wanted(case, "filters", "forward", options):
            continue
        x, k = plane_programs.arrays(case, options.precision)
        programs = plane_programs.programs(case, **options.ways)
        shapes = {"x": x.shape, "w": k.shape, "y": x.shape}
        expected = float64_answers.plane(case, x, k)
        yield _measured("filters", case, "forward", shapes, programs, expected, options)


def networks(options: Options) -> Iterator[Record]:
    """Layers of networks, forward and with gradients."""
    for case in cases.LAYERS:
        modes = [mode for mode in cases.MODES if _wanted(case, "networks", mode, options)]
        yield from _of_layer("networks", case, modes, options)


def reported(options: Options) -> Iterator[Record]:
    """Layers that users reported as slow; with `quick` small ones of their kinds."""
    for case in known.KNOWN:
        modes = [mode for mode in case.modes if _wanted(case, "known", mode, options)]
        layer = case.small if options.quick else case.layer
        told = {"sources": list(case.sources), "reported": case.reported}
        for found in _of_layer("known", layer, modes, options):
            yield found | told


def _of_layer(
    suite: str, case: cases.Layer, modes: Sequence[str], options: Options
) -> Iterator[Record]:
    """One layer, in each of some modes."""
    if not modes:
        return
    shapes = {"x": case.x, "w": case.w, "y": case.y}
    arguments = {"arguments": case.arguments | {"transposed": case.transposed}}
    x, w, ct = contestants.arrays(case, options.precision)
    of_each = "per-example gradients"
    expected = float64_answers.of_each(case, x, ct) if of_each in modes else {}
    if [*modes] != [of_each]:
        expected |= float64_answers.layer(case, x, w, ct)
    for mode in modes:
        programs = contestants.programs(case, mode, **options.ways)
        found = _measured(suite, case, mode, shapes, programs, expected, options)
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
            limits["tolerance"] = case.tolerance_in(options.precision)
            found = _measured(
                "steps", case, case.mode, shapes, programs, expected, options, **limits
            )
            beside = whole_networks.memory_beside_lax(found["contestants"])
            yield found | {"memory": None, "memory beside lax": beside}


def chosen_steps(options: Options) -> list[whole_networks.Step]:
    """The cases of `steps` that were asked for."""
    return [
        case
        for case in whole_networks.STEPS
        if _wanted(case, "steps", case.mode, options) and case.belongs_to(options.precision)
    ]


SUITES = {
    "filters": filters,
    "networks": networks,
    "learn": learn,
    "models": models,
    "steps": steps,
    "known": reported,
}
"""Each suite yields a record for each case and mode, as soon as it is measured."""
IN_EVERY_PRECISION = ("filters", "networks", "steps", "known")
"""The suites that run in TF32 and bfloat16 too, and by each method; all of them on accelerators."""


def usual(platform: str) -> tuple[str, ...]:
    """Return the suites of a run that names none; the reported cases are for accelerators."""
    if platform != "cpu":
        return IN_EVERY_PRECISION
    return tuple(suite for suite in SUITES if suite != "known")


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
    limits.setdefault("tolerance", options.precision.tolerance)
    measured = contest(programs, expected, **limits)
    ways = {
        program.label: each_method.methods(program.function, program.arguments)
        for program in programs
        if program.label.startswith(OURS) and program.peer != "float32"
    }
    size = options.precision.itemsize
    methods = ways[OURS]
    return record(suite, case.name, mode, shapes, measured, methods, ways=ways, itemsize=size)


def record(
    suite: str,
    case: str,
    mode: str,
    shapes: Mapping[str, Sequence[int]],
    measured: Mapping[str, Measured],
    methods: Mapping[str, str],
    *,
    ways: Mapping[str, Mapping[str, str]] | None = None,
    itemsize: int = 4,
) -> Record:
    """Return one case's record: all measurements, each peer's best time, and ratios.

    `ratios` are our time over each peer's best; `memory` is our temporary buffers over the larger
    of input and output (or of the gradients, where there is one for each image). `methods` are ours
    by contraction, and `ways` those of each contestant of ours.
    """
    ours = measured[OURS]
    best: dict[str, float] = {}
    compiled: list[float] = []
    for found in measured.values():
        if found.seconds is not None:
            best[found.peer] = min(found.seconds, best.get(found.peer, found.seconds))
        if found.peer == "lax" and found.compile_seconds is not None:
            compiled.append(found.compile_seconds)
    larger = max(math.prod(shapes["x"]), math.prod(shapes["y"]))
    if mode == "per-example gradients":
        larger = max(larger, shapes["x"][0] * math.prod(shapes["w"]))
    larger *= itemsize
    return {
        "suite": suite,
        "case": case,
        "mode": mode,
        "shapes": {name: list(shape) for name, shape in shapes.items()},
        "methods": dict(methods),
        "ways": {label: dict(taken) for label, taken in (ways or {OURS: methods}).items()},
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
