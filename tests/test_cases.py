"""The comparison with the reference that the table of cases brings: what it sees."""

import cases
import numpy as np
import pytest
from cases import CONTRACTIONS

from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.methods import METHODS


def test_the_comparison_can_fail():
    """One flipped kernel must not pass for the right answer."""
    case = cases.by_name("2d")
    x, w = case.operands("output")
    wrong = contract("output", x, w[::-1], case.spec, dtype="float32")
    with pytest.raises(AssertionError, match="float32 output is off by"):
        cases.assert_matches(wrong, "output", x, w, case.spec)


def test_integers_are_compared_exactly():
    """Also those that float64 does not hold, and where their difference wraps around."""
    x = np.array([[2**60], [-(2**62)], [3]])
    w = np.ones((1, 1, 1), np.int64)
    spec = cases.normalise("conv", x.shape, w.shape)
    cases.assert_matches(x, "output", x, w, spec)
    for change in (1, -(2**63)):
        wrong = x.copy()
        wrong[0] += np.int64(change)
        with pytest.raises(AssertionError, match=r"int64 output is off by [19]"):
            cases.assert_matches(wrong, "output", x, w, spec)
    error, bound = cases.error_and_bound(x, "output", x, w, spec)
    assert (cases.share(error, bound), cases.share(error + 1.0, bound)) == (0, np.inf)
    assert cases.share(np.array([np.nan]), np.ones(1)) == np.inf


def test_contractions_are_listed_once():
    assert (
        set(CONTRACTIONS) == set(METHODS["lax"].contractions) == set(METHODS["loops"].contractions)
    )
