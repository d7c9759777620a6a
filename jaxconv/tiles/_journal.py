"""The record of finished tiles beside a target, from which a killed run resumes.

A file of lines: a JSON object of all settings, then a JSON array for each finished tile, with its
number and how many of its values were clipped. A line is appended and flushed to the disk only
after the tile's data is on the disk, so that a tile with a line is complete, and one without is
computed again. A last line without a line end was being written, and is ignored.

The file is called `TARGET.unfinished`, and `TARGET.finished` once all tiles are done.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from jaxconv._files import rasters

UNFINISHED, FINISHED = ".unfinished", ".finished"


class OtherSettingsError(ValueError):
    """A target that was begun with other settings.

    Attributes:
        target: its path.
        changes: each setting's name, what it was and what it is now.
    """

    def __init__(self, target: Path, changes: Sequence[tuple[str, Any, Any]]) -> None:
        self.target, self.changes = target, changes
        told = ", ".join(f"{key}={was!r} (now {now!r})" for key, was, now in changes)
        super().__init__(
            f"apply_tiled: {target} was begun with {told}; use the same again, or name another "
            "target"
        )


class Journal:
    """The journal of one target, open for appending; without a path, in memory only.

    Attributes:
        done: tile number -> how many of its values were clipped.
        begun: whether this is the journal's first run.
        finished: whether all tiles were done when it was opened.
        settings: of the run, as JSON represents them.
    """

    def __init__(
        self,
        target: Path | None,
        settings: Mapping[str, Any],
        *,
        resume: bool,
        kept: Sequence[str] = (),
    ) -> None:
        """Begin a journal, or continue the existing one.

        Args:
            target: the path beside which the journal lies.
            settings: of the run.
            resume: continue an existing run.
            kept: names of settings that an existing journal decides.

        Raises:
            ValueError: the target exists and is not to be resumed, or was begun with other
                settings, or has no journal or a damaged one.
            OSError: the journal cannot be written.
        """
        # as JSON will return them: lists for tuples
        self.settings = json.loads(json.dumps(settings))
        self.done: dict[int, int] = {}
        self.finished, self._file = False, None
        self.begun = True
        if target is None:
            return
        self._path = target.with_name(target.name + UNFINISHED)
        self._end = target.with_name(target.name + FINISHED)
        self.finished = self._end.exists()
        path = self._end if self.finished else self._path
        if not resume:
            for there in (target, self._path, self._end):
                if there.exists():
                    raise ValueError(
                        f"apply_tiled: {there} exists; overwrite=True replaces it, resume=True "
                        "continues an interrupted run"
                    )
        # no complete line where the run was killed at the very beginning
        lines = _lines(path) if path.exists() else []
        if lines:
            self._read(path, lines, kept, target)
        elif target.exists():
            raise ValueError(
                f"apply_tiled: {target} exists without its journal {self._path.name}, which "
                "lists the complete tiles; overwrite=True replaces it"
            )
        self.begun = not lines
        if not self.finished:
            self._file = self._path.open("ab", buffering=0)
            try:
                self._file.truncate(sum(map(len, lines)))  # removes an incomplete line
                if not lines:
                    self._append(self.settings)
                    rasters.sync_folder(self._path.parent)
            except OSError:
                self._file.close()
                if self.begun:
                    self._path.unlink(missing_ok=True)
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
            raise ValueError(f"apply_tiled: {path} is not a journal of tiles; remove it") from None
        if other:
            raise OtherSettingsError(target, [(k, begun.get(k), header.get(k)) for k in other])
        if self.done and not target.exists():
            raise ValueError(
                f"apply_tiled: {target} is missing, but its journal {path.name} exists; remove "
                "the journal to begin again"
            )

    def record(self, number: int, clipped: int) -> None:
        """Record a tile whose data is on the disk."""
        if self._file is not None:
            self._append([number, clipped])
        self.done[number] = clipped

    def finish(self) -> None:
        """Record that all tiles are done."""
        if self._file is None:
            return
        self._file.close()
        os.replace(self._path, self._end)
        rasters.sync_folder(self._path.parent)

    def _append(self, entry: Any) -> None:
        assert self._file is not None
        with rasters.explained_write(self._path):
            line = json.dumps(entry).encode() + b"\n"
            while line:  # when the disk is nearly full, only a part is written
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def _lines(path: Path) -> list[bytes]:
    """The complete lines of a file."""
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
