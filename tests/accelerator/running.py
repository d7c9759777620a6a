"""Run checks one after the other, keep a record of each, and write them as JSON."""

import dataclasses
import datetime
import json
import math
import platform as system
import time
from collections import Counter
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax

import jaxconv
from jaxconv._core.machine import device_kind

FORMAT = "jaxconv accelerator check 1"
# What XLA's compiler says of what it does not have, in lower case, and where that is reported.
LACKS = {
    "integer convolution": "XLA convolves no integers on GPUs (jax issue 7637)",
    "x64 element types": "XLA lacks an operation in 64 bits on TPUs (jax pull request 21108)",
    "element type c128": "TPUs have no complex128 (jax issue 10158)",
}


class Refused(Exception):  # noqa: N818 - not an error of the device
    """Raised by a check that cannot be made here, with the reason."""


@dataclasses.dataclass(frozen=True)
class Scope:
    """Where checks run, and how many.

    Attributes:
        platform: what `jax.default_backend()` says.
        device_kind: as in `jaxconv.Problem`.
        small: whether a few checks stand for all.
        whole: whether every case is checked in every dtype and under every transform.
    """

    platform: str
    device_kind: str
    small: bool = False
    whole: bool = False

    @classmethod
    def here(cls, **size: bool) -> "Scope":
        platform = jax.default_backend()
        return cls(platform, device_kind(platform), **size)


class Outcome(NamedTuple):
    """What a check found.

    Attributes:
        error_over_bound: the largest error divided by its bound: 1 or less if all is well.
        note: the worst case, and what was left out.
    """

    error_over_bound: float
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Check:
    """A check, not yet made.

    Attributes:
        name: its parts are separated by slashes.
        run: makes it. It fails if this raises anything but `Refused`.
        method: that is checked, "auto", or "" for none in particular.
        contraction: that is checked, or "".
        dtype: of the operands, or "".
    """

    name: str
    run: Callable[[], Outcome]
    method: str = ""
    contraction: str = ""
    dtype: str = ""


@dataclasses.dataclass(frozen=True)
class Record:
    """A check that was made, as it is written.

    Attributes:
        name: as in `Check`, as are method, contraction and dtype.
        error_over_bound: as in `Outcome`; None if there is none, or where no error is allowed.
        seconds: that it took, compilation included.
        status: "ok", "failed" or "refused".
        reason: why it failed or was refused, or else a note.
    """

    name: str
    method: str
    contraction: str
    dtype: str
    error_over_bound: float | None
    seconds: float
    status: str
    reason: str

    def __str__(self) -> str:
        worst = "" if self.error_over_bound is None else f"{self.error_over_bound:.2g}"
        line = f"{self.status:8}{worst:8}{self.seconds:6.1f} s  {self.name}"
        return line if self.status == "ok" else f"{line}: {self.reason}"


def made(check: Check) -> Record:
    """Make a check."""
    begun = time.perf_counter()
    worst, note = None, ""
    try:
        worst, note = check.run()
        status = "ok" if worst <= 1 else "failed"  # NaN has failed
        if status == "failed":
            note = f"{worst:.3g} times its bound; {note}".removesuffix("; ")
    except Refused as refused:
        status, note = "refused", str(refused)
    except Exception as error:  # whatever the device or its compiler raise
        status, note = "failed", one_line(error)
    return Record(
        check.name,
        check.method,
        check.contraction,
        check.dtype,
        None if worst is None or not math.isfinite(worst) else worst,
        round(time.perf_counter() - begun, 3),
        status,
        note,
    )


def one_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else ''}"


def lack(error: BaseException) -> str | None:
    """Return what an error of XLA's compiler says that it does not have, or None for a fault."""
    if not isinstance(error, jax.errors.JaxRuntimeError):
        return None
    said = str(error).lower()
    return next((reason for words, reason in LACKS.items() if words in said), None)


def facts(scope: Scope) -> dict[str, Any]:
    """Return what the records hold for: the device, the versions, the date."""
    devices = jax.devices()
    found = {package.metadata["Name"]: package.version for package in metadata.distributions()}
    named = ("jax", "jaxlib", "numpy", "flax", "optax", "libtpu", "jaxconv-onednn")
    plugins = sorted(name for name in found if str(name).startswith(("jax-cuda", "jax-rocm")))
    versions = {name: found[name] for name in (*named, *plugins) if name in found}
    return {
        "format": FORMAT,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "platform": scope.platform,
        "device_kind": devices[0].device_kind,
        "devices": len(devices),
        "small": scope.small,
        "whole": scope.whole,
        "python": system.python_version(),
        "runtime": devices[0].client.platform_version,
        "versions": {"jaxconv": jaxconv.__version__, **versions},
    }


def run(
    checks: Iterable[Check],
    about: dict[str, Any],
    output: Path | None,
    told: Callable[[str], object] = print,
) -> list[Record]:
    """Make the checks; write them all, and the name of the next, after each.

    So a device that ends the process leaves the records, and the name of the check that it was at.
    """
    records: list[Record] = []
    for check in checks:
        _write(output, about, records, check.name)
        records.append(made(check))
        told(str(records[-1]))
    _write(output, about, records, None)
    told(summary(records))
    return records


def summary(records: list[Record]) -> str:
    """Return how many checks ended how, and the refusals by reason."""
    counts = Counter(record.status for record in records)
    lines = [", ".join(f"{counts[status]} {status}" for status in ("ok", "failed", "refused"))]
    reasons = Counter(record.reason for record in records if record.status == "refused")
    lines += [f"  refused {count}: {reason}" for reason, count in reasons.most_common()]
    return "\n".join(lines)


def _write(
    output: Path | None, about: dict[str, Any], records: list[Record], at: str | None
) -> None:
    if output is None:
        return
    counts = Counter(record.status for record in records)
    content = {
        **about,
        "counts": {status: counts[status] for status in ("ok", "failed", "refused")},
        "running": at,
        "records": [dataclasses.asdict(record) for record in records],
    }
    output.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
