"""`jaxconv calibrate`: the factors that are fitted, the time it keeps to, what it writes. No times.

And the regret of choices by what it wrote.
"""

import itertools
import json

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

from jaxconv import MachineProfile, Policy
from jaxconv._core.dispatch.choose import candidates
from jaxconv._core.dispatch.profile import KINDS, Factor, conditions
from jaxconv._core.methods import METHODS
from jaxconv.bench import calibrate, regret
from jaxconv.bench.calibrate import Ratio
from jaxconv.cli import load
from jaxconv.cli.app import app

CONTRACTIONS = ("output", "input", "kernel")


def measured(true, problems=90, noise=0.15, wild=0.1, seed=0):
    """Ratios of random problems, each with a factor of its own; some are ten times too large."""
    draw = np.random.default_rng(seed)
    found = []
    for index in range(problems):
        where = CONTRACTIONS[index % 3], KINDS[index // 3 % 4]
        own = 1.3 * np.exp(draw.normal(0, 0.7))
        here = [
            Ratio(method, *where, own * true(method, *where) * np.exp(draw.normal(0, noise)))
            for method in ("lax", "onednn", "taps", "columns")
            if (method == "lax" or draw.random() < 0.8) and where[0] in METHODS[method].constants
        ]
        found.append(
            [r._replace(ratio=r.ratio * (10 if draw.random() < wild else 1)) for r in here]
        )
    return found


def by_key(factors):
    return {row[:3]: row.factor for row in factors}


def test_known_factors_are_found_among_outliers():
    def true(method, contraction, kind):
        factor = 2.0 if (method, kind) == ("onednn", "dense") else 1.0
        factor *= 0.5 if method == "taps" else 1.0
        return factor * (3.0 if (method, contraction) == ("lax", "kernel") else 1.0)

    found = by_key(calibrate.factors(measured(true)))
    assert set(found) == {
        (name, contraction, kind)
        for name, method in METHODS.items()
        for contraction in method.constants
        for kind in KINDS
    }
    usual = found["slabs", "output", "dense"]  # which was not measured
    assert usual == pytest.approx(1.3, rel=0.25)
    for key in itertools.product(("lax", "onednn", "taps", "columns"), CONTRACTIONS, KINDS):
        assert found[key] / usual == pytest.approx(true(*key), rel=0.15), key


def test_noise_alone_gives_one_factor():
    """Also where whole kinds of layers, which not all methods compute, are slower than expected."""
    for seed in range(5):
        rows = measured(lambda *_: 1.0, noise=0.5, seed=seed)
        slow = [
            [r._replace(ratio=r.ratio * (9 if r.kind == "single" else 1)) for r in of]
            for of in rows
        ]
        slow = [[r for r in of if r.kind == "single" or r.method != "columns"] for of in slow]
        for found in (rows, slow):
            assert len({row.factor for row in calibrate.factors(found)}) == 1


def test_one_method_alone_says_how_fast_the_machine_is_and_no_more():
    rows = [[Ratio("lax", "output", "dense", 3.0)] for _ in range(50)]
    assert {row.factor for row in calibrate.factors(rows)} == {3.0}
    both = [Ratio("lax", "output", "dense", 3.0), Ratio("taps", "output", "dense", 1.5)]
    found = by_key(calibrate.factors([*[both] * 10, *rows, *rows]))
    ratio = found["taps", "output", "dense"] / found["lax", "output", "dense"]
    assert ratio == pytest.approx(0.5, rel=0.01)


def test_one_wild_time_of_a_rare_method_counts_for_nothing():
    rows = measured(lambda *_: 1.0)
    rows[0] = [*rows[0], Ratio("shifts", *rows[0][0][1:3], 100.0)]
    assert len({row.factor for row in calibrate.factors(rows)}) == 1


def test_the_first_problems_are_of_every_sort():
    problems = list(itertools.islice(calibrate.problems(), 60))
    kinds = {(p.contraction, calibrate.kind(p)) for p, _ in problems}
    assert kinds == set(itertools.product(CONTRACTIONS, KINDS))
    again, arrays = next(itertools.islice(calibrate.problems(), 7, None))
    assert again == problems[7][0]
    for ours, first in zip(arrays.values(), problems[7][1].values(), strict=True):
        np.testing.assert_array_equal(ours, first)
    assert {p.spec.rank for p, _ in problems} == {1, 2, 3}


def test_methods_that_are_expected_to_be_far_behind_are_not_measured(monkeypatch, small):
    problem, arrays = next(calibrate.problems())
    several = {row.method for row in calibrate.ratios(problem, arrays)}
    monkeypatch.setattr(calibrate, "HOPELESS", 1.0)
    (row,) = calibrate.ratios(problem, arrays)
    assert row.method in several
    assert len(several) > 1
    assert row[1:3] == ("output", "dense")
    assert row.ratio > 0


@pytest.fixture
def clock(monkeypatch):
    """Every problem takes as many seconds as the next of these."""
    durations, now = [], [0.0]
    monkeypatch.setattr(calibrate.time, "perf_counter", lambda: now[0])

    def ratios(problem, arrays):
        now[0] += durations.pop(0)
        return [Ratio("lax", problem.contraction, "dense", 1.0)]

    monkeypatch.setattr(calibrate, "ratios", ratios)
    return durations


@pytest.mark.parametrize(
    ("limit", "durations", "measured"),
    [
        (9, [1, 2, 3, 1, 9], 4),  # after 6 seconds another of 3 fits in, after 7 none
        (9, [4, 2, 9], 2),
        (1, [5, 9], 1),  # at least one
    ],
)
def test_no_problem_is_begun_that_might_end_too_late(clock, limit, durations, measured):
    clock += durations
    seen = []
    found = calibrate.measure(limit, lambda number, seconds: seen.append((number, seconds)))
    assert len(found) == measured
    assert seen == [(n + 1, sum(durations[: n + 1])) for n in range(measured)]


def _run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture
def small(monkeypatch):
    """Two tiny problems of every contraction, with no time for each."""
    shape = {"x": (1, 6, 2), "w": (3, 2, 2), "y": (1, 4, 2), "arguments": {"padding": 0}}
    monkeypatch.setattr(regret, "shape", lambda seed, index: shape)
    monkeypatch.setattr(regret, "BUDGET", 1e-9)
    monkeypatch.setattr(calibrate, "BUDGET", 1e-9)
    problems = [regret.problem(0, index) for index in range(3)]
    monkeypatch.setattr(calibrate, "problems", lambda: iter(problems))
    monkeypatch.setattr(load, "busy_cores", lambda: 0.0)


def test_the_command_writes_a_policy_and_info_describes_it(tmp_path, monkeypatch, small):
    compiled = regret.compiled

    def broken(problem, method, operands):
        if method == "taps":
            raise RuntimeError
        return compiled(problem, method, operands)

    monkeypatch.setattr(regret, "compiled", broken)
    # as expected, whatever else the machine does
    ratio = calibrate.Ratio
    monkeypatch.setattr(calibrate, "Ratio", lambda *row: ratio(*row[:-1], 1.0))
    file = tmp_path / "machine.json"
    result = _run("calibrate", "--seconds", 60, "--output", file)
    assert result.exit_code == 0, result.output
    assert "from 3 problems" in result.stdout
    assert "no method differs from the others by more than noise" in result.stdout
    assert f"to use it: policy=jaxconv.Policy.load({str(file)!r})" in result.stdout
    policy = Policy.load(file)
    assert (len(policy), policy.profile.problems) == (0, 3)
    assert dict(policy.profile.facts) == conditions()
    assert {row.method for row in policy.profile.factors} == set(candidates("fastest"))

    shown = " ".join(_run("info", "--policy", file).stdout.split())
    assert f"expected times: the profile in {file}, from 3 problems" in shown
    assert "the profile is of this machine and these versions" in shown
    found = json.loads(_run("info", "--policy", file, "--json").stdout)["policy"]
    assert found["profile"].pop("differences") == []
    of = policy.profile.as_dict()
    assert found == {
        "file": str(file),
        "choices": 0,
        "profile": {name: of[name] for name in ("date", "problems", "facts")},
    }


def test_info_says_what_expected_times_are_of(tmp_path):
    constants = "expected times: the package's constants, measured 20"
    assert f"{constants}" in _run("info").stdout
    assert json.loads(_run("info", "--json").stdout)["policy"] is None
    Policy().save(tmp_path / "tuned.json")
    shown = " ".join(_run("info", "--policy", tmp_path / "tuned.json").stdout.split())
    assert constants in shown
    assert "tuned.json: 0 measured choices of methods, no profile of a machine" in shown
    facts = tuple((conditions() | {"cores": "999"}).items())
    Policy(profile=MachineProfile(facts=facts, problems=8)).save(tmp_path / "other.json")
    shown = " ".join(_run("info", "--policy", tmp_path / "other.json").stdout.split())
    assert "from 8 problems" in shown
    here = conditions()["cores"]
    assert f"the profile is not of this machine: cores: 999 there, {here} here" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["calibrate", "--seconds", "0"], "calibrate: --seconds must be above 0, got 0.0"),
        (
            ["calibrate", "--output", "/nowhere/a.json"],
            "calibrate: cannot write /nowhere/a.json: /nowhere is not a folder",
        ),
        (["info", "--policy", "/nowhere/a.json"], "info: /nowhere/a.json: No such file or direct"),
        (["bench", "--policy", "a.json"], "bench: --policy needs --suite regret"),
        (
            ["bench", "--suite", "regret", "--policy", "/nowhere/a.json"],
            "bench: /nowhere/a.json: No such file or directory",
        ),
    ],
)
def test_refusals(arguments, message):
    result = _run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"jaxconv {message}")


def test_only_cpus_are_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    result = _run("calibrate", "--output", tmp_path / "machine.json")
    assert result.exit_code == 2
    assert result.stderr == (
        "jaxconv calibrate: profiles are of CPUs, and JAX's default here is gpu: set "
        "JAX_PLATFORMS=cpu\n"
    )


def test_nothing_measured_writes_nothing(monkeypatch, tmp_path, small):
    monkeypatch.setattr(calibrate, "ratios", lambda problem, arrays: [])
    result = _run("calibrate", "--output", tmp_path / "machine.json")
    assert (result.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert result.stderr == "jaxconv calibrate: calibrate: no method could be timed\n"


def fast(wanted):
    factors = [
        Factor(name, contraction, kind, 1e-6 if name == wanted else 1.0)
        for name, method in METHODS.items()
        for contraction in method.constants
        for kind in KINDS
    ]
    return Policy(profile=MachineProfile(factors=tuple(factors), facts=tuple(conditions().items())))


def test_the_regret_of_a_policy_is_that_of_what_it_chooses():
    problem, _ = regret.problem(0, 3)
    assert regret.problem_of(regret._features(problem)) == problem
    row = regret._features(problem) | {
        "chosen": "lax",
        "chosen without plugin": "lax",
        "times": {"lax": 1.0, "taps": 4.0, "onednn": 0.5},
        "once": {},
    }
    assert (regret.regret(row), regret.regret(row, plugin=False)) == (2.0, 1.0)
    assert regret.regret(row, policy=fast("taps")) == 8.0
    assert regret.regret(row, policy=fast("taps"), plugin=False) == 4.0
    assert regret.regret(row, policy=fast("onednn"), plugin=False) in (1.0, 4.0)
    assert regret.summary([row], fast("taps"))["all, without the plugin"]["max"] == 4.0


def test_rows_that_are_there_are_judged_without_measuring(tmp_path, monkeypatch, small):
    rows, file = tmp_path / "rows.json", tmp_path / "machine.json"
    fast("taps").save(file)
    command = ("bench", "--suite", "regret", "--count", 1, "--json", rows)
    assert _run(*command).exit_code == 0
    content = json.loads(rows.read_text())
    content["rows"][0] |= {"times": {"lax": 1.0, "taps": 3.0}, "once": {}, "chosen": "lax"}
    rows.write_text(json.dumps(content))
    monkeypatch.setattr(regret, "measure", lambda *_: pytest.fail("measured again"))
    result = _run(*command, "--policy", file)
    assert result.exit_code == 0, result.output
    assert "regret, all: problems 1, median 1, 95th percentile 1, max 1\n" in result.stdout
    judged = f"regret with {file}, all: problems 1, median 3, 95th percentile 3, max 3\n"
    assert judged in result.stdout
    assert "regret with" not in _run(*command).stdout
