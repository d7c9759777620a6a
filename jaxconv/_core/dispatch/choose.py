"""Choose a method for a contraction, with a reason, from shapes, dtypes and platform only."""

import math
from collections.abc import Mapping
from typing import NamedTuple, cast

from jax.export import is_symbolic_dim

from jaxconv._core.dispatch.costs import measured, seconds
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.dispatch.profile import MachineProfile
from jaxconv._core.geometry.problem import Problem, Reduction, reduce
from jaxconv._core.methods import METHODS
from jaxconv._core.methods.method import Rule

# Reasons why a program cannot call a library of this process by XLA's foreign function interface.
EXPORTED = "the program is exported for other processes"
PARTITIONED = "XLA alone partitions the program over several devices"
# Values of `method` that leave the choice to a policy or to expected times.
RULES: tuple[Rule, ...] = ("auto", "fastest")
# The batch for which "auto" chooses, whatever the actual one: an image's result must not depend on
# the batch. Expected time of the choice for 8 divided by that of the choice for the actual batch:
# 1.000 over 100 contractions of `bench.cases.LAYERS` (0.998 without the plugin), and 1.004 (1.003)
# over 600 random ones; with batches of 1, 1.005 and 1.006, of 32, 1.019 and 1.013. For the choice
# for 1: 1.007 and 1.015, 1.000 and 1.000, 1.031 and 1.058 (2026-11-28).
IMAGES = 8


class Choice(NamedTuple):
    """A method's name and why it was taken."""

    method: str
    reason: str


def refusal(problem: Problem, method: str, ffi_unavailable_reason: str | None = None) -> str | None:
    """Return why a method cannot serve a problem, or None if it can.

    Args:
        problem: the contraction and its sizes.
        method: the method's name.
        ffi_unavailable_reason: why the program cannot call a library of this process, or None.
    """
    reduction = _reduction(problem, ffi_unavailable_reason)
    return _refusal(problem.reduced if reduction else problem, method, ffi_unavailable_reason)


def _refusal(reduced: Problem, method: str, ffi_unavailable_reason: str | None) -> str | None:
    way = METHODS[method]
    if reduced.contraction not in way.contractions:
        return f"{method} does not offer this contraction"
    if way.calls_library and (ffi_unavailable_reason or reduced.platform != "cpu"):
        return ffi_unavailable_reason or f"{method} runs on CPUs only"
    if ffi_unavailable_reason == EXPORTED and reduced.platform in way.not_exported:
        return f"jax.export takes no programs with {method}"
    if (reduced.spec.is_symbolic or is_symbolic_dim(reduced.batch)) and not way.symbolic_sizes:
        return f"{method} needs known sizes"
    return way.refuses(reduced)


def _reduction(problem: Problem, ffi_unavailable_reason: str | None) -> Reduction | None:
    """Return the reduction of the problem, which is used on one CPU only."""
    if problem.platform != "cpu" or ffi_unavailable_reason == PARTITIONED:
        return None
    return reduce(problem.spec)


def select(
    problem: Problem,
    method: str = "auto",
    policy: Policy | None = None,
    *,
    ffi_unavailable_reason: str | None = None,
) -> Choice:
    """Return the method for one contraction.

    Args:
        problem: the contraction and its sizes.
        method: "auto", "fastest" (which may take FFT), or the name of a method, used where it can
            serve.
        policy: measured choices, used first if `method` is "auto" or "fastest"; its profile, if it
            has one, is that of the CPU.
        ffi_unavailable_reason: why the program cannot call a library of this process, or None.

    Example:
        >>> from jaxconv import ConvSpec
        >>> spec = ConvSpec((1,), (1,), ((0, 0),), 4, (8,), (3,))
        >>> problem = Problem("output", spec, 2, 1, 1, "float32", "cpu")
        >>> select(problem, "loops")
        Choice(method='loops', reason='asked for')
    """
    return plan(problem, method, policy, ffi_unavailable_reason=ffi_unavailable_reason)[0]


def plan(
    problem: Problem,
    method: str = "auto",
    policy: Policy | None = None,
    *,
    ffi_unavailable_reason: str | None = None,
) -> tuple[Choice, Reduction | None]:
    """Return the choice as `select` does, and the reduction to apply to the arrays, or None."""
    if ffi_unavailable_reason == PARTITIONED:
        return _partitioned(problem), None
    reduction = _reduction(problem, ffi_unavailable_reason)
    wanted, reason = method, "asked for"
    if method in RULES:
        chosen = None if policy is None else policy.choice(problem)
        if chosen is None:
            rule = cast(Rule, method)
            profile = None if policy is None else policy.profile
            return _by_rule(problem, rule, ffi_unavailable_reason, profile), reduction
        wanted, reason = chosen, "chosen by the policy"
    if wanted in METHODS:
        reduced = problem.reduced if reduction else problem
        why_not = _refusal(reduced, wanted, ffi_unavailable_reason)
    else:
        why_not = f"there is no method {wanted}"
    return (_lax(problem, why_not) if why_not else Choice(wanted, reason)), reduction


def candidates(rule: str, platform: str = "cpu") -> tuple[str, ...]:
    """Return the methods that a rule may take.

    Args:
        rule: "auto" or "fastest".
        platform: as `Problem` has it.

    Example:
        >>> set(candidates("fastest")) - set(candidates("auto"))
        {'fft'}
        >>> set(candidates("auto", "tpu")) - set(candidates("auto"))
        {'pallas'}
    """
    return tuple(
        name
        for name, way in METHODS.items()
        if rule in way.rules and (not way.platforms or platform in way.platforms)
    )


def expected(
    problem: Problem, rule: str = "auto", policy: Policy | None = None
) -> dict[str, float]:
    """Return the seconds that each method is expected to take.

    Nothing is expected of unknown sizes, and on kinds of devices that were not measured.

    Args:
        problem: the contraction and its sizes.
        rule: "auto" or "fastest", whose methods these are.
        policy: whose profile is used, if it has one.
    """
    if measured(problem) is None or problem.spec.is_symbolic or is_symbolic_dim(problem.batch):
        return {}
    return _expected(problem, rule, None if policy is None else policy.profile, None)


def _expected(
    problem: Problem,
    rule: str,
    profile: MachineProfile | None,
    ffi_unavailable_reason: str | None,
) -> dict[str, float]:
    reduced = problem.reduced if problem.platform == "cpu" else problem
    anywhere = ffi_unavailable_reason == EXPORTED
    found = {
        name: seconds(name, reduced, profile, anywhere=anywhere)
        for name in candidates(rule, problem.platform)
        if _refusal(reduced, name, ffi_unavailable_reason) is None
        and METHODS[name].considered(reduced)
    }
    return {name: taken for name, taken in found.items() if math.isfinite(taken)}


def _by_rule(
    problem: Problem,
    rule: Rule,
    ffi_unavailable_reason: str | None,
    profile: MachineProfile | None,
) -> Choice:
    of_device = measured(problem, anywhere=ffi_unavailable_reason == EXPORTED)
    if of_device is None:
        return _lax(problem, "XLA's own convolution")
    if problem.spec.is_symbolic:
        return _of_unknown_sizes(problem, rule, "its sizes are unknown until it runs")
    if is_symbolic_dim(problem.batch):
        return _of_unknown_sizes(problem, rule, "the batch size is unknown until it runs")
    if rule == "auto" and problem.contraction != "kernel":
        problem = problem._replace(batch=IMAGES)
    times = _expected(problem, rule, profile, ffi_unavailable_reason)
    if not times:
        return _lax(problem, "XLA's own convolution")
    fastest, usual = decide(times, of_device.margins)
    if problem.platform == "cpu":
        where = "a CPU" if profile is None else "the CPU of the policy's profile"
    else:
        where = problem.device_kind
    if fastest == usual:
        return Choice(usual, f"nothing is expected to be clearly faster on {where}")
    return Choice(fastest, f"expected to be the fastest on {where}")


def _of_unknown_sizes(problem: Problem, rule: Rule, reason: str) -> Choice:
    """Choose the first method that serves any size and is considered, XLA's own before others."""
    for name in candidates(rule, problem.platform):
        if _refusal(problem, name, None) is None and METHODS[name].considered(problem):
            return Choice(name, reason)
    return _lax(problem, reason)


def _lax(problem: Problem, reason: str) -> Choice:
    """Choose XLA's own convolution, or sums of slices where it has none."""
    why_not = METHODS["lax"].refuses(problem)
    if why_not is None or _refusal(problem, "taps", None):
        return Choice("lax", reason)
    return Choice("taps", why_not)


def _partitioned(problem: Problem) -> Choice:
    """Choose a method that XLA partitions correctly: its convolution is wrong on some meshes."""
    if problem.spec.groups > 1 and problem.contraction != "kernel":
        return Choice("taps", f"{PARTITIONED}, and gets sums of slices right")
    return Choice("products", f"{PARTITIONED}, and gets matrix products right")


def decide(expected: Mapping[str, float], margins: Mapping[str, float]) -> tuple[str, str]:
    """Return the method to take, and the usual one.

    The usual method is the first of `margins` that is in `expected`, or else the fastest. Another
    is taken if its expected time is less than the usual method's time multiplied by its margin.

    Args:
        expected: seconds by method.
        margins: a factor for each usual method, in order of preference.
    """
    fastest = min(expected, key=lambda method: expected[method])
    usual = next((method for method in margins if method in expected), fastest)
    if usual == fastest:
        return usual, usual
    ahead = expected[fastest] < margins[usual] * expected[usual]
    return (fastest if ahead else usual), usual
