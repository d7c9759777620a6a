"""`jaxconv info`: versions, devices, the methods of this machine, where expected times are from."""

import json
import platform
from pathlib import Path
from typing import Any

import jax
from rich import box
from rich.console import Console
from rich.table import Table

from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.machine import cpu_kind, facts, version
from jaxconv._core.methods import METHODS
from jaxconv._core.methods.measured import BY_DEVICE, CPU, of_cpu
from jaxconv.cli.errors import as_command_error
from jaxconv.cli.options import Info

PACKAGES = ("jaxconv", "jaxconv-onednn", "jax", "jaxlib", "flax", "numpy")
_SPEC = ConvSpec((1, 1), (1, 1), ((0, 0), (0, 0)), 1, (8, 8), (3, 3))
_PLAIN = Problem("output", _SPEC, 1, 1, 1, "float32", "cpu")


def gather(policy: Path | None = None) -> dict[str, Any]:
    """Return the facts that the command prints, ready for JSON.

    Args:
        policy: the file of one to describe.
    """
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "cpu": facts(),
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "expected_times": dict(of_cpu(cpu_kind()).facts),
        "measured_devices": {
            device: dict(of.facts) for device, of in BY_DEVICE.items() if not device.startswith(CPU)
        },
        "policy": None if policy is None else _policy(policy),
        "methods": {name: _method(name) for name in METHODS},
    }


def run(given: Info) -> None:
    """Print the facts, as text or as one JSON object."""
    found = gather(given.policy)
    if given.json:
        print(json.dumps(found))
        return
    console = Console(highlight=False)
    console.print(f"Python {found['python']}")
    for name, installed in found["packages"].items():
        console.print(f"{name} {installed or 'not installed'}")
    cpu = found["cpu"]
    limits = "" if cpu["limits"] == "none" else f", limited by {cpu['limits']}"
    console.print(
        f"CPU {cpu['cpu']}, {cpu['cores']} cores, with {cpu['cpu flags']}{limits}",
        markup=False,
        soft_wrap=True,
    )
    for device in found["devices"]:
        console.print(f"device {device}")
    for line in (*_profile(found), *_measured_devices(found["measured_devices"])):
        console.print(line, markup=False, soft_wrap=True)
    table = Table("method", "contractions", "available", box=box.SIMPLE_HEAD)
    for name, method in found["methods"].items():
        told = [method["summary"]] if method["available"] else []
        told += [method["note"]] if method["note"] else []
        answer = ("yes: " if method["available"] else "no: ") + "; ".join(told)
        table.add_row(name, ", ".join(method["contractions"]), answer)
    console.print(table)
    for name, method in found["methods"].items():
        if method["needs"]:
            console.print(f"{name} needs {method['needs']}", markup=False, soft_wrap=True)
    console.print("the others need JAX alone")


def _measured_devices(found: dict[str, dict[str, str]]) -> list[str]:
    """Lines that say on which other devices the methods were measured."""
    if not found:
        return ["other devices: none was measured, so that they use XLA's own convolution"]
    return [
        f"expected times on {device}: measured {of['date']} with jax {of['jax']}"
        for device, of in found.items()
    ]


def _policy(path: Path) -> dict[str, Any]:
    """The facts of a policy's file, and how they differ from this machine's."""
    with as_command_error():
        policy = Policy.from_json(path.read_text(encoding="utf-8"))
    found = {"file": str(path), "choices": len(policy), "profile": None}
    if policy.profile is None:
        return found
    measured = {name: of for name, of in policy.profile.as_dict().items() if name != "factors"}
    return found | {"profile": measured | {"differences": policy.profile.differences()}}


def _profile(found: dict[str, Any]) -> list[str]:
    """Lines that say which machine's times are expected."""
    of, policy = found["expected_times"], found["policy"]
    profile = policy["profile"] if policy else None
    constants = (
        f"expected times: the package's constants, measured {of['date']} on {of['cores']} cores "
        f"({of['cpu flags']}) with jax {of['jax']}"
    )
    if policy is None:
        return [f"{constants}; `jaxconv calibrate` measures this machine"]
    choices = f"{policy['file']}: {policy['choices']} measured choices of methods"
    if profile is None:
        return [constants, f"{choices}, no profile of a machine"]
    lines = [
        f"expected times: the profile in {policy['file']}, from {profile['problems']} problems, "
        f"measured {profile['date']} on {profile['facts'].get('cpu', 'an unknown CPU')}, "
        f"{profile['facts'].get('cores', '?')} cores",
        choices,
    ]
    if not profile["differences"]:
        return [*lines, "the profile is of this machine and these versions"]
    return [*lines, f"the profile is not of this machine: {'; '.join(profile['differences'])}"]


def _method(name: str) -> dict[str, Any]:
    method = METHODS[name]
    why_not = None
    if method.calls_library:  # which may not be installed
        why_not = method.refuses(_PLAIN)
    return {
        "summary": method.summary,
        "contractions": list(method.contractions),
        "available": why_not is None,
        "needs": method.needs,
        "note": why_not or method.details(),
    }
