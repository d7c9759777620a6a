"""Seconds that a method is expected to take on a CPU, as a sum of positive terms.

    seconds = sum over terms of constant * term

The terms of a problem, `jaxconv.terms`, say what grows with what. The constants of each method and
contraction are in `jaxconv.constants`, fitted to measured times by `python -m jaxconv.bench.fit`.
"""

import math

from jaxconv.constants import CONSTANTS
from jaxconv.policy import Problem
from jaxconv.simplify import simplify
from jaxconv.terms import terms


def simpler(problem: Problem) -> Problem:
    """Return the problem that methods get on one CPU: that of `jaxconv.simplify`.

    Args:
        problem: the contraction and its sizes.
    """
    simple = simplify(problem.spec)
    batch = problem.batch * math.prod(problem.spec.output_size[: simple.folded])
    return problem._replace(spec=simple.spec, batch=batch)


def seconds(method: str, problem: Problem) -> float:
    """Return the expected time of one call, infinite for a method without constants.

    Args:
        method: the method's name.
        problem: the contraction and its sizes.
    """
    constants = CONSTANTS.get((method, problem.contraction))
    if constants is None:
        return math.inf
    found = terms(method, problem)
    return sum(constant * found[name] for name, constant in constants.items())
