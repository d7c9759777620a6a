"""What is said of a name that `jaxconv.compat.scipy` does not have."""

import importlib
from collections.abc import Sequence

from jaxconv._core.missing_names import missing_name

FACE = "jaxconv.compat.scipy"
MODULES = ("ndimage", "signal")


def missing(module: str, name: str, names: Sequence[str]) -> AttributeError:
    """Return the error for a name that is not in a module of this face.

    Args:
        module: "signal", "ndimage", or "" for the package.
        name: what was asked for.
        names: what there is.
    """
    path = ".".join(filter(None, (FACE, module)))
    return missing_name(path, name, names, "" if name.startswith("_") else _where(module, name))


def _where(module: str, name: str) -> str:
    theirs = ".".join(filter(None, ("scipy", module)))
    for other in MODULES:
        if other != module and name in _public(other):
            return f"it is in {FACE}.{other}"
    return f"{theirs}.{name} is SciPy's, for NumPy's arrays" if _is_in(theirs, name) else ""


def _public(module: str) -> Sequence[str]:
    return importlib.import_module(f"{FACE}.{module}").__all__


def _is_in(module: str, name: str) -> bool:
    return hasattr(importlib.import_module(module), name)
