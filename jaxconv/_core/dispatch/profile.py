"""Factors on the expected times of the methods: how a machine differs from that of the constants.

seconds on a machine = factor of method, contraction and kind * seconds of the constants
"""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxconv._core import machine
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.methods import METHODS
from jaxconv._core.methods.measured import of_cpu

# Kinds of layers, for which libraries have code of their own.
KINDS = ("single", "dense", "depthwise", "grouped")


class Factor(NamedTuple):
    """How much longer a method takes on a machine than its constants say.

    Attributes:
        method: the method's name.
        contraction: "output", "input" or "kernel".
        kind: "single" (one channel), "dense" (one group), "depthwise" (one input channel a group)
            or "grouped".
        factor: measured over expected time, above 0.
    """

    method: str
    contraction: str
    kind: str
    factor: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class MachineProfile:
    """What `jaxconv calibrate` measured: factors on the expected times, and where they hold.

        expected seconds = factor * sum over terms of constant * term

    `Policy(profile=...)` hands it to calls, whose "auto" and "fastest" then choose by these times
    on CPUs. Problems that a policy has entries for are left to the entries. A method without a
    factor gets the median of all factors.

    Args:
        factors: tuples (method, contraction, kind, factor).
        facts: of the machine and the libraries that were measured: pairs (name, value) of strings.
        date: when, as YYYY-MM-DD.
        problems: number of problems that were measured.

    Raises:
        TypeError: a factor is not such a tuple, or the facts are not strings.
        ValueError: there is no such method, contraction or kind, a factor is not a positive number,
            or is given twice.

    Example:
        >>> profile = MachineProfile(
        ...     factors=(("taps", "output", "dense", 1.5),), facts=(("cores", "4"),)
        ... )
        >>> profile.factors
        (Factor(method='taps', contraction='output', kind='dense', factor=1.5),)
    """

    factors: tuple[Factor, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    date: str = ""
    problems: int = 0

    def __post_init__(self):
        object.__setattr__(self, "factors", tuple(sorted(map(_checked, self.factors))))
        object.__setattr__(self, "facts", tuple(sorted(map(_fact, self.facts))))
        if len(self._by_key) < len(self.factors):
            raise ValueError("MachineProfile: factors has two for one method, contraction and kind")

    @functools.cached_property
    def _by_key(self) -> dict[tuple[str, str, str], float]:
        return {(row.method, row.contraction, row.kind): row.factor for row in self.factors}

    @functools.cached_property
    def _usual(self) -> float:
        return statistics.median(self._by_key.values()) if self.factors else 1.0

    def factor(self, method: str, problem: Problem) -> float:
        """Return the factor on the expected time of a method for a (reduced) problem."""
        return self._by_key.get((method, problem.contraction, kind(problem)), self._usual)

    def differences(self) -> list[str]:
        """Return the facts that are others here than where it was measured, as clauses."""
        here, there = conditions(), dict(self.facts)
        return [
            f"{name}: {there.get(name, 'unknown')} there, {here.get(name, 'unknown')} here"
            for name in {**here, **there}
            if here.get(name) != there.get(name)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the profile as what JSON can hold."""
        nested: dict[str, dict[str, dict[str, float]]] = {}
        for method, contraction, kind, factor in self.factors:
            nested.setdefault(method, {}).setdefault(contraction, {})[kind] = factor
        measured = {"date": self.date, "problems": self.problems, "facts": dict(self.facts)}
        return {**measured, "factors": nested}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> MachineProfile:
        """Return the profile that `as_dict` made.

        Raises:
            KeyError: something is missing.
            TypeError, ValueError: as in the class.
        """
        factors = [
            Factor(method, contraction, kind, factor)
            for method, of_method in content["factors"].items()
            for contraction, of_contraction in of_method.items()
            for kind, factor in of_contraction.items()
        ]
        facts, date, problems = (content[name] for name in ("facts", "date", "problems"))
        return cls(factors=tuple(factors), facts=tuple(facts.items()), date=date, problems=problems)


def conditions() -> dict[str, str]:
    """Return the facts that a profile measured here has, the version of the constants included."""
    return machine.facts() | {"constants": of_cpu(machine.cpu_kind()).fingerprint}


def kind(problem: Problem) -> str:
    """Return one of `KINDS`.

    Example:
        >>> from jaxconv._core.geometry.spec import ConvSpec
        >>> spec = ConvSpec((1,), (1,), ((0, 0),), 4, (8,), (3,))
        >>> kind(Problem("output", spec, 2, 1, 1, "float32", "cpu"))
        'depthwise'
    """
    groups = problem.spec.groups
    if groups * problem.inputs * problem.outputs == 1:
        return "single"
    if groups == 1:
        return "dense"
    return "depthwise" if problem.inputs == 1 else "grouped"


def _checked(row: Any) -> Factor:
    if not isinstance(row, tuple) or len(row) != len(Factor._fields):
        raise TypeError(
            "MachineProfile: factors must be tuples (method, contraction, kind, factor), not "
            f"{row!r}"
        )
    found = Factor(*row)
    known = {
        "method": tuple(METHODS),
        "contraction": ("output", "input", "kernel"),
        "kind": KINDS,
    }
    for name, names in known.items():
        value = getattr(found, name)
        if value not in names:
            raise ValueError(
                f"MachineProfile: {name}={value!r} must be one of {', '.join(map(repr, names))}"
            )
    number = isinstance(found.factor, int | float) and not isinstance(found.factor, bool)
    if not (number and 0 < found.factor < math.inf):
        raise ValueError(
            f"MachineProfile: the factor of {', '.join(found[:3])} is {found.factor!r}; it must be "
            "a positive number"
        )
    return found


def _fact(pair: Any) -> tuple[str, str]:
    name, value = pair
    if not (isinstance(name, str) and isinstance(value, str)):
        raise TypeError(f"MachineProfile: facts must be strings, not {name!r}: {value!r}")
    return name, value
