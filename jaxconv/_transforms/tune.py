"""Measure which method is fastest for each convolution inside a function on this device."""

from __future__ import annotations

import functools
import time
import warnings
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

# A method whose first call took longer than the fastest's by this factor is not timed.
MOST_TIMES_SLOWER = 4
# The method that the rules choose is kept if its median is within this factor of the fastest.
TIE_RATIO = 1.03


def tune(
    f: Callable[..., Any],
    /,
    *args: Any,
    seconds: float = 0.2,
    method: str = "auto",
    **kwargs: Any,
) -> Policy:
    """Time every method that can compute each convolution in a function; return the fastest.

        policy[problem] = argmin over methods of the median time of one call

    Each distinct problem, ours or lax's, is timed by itself on random numbers. The methods take
    turns, after one call that compiles and one that excludes methods more than four times slower
    than the fastest. The method that the rules choose is kept unless another is more than 3 percent
    faster. FFT is timed with "fastest" only. A method that fails on the device is left out
    with a warning. A problem includes the batch size: with a policy, unlike without, the rounding
    of a result may depend on the batch size.

    Args:
        f: any function that `jax.jit` can trace; pass `jax.grad(f)` to tune the gradients too.
        args: its arguments; each array may be a `jax.ShapeDtypeStruct`.
        seconds: how long to time each problem.
        method: "auto", or "fastest" to time FFT too; see `jaxconv.conv` on what FFT may change.
        kwargs: its keyword arguments (pass one named seconds or method by `functools.partial`).

    Returns:
        A `jaxconv.Policy` for this device, which prints as a table of what was measured: pass it to
        `jaxconv.accelerate`, `jaxconv.conv` or the Flax layers, or save it. `Policy(tuned,
        profile=...)` adds a machine's profile. A function that is vmapped, sharded or called with
        other shapes has other problems: tune that function.

    Warns:
        RuntimeWarning: a method failed on this device, with the device's words.

    Raises:
        TypeError: f is not callable.
        RuntimeError: no method can compute one of the convolutions on this device.
        ValueError: seconds is not positive, or method is neither "auto" nor "fastest"; f sets a
            `flax.nnx` Variable that it closes over. (Variables among its arguments are left as they
            are.)

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv import accelerate, conv
        >>> x, w = jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
        >>> policy = tune(conv, x, w, seconds=0.01)
        >>> len(policy), accelerate(conv, policy=policy)(x, w).shape
        (1, (1, 6, 6, 4))
    """
    if not callable(f):
        raise TypeError(f"tune: f={shown(f)} must be a function, not {type(f).__name__}")
    check_seconds("tune", seconds)
    if method not in RULES:
        raise ValueError(f"tune: method={method!r} must be one of {', '.join(map(repr, RULES))}")
    jaxpr = trace("tune", f, args, kwargs).jaxpr.jaxpr
    problems = dict.fromkeys(_problems(jaxpr, jax.default_backend()))
    times = {problem: medians(problem, seconds, method) for problem in problems}
    chosen = {problem: _chosen(problem, taken, method) for problem, taken in times.items()}
    return Policy(chosen, seconds=times)


def check_seconds(caller: str, seconds: Any) -> None:
    """Raise ValueError if a time is not positive."""
    if not isinstance(seconds, (int, float)) or not seconds > 0:
        raise ValueError(f"{caller}: seconds={shown(seconds)} must be a positive number")


def _problems(jaxpr: Jaxpr, platform: str) -> Iterator[Problem]:
    for equation in jaxpr.eqns:
        if equation.primitive in (conv_p, primitives.conv_general_dilated_p):
            problem = problem_of(equation, platform)
            if isinstance(problem, Problem):
                yield problem
            continue
        for inner in jaxprs_in_params(equation.params):
            yield from _problems(inner, platform)


def medians(problem: Problem, seconds: float, rule: str) -> dict[str, float]:
    """Return the median time of a call of each method, in seconds.

    Methods whose first call takes more than four times as long as the fastest have that time; those
    that fail on this device are left out, with a warning.

    Args:
        problem: the contraction and its sizes.
        seconds: how long to time the others.
        rule: "auto" or "fastest", whose methods are timed.
    """
    operands = _operands(problem)
    calls = {
        method: _call(problem, method)
        for method in candidates(rule, problem.platform)
        if refusal(problem, method) is None
    }
    calls = _working(calls, operands)
    once = {method: _time(call, operands) for method, call in calls.items()}
    best = min(once.values())
    times = {m: [first] for m, first in once.items() if first <= MOST_TIMES_SLOWER * best}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for method, taken in times.items():
            taken.append(_time(calls[method], operands))
    return once | {method: median(taken) for method, taken in times.items()}


def _working(
    calls: dict[str, Callable[..., jax.Array]], operands: list[jax.Array]
) -> dict[str, Callable[..., jax.Array]]:
    """Call each once, which compiles it; return those that work on this device."""
    working, failure = {}, None
    for method, call in calls.items():
        try:
            jax.block_until_ready(call(*operands))
        except Exception as error:  # compilers and devices raise errors of many types
            failure = error
            why = (str(error).splitlines() or ["it said nothing"])[0]
            warnings.warn(
                f"the method {method} fails on this device and is left out: "
                f"{type(error).__name__}: {why}",
                RuntimeWarning,
                stacklevel=2,
            )
        else:
            working[method] = call
    if not working:
        raise RuntimeError("no method can compute the convolution on this device") from failure
    return working


def _chosen(problem: Problem, times: dict[str, float], rule: str) -> str:
    usual = select(problem, rule).method
    fastest = min(times, key=lambda method: times[method])
    close = usual in times and times[usual] <= TIE_RATIO * times[fastest]
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
