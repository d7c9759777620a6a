"""Every method, contraction and dtype on the cases of `cases.CASES`, against loops in float64.

A method that is added to the table of methods is checked from then on; "auto", which everyone
calls, is one more. A check is one program of all cases that the method serves. Where it cannot be
compiled or run as one, each case has a program of its own, so that one does not hide the others.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cases
import jax
import numpy as np

from accelerator import tolerances
from accelerator.running import Check, Outcome, Refused, Scope, lack, one_line
from jaxconv._core.dispatch.choose import RULES, refusal, select
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry.dtypes import in_64_bits
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.methods import METHODS

# The table's, and a kernel over all of x, which none of them is.
COVERED = {"padding": (3, 2), "groups": 2}
CASES = (*cases.CASES, cases.Case("2d covered", (2, 4, 3, 4), (7, 5, 2, 6), COVERED))
# Beside float32, those of these that a method serves, or else the first three that it does.
FEW = ("1d", "2d", "2d everything", "2d depthwise", "3d grouped", "2d covered")
# What stands for all in a small run: a case, or the first that a method serves, and dtypes of
# "auto"; methods have one contraction and one dtype each (`dtype_of`).
SMALL_CASE = "2d everything"
SMALL_DTYPES = ("float32", "bfloat16", "int32")

Arrays = Sequence[np.ndarray]


class Part(NamedTuple):
    """One case of a check.

    Attributes:
        name: the case's.
        arrays: what the program gets.
        trace: the program's part: results from the arrays, under `jax.jit`.
        share: the largest error of the results, divided by its bound.
    """

    name: str
    arrays: Arrays
    trace: Callable[..., Any]
    share: Callable[[Any], float]


def offered(scope: Scope) -> Iterator[tuple[str, str]]:
    """Yield every method with the contractions that it computes; "auto" has all."""
    for contraction in cases.CONTRACTIONS:
        yield "auto", contraction
    for name, method in METHODS.items():
        for contraction in [*method.contractions][: 1 if scope.small else None]:
            yield name, contraction


def checks(scope: Scope) -> Iterator[Check]:
    """Yield a check for each method, contraction, dtype and precision."""
    for method, contraction in offered(scope):
        few = SMALL_DTYPES if method == "auto" else (dtype_of(scope, method, contraction),)
        for dtype in few if scope.small else (*cases.TOLERANCE, *cases.EXACT):
            precisions = tolerances.precisions(dtype)
            for precision in precisions[:1] if scope.small and method != "auto" else precisions:
                run = functools.partial(_values, scope, method, contraction, dtype, precision)
                name = f"table/{method}/{contraction}/{dtype}/{precision}"
                yield Check(name, run, method, contraction, dtype)


def problem_of(scope: Scope, case: cases.Case, contraction: str, dtype: str) -> Problem:
    """Return the problem of a case on this device."""
    device = {"platform": scope.platform, "device_kind": scope.device_kind}
    return case.problem(contraction, dtype, **device)


def served(
    scope: Scope, method: str, contraction: str, dtype: str = "float32", *, few: bool = False
) -> tuple[list[cases.Case], dict[str, str]]:
    """Return the cases that a method serves on this device, and why not the others, by name.

    Args:
        scope: the device, and how many cases.
        method: its name, or "auto".
        contraction: as in `jaxconv.Problem`.
        dtype: of the operands.
        few: whether a few cases are enough.

    Raises:
        Refused: it serves none.
    """
    found, reasons = [], {}
    for case in CASES:
        problem = problem_of(scope, case, contraction, dtype)
        why_not = None if method in RULES else refusal(problem, method)
        if why_not:
            reasons[case.name] = why_not
            continue
        # a method that is refused is replaced by another, which must not be checked for it
        assert method in RULES or select(problem, method).method == method
        found.append(case)
    if not found:
        raise Refused("; ".join(dict.fromkeys(reasons.values())))
    if few and not scope.whole:
        found = [case for case in found if case.name in FEW] or found[:3]
    if scope.small:
        found = [next((case for case in found if case.name == SMALL_CASE), found[0])]
    return found, reasons


def dtype_of(scope: Scope, method: str, contraction: str) -> str:
    """Return float32, or int8 for a method that serves integers alone."""
    for dtype in ("float32", "int8"):
        try:
            served(scope, method, contraction, dtype)
        except Refused:
            continue
        return dtype
    return "float32"


def _values(scope: Scope, method: str, contraction: str, dtype: str, precision: str) -> Outcome:
    found, reasons = served(scope, method, contraction, dtype, few=dtype != "float32")
    parts = [_part(scope, method, case, contraction, dtype, precision) for case in found]
    return worst(scope, parts, reasons, must=method in RULES)


def _part(
    scope: Scope, method: str, case: cases.Case, contraction: str, dtype: str, precision: str
) -> Part:
    operands = case.operands(contraction, dtype)
    result = cases.RESULT.get(dtype, dtype)
    numerics = {"dtype": result, "method": method, "precision": precision_of(precision)}

    def trace(a, b):
        return contract(contraction, a, b, case.spec, **numerics)

    def share(found):
        assert found.dtype == result, (found.dtype, result)
        how = {"platform": scope.platform, "precision": precision}
        return tolerances.share(method, found, contraction, *operands, case.spec, **how)

    return Part(case.name, operands, trace, share)


def precision_of(name: str) -> jax.lax.Precision | None:
    """Return what to call with: None for the default, which is what users leave out."""
    return None if name == "default" else jax.lax.Precision(name)


def compiled(scope: Scope, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function as a program; LLVM optimises it on devices alone, which are compared."""
    quick = {"xla_backend_optimization_level": 0} if scope.platform == "cpu" else None
    return jax.jit(function, compiler_options=quick)


def worst(
    scope: Scope,
    parts: Sequence[Part],
    reasons: Mapping[str, str] | None = None,
    *,
    must: bool = False,
) -> Outcome:
    """Run the parts and return the worst of them.

    Args:
        scope: where.
        parts: the cases.
        reasons: why others are left out, by their names.
        must: whether what XLA lacks is a failure.

    Raises:
        Refused: XLA lacks what every part needs.
    """
    results, lacks = _results(scope, parts)
    if lacks and (must or not results):
        names = ", ".join(lacks)
        reason = f"{'; '.join(dict.fromkeys(lacks.values()))} ({names})"
        raise AssertionError(reason) if must else Refused(reason)
    shares = {part.name: part.share(results[part.name]) for part in parts if part.name in results}
    name = max(shares, key=lambda name: shares[name])
    beyond = [each for each, found in shares.items() if not found <= 1]
    notes = [f"beyond it: {', '.join(beyond)}"] if beyond else [f"worst: {name}"]
    notes.append(f"{len(shares)} case{'s' * (len(shares) != 1)}")
    left_out = {**(reasons or {}), **lacks}
    for reason in dict.fromkeys(left_out.values()):
        count = sum(reason == other for other in left_out.values())
        notes.append(f"{count} left out: {reason}")
    return Outcome(shares[name], "; ".join(notes))


def _results(scope: Scope, parts: Sequence[Part]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the results, and what XLA lacks, by case."""
    try:
        return dict(zip((part.name for part in parts), _together(scope, parts), strict=True)), {}
    except Exception as error:
        if len(parts) == 1 and lack(error) is None:
            raise
    results, lacks, errors = {}, {}, {}
    for part in parts:
        try:
            [results[part.name]] = _together(scope, [part])
        except Exception as error:
            if reason := lack(error):
                lacks[part.name] = reason
            else:
                errors[part.name] = one_line(error)
    if errors:
        raise RuntimeError("; ".join(f"{name}: {said}" for name, said in errors.items()))
    return results, lacks


def _together(scope: Scope, parts: Sequence[Part]) -> list[Any]:
    """Return the results of one program of all parts."""

    def everything(arrays):
        return [part.trace(*given) for part, given in zip(parts, arrays, strict=True)]

    arrays = [part.arrays for part in parts]
    with in_64_bits(*(array.dtype for given in arrays for array in given)):
        results = compiled(scope, everything)(arrays)
        return jax.tree.map(np.asarray, jax.block_until_ready(results))
