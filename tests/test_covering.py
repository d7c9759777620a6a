"""Of a test's parameters `make test` runs few, with every value and every pair asked for."""

import itertools

import pytest
from covering import covering, occurring

AXES = {"method": "abcd", "contraction": "xyz", "case": range(10)}
ROWS = [dict(zip(AXES, row, strict=True)) for row in itertools.product(*AXES.values())]


def kept(*pairs, **traits):
    return [ROWS[at] for at in covering([occurring(row, pairs, traits) for row in ROWS])]


def test_every_value_occurs_in_as_few_as_can_be():
    rows = kept()
    assert len(rows) == 10
    for name, values in AXES.items():
        assert {row[name] for row in rows} == set(values)


def test_every_pair_asked_for_occurs():
    rows = kept("method contraction", "contraction case")
    assert {(row["method"], row["contraction"]) for row in rows} == {
        *itertools.product("abcd", "xyz")
    }
    assert {(row["contraction"], row["case"]) for row in rows} == {
        *itertools.product("xyz", range(10))
    }
    assert len(rows) < 40


def test_traits_stand_for_values():
    rows = kept(case=lambda number: {number % 2, "large" if number > 7 else "small"})
    assert len(rows) == 4
    assert {row["case"] % 2 for row in rows} == {0, 1}
    assert max(row["case"] for row in rows) > 7


def test_values_may_be_arrays_or_dictionaries():
    rows = [occurring({"a": {"b": n % 2}}, (), {}) for n in range(4)]
    assert covering(rows) == [0, 1]


def test_of_nothing_nothing_is_kept():
    assert covering([]) == []


@pytest.mark.parametrize("asked", [(("method kernel",), {}), ((), {"kernel": str})])
def test_a_name_that_is_no_argument_is_an_error(asked):
    with pytest.raises(ValueError, match="cover: no such argument of the test: kernel"):
        occurring(ROWS[0], *asked)


@pytest.mark.cover
@pytest.mark.parametrize("second", range(3))
@pytest.mark.parametrize("first", range(3))
def test_what_is_left_out_is_marked(request, first, second):
    """The first of those that add the most are kept, here those along the diagonal."""
    assert (request.node.get_closest_marker("thorough") is None) == (first == second)
