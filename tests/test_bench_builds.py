"""Two builds in turns: what is printed of them, what one answers. No times."""

import functools
import json

import numpy as np
import pytest

from jaxconv.bench import builds, cases, contestants, float64_answers

TINY = cases.Layer(
    name="tiny", x=(2, 6, 5, 4), w=(3, 3, 2, 6), stride=2, padding=1, groups=2, quick=True
)


class Canned:
    """A build whose bursts take as many seconds as its path says."""

    def __init__(self, path):
        self.seconds = float(path) if path[:1].isdigit() else 3.0

    def ask(self, request):
        if request == "burst":
            return self.seconds
        return [2.0 if "slow" in request and self.seconds == 4 else 1.0]


def test_two_builds_in_turns(monkeypatch, capsys):
    named = {"networks: a, forward": None, "networks: b, forward": None, "filters: slow, f": None}
    monkeypatch.setattr(builds, "programs", lambda: iter(named.items()))
    monkeypatch.setattr(builds, "Build", Canned)
    builds.main("2", "networks")
    *rows, mean = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == ["1.500", "1.500"]
    assert mean == "networks, forward: 1.500 in the mean of 2, 1.500 at most"
    with pytest.raises(AssertionError, match="filters: slow"):
        builds.main("4")


def test_a_build_answers_with_results_and_times(monkeypatch, capsys):
    program = functools.partial(contestants.programs, TINY, "forward", method="auto", peers=())
    monkeypatch.setattr(builds, "programs", lambda: iter({"tiny": program}.items()))
    monkeypatch.setattr(builds, "SECONDS", 0.001)
    monkeypatch.setattr("sys.stdin", ["tiny\n", "burst\n"])
    builds.serve()
    magnitudes, seconds = map(json.loads, capsys.readouterr().out.splitlines())
    wanted = float64_answers.layer(TINY, *contestants.arrays(TINY))["y"]
    np.testing.assert_allclose(magnitudes, [np.abs(wanted).sum()], rtol=1e-5)
    assert seconds > 0
