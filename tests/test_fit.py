"""The script that fits the costs to measured times."""

import json

import numpy as np
import pytest

from jaxconv._core.dispatch.choose import candidates
from jaxconv._core.dispatch.costs import seconds
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import normalise
from jaxconv._core.methods import METHODS
from jaxconv.bench import fit, regret

TRUE = {
    "lax": {"call": 2e-5, "work": 3e-10},
    "onednn": {
        "call": 8e-5,
        "oneDNN dense: work inside": 1e-11,
        "oneDNN grouped: work inside": 2e-10,
        "oneDNN depthwise: work inside": 5e-11,
    },
}


@pytest.fixture(scope="module")
def rows():
    """Problems whose times are known sums of terms, some of them disturbed."""
    found, draw = [], np.random.default_rng(0)
    for index in range(0, 90, 3):  # forward ones
        problem, _ = regret.problem(5, index)
        times = {
            method: sum(c * METHODS[method].terms(problem.reduced)[name] for name, c in of.items())
            for method, of in TRUE.items()
        }
        times["lax"] *= 8.0 if index % 30 == 0 else 1.0 + 0.02 * draw.standard_normal()
        found.append(regret._features(problem) | {"times": times, "once": {}})
    return found


@pytest.mark.parametrize(("method", "within"), [("lax", 0.05), ("onednn", 0.01)])
def test_the_times_are_predicted(rows, method, within):
    """Three of lax's thirty times are eight times too long: that moves the predictions little."""
    found = fit.fit(rows, method)
    errors = []
    for row in rows:
        of = METHODS[method].terms(fit.problem(row))
        expected, true = (sum(c * of[k] for k, c in each.items()) for each in (found, TRUE[method]))
        errors.append(abs(expected / true - 1))
    assert np.median(errors) < within


def test_a_hopeless_time_counts_less_than_one_that_decides(rows):
    """One sum cannot be right for both halves: it is where the method is nearly the fastest."""
    half = [
        row | {"times": {"lax": 1e-3 if k % 2 else 2e-1, "onednn": 1e-3 if k % 2 else 1e-5}}
        for k, row in enumerate(rows)
    ]
    same = [row | {name: rows[0][name] for name in rows[0] if name != "times"} for row in half]
    at = fit.problem(rows[0])
    found = fit.fit(same, "lax")
    expected = sum(c * METHODS["lax"].terms(at)[name] for name, c in found.items())
    assert expected == pytest.approx(1e-3, rel=0.02)


def test_a_layer_counts_as_several_random_problems(rows):
    """One sum cannot be right for both: it is where the layers are, though they are fewer."""
    times = [{"lax": 1e-3} if k % 5 < 2 else {"lax": 3e-3} for k, _ in enumerate(rows)]
    same = {name: rows[0][name] for name in rows[0] if name != "times"}
    mixed = [same | {"times": of, "once": {}} for of in times]
    found = []
    for name in ({}, {"layer": "some network's"}):
        fitted = fit.fit([r | (name if r["times"]["lax"] < 2e-3 else {}) for r in mixed], "lax")
        of = METHODS["lax"].terms(fit.problem(rows[0]))
        found.append(sum(c * of[k] for k, c in fitted.items()))
    assert found == [pytest.approx(3e-3, rel=0.15), pytest.approx(1e-3, rel=0.15)]


def _problem(w, groups=1, contraction="output", size=30, **arguments):
    x = (2, *(size,) * (len(w) - 2), w[-2] * groups)
    spec = normalise("test", x, w, groups=groups, **arguments)
    outputs = w[-1] // groups
    return Problem(contraction, spec, x[0], w[-2], outputs, "float32", "cpu").reduced


@pytest.mark.parametrize(
    "problem",
    [
        _problem((1, 2, 1, 1), padding="same"),
        _problem((2, 1, 1), contraction="kernel"),
        _problem((1, 1, 1, 1), stride=2),
        _problem((1, 1, 1, 7), groups=7),
        _problem((1, 1, 1, 7), groups=7, contraction="input"),
    ],
)
def test_a_loop_over_elements_is_told_by_what_it_moves(problem):
    """One or two entries of one channel, one entry of each: XLA makes no convolution of them."""
    found = {name for name, term in METHODS["lax"].terms(problem).items() if term}
    assert found == {"call", "elements"}


@pytest.mark.parametrize(("size", "terms_of_size"), [(255, set()), (257, {"two threads"})])
def test_a_loop_wakes_a_thread_from_half_a_megabyte_on(size, terms_of_size):
    problem = _problem((1, 2, 1, 1), size=size, padding="same")
    found = {name for name, term in METHODS["lax"].terms(problem).items() if term}
    assert found == {"call", "elements"} | terms_of_size


@pytest.mark.parametrize(
    "problem",
    [
        _problem((1, 3, 1, 1)),
        _problem((1, 2, 1, 7), groups=7),
        _problem((1, 1, 1, 7), groups=7, stride=2, padding=1),
        _problem((1, 1, 1, 7), groups=7, contraction="kernel"),
        _problem((1, 1, 2, 2)),
    ],
)
def test_other_convolutions_are_no_loop_over_elements(problem):
    found = {name for name, term in METHODS["lax"].terms(problem).items() if term}
    assert "work" in found
    assert "elements" not in found


@pytest.mark.parametrize("kernel", [(3, 1, 1), (27, 1, 1), (5, 2, 1), (1, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("groups", [1, 7])
def test_no_method_is_expected_to_take_no_time(kernel, groups):
    """Terms of its own may stand for those that all have: some must remain."""
    for contraction in ("output", "input", "kernel"):
        for stride in (1, 2):
            problem = _problem((*kernel, 1, groups), groups, contraction, stride=stride)
            for method in candidates("fastest"):
                # some serve integers alone
                refused = METHODS[method].refuses(problem)
                served = problem._replace(dtype="int8") if refused else problem
                assert seconds(method, served) > 1e-6, (method, problem)


def test_a_margin_is_as_wide_as_the_predictions_are_wrong(rows):
    """Lax, expected to be ahead by a fifth and behind by as much, is not taken; far ahead it is."""
    times = [{"lax": 0.5 if k % 2 else 1.25, "onednn": 1.0} for k, _ in enumerate(rows)]
    measured = [row | {"times": of} for row, of in zip(rows, times, strict=True)]
    wrong = [{"lax": 0.5 if k % 2 else 0.8, "onednn": 1.0} for k, _ in enumerate(rows)]
    found = fit.margins(measured, wrong)
    # of margins that are as good lax's keeps most to lax, and oneDNN's leaves oneDNN soonest
    assert found == {"onednn": 0.8, "lax": 0.2}
    assert set(fit.regrets(measured, wrong, found)) == {1.0}
    assert set(fit.regrets(measured, wrong, {"onednn": 1.0, "lax": 1.0})) == {1.0, 1.25}
    assert set(fit.regrets(measured, wrong, {"lax": 1.0}, without=("onednn",))) == {1.0}


def test_a_term_has_one_meaning_in_all_methods():
    """One name, one number, whatever the method; and each constant is of a term that is there."""
    for index in range(60):
        at = regret.problem(7, index)[0].reduced
        found: dict[str, float] = {}
        for name, method in METHODS.items():
            if at.contraction not in method.contractions or method.refuses(at):
                continue
            terms = method.terms(at)
            assert set(method.constants.get(at.contraction, {})) <= set(terms), name
            for term, value in terms.items():
                # 0 where the method takes another way
                assert value == 0 or found.setdefault(term, value) == value, (name, term)


def test_the_file_that_is_written_holds_constants_and_margins(rows, monkeypatch):
    monkeypatch.setattr(fit, "FOLDS", 2)
    machine = {"cores": 2, "cpu_flags": ["avx2"], "date": "2000-01-01", "versions": {"jax": "0"}}
    machine |= {"platform": "cpu", "device_kind": "cpu"}
    found = json.loads(fit.written(rows[:10], machine))
    assert {method: list(of) for method, of in found["seconds"].items()} == {
        "lax": ["output"],
        "onednn": ["output"],
    }
    assert list(found["margins"]) == ["onednn", "lax"]
    assert found["measured"]["device"] == "cpu avx2"
    assert "from 10 problems in float32, 0 of them of layers and planes" in found["about"][0]
