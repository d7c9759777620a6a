"""Of a test's parameters `make test` runs few, with every value and every pair asked for."""

import itertools
import re
from pathlib import Path

import pytest
from covering import covering, occurring, some

ROOT = Path(__file__).parents[1]

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


@pytest.mark.parametrize("letter", some("abc", "b", "c"))
def test_of_values_that_are_alike_some_are_kept(request, letter):
    assert (request.node.get_closest_marker("thorough") is None) == (letter != "a")


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


@pytest.mark.cover
@pytest.mark.parametrize("letter", some("ab", "b"))
@pytest.mark.parametrize("number", [1, 2])
def test_what_is_thorough_already_covers_nothing(request, letter, number):
    assert (request.node.get_closest_marker("thorough") is None) == (letter == "b")


def test_each_test_is_in_one_run_of_each_command():
    """Both commands have two runs; those of `make test` are those of a row of the matrix."""
    makefile = (ROOT / "Makefile").read_text()
    runs = dict(re.findall(r"^(test\S*):.*\n((?:\t.*pytest.*\n)+)", makefile, re.MULTILINE))
    marked = {name: re.findall(r'pytest .*-m ("[^"]+"|\w+)', text) for name, text in runs.items()}
    short = ["not as_shipped and not thorough", "as_shipped and not thorough"]
    assert {name: [each.strip('"') for each in found] for name, found in marked.items()} == {
        "test": short,
        "test-thorough": ["not as_shipped", "as_shipped"],
    }
    assert all(f'"{run}"' in (ROOT / "tests" / "matrix.py").read_text() for run in short)
    (listed,) = re.findall(r"AS_SHIPPED := \$\(addprefix tests/test_,([^)]+)\)", makefile)
    files = [f"test_{name}" for name in listed.replace("\\", "").split()]
    assert files == sorted(
        path.name
        for path in (ROOT / "tests").glob("test_*.py")
        if "mark." + "as_shipped" in path.read_text()
    )
