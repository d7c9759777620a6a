"""Which method computes a contraction, decided from static facts only, with the reason."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.export import is_symbolic_dim

from jaxconv._core.dispatch.constants import MARGINS
from jaxconv._core.dispatch.costs import seconds
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.geometry.problem import Problem, simpler
from jaxconv._core.methods import CALLS_OUT, METHODS, REFUSES

# Why a program can call no library of this process.
EXPORTED = "the program is for other processes too"
PARTITIONED = "XLA alone partitions the program over several devices"
# Explicit loops are the definition made runnable: never what the rules take.
CANDIDATES = tuple(name for name in METHODS if name != "loops")
# What is no method, but leaves the choice to a policy and the rules.
RULES = ("auto", "fastest")
# Methods whose errors are on the scale of whole arrays, that spread NaN and let an output see what
# it does not depend on. "auto" never takes them.
SPREADS = frozenset({"fft"})
# Images that "auto" expects, however many come: an image's result is to be the same in any batch.
# What is chosen for 8 has 1.000 of the expected time of the choice for the batch at hand, over 100
# contractions of `bench.cases.LAYERS` (0.998 without the plugin), and 1.004 (1.003) over 600 random
# ones; with batches of 1, 1.005 and 1.006, of 32, 1.019 and 1.013. What is chosen for 1 has 1.007
# and 1.015, 1.000 and 1.000, 1.031 and 1.058 (2026-11-28).
IMAGES = 8
# Entries of the kernel from which spectra are taken: below it they could gain little, and their
# errors are on the scale of whole arrays, where sums have exact zeros.
ENTRIES_FOR_FFT = 64
# Entries of the kernel along each dimension from which sums of shifted rows are: of fewer a matrix
# product has too little to do.
ENTRIES_FOR_SHIFTS = 8


class Choice(NamedTuple):
    """A method's name and why it was taken."""

    method: str
    reason: str


def check_method(caller: str, method: Any) -> str:
    """Return `method` if there is one of that name.

    Raises:
        ValueError: there is none.
    """
    names = [*RULES, *METHODS]
    if method not in names:
        raise ValueError(f"{caller}: method={method!r} is none of {', '.join(map(repr, names))}")
    return method


def check_policy(caller: str, policy: Any) -> Policy | None:
    """Return `policy` if it is one, or None.

    Raises:
        TypeError: it is something else.
    """
    if policy is not None and not isinstance(policy, Policy):
        raise TypeError(
            f"{caller}: policy must be a jaxconv.Policy or None, not "
            f"{type(policy).__name__}; jaxconv.tune makes one"
        )
    return policy


def may_simplify(platform: str, alone: str | None) -> bool:
    """Whether methods get the smaller problem of `problem.simplify`: on one CPU.

    Args:
        platform: the problem's.
        alone: why the program can call no library of this process, or None if it can.
    """
    return platform == "cpu" and alone != PARTITIONED


def refusal(problem: Problem, method: str, alone: str | None = None) -> str | None:
    """Return why a method cannot serve a problem, or None if it can.

    Args:
        problem: all that is known before the arrays are.
        method: the method's name.
        alone: why the program can call no library of this process, or None if it can.
    """
    if problem.contraction not in METHODS[method]:
        return f"{method} does not offer this contraction"
    if method in CALLS_OUT and (alone or problem.platform != "cpu"):
        return alone or f"{method} is for CPUs"
    if may_simplify(problem.platform, alone):
        problem = simpler(problem)
    if problem.spec.is_symbolic and method != "lax":
        return f"{method} needs to know the sizes"
    if method in REFUSES:
        return REFUSES[method](problem.contraction, problem.spec, jnp.dtype(problem.dtype))
    return None


def select(
    problem: Problem,
    method: str = "auto",
    policy: Mapping | None = None,
    *,
    alone: str | None = None,
) -> Choice:
    """Return the method for one contraction.

    Args:
        problem: all that is known before the arrays are.
        method: "auto", "fastest" (which may take FFT), or the name of a method that is to be used
            wherever it can serve.
        policy: measured choices, which go before the rules where method is no method's name.
        alone: why the program can call no library of this process, or None if it can.

    Example:
        >>> from jaxconv._core.geometry.spec import ConvSpec
        >>> spec = ConvSpec((1,), (1,), ((0, 0),), 4, (8,), (3,))
        >>> problem = Problem("output", spec, 2, 1, 1, "float32", "cpu")
        >>> select(problem, "loops")
        Choice(method='loops', reason='asked for')
    """
    if alone == PARTITIONED:
        return _partitioned(problem)
    wanted, reason = method, "asked for"
    if method in RULES:
        if policy is None or problem not in policy:
            return _by_rule(problem, method, alone)
        wanted, reason = policy[problem], "the policy's"
    if wanted in METHODS:
        why_not = refusal(problem, wanted, alone)
    else:
        why_not = f"there is no method {wanted}"
    return Choice("lax", why_not) if why_not else Choice(wanted, reason)


def candidates(method: str) -> tuple[str, ...]:
    """Return the methods that a rule may take.

    Args:
        method: "auto" or "fastest".

    Example:
        >>> set(candidates("fastest")) - set(candidates("auto"))
        {'fft'}
    """
    return CANDIDATES if method == "fastest" else tuple(n for n in CANDIDATES if n not in SPREADS)


def _by_rule(problem: Problem, rule: str, alone: str | None) -> Choice:
    if problem.platform != "cpu":
        return Choice("lax", "XLA's own convolution")
    if problem.spec.is_symbolic:
        return Choice("lax", "its sizes are any")
    if is_symbolic_dim(problem.batch):
        return Choice("lax", "the batch is of any size")
    if rule == "auto" and problem.contraction != "kernel":
        problem = problem._replace(batch=IMAGES)
    problem = simpler(problem)
    expected = {
        method: seconds(method, problem)
        for method in candidates(rule)
        if refusal(problem, method, alone) is None and worth_expecting(method, problem)
    }
    fastest, usual = decide(expected, MARGINS)
    if fastest == usual:
        return Choice(usual, "nothing is expected to be clearly faster on a CPU")
    return Choice(fastest, "expected to be the fastest on a CPU")


def _partitioned(problem: Problem) -> Choice:
    """What XLA partitions rightly: it gets its own convolutions wrong on some meshes."""
    if problem.spec.groups > 1 and problem.contraction != "kernel":
        return Choice("taps", f"{PARTITIONED}, and gets sums of slices right")
    return Choice("products", f"{PARTITIONED}, and gets matrix products right")


def worth_expecting(method: str, problem: Problem) -> bool:
    """Whether a method's expected time counts.

    Spectra and shifts are for large kernels. XLA's gradient of a grouped kernel lets a NaN of one
    group reach others where there is a stride. What is expected was measured in float32, and
    products of integers by `columns` took twice lax's time where those of floats take half of it.
    """
    if method == "lax" and problem.contraction == "kernel":
        return problem.spec.groups == 1
    if method == "columns" and problem.contraction != "kernel":
        return jnp.issubdtype(problem.dtype, jnp.inexact)
    if method == "shifts":
        return min(problem.spec.kernel_size) >= ENTRIES_FOR_SHIFTS
    return method != "fft" or math.prod(problem.spec.kernel_size) >= ENTRIES_FOR_FFT


def decide(expected: Mapping[str, float], margins: Mapping[str, float]) -> tuple[str, str]:
    """Return the method to take, and the one that is usual.

    The usual one is the first of `margins` that is expected, or the fastest; another is taken if it
    is expected to need less than that margin of its time.

    Args:
        expected: seconds by method.
        margins: the usual methods.
    """
    fastest = min(expected, key=lambda method: expected[method])
    usual = next((method for method in margins if method in expected), fastest)
    if usual == fastest:
        return usual, usual
    ahead = expected[fastest] < margins[usual] * expected[usual]
    return (fastest if ahead else usual), usual
