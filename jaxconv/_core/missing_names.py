"""What is said of a name that a module for users of another library does not have."""

from collections.abc import Sequence


def missing_name(
    module: str, name: str, names: Sequence[str], elsewhere: str = ""
) -> AttributeError:
    """Return the error for a name that is not in a module.

    Args:
        module: the module's whole name.
        name: what was asked for.
        names: what there is. Constants, which are in capitals, are not listed.
        elsewhere: where the name is, or what to do without it.
    """
    text = f"module {module!r} has no attribute {name!r}"
    if name.startswith("_"):  # asked for by Python, not by people
        return AttributeError(text)
    text = f"{text}; {elsewhere}" if elsewhere else text
    listed = ", ".join(other for other in names if not other.isupper())
    return AttributeError(f"{text}. There are here: {listed}")
