"""Seconds that a method is expected to take on a device, as a sum of positive terms.

seconds = factor * sum over terms of constant * term

where the factor is 1 on the machine of the constants, and on other devices than CPUs.
"""

import math

from jaxconv._core.dispatch.profile import MachineProfile
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.machine import cpu_kind
from jaxconv._core.methods import METHODS
from jaxconv._core.methods.measured import BY_DEVICE, Measured, of_cpu


def measured(problem: Problem, *, anywhere: bool = False) -> Measured | None:
    """Return what was measured on the kind of device of a problem, or None.

    Args:
        problem: the contraction and its sizes.
        anywhere: whether the program is for CPUs of any kind, not for this process's.
    """
    if problem.platform == "cpu":
        return of_cpu("" if anywhere else cpu_kind())
    return BY_DEVICE.get(problem.device_kind)


def seconds(
    method: str,
    problem: Problem,
    profile: MachineProfile | None = None,
    *,
    anywhere: bool = False,
) -> float:
    """Return the expected time of one call, infinite for a method without constants.

    Args:
        method: the method's name.
        problem: as the method gets it: on CPUs the reduced one.
        profile: of the CPU, or None for that of the constants.
        anywhere: as in `measured`.
    """
    found = measured(problem, anywhere=anywhere)
    constants = None if found is None else found.seconds.get(method, {}).get(problem.contraction)
    if problem.platform != "cpu":
        profile = None
    elif constants is None or found is of_cpu():  # a method's own, where it was not fitted apart
        constants = METHODS[method].constants.get(problem.contraction)
    if constants is None:
        return math.inf
    terms = METHODS[method].terms(problem)
    total = sum(constant * terms[name] for name, constant in constants.items())
    return total if profile is None else profile.factor(method, problem) * total
