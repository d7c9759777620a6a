"""What a policy's entry names is what runs on the device: in `explain` and in the program itself.

A program is looked at as it is handed to the compiler. Under a policy it must be, to the letter,
the program of the method asked for by name, unlike that of lax, and have every operation of the
method's own function, called directly.
"""

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cases
import jax
import jax.numpy as jnp
import numpy as np

import jaxconv
from accelerator import table, tolerances
from accelerator.running import Check, Outcome, Refused, Scope
from jaxconv._core.dispatch.choose import RULES, select
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.methods import METHODS

HIGHEST = jax.lax.Precision.HIGHEST
FINE = Outcome(0.0)
CONVOLUTION = "stablehlo.convolution"
OTHERS = "more or fewer convolutions of lax"
# Seconds that `tune` measures a problem.
TUNED_FOR = 0.02
ANOTHER_KIND = "a kind that no device is of"
# They serve every layer, on every platform.
METHODS_OF_ALL = ("taps", "fft", "products", "loops")


def checks(scope: Scope) -> Iterator[Check]:
    """Yield a check for each method and contraction, and for those who take policies."""
    for method, contraction in table.offered(scope):
        if method not in RULES:
            dtype = table.dtype_of(scope, method, contraction)
            run = functools.partial(_takes_effect, scope, method, contraction, dtype)
            yield Check(f"policies/{method}/{contraction}", run, method, contraction, dtype)
    for name, function in {
        "gradients": _gradients,
        "accelerate": _accelerate,
        "kinds": _kinds,
        "tune": _tune,
    }.items():
        yield Check(f"policies/{name}", functools.partial(function, scope), dtype="float32")


def text(function: Callable[..., Any], *arrays: Any, compilers: Sequence[str] = ()) -> str:
    """Return a program without its name, as the compiler of this device, or of others, gets it."""
    traced = jax.jit(function).trace(*arrays)
    lowered = traced.lower(lowering_platforms=tuple(compilers) or None).as_text()
    return re.sub(r"\bmodule @\S+", "module", lowered, count=1)


def operations(program: str) -> Counter[str]:
    """Return how often each operation occurs in a program."""
    return Counter(re.findall(r"\b(?:stablehlo|chlo)\.\w+", program))


def _takes_effect(scope: Scope, method: str, contraction: str, dtype: str) -> Outcome:
    case = _as_it_is(scope, method, contraction, dtype)
    problem = table.problem_of(scope, case, contraction, dtype)
    a, b = operands = case.operands(contraction, dtype)
    result = cases.RESULT.get(dtype, dtype)

    def calling(**how):
        numerics = {"dtype": result, "precision": HIGHEST, **how}
        return lambda a, b: contract(contraction, a, b, case.spec, **numerics)

    by_policy = calling(policy=jaxconv.Policy({problem: method}))
    [row] = jaxconv.explain(by_policy, a, b)
    assert (row.method, row.reason) == (method, "chosen by the policy"), row
    program = text(by_policy, a, b)
    assert program == text(calling(method=method), a, b), "not the program of the method"
    if method != "lax":
        assert program != text(calling(method="lax"), a, b), "the program of lax"
    own = functools.partial(
        METHODS[method].on(scope.platform, contraction),
        spec=case.spec,
        precision=HIGHEST,
        dtype=jnp.dtype(result),
    )
    missing = operations(text(own, *_one_batch_axis(case, operands, contraction)))
    missing -= operations(program)
    assert not missing, f"the program lacks {dict(missing)}"
    found = np.asarray(jax.jit(by_policy)(a, b))
    return Outcome(
        tolerances.share(method, found, contraction, a, b, case.spec, platform=scope.platform),
        case.name,
    )


def _as_it_is(scope: Scope, method: str, contraction: str, dtype: str) -> cases.Case:
    """Return a case that the method gets as it is, not reduced to a smaller problem.

    If there is one, it is a case that the rule gives to another method.
    """
    found, _ = table.served(dataclasses.replace(scope, small=False), method, contraction, dtype)
    as_they_are = []
    for case in found:
        problem = table.problem_of(scope, case, contraction, dtype)
        if problem.batch and (scope.platform != "cpu" or problem.reduced == problem):
            as_they_are.append(case)
            if select(problem).method != method:
                return case
    if not as_they_are:
        raise Refused(f"{method} serves reduced cases alone")
    return as_they_are[0]


def _one_batch_axis(
    case: cases.Case, operands: Sequence[np.ndarray], contraction: str
) -> list[np.ndarray]:
    return [
        array if name == "w" else cases.one_batch_axis(array, case.spec.rank)
        for name, array in zip(cases.OPERANDS[contraction], operands, strict=True)
    ]


def _layer(scope: Scope) -> tuple[np.ndarray, np.ndarray, list[Problem]]:
    """Return x and w of a plain layer, and its problems: those of y, x and w."""
    case = cases.by_name("2d")
    problems = [table.problem_of(scope, case, c, "float32") for c in ("output", "input", "kernel")]
    return *case.operands("output"), problems


def _gradients(scope: Scope) -> Outcome:
    """The three contractions of a layer and its gradients have an entry each."""
    x, w, problems = _layer(scope)
    methods = [
        _another(*entry) for entry in zip(problems, ("taps", "loops", "products"), strict=True)
    ]
    policy = jaxconv.Policy(zip(problems, methods, strict=True))

    def loss(x, w):
        return (jaxconv.conv(x, w, policy=policy) ** 2).sum()

    gradient = jax.grad(loss, (0, 1))
    found = {row.contraction: row.method for row in jaxconv.explain(gradient, x, w)}
    assert found == dict(zip(("output", "input", "kernel"), methods, strict=True)), found
    assert operations(text(gradient, x, w))[CONVOLUTION] == methods.count("lax"), OTHERS
    return FINE


def _another(problem: Problem, method: str) -> str:
    """Return the method, or lax where the rule chooses one that has no convolution of lax."""
    return "lax" if select(problem).method in METHODS_OF_ALL else method


def _accelerate(scope: Scope) -> Outcome:
    """A call of lax within `accelerate` is replaced by the method of the entry."""
    x, w, (problem, *_) = _layer(scope)

    def plain(x, w):
        how = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
        return jax.lax.conv_general_dilated(x, w, (1, 1), "VALID", **how)

    method = _another(problem, "taps")
    f = jaxconv.accelerate(plain, policy=jaxconv.Policy({problem: method}))
    found = [row.method for row in jaxconv.explain(f, x, w)]
    assert found == [method], found
    assert operations(text(f, x, w))[CONVOLUTION] == (method == "lax"), OTHERS
    return FINE


def _kinds(scope: Scope) -> Outcome:
    if not scope.device_kind:
        raise Refused(f"devices of {scope.platform} have no kind, or several")
    check_kinds(scope)
    return FINE


def check_kinds(scope: Scope, compilers: Sequence[str] = ()) -> None:
    """Check that entries hold on devices of their own kind, before those of any kind.

    Args:
        scope: the platform and the kind of its devices.
        compilers: platforms to lower for, by default the one at hand.
    """
    x, w, (mine, *_) = _layer(scope)
    assert mine.device_kind == scope.device_kind
    other, every = (mine._replace(device_kind=kind) for kind in (ANOTHER_KIND, ""))

    def program(**how):
        return text(functools.partial(jaxconv.conv, **how), x, w, compilers=compilers)

    rule = select(mine).method
    first, second, third = [name for name in METHODS_OF_ALL if name != rule][:3]
    for entries, want in (
        ({mine: first}, first),
        ({every: first}, first),
        ({mine: first, every: second}, first),
        ({mine: first, other: second, every: third}, first),
        ({other: second, every: third}, third),
        ({other: second}, None),
        ({}, None),
    ):
        policy = jaxconv.Policy(entries)
        assert policy.choice(mine) == want, (entries, policy.choice(mine))
        conv = functools.partial(jaxconv.conv, policy=policy)
        [row] = jaxconv.explain(conv, x, w, platform=scope.platform)
        assert row.method == (want or rule), (entries, row)
        assert program(policy=policy) == program(method=want or rule), (entries, want)


def _tune(scope: Scope) -> Outcome:
    """What is tuned is for this kind of device, and takes effect on it."""
    x, w, problems = _layer(scope)

    def loss(x, w):
        return (jaxconv.conv(x, w) ** 2).sum()

    step = jaxconv.conv if scope.small else jax.grad(loss, (0, 1))
    policy = jaxconv.tune(step, x, w, seconds=TUNED_FOR)
    assert set(policy) == set(problems[:1] if scope.small else problems), policy
    rows = jaxconv.explain(jaxconv.accelerate(step, policy=policy), x, w)
    found = {row.contraction: (row.method, row.reason) for row in rows}
    want = {p.contraction: (method, "chosen by the policy") for p, method in policy.items()}
    assert found == want, (found, want)
    return Outcome(0.0, ", ".join(f"{p.contraction}: {m}" for p, m in policy.items()))
