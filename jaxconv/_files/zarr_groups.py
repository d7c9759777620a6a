"""Where the array of a zarr folder is, and what its dimensions are called.

| names of the dimensions | are in |
|---|---|
| version 3 | `dimension_names` of zarr.json |
| version 2, as xarray writes it | `_ARRAY_DIMENSIONS` of .zattrs |
| OME-NGFF, a group with the levels of a pyramid | `axes` of its `multiscales`: see `ngff` |
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxconv._files import ngff
from jaxconv._files.rasters import ImageError


class Found(NamedTuple):
    """An array.

    Attributes:
        path: of its folder.
        driver: tensorstore's name of the version.
        names: of its dimensions, None where they have none.
        text: of its metadata.
        remarks: which of several levels it is.
        places: of its elements, as OME-NGFF says, or None.
    """

    path: Path
    driver: str
    names: tuple[str | None, ...] | None
    text: str
    remarks: Sequence[str] = ()
    places: ngff.Places | None = None

    @property
    def compressed(self) -> bool:
        """Whether its chunks are compressed: more than their bytes in order."""
        held = json.loads(self.text)
        if "codecs" not in held:
            return held.get("compressor") is not None
        plain = ("bytes", "transpose", "crc32c")
        return any(_name(codec) not in plain for codec in held["codecs"])


def find(path: Path, level: int = 0) -> Found:
    """Return the array of a folder, or of one level of the pyramid in it.

    Raises:
        ImageError: no array, a group of other arrays, or no such level.
    """
    if (path / ".zarray").exists():
        found = _array(path, "zarr", ".zarray", level)
        attributes = _read(path / ".zattrs") if (path / ".zattrs").exists() else {}
        return found._replace(names=_texts(attributes.get("_ARRAY_DIMENSIONS")))
    if (path / "zarr.json").exists():
        held = _read(path / "zarr.json")
        if held.get("node_type") != "group":
            found = _array(path, "zarr3", "zarr.json", level)
            return found._replace(names=_texts(held.get("dimension_names")))
        attributes = held.get("attributes") or {}
    elif (path / ".zgroup").exists():
        attributes = _read(path / ".zattrs") if (path / ".zattrs").exists() else {}
    else:
        raise ImageError(f"{path}: is not a zarr array (zarr.json or .zarray is missing)")
    scales = attributes.get("ome", attributes).get("multiscales")
    if not scales:
        inside = sorted(p.name for p in path.iterdir() if p.is_dir() and not _hidden(p))
        names = f": {', '.join(inside[:5])}{', ...' if len(inside) > 5 else ''}" if inside else ""
        raise ImageError(f"{path}: is a group, not an array; name one of its arrays{names}")
    return _level(path, scales, level)


def _name(codec: Any) -> str:
    return codec["name"] if isinstance(codec, dict) else str(codec)


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _level(path: Path, scales: Any, level: int) -> Found:
    """A level of a pyramid, with the names that its `multiscales` give."""
    try:
        (only, *others), levels = scales, [one["path"] for one in scales[0]["datasets"]]
        places = [ngff.read(only, n) for n in range(len(levels))]
    except (KeyError, TypeError, ValueError) as error:
        raise ImageError(f"{path}: its multiscales are not as OME-NGFF has them") from error
    if others:
        raise ImageError(
            f"{path}: holds {len(scales)} pyramids; name one of the arrays: "
            f"{', '.join(levels)}, ..."
        )
    if not 0 <= level < len(levels):
        has = f"has {len(levels)} level{'s' * (len(levels) > 1)}, from 0"
        raise ImageError(f"{path}: {has}; level={level} is not there")
    found = find(path / levels[level])
    remarks = [f"level {level} of {len(levels)} alone"] if len(levels) > 1 else []
    return found._replace(names=places[level].names, remarks=remarks, places=places[level])


def _array(path: Path, driver: str, name: str, level: int) -> Found:
    if level:
        raise ImageError(f"{path}: is no pyramid; level={level} is not there")
    return Found(path, driver, None, (path / name).read_text(encoding="utf-8", errors="replace"))


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ImageError(f"{path}: is not JSON") from error
    return found if isinstance(found, dict) else {}


def _texts(names: Any) -> tuple[str | None, ...] | None:
    """Names of dimensions, None where there are none."""
    if not isinstance(names, list) or not any(isinstance(name, str) and name for name in names):
        return None
    return tuple(name if isinstance(name, str) and name else None for name in names)
