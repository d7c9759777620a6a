"""`jaxconv info`: versions, devices, and which methods are available on this machine."""

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import jax.numpy as jnp
from rich import box
from rich.console import Console
from rich.table import Table

from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods import METHODS
from jaxconv.cli.options import Info

PACKAGES = ("jaxconv", "jaxconv-onednn", "jax", "jaxlib", "flax", "numpy")
_PLAIN = ConvSpec((1, 1), (1, 1), ((0, 0), (0, 0)), 1, (8, 8), (3, 3))


def gather() -> dict[str, Any]:
    """Return the facts that the command prints, ready for JSON."""
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "methods": {name: _method(name) for name in METHODS},
    }


def run(given: Info) -> None:
    """Print the facts, as text or as one JSON object."""
    found = gather()
    if given.json:
        print(json.dumps(found))
        return
    console = Console(highlight=False)
    console.print(f"Python {found['python']}")
    for name, installed in found["packages"].items():
        console.print(f"{name} {installed or 'not installed'}")
    for device in found["devices"]:
        console.print(f"device {device}")
    table = Table("method", "contractions", "available", box=box.SIMPLE_HEAD)
    for name, method in found["methods"].items():
        told = [method["summary"]] if method["available"] else []
        told += [method["note"]] if method["note"] else []
        answer = ("yes: " if method["available"] else "no: ") + "; ".join(told)
        table.add_row(name, ", ".join(method["contractions"]), answer)
    console.print(table)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _method(name: str) -> dict[str, Any]:
    method = METHODS[name]
    why_not = None
    if method.calls_library:  # which may not be installed
        why_not = method.refuses("output", _PLAIN, jnp.dtype(jnp.float32))
    return {
        "summary": method.summary,
        "contractions": list(method.contractions),
        "available": why_not is None,
        "note": why_not or method.details(),
    }
