"""Which parameters of a test `make test` runs; `make test-thorough` runs all of them.

    @pytest.mark.cover                             every value of every argument occurs
    @pytest.mark.cover("method contraction")       and every pair of these two
    @pytest.mark.cover(case=traits)                of `case` every trait, not every case

    parametrize("axis", some([0, 1, 2], 1))        of values that are alike those named

What is left out is marked `thorough` (`conftest.py`). Libraries for pairwise tests do not do this:
with two arguments all pairs are all tests, and they make rows, where here some are to be kept.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest


def some(values: Iterable[Any], *kept: Any) -> list:
    """Return all values, for `parametrize`, those that are not kept marked `thorough`."""
    return [
        value if value in kept else pytest.param(value, marks=pytest.mark.thorough)
        for value in values
    ]


def covering(wanted: Sequence[Iterable[Any]]) -> list[int]:
    """Return the positions of few sets whose union is that of all of them.

    Greedy: again and again one that adds the most, of these one whose members occur the least so
    far, of these the first.
    """
    sets = [frozenset(each) for each in wanted]
    missing, kept, counts = frozenset().union(*sets), [], Counter()
    while missing:
        best = max(
            range(len(sets)),
            key=lambda at: (len(sets[at] & missing), -sum(counts[one] for one in sets[at])),
        )
        kept.append(best)
        missing -= sets[best]
        counts.update(sets[best])
    return sorted(kept)


def occurring(
    values: Mapping[str, Any], pairs: Sequence[str], traits: Mapping[str, Callable]
) -> set[tuple]:
    """Return what one test's arguments make occur: values or their traits, and combinations."""
    if unknown := {name for each in (*pairs, *traits) for name in each.split()} - set(values):
        raise ValueError(f"cover: no such argument of the test: {', '.join(sorted(unknown))}")
    seen = {}
    for name, value in values.items():
        found = traits[name](value) if name in traits else value
        each = found if isinstance(found, set | frozenset) else {_key(found)}
        seen[name] = [(name, _key(one)) for one in each]
    every = {one for each in seen.values() for one in each}
    for pair in pairs:
        combined = [()]
        for name in pair.split():
            combined = [(*before, one) for before in combined for one in seen[name]]
        every |= {(pair, one) for one in combined}
    return every


def _key(value: Any) -> Any:
    """Return what is equal for equal values: they may be arrays, or hold dictionaries."""
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def mark_what_is_left_out(items: Sequence[pytest.Item]) -> None:
    """Mark the tests `thorough` that a `cover` mark leaves out of `make test`."""
    tests: dict[Any, list] = {}
    for item in items:
        if item.get_closest_marker("cover") and not item.get_closest_marker("thorough"):
            tests.setdefault((item.path, item.originalname), []).append(item)
    for group in tests.values():
        mark = group[0].get_closest_marker("cover")
        wanted = [occurring(item.callspec.params, mark.args, mark.kwargs) for item in group]
        kept = set(covering(wanted))
        for at, item in enumerate(group):
            if at not in kept:
                item.add_marker("thorough")
