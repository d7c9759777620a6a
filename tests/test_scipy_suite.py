"""A random sample, with fixed seed, of SciPy's own tests, run with jaxconv's functions.

`python tests/peers/run.py --whole` runs every case.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import run

# two parts are one function in many sizes, which the others and our own tests have
SIZES = ("sizes", "overlap-add")


@pytest.mark.parametrize(
    "parts",
    [
        tuple(part for part in run.PARTS if part not in SIZES),
        *(pytest.param((part,), marks=pytest.mark.thorough) for part in SIZES),
    ],
    ids=" ".join,
)
def test_sample(parts):
    cases, output = run.run_parts(*parts, limit=300)
    assert [case["case"] for case in cases if case["outcome"] == "failed"] == [], output
    assert sum(case["outcome"] == "passed" for case in cases) >= 8 * len(parts)


def test_a_failure_is_seen(tmp_path):
    """The same run with one wrong function fails, and reports the cases."""
    plugin = tmp_path / "broken.py"
    plugin.write_text(
        "from jaxconv.compat.scipy import signal\n"
        "real = signal.correlation_lags\n"
        "signal.correlation_lags = lambda *args, **kwargs: real(*args, **kwargs) + 1\n"
    )
    cases, _ = run.run_parts("arrays", expression="test_correlation_lags", plugin=plugin)
    assert cases
    for case in cases:
        assert case["outcome"] == ("passed" if "invalid_mode" in case["case"] else "failed")
