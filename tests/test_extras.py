"""Functions need JAX alone; what needs more names its extra."""

import subprocess
import sys

import pytest

# In a process of its own: without these packages, import a module and use it.
BLOCKED = """
import sys
for name in ("chex", "flax", "optax", "orbax", "tensorstore", "tifffile"):
    sys.modules[name] = None
"""
FUNCTIONS = """
import jax, jax.numpy as jnp
import jaxconv
from jaxconv import analysis, compat, filters, parallel, plots, psf, reference, tiles
from jaxconv.compat import lax, torch
from jaxconv.compat.scipy import ndimage, signal

x, w = jnp.ones((1, 5, 5, 2)), jnp.ones((3, 3, 2, 4))
print(jaxconv.conv(x, w).shape, jax.grad(lambda w: jaxconv.conv(x, w).sum())(w).shape)
print(jaxconv.accelerate(jaxconv.conv)(x, w).shape, len(jaxconv.explain(jaxconv.conv, x, w)))
print(signal.correlate2d(jnp.ones((4, 4)), jnp.ones((3, 3)), mode="valid").shape)
"""


def _without(code):
    done = subprocess.run([sys.executable, "-c", BLOCKED + code], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_functions_need_no_extra():
    shapes = "(1, 3, 3, 4) (3, 3, 2, 4)\n(1, 3, 3, 4) 1\n(2, 2)\n"
    assert _without(FUNCTIONS) == (0, shapes, "")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import jaxconv.nnx", "jaxconv.nnx needs flax: pip install 'jaxconv[flax]'"),
        ("import jaxconv.linen", "jaxconv.linen needs flax: pip install 'jaxconv[flax]'"),
        ("import jaxconv; jaxconv.nnx", "jaxconv.nnx needs flax: pip install 'jaxconv[flax]'"),
        ("import jaxconv.learn", "jaxconv.learn needs optax: pip install 'jaxconv[learn]'"),
        (
            "from jaxconv._files import zarr",
            "a zarr array needs tensorstore: pip install 'jaxconv[tiles]'",
        ),
        (
            "from jaxconv._files import tiff",
            "a TIFF file needs tifffile: pip install 'jaxconv[tiles]'",
        ),
        (
            "from jaxconv.compat.torch import _nnx_modules",
            "ConvertedModule.nnx needs flax: pip install 'jaxconv[flax]'",
        ),
        (
            "from jaxconv.compat.torch import _linen_modules",
            "ConvertedModule.layer needs flax: pip install 'jaxconv[flax]'",
        ),
    ],
)
def test_what_is_missing_is_named(code, message):
    code, printed, error = _without(code)
    assert (code, printed) == (1, "")
    assert error.strip().splitlines()[-1] == f"ModuleNotFoundError: {message}"
