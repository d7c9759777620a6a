"""The error of a module whose package belongs to an extra that is not installed."""


def missing(what: str, package: str, extra: str) -> ModuleNotFoundError:
    """Return the error to raise: what needs which package, and how to install it.

    Example:
        >>> print(missing("jaxconv.nnx", "flax", "flax"))
        jaxconv.nnx needs flax: pip install 'jaxconv[flax]'
    """
    message = f"{what} needs {package}: pip install 'jaxconv[{extra}]'"
    return ModuleNotFoundError(message, name=package)
