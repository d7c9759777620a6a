"""Settings of the suite: strict promotion, eight CPU devices, checked types, quick compilation."""

import gc
import importlib.util
import os

import jax
import pytest
from beartype.claw import beartype_packages
from covering import mark_what_is_left_out

jax.config.update("jax_num_cpu_devices", 8)

# The inner floors have exact signatures: beartype holds every call of the suite against them.
CHECKED = (
    *("jaxconv._core.geometry.shapes", "jaxconv._core.geometry.spec", "jaxconv.reference"),
    *("jaxconv._core.methods", "jaxconv._core.dispatch.choose"),
)
beartype_packages(CHECKED)

# JAX makes millions of objects and keeps most of them. Looking for cycles among them after every
# 700 new ones, as Python does, and through all of them, as `jax.checking_leaks` does for every
# function, would take a third of the time.
gc.set_threshold(100_000)


@pytest.fixture(autouse=True, scope="module")
def earlier_modules_are_kept():
    """Leave what earlier modules made out of later searches for cycles."""
    if any(gc.get_count()[1:]):  # more than the threshold has been made
        gc.collect()
        gc.freeze()


# Everything runs under strict dtype promotion but what calls optax, which itself mixes dtypes.
CALLS_OPTAX = ("test_cli", "test_cli_long", "test_plots")


@pytest.fixture(autouse=True)
def strict_promotion(request):
    path = request.node.path
    lenient = (
        path.stem in CALLS_OPTAX or path.stem.startswith("test_learn") or "learn" in path.parts
    )
    with jax.numpy_dtype_promotion("standard" if lenient else "strict"):
        yield


def pytest_configure(config):
    """Compile quickly, but for `pytest -m as_shipped`, which compiles as users do.

    Most of the suite's time is compilation of programs that run once. XLA's older code generator,
    without optimisation and in one piece, takes a third of the time (jax 0.10.2; 0.12 has only the
    newer one).
    """
    if config.option.markexpr.startswith("as_shipped"):
        return
    jax.config.update("jax_disable_most_optimizations", True)
    flags = ["--xla_cpu_parallel_codegen_split_count=1"]
    if jax.__version_info__ < (0, 11):
        flags.append("--xla_cpu_use_fusion_emitters=false")
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what is `thorough`; docstrings' examples with torch are skipped where it is missing."""
    mark_what_is_left_out(items)
    if importlib.util.find_spec("torch") is None:
        for item in items:
            example = getattr(item, "dtest", None)
            code = "".join(each.source for each in example.examples) if example else ""
            if "import torch\n" in code or "to_torch(" in code:
                item.add_marker(pytest.mark.skip(reason="torch is not installed"))


@pytest.fixture
def torch():
    """For a test that compares with torch; modules that all do import it from `torch_here`."""
    from torch_here import torch

    return torch


@pytest.fixture
def undrawn(monkeypatch):
    """For commands whose figures are not looked at: test_cli.py draws them."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda _, path: path.write_bytes(b""))


@pytest.fixture
def as_a_command(monkeypatch):
    """For what runs as a command: promotion as it comes; what other tests compiled is kept."""
    monkeypatch.setattr(jax, "clear_caches", lambda: None)
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def in_float64():
    """For values that are compared with NumPy's in float64."""
    with jax.enable_x64(True):
        yield
