"""Functions that a command line names, and arrays that it describes."""

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv.cli.errors import CommandError, as_command_error

_ARRAY = re.compile(r"(?P<dtype>\w+)\[(?P<sizes>[\d, ]*)\]")
# jax's short names of dtypes, as programs print them
_SHORT = {"f": "float", "bf": "bfloat", "i": "int", "u": "uint", "c": "complex"}


def function(name: str) -> Callable[..., Any]:
    """Return the function, model or other callable that FILE.py:NAME names.

    The file runs as a module, with its folder first on the path, as `python FILE.py` has it.

    Raises:
        CommandError: there is no such file, it has no such name, or that is not callable.
    """
    file, colon, attribute = name.rpartition(":")
    if not colon or not attribute.isidentifier():
        raise CommandError(f"{name!r} must be FILE.py:FUNCTION, such as model.py:forward")
    module = _module(Path(file))
    found = getattr(module, attribute, None)
    if callable(found):
        return found
    own = [n for n, value in vars(module).items() if callable(value) and _is_of(value, module)]
    wrong = "is not there"
    if found is not None:
        wrong = f"is of type {type(found).__name__}, not a function"
    there = f"; it has {', '.join(own)}" if own else ""
    raise CommandError(f"{file}: {attribute} {wrong}{there}")


def arrays(texts: Sequence[str]) -> list[jax.ShapeDtypeStruct]:
    """Return what "float32[8,32,32,3]" and its like describe; f32, bf16 and so on are known too.

    Raises:
        CommandError: a text is of another form, or its dtype is unknown.
    """
    return [_array(text) for text in texts]


def accepted(name: str, f: Callable[..., Any], given: Sequence[Any]) -> None:
    """Raise CommandError if the function cannot be called with so many arguments."""
    try:
        inspect.signature(f).bind(*given)
    except TypeError as error:
        message = f"{name} takes {inspect.signature(f)}: {error}"
        raise CommandError(f"{message}; describe its arrays as float32[8,32,32,3]") from error


def with_gradients(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return the gradients of the sum of f's results: in its arguments and a model's parameters.

    Args:
        f: a function, or a `flax.nnx` module, whose `nnx.Param`s are differentiated too.
    """
    params, call = _parameters(f)

    def summed(params: Any, *args: Any) -> jax.Array:
        results = jax.tree.leaves(call(params, *args))
        return sum((jnp.sum(jnp.real(a)) for a in results), start=jnp.zeros(()))

    def gradients(*args: Any) -> Any:
        inexact = [i + 1 for i, a in enumerate(args) if jnp.issubdtype(a.dtype, jnp.inexact)]
        return jax.value_and_grad(summed, (0, *inexact))(params, *args)

    return gradients


def _parameters(f: Callable[..., Any]) -> tuple[Any, Callable[..., Any]]:
    """The parameters of a model, none of a function, and the function of both and the arguments."""
    if "flax.nnx" not in sys.modules:
        return {}, lambda _, *args: f(*args)
    from flax import nnx

    if not isinstance(f, nnx.Module):
        return {}, lambda _, *args: f(*args)
    definition, params, rest = nnx.split(f, nnx.Param, ...)
    return params, lambda params, *args: nnx.merge(definition, params, rest)(*args)


def _module(file: Path) -> ModuleType:
    if file.suffix != ".py" or not file.is_file():
        raise CommandError(f"{file} must be a Python file that exists")
    specification = importlib.util.spec_from_file_location(file.stem, file)
    assert specification is not None  # as it is a .py file
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.path.insert(0, str(file.parent.absolute()))
    # decorators look modules up by name
    sys.modules.setdefault(file.stem, module)
    specification.loader.exec_module(module)
    return module


def _is_of(value: Any, module: ModuleType) -> bool:
    """Whether a module defines a function, class or object, rather than importing it."""
    return getattr(value, "__module__", None) == module.__name__


def _array(text: str) -> jax.ShapeDtypeStruct:
    match = _ARRAY.fullmatch(text.strip())
    if match is None:
        raise CommandError(f"{text!r} must be an array's dtype and shape, as float32[8,32,32,3]")
    sizes = [int(size) for size in match["sizes"].split(",") if size.strip()]
    kind = match["dtype"].rstrip("0123456789")
    long = _SHORT.get(kind, kind) + match["dtype"][len(kind) :]
    with as_command_error():
        return jax.ShapeDtypeStruct(sizes, jnp.dtype(long))
