"""Derivatives of both orders and mapped axes, of every method and contraction, in float32.

A contraction is linear in each operand, so that all of them are contractions again, which the loops
in float64 compute: the transpose in x is `input`, in w `kernel`, in y `output`; the derivative
along an operand is the value.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cases
import jax
import jax.numpy as jnp
import numpy as np

from accelerator import table, tolerances
from accelerator.running import Check, Outcome, Scope
from jaxconv._core.dispatch.primitive import contract

LEAVES_OUT = {"y": "output", "x": "input", "w": "kernel"}


class Term(NamedTuple):
    """A contraction of the case's arrays, each times a number, that a result must equal."""

    contraction: str
    first: float = 1.0
    second: float = 1.0


# (contraction, arrays by name, f) -> results, and what they must be
Transform = Callable[..., tuple[list[jax.Array], list[Term]]]


def checks(scope: Scope) -> Iterator[Check]:
    """Yield a check for each transform, method and contraction; of a few, those of "auto"."""
    for name, transform in TRANSFORMS.items():
        for method, contraction in table.offered(scope):
            if scope.small and method != "auto":
                continue
            run = functools.partial(_run, scope, transform, method, contraction)
            yield Check(f"{name}/{method}/{contraction}", run, method, contraction, "float32")


def gradients(contraction: str, arrays: dict[str, Any], f: Callable[..., Any]):
    """Reverse mode in both operands, and forward mode along both."""
    first, other = cases.OPERANDS[contraction]
    a, b = arrays[first], arrays[other]
    (third,) = {"x", "w", "y"} - {first, other}
    _, pull = jax.vjp(f, a, b)
    _, tangent = jax.jvp(f, (a, b), (a, b))
    wanted = [Term(LEAVES_OUT[first]), Term(LEAVES_OUT[other]), Term(contraction, 2.0)]
    return [*pull(arrays[third]), tangent], wanted


def mapped(contraction: str, arrays: dict[str, Any], f: Callable[..., Any]):
    """An axis of both operands, of the first alone and of the second alone."""
    a, b = (arrays[name] for name in cases.OPERANDS[contraction])
    as_, bs = jnp.stack([a, -a]), jnp.stack([b, 2 * b])
    both, firsts, others = (jax.vmap(f, axes) for axes in (0, (0, None), (None, 0)))
    results = [*both(as_, bs), *firsts(as_, b), *others(a, bs)]
    scales = ((1.0, 1.0), (-1.0, 2.0), (1.0, 1.0), (-1.0, 1.0), (1.0, 1.0), (1.0, 2.0))
    return results, [Term(contraction, *scale) for scale in scales]


def second_order(contraction: str, arrays: dict[str, Any], f: Callable[..., Any]):
    """The gradient in one operand, differentiated along the other, under remat and scan."""
    first, other = cases.OPERANDS[contraction]
    a, b = arrays[first], arrays[other]
    (third,) = {"x", "w", "y"} - {first, other}

    def form(a, b):
        return jnp.sum(f(a, b) * arrays[third])

    results, wanted = [], []
    for place, name in enumerate((first, other)):
        gradient = jax.grad(jax.checkpoint(form), place)
        # linear in the operand that is left
        along = (lambda b: gradient(a, b), b) if place == 0 else (lambda a: gradient(a, b), a)

        def step(carry, scale, along=along):
            return carry, jax.jvp(along[0], along[1:], (scale * along[1],))[1]

        results += [*jax.lax.scan(step, 0, jnp.array([1.0, 3.0], jnp.float32))[1]]
        made = LEAVES_OUT[name]
        wanted += [Term(made), Term(made, 3.0)]
    return results, wanted


TRANSFORMS: dict[str, Transform] = {"gradients": gradients, "vmap": mapped, "second": second_order}


def _run(scope: Scope, transform: Transform, method: str, contraction: str) -> Outcome:
    found, reasons = table.served(scope, method, contraction, few=True)
    parts = [_part(scope, transform, method, case, contraction) for case in found]
    return table.worst(scope, parts, reasons)


def _part(
    scope: Scope, transform: Transform, method: str, case: cases.Case, contraction: str
) -> table.Part:
    names = ("x", "w", "y")
    arrays = case.arrays()
    wanted: list[Term] = []

    def f(a, b):
        how = {"dtype": a.dtype, "method": method, "precision": jax.lax.Precision.HIGHEST}
        return contract(contraction, a, b, case.spec, **how)

    def trace(*given):
        results, wanted[:] = transform(contraction, dict(zip(names, given, strict=True)), f)
        return results

    def share(results):
        return max(
            tolerances.share(
                method, found, *terms(arrays, term), case.spec, platform=scope.platform
            )
            for found, term in zip(results, wanted, strict=True)
        )

    return table.Part(case.name, [arrays[name] for name in names], trace, share)


def terms(arrays: dict[str, np.ndarray], term: Term) -> tuple[str, np.ndarray, np.ndarray]:
    first, second = (arrays[name] for name in cases.OPERANDS[term.contraction])
    scales = np.float32(term.first), np.float32(term.second)
    return term.contraction, scales[0] * first, scales[1] * second
