"""Packages that only parts of jaxconv need, and the extras of jaxconv that install them."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

# The extra that installs a package, by the name under which the package is imported.
EXTRAS = {
    "flax": "flax",
    "matplotlib": "cli",
    "optax": "learn",
    "orbax": "learn",
    "tensorstore": "tiles",
    "tifffile": "tiles",
}
# What the public modules that need one of them import.
_NEEDS = {"learn": "optax", "linen": "flax", "nnx": "flax"}


def can_be_imported(module: str) -> bool:
    """Return whether the packages that a public module of jaxconv needs are installed."""
    return module not in _NEEDS or find_spec(_NEEDS[module]) is not None


@contextmanager
def needed_by(caller: str) -> Iterator[None]:
    """Name the extra to install if an import inside the block finds one of `EXTRAS` missing.

    Args:
        caller: what cannot be used without the package.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise ModuleNotFoundError(
            f"{caller} needs {package}: pip install 'jaxconv[{EXTRAS[package]}]'", name=error.name
        ) from None
