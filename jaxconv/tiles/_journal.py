"""The record of finished tiles beside a target, which a killed run resumes from.

A file of lines: a JSON object with every setting, then one JSON array a finished tile, its number
and how many of its values were clipped. A line is appended and flushed to the disk only after the
tile's own data is there, so that a tile without a line is done again and one with a line is whole;
a last line without its end was being written and does not count.

While a target is unfinished the file is `TARGET.unfinished`; then it is renamed `TARGET.finished`.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from jaxconv._files import rasters

UNFINISHED, FINISHED = ".unfinished", ".finished"


class Journal:
    """The journal of one target, open for appending.

    Attributes:
        done: tile number -> how many of its values were clipped.
        finished: whether all tiles were done when it was opened.
        settings: those that hold, as JSON has them.
    """

    def __init__(
        self, target: Path, settings: Mapping[str, Any], *, resume: bool, kept: Sequence[str] = ()
    ) -> None:
        """Begin a journal, or go on with the one that is there.

        Args:
            target: beside which it lies.
            settings: of the run.
            resume: go on with what is there.
            kept: settings that stay as the journal has them, where there is one.

        Raises:
            ValueError: the target is there and is not to be resumed, or was begun with other
                settings, or has no journal, or the journal is none.
            OSError: the journal cannot be written.
        """
        self._path = target.with_name(target.name + UNFINISHED)
        self._end = target.with_name(target.name + FINISHED)
        self.done: dict[int, int] = {}
        self.finished = self._end.exists()
        path = self._end if self.finished else self._path
        if not resume:
            for there in (target, self._path, self._end):
                if there.exists():
                    raise ValueError(
                        f"apply_tiled: {there} is there already; resume=True goes on with a run "
                        "that was cut off, else name another target"
                    )
        # as it will be read: lists for tuples
        header = self.settings = json.loads(json.dumps(settings))
        # its whole lines; none where it was killed at the very beginning
        lines = _lines(path) if path.exists() else []
        if lines:
            self._read(path, lines, kept, target)
        elif target.exists():
            raise ValueError(
                f"apply_tiled: {target} is there without its journal {self._path.name}, so that "
                "nobody knows which tiles are whole; name another target"
            )
        if not self.finished:
            self._file = self._path.open("ab", buffering=0)
            try:
                self._file.truncate(sum(map(len, lines)))  # a torn line goes
                if not lines:
                    self._append(header)
                    rasters.sync_folder(self._path.parent)
            except OSError:
                self._file.close()
                raise

    def _read(self, path: Path, lines: list[bytes], kept: Sequence[str], target: Path) -> None:
        header = self.settings
        try:
            begun, *tiles = map(json.loads, lines)
            header |= {key: begun[key] for key in kept if key in begun}
            self.done = {int(number): int(clipped) for number, clipped in tiles}
            other = [key for key in header if begun.get(key) != header[key]]
            other += [key for key in begun if key not in header]
        except (ValueError, TypeError, AttributeError):
            raise ValueError(f"apply_tiled: {path} is no journal of tiles; remove it") from None
        if other:
            told = ", ".join(f"{k}={begun.get(k)!r} (now {header.get(k)!r})" for k in other)
            raise ValueError(
                f"apply_tiled: {target} was begun with {told}; repeat that, or name another target"
            )
        if self.done and not target.exists():
            raise ValueError(
                f"apply_tiled: {target} is gone, but its journal {path.name} is there; remove the "
                "journal to begin again"
            )

    def record(self, number: int, clipped: int) -> None:
        """Note that a tile's data is on the disk."""
        self._append([number, clipped])
        self.done[number] = clipped

    def finish(self) -> None:
        """Note that all tiles are done."""
        self._file.close()
        os.replace(self._path, self._end)
        rasters.sync_folder(self._path.parent)

    def _append(self, entry: Any) -> None:
        with rasters.telling(self._path):
            line = json.dumps(entry).encode() + b"\n"
            while line:  # a disk that fills up takes a part of it
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.finished:
            self._file.close()


def _lines(path: Path) -> list[bytes]:
    """The whole lines of a file."""
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
