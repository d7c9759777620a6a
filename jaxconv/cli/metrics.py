"""Files of the loss of every step, for other programs: CSV, JSON lines, TensorBoard."""

import json
import math
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxconv.cli.errors import CommandError

SUFFIXES = (".csv", ".jsonl")
EVENTS = ".jaxconv"  # the end of our event files' names


class Metrics:
    """Files that hold every step once, even if the run was killed and resumed.

    A resumed run reports the losses of all steps again, from its checkpoint. So the files are
    written from the beginning, and steps that a killed run wrote beyond its checkpoint are removed.
    """

    def __init__(self, file: Path | None, tensorboard: Path | None) -> None:
        """Check that the file can be written; nothing is written yet.

        Raises:
            CommandError: another suffix, or not writable.
        """
        self._path, self._folder = file, tensorboard
        self._file: IO[str] | None = None
        self._events: Any = None
        if file is not None:
            _check_file(file)

    def add(self, plane: str, before: int, losses: np.ndarray) -> None:
        """Write the losses of the steps that follow the first `before` ones."""
        numbered = list(enumerate(losses.tolist(), before + 1))
        if self._path is not None:
            try:
                if self._file is None:
                    self._file = self._path.open("w", encoding="utf-8")
                    if self._path.suffix == ".csv":
                        self._file.write("plane,step,loss\n")
                self._file.writelines(self._row(plane, step, loss) for step, loss in numbered)
                self._file.flush()
            except OSError as error:
                raise CommandError(
                    f"cannot write metrics to {self._path}: {error.strerror}"
                ) from error
        if self._folder is not None:
            try:
                self._add_events(self._folder, f"loss/{plane.replace(' ', '_')}", numbered)
            except OSError as error:
                raise CommandError(
                    f"cannot write TensorBoard's events to {self._folder}: {error.strerror}"
                ) from error

    def _add_events(self, folder: Path, tag: str, numbered: list[tuple[int, float]]) -> None:
        # not at the top: it takes a second; and not SummaryWriter, which loses errors in a thread
        from tensorboardX import RecordWriter
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboardX.summary import scalar

        now = time.time()
        if self._events is None:
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob(f"events.out.tfevents.*{EVENTS}"):
                old.unlink()
            name = f"events.out.tfevents.{int(now):010}.{socket.gethostname()}{EVENTS}"
            self._events = RecordWriter(str(folder / name))
            self._events.write(
                Event(wall_time=now, file_version="brain.Event:2").SerializeToString()
            )
        for step, loss in numbered:
            event = Event(wall_time=now, step=step, summary=scalar(tag, loss))
            self._events.write(event.SerializeToString())
        self._events.flush()

    def _row(self, plane: str, step: int, loss: float) -> str:
        assert self._path is not None
        if self._path.suffix == ".csv":
            return f"{plane},{step},{loss:.9g}\n"
        # JSON has no NaN
        row = {"plane": plane, "step": step, "loss": loss if math.isfinite(loss) else None}
        return json.dumps(row) + "\n"

    def close(self) -> None:
        """Close the files."""
        for file in (self._file, self._events):
            if file is not None:
                with suppress(OSError):  # reported already, when it was written
                    file.close()


@contextmanager
def metrics(file: Path | None, tensorboard: Path | None) -> Iterator[Metrics]:
    """Metrics that are closed at the end."""
    opened = Metrics(file, tensorboard)
    try:
        yield opened
    finally:
        opened.close()


def _check_file(file: Path) -> None:
    if file.suffix not in SUFFIXES:
        raise CommandError(f"--metrics must end in {' or '.join(SUFFIXES)}, got {str(file)!r}")
    new = not file.exists()
    try:
        file.open("a").close()  # keeps the file's contents
        if new:
            file.unlink()
    except OSError as error:
        raise CommandError(f"cannot write metrics to {file}: {error.strerror}") from error
