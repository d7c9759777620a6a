"""Constants that were fitted to measured times, by the kind of device they were measured on.

Each file of `constants/` is written by `python -m jaxconv.bench.fit` on one kind of device:

| key | holds |
|---|---|
| `about` | lines for a reader |
| `measured` | `device`: "cpu", "cpu avx2" or what `Device.device_kind` says; date, versions |
| `margins` | usual method -> the part of its time below which another method is taken |
| `seconds` | method -> contraction -> term -> seconds a unit of it |
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxconv._core.geometry.spec import Contraction

# The constants of CPUs of no kind that was measured apart, and of programs for other processes.
CPU = "cpu"


class Measured(NamedTuple):
    """What was measured on one kind of device.

    Attributes:
        facts: of the device, the libraries and the day, by name.
        margins: as in the table above.
        seconds: likewise.
    """

    facts: Mapping[str, str]
    margins: Mapping[str, float]
    seconds: Mapping[str, Mapping[Contraction, Mapping[str, float]]]

    @property
    def fingerprint(self) -> str:
        """Of the constants: factors on the times that they give do not fit other constants."""
        return f"{zlib.crc32(json.dumps(self.seconds, sort_keys=True).encode()):08x}"


def read(folder: Path) -> dict[str, Measured]:
    """Return what the files of a folder hold, by the kind of device.

    Args:
        folder: of JSON files.
    """
    found: dict[str, Measured] = {}
    for path in sorted(folder.glob("*.json")):
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        measured = content["measured"]
        found[measured["device"]] = Measured(measured, content["margins"], content["seconds"])
    return found


def of_cpu(kind: str = "") -> Measured:
    """Return the constants of a kind of CPU, those of all if it was not measured.

    A profile of `jaxconv calibrate` has factors on them.

    Args:
        kind: from `machine.cpu_kind`.
    """
    return BY_DEVICE.get(f"{CPU} {kind}", BY_DEVICE[CPU])


BY_DEVICE: dict[str, Measured] = read(Path(__file__).with_name("constants"))
