"""What is said of a name that `jaxconv.compat.scipy` does not have."""

import importlib
from collections.abc import Sequence

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
    text = f"module {path!r} has no attribute {name!r}"
    if name.startswith("_"):  # asked for by Python, not by people
        return AttributeError(text)
    here = [other for other in MODULES if other != module and name in _public(other)]
    theirs = ".".join(filter(None, ("scipy", module)))
    if here:
        text += f"; it is in {FACE}.{here[0]}"
    elif _is_in(theirs, name):
        text += f"; {theirs}.{name} is SciPy's, for NumPy's arrays"
    return AttributeError(f"{text}. There are here: {', '.join(names)}")


def _public(module: str) -> Sequence[str]:
    return importlib.import_module(f"{FACE}.{module}").__all__


def _is_in(module: str, name: str) -> bool:
    return hasattr(importlib.import_module(module), name)
