"""Settings of the whole suite: strict promotion, eight CPU devices, checked types below floor 4."""

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_num_cpu_devices", 8)

# The inner floors have exact signatures: beartype holds every call of the suite against them.
CHECKED = tuple(f"jaxconv.{m}" for m in ("shapes", "spec", "reference", "methods", "choose"))
install_import_hook(CHECKED, "beartype.beartype")

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


@pytest.fixture(scope="module")
def quick_compilation():
    """For files that compare results, not times, where most of the time would be LLVM's."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def undrawn(monkeypatch):
    """For commands whose figures are not looked at: test_cli.py draws them."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda _, path: path.write_bytes(b""))
