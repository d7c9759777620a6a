"""Measure which method is fastest for every convolution inside a function, here and now."""

import functools
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, jaxprs_in_params, primitives

from jaxconv._core.dispatch.choose import RULES, candidates, refusal, select
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.dispatch.primitive import OPERANDS, contract, conv_p
from jaxconv._core.geometry.messages import shown
from jaxconv._core.geometry.problem import Problem
from jaxconv._transforms.reading import problem_of
from jaxconv._transforms.tracing import trace


def tune(
    f: Callable[..., Any],
    /,
    *args: Any,
    seconds: float = 0.2,
    method: str = "auto",
    **kwargs: Any,
) -> Policy:
    """Time the methods that can serve each convolution in a function, and return the fastest.

        policy[problem] = argmin over methods of the median time of one call

    Every distinct problem, ours or lax's, is timed alone on random numbers, in turns, after one
    call that compiles and one that shows what is far behind. The rules' choice stays where nothing
    is more than 3 percent faster. FFT is timed under "fastest" only. A problem includes its batch,
    so that with a policy, unlike without, a result may depend on the batch it comes in (by
    rounding).

    Args:
        f: any function that `jax.jit` could trace; pass `jax.grad(f)` to tune the gradients too.
        args: its arguments; a `jax.ShapeDtypeStruct` will do for an array.
        seconds: how long to time each problem.
        method: "auto", or "fastest" to time FFT too, which may change what `jaxconv.conv` says.
        kwargs: its keyword arguments (bind one that is called seconds or method by
            `functools.partial`).

    Returns:
        A `jaxconv.Policy` for this device, to be given to `jaxconv.accelerate`,
        `jaxconv.conv` and the Flax layers, or saved. A function that is vmapped, sharded or called
        with other shapes has other problems: tune that one.

    Raises:
        TypeError: f cannot be called.
        ValueError: seconds is not positive, or method is neither; f sets a `flax.nnx` Variable that
            it closes over. (What it sets in its arguments stays as it is.)

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv import accelerate, conv
        >>> x, w = jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
        >>> policy = tune(conv, x, w, seconds=0.01)
        >>> len(policy), accelerate(conv, policy=policy)(x, w).shape
        (1, (1, 6, 6, 4))

    Source:
        Medians of interleaved calls, as in `jaxconv/bench/README.md`.
    """
    if not callable(f):
        raise TypeError(f"tune: f={shown(f)} must be a function, not {type(f).__name__}")
    if not isinstance(seconds, (int, float)) or not seconds > 0:
        raise ValueError(f"tune: seconds={shown(seconds)} must be a positive number")
    if method not in RULES:
        raise ValueError(f"tune: method={method!r} is none of {', '.join(map(repr, RULES))}")
    jaxpr = trace("tune", f, args, kwargs).jaxpr.jaxpr
    problems = dict.fromkeys(_problems(jaxpr, jax.default_backend()))
    return Policy({problem: _fastest(problem, seconds, method) for problem in problems})


def _problems(jaxpr: Jaxpr, platform: str) -> Iterator[Problem]:
    for equation in jaxpr.eqns:
        if equation.primitive in (conv_p, primitives.conv_general_dilated_p):
            problem = problem_of(equation, platform)
            if isinstance(problem, Problem):
                yield problem
            continue
        for inner in jaxprs_in_params(equation.params):
            yield from _problems(inner, platform)


def _fastest(problem: Problem, seconds: float, rule: str) -> str:
    usual = select(problem, rule).method
    operands = _operands(problem)
    calls = {
        method: _call(problem, method)
        for method in candidates(rule)
        if refusal(problem, method) is None
    }
    for call in calls.values():
        jax.block_until_ready(call(*operands))
    once = {method: _time(call, operands) for method, call in calls.items()}
    best = min(once.values())
    times = {method: [first] for method, first in once.items() if first <= 4 * best}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for method, taken in times.items():
            taken.append(_time(calls[method], operands))
    medians = {method: median(taken) for method, taken in times.items()}
    fastest = min(medians, key=lambda method: medians[method])
    close = usual in medians and medians[usual] <= 1.03 * medians[fastest]
    return usual if close else fastest


def _operands(problem: Problem) -> list[jax.Array]:
    spec = problem.spec
    inputs, outputs = spec.groups * problem.inputs, spec.groups * problem.outputs
    shapes = {
        "x": (problem.batch, *spec.input_size, inputs),
        "w": (*spec.kernel_size, problem.inputs, outputs),
        "y": (problem.batch, *spec.output_size, outputs),
    }
    draw = np.random.default_rng(0)
    return [
        jnp.asarray(draw.normal(size=shapes[name])).astype(problem.dtype)
        for name in OPERANDS[problem.contraction]
    ]


def _call(problem: Problem, method: str) -> Callable[..., jax.Array]:
    return jax.jit(
        functools.partial(
            contract, problem.contraction, spec=problem.spec, dtype=problem.dtype, method=method
        )
    )


def _time(call: Callable[..., jax.Array], operands: list[jax.Array]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call(*operands))
    return time.perf_counter() - start
