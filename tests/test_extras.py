"""Without the extras: what works, and the messages that name the extra to install."""

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from test_architecture import public_modules

from jaxconv._core.extras import EXTRAS
from jaxconv.cli import EXTRA

BLOCKED = sorted({*EXTRAS, *EXTRA, "chex"})
PROJECT = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
NEEDS = {
    "learn": "jaxconv.learn needs optax: pip install 'jaxconv[learn]'",
    "linen": "jaxconv.linen needs flax: pip install 'jaxconv[flax]'",
    "nnx": "jaxconv.nnx needs flax: pip install 'jaxconv[flax]'",
}


def without_extras(code: str, missing=tuple(BLOCKED)) -> list[str]:
    """The lines that code prints in a process that can import none of the packages missing."""
    code = f"import sys; sys.modules |= dict.fromkeys({missing})\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.splitlines()


def test_every_public_module_loads_or_names_its_extra():
    code = (
        "import importlib\n"
        f"for name in {public_modules()}:\n"
        "    try: importlib.import_module(f'jaxconv.{name}')\n"
        "    except ModuleNotFoundError as error: print(name, error, error.__cause__, sep='|')\n"
    )
    told = [line.split("|") for line in without_extras(code)]
    wanted = {name: NEEDS.get(name.split(".")[0]) for name in public_modules()}
    assert {name: message for name, message, _ in told} == {
        name: message for name, message in wanted.items() if message
    }


def test_attributes_name_it_too():
    code = (
        "import jaxconv\n"
        f"for name in {[*NEEDS]}:\n"
        "    try: getattr(jaxconv, name)\n"
        "    except ImportError as error: print(error)\n"
    )
    assert without_extras(code) == [*NEEDS.values()]


def test_a_star_import_leaves_out_what_is_not_there():
    code = (
        "from jaxconv import *; import jaxconv\n"
        "print(sorted({'learn', 'linen', 'nnx', 'tiles', 'plots'} & set(globals())))\n"
        "print('nnx' in dir(jaxconv))\n"
    )
    assert without_extras(code) == ["['plots', 'tiles']", "False"]
    assert without_extras(code, ("flax",)) == ["['learn', 'plots', 'tiles']", "False"]
    assert without_extras(code, ()) == ["['learn', 'linen', 'nnx', 'plots', 'tiles']", "True"]


def test_functions_work_without_them():
    code = (
        "import jax, jax.numpy as jnp, numpy as np, jaxconv\n"
        "from jaxconv.compat import lax, scipy, torch\n"
        "x, w = jnp.ones((1, 6, 8, 2)), jnp.ones((3, 3, 2, 4))\n"
        "f = lambda x, w: jaxconv.conv(x, w).sum()\n"
        "print(jax.grad(f)(x, w).shape, len(jaxconv.explain(jax.grad(f), x, w)))\n"
        "print(float(jax.jit(jaxconv.accelerate(f))(x, w)))\n"
        "print(scipy.signal.convolve(np.ones(3), np.ones(2)).shape)\n"
        "f = lambda x: jaxconv.corr2d(x, jnp.ones((2, 2)))\n"
        "print(jaxconv.analysis.reach(f, jnp.ones((4, 4)), (0, 0)).sum())\n"
    )
    assert without_extras(code) == ["(1, 6, 8, 2) 2", "1728.0", "(4,)", "4"]


@pytest.mark.parametrize(("suffix", "package"), [(".tif", "tifffile"), (".zarr", "tensorstore")])
def test_files_in_tiles_name_their_extra(tmp_path, suffix, package):
    target = tmp_path / f"out{suffix}"
    code = (
        "import numpy as np; from jaxconv.tiles import apply_tiled\n"
        "class Image:\n"
        "    shape, dtype, stamp, values = (6, 8), 'float32', '', np.ones((6, 8), np.float32)\n"
        "    def read(self, box): return self.values[box]\n"
        "    def write(self, box, values): print(values.sum())\n"
        "apply_tiled(Image(), np.ones((1, 1)), Image(), tile=None)\n"
        f"try: apply_tiled(Image(), np.ones((1, 1)), {str(target)!r}, tile=4)\n"
        "except ImportError as error: print(error)\n"
    )
    needs = f"{target} needs {package}: pip install 'jaxconv[tiles]'"
    assert without_extras(code) == ["48.0", needs]


def test_checkpoints_and_converted_modules_name_their_extras(tmp_path):
    code = (
        "import numpy as np; from jaxconv import learn\n"
        f"kept = learn.Checkpoints(directory={str(tmp_path / 'kept')!r})\n"
        "x = np.ones((6, 8), np.float32)\n"
        "try: learn.fit_kernel(x, x, 1, steps=1, checkpoints=kept)\n"
        "except ImportError as error: print(error)\n"
    )
    assert without_extras(code, ("orbax",)) == [
        "jaxconv.learn.Checkpoints needs orbax: pip install 'jaxconv[learn]'"
    ]
    code = (
        "from jaxconv.compat.torch import ConvertedModule\n"
        "converted = ConvertedModule('Conv2d', {}, {}, None)\n"
        "for name, get in (('layer', lambda: converted.layer), ('nnx', converted.nnx)):\n"
        "    try: get()\n"
        "    except ImportError as error: print(error)\n"
    )
    assert without_extras(code) == [
        f"ConvertedModule.{name} needs flax: pip install 'jaxconv[flax]'"
        for name in ("layer", "nnx")
    ]


def test_other_missing_packages_are_not_blamed_on_an_extra():
    code = (
        "from jaxconv._core.extras import needed_by\n"
        "try:\n    with needed_by('f'): import no_such_package\n"
        "except ImportError as error: print(error)\n"
    )
    assert without_extras(code) == ["No module named 'no_such_package'"]


def test_the_extras_install_what_they_are_named_for():
    """The table in `extras.py`, and what the command line looks for, follow pyproject.toml."""
    distributions = packages_distributions()
    extras = PROJECT["optional-dependencies"]

    def installs(extra: str) -> str:
        inner = [name for name in ("flax", "learn", "tiles") if extra == "cli"]
        return " ".join([*extras[extra], *(line for name in inner for line in extras[name])])

    for package, extra in [*EXTRAS.items(), *((package, "cli") for package in EXTRA)]:
        names = {name.lower() for name in distributions[package]}
        assert any(f"{name}>=" in installs(extra) for name in names), (package, extra)
    required = " ".join(PROJECT["dependencies"])
    assert not any(name in required for name in ("flax", "optax", "chex", "orbax", "tensorstore"))
