"""Measured choices of methods: a table, and a machine's profile for what is not in it."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jaxconv._core.dispatch.profile import MachineProfile
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.geometry.tables import aligned, geometry, milliseconds

_FORMAT = "jaxconv policy 1"


class Policy(Mapping[Problem, str]):
    """An immutable mapping from problems to the names of methods, with a machine's profile.

    `jaxconv.tune` makes one by measuring; a problem that is not in it is left to the rules of
    `method="auto"`. They take what is expected to be fastest: on the machine that the package's
    constants were measured on, or with a profile, which `jaxconv calibrate` measures, on that
    profile's. It can be hashed, so it may be a static argument of `jax.jit`.

    An entry whose problem names a kind of device takes effect on devices of that kind alone, before
    one that names none, which takes effect on the whole platform. `choice` looks entries up so.

    Args:
        entries: a mapping, or pairs.
        profile: of the machine, or None.
        seconds: what was measured: the time of each method, by problem. It has no part in
            comparisons.

    Raises:
        TypeError: a key is not a `Problem`, a method is not a string, or profile is not a
            `MachineProfile`.

    Example:
        >>> spec = ConvSpec((1,), (1,), ((0, 0),), 1, (8,), (3,))
        >>> problem = Problem("output", spec, 2, 4, 4, "float32", "cpu")
        >>> tuned = Policy({problem: "taps"})
        >>> Policy.from_json(tuned.to_json()) == tuned
        True
        >>> calibrated = Policy(profile=MachineProfile(factors=(("taps", "output", "dense", 2.0),)))
        >>> both = Policy(tuned, profile=calibrated.profile)
        >>> len(both), both.profile == calibrated.profile
        (1, True)
    """

    __slots__ = ("_entries", "_hash", "_methods", "_profile", "_seconds")

    def __init__(
        self,
        entries: Mapping[Problem, str] | Iterable[tuple[Problem, str]] = (),
        *,
        profile: MachineProfile | None = None,
        seconds: Mapping[Problem, Mapping[str, float]] = MappingProxyType({}),
    ):
        self._entries = dict(entries)
        for problem, method in self._entries.items():
            if not isinstance(problem, Problem) or not isinstance(method, str):
                raise TypeError(
                    "Policy: entries must map a jaxconv.Problem to a method's name, not "
                    f"{problem!r} to {method!r}"
                )
        # of all kinds of devices, by the problem without its kind
        self._methods: dict[Problem, set[str]] = {}
        for problem, method in self._entries.items():
            self._methods.setdefault(problem._replace(device_kind=""), set()).add(method)
        if profile is not None and not isinstance(profile, MachineProfile):
            raise TypeError(
                "Policy: profile must be a jaxconv.MachineProfile or None, not "
                f"{type(profile).__name__}; jaxconv calibrate measures one"
            )
        self._profile = profile
        self._seconds = {
            problem: dict(seconds[problem]) for problem in self._entries if problem in seconds
        }
        self._hash = hash((frozenset(self._entries.items()), profile))

    @property
    def profile(self) -> MachineProfile | None:
        """The machine's profile, used for problems without an entry, or None."""
        return self._profile

    @property
    def seconds(self) -> Mapping[Problem, Mapping[str, float]]:
        """The measured time of each method, by problem, where `jaxconv.tune` measured them."""
        return MappingProxyType(self._seconds)

    def choice(self, problem: Problem) -> str | None:
        """Return the method that the entries choose for a problem, or None.

        An entry for the problem's kind of device goes before one for every kind. Where the kind is
        unknown, as in a program that is exported for other processes, entries for any kinds count,
        if they have the same method.

        Args:
            problem: the contraction and its sizes.

        Example:
            >>> spec = ConvSpec((1,), (1,), ((0, 0),), 1, (8,), (3,))
            >>> anywhere = Problem("output", spec, 2, 4, 4, "float32", "tpu")
            >>> here, there = (anywhere._replace(device_kind=kind) for kind in ("v5e", "v6e"))
            >>> tuned = Policy({here: "taps"})
            >>> tuned.choice(here), tuned.choice(there), tuned.choice(anywhere)
            ('taps', None, 'taps')
        """
        if problem in self._entries:
            return self._entries[problem]
        if problem.device_kind:
            return self._entries.get(problem._replace(device_kind=""))
        methods = self._methods.get(problem, set())
        return next(iter(methods)) if len(methods) == 1 else None

    def __getitem__(self, problem: Problem) -> str:
        return self._entries[problem]

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Policy):
            return NotImplemented
        return (self._entries, self._profile) == (other._entries, other._profile)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        names = ("contraction", "batch", "channels", "input", "kernel", "geometry", "method", "ms")
        kinds = any(problem.device_kind for problem in self)
        rows: list[tuple[str, ...]] = [("device", *names) if kinds else names]
        for problem, method in self.items():
            spec, taken = problem.spec, self._seconds.get(problem, {})
            channels = f"{spec.groups * problem.inputs} -> {spec.groups * problem.outputs}"
            sizes = ("x".join(map(str, each)) for each in (spec.input_size, spec.kernel_size))
            where = (problem.contraction, str(problem.batch), channels, *sizes)
            device = (problem.device_kind,) if kinds else ()
            rows.append((*device, *where, geometry(spec), method, milliseconds(taken)))
        count = f"{len(self)} choice{'s' * (len(self) != 1)}"
        profile = "" if self._profile is None else ", with the profile of a machine"
        return f"Policy of {count}{profile}" + (f"\n{aligned(rows)}" if self else "")

    def to_json(self) -> str:
        """Return the policy as JSON text."""
        rows = [
            {**problem._asdict(), "spec": dataclasses.asdict(problem.spec), "method": method}
            | ({"seconds": dict(self._seconds[problem])} if problem in self._seconds else {})
            for problem, method in self.items()
        ]
        profile = {} if self._profile is None else {"profile": self._profile.as_dict()}
        return json.dumps({"format": _FORMAT, **profile, "entries": rows}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Policy:
        """Return the policy that `to_json` wrote.

        Raises:
            ValueError: the text is not that of a policy.
        """
        try:
            content = json.loads(text)
            if content["format"] != _FORMAT:
                raise ValueError(f"its format is {content['format']!r}, not {_FORMAT!r}")
            profile = content.get("profile")
            profile = None if profile is None else MachineProfile.from_dict(profile)
            seconds = [row.pop("seconds", None) for row in content["entries"]]
            entries = [*map(_entry, content["entries"])]
            measured = {
                problem: {str(name): float(taken) for name, taken in times.items()}
                for (problem, _), times in zip(entries, seconds, strict=True)
                if times is not None
            }
            return cls(entries, profile=profile, seconds=measured)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"Policy.from_json: this is not a policy: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the policy to a file as JSON."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """Read the policy that `save` wrote.

        Warns:
            UserWarning: its profile was measured on another machine, or with other versions.

        Raises:
            ValueError: the file does not hold a policy.
            OSError: it cannot be read.
        """
        policy = cls.from_json(Path(path).read_text(encoding="utf-8"))
        differences = [] if policy.profile is None else policy.profile.differences()
        if differences:
            warnings.warn(
                f"Policy.load: {os.fspath(path)} was measured elsewhere ({'; '.join(differences)});"
                " `jaxconv calibrate` measures this machine",
                stacklevel=2,
            )
        return policy


def _entry(row: dict[str, Any]) -> tuple[Problem, str]:
    row = dict(row)
    method, spec = row.pop("method"), row.pop("spec")
    sizes = {name: _tuples(value) for name, value in spec.items()}
    return Problem(spec=ConvSpec(**sizes), **row), method


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
