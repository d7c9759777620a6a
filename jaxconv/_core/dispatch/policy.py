"""A table of measured choices of methods."""

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import ConvSpec

_FORMAT = "jaxconv policy 1"


class Policy(Mapping[Problem, str]):
    """An immutable mapping from problems to the names of methods.

    `jaxconv.tune` makes one by measuring; a problem that is not in it is left to the rules of
    `method="auto"`. It can be hashed, so it may be a static argument of `jax.jit`.

    Args:
        entries: a mapping, or pairs.

    Raises:
        TypeError: a key is not a `Problem`, or a method is not a string.

    Example:
        >>> spec = ConvSpec((1,), (1,), ((0, 0),), 1, (8,), (3,))
        >>> problem = Problem("output", spec, 2, 4, 4, "float32", "cpu")
        >>> policy = Policy({problem: "taps"})
        >>> Policy.from_json(policy.to_json()) == policy
        True
    """

    __slots__ = ("_entries", "_hash")

    def __init__(self, entries: Mapping[Problem, str] | Iterable[tuple[Problem, str]] = ()):
        self._entries = dict(entries)
        for problem, method in self._entries.items():
            if not isinstance(problem, Problem) or not isinstance(method, str):
                raise TypeError(
                    "Policy: entries must map a jaxconv.Problem to a method's name, not "
                    f"{problem!r} to {method!r}"
                )
        self._hash = hash(frozenset(self._entries.items()))

    def __getitem__(self, problem: Problem) -> str:
        return self._entries[problem]

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Policy({self._entries!r})"

    def to_json(self) -> str:
        """Return the policy as JSON text."""
        rows = [
            {**problem._asdict(), "spec": dataclasses.asdict(problem.spec), "method": method}
            for problem, method in self.items()
        ]
        return json.dumps({"format": _FORMAT, "entries": rows}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Policy":
        """Return the policy that `to_json` wrote.

        Raises:
            ValueError: the text is not that of a policy.
        """
        try:
            content = json.loads(text)
            if content["format"] != _FORMAT:
                raise ValueError(f"its format is {content['format']!r}, not {_FORMAT!r}")
            return cls(map(_entry, content["entries"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"Policy.from_json: this is not a policy: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the policy to a file as JSON."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Policy":
        """Read the policy that `save` wrote.

        Raises:
            ValueError: the file does not hold a policy.
            OSError: it cannot be read.
        """
        return cls.from_json(Path(path).read_text(encoding="utf-8"))


def _entry(row: dict[str, Any]) -> tuple[Problem, str]:
    row = dict(row)
    method, spec = row.pop("method"), row.pop("spec")
    sizes = {name: _tuples(value) for name, value in spec.items()}
    return Problem(spec=ConvSpec(**sizes), **row), method


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
