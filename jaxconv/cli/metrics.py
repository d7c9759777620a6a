"""The losses of a run, step by step, for other programs: CSV, JSON lines, TensorBoard."""

import importlib
import json
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxconv.cli.problem import Problem

SUFFIXES = (".csv", ".jsonl")
EVENTS = ".jaxconv"  # ends the names of our event files


class Metrics:
    """Files that hold every step once, whatever was killed and resumed.

    The losses of a resumed run come anew from its first step, out of the checkpoint: so the files
    are written from their beginning, and what a killed run wrote beyond its checkpoint goes.
    """

    def __init__(self, file: Path | None, tensorboard: Path | None) -> None:
        """Check that both can be written; nothing is yet.

        Raises:
            Problem: another suffix, not writable, or TensorBoard is not installed.
        """
        self._path, self._folder = file, tensorboard
        self._file: IO[str] | None = None
        self._events: Any = None
        if file is not None:
            _check_file(file)
        if tensorboard is not None:
            try:
                # its writers of files work in a thread, which tells a full disk in a page
                from tensorboard.summary.writer import record_writer  # pyright: ignore
            except ModuleNotFoundError as error:
                raise Problem(
                    f"--tensorboard needs {error.name}: pip install tensorboard"
                ) from error
            self._records = record_writer.RecordWriter
            # made by protoc at run time: no type checker knows their names
            proto = "tensorboard.compat.proto"
            self._event = importlib.import_module(f"{proto}.event_pb2").Event
            self._summary = importlib.import_module(f"{proto}.summary_pb2").Summary

    def add(self, plane: str, before: int, losses: np.ndarray) -> None:
        """Write the losses of the steps after so many, and hand them to the system."""
        if self._path is not None:
            try:
                if self._file is None:
                    self._file = self._path.open("w", encoding="utf-8")
                    if self._path.suffix == ".csv":
                        self._file.write("plane,step,loss\n")
                self._file.write("".join(self._rows(plane, before, losses)))
                self._file.flush()
            except OSError as error:
                raise Problem(f"cannot write metrics to {self._path}: {error.strerror}") from error
        if self._folder is not None:
            try:
                if self._events is None:
                    self._events = self._begun(self._folder)
                for step, loss in enumerate(losses.tolist(), before + 1):
                    value = self._summary.Value(tag=f"loss/{plane}", simple_value=loss)
                    summary = self._summary(value=[value])
                    event = self._event(wall_time=time.time(), step=step, summary=summary)
                    self._events.write(event.SerializeToString())
                self._events.flush()
            except OSError as error:
                raise Problem(
                    f"cannot write TensorBoard's events to {self._folder}: {error.strerror}"
                ) from error

    def _begun(self, folder: Path) -> Any:
        """An event file in the place of those that we left there before."""
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"events.out.tfevents.*{EVENTS}"):
            old.unlink()
        now = time.time()
        name = f"events.out.tfevents.{int(now):010}.{socket.gethostname()}.{os.getpid()}{EVENTS}"
        events = self._records((folder / name).open("wb"))
        events.write(self._event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        return events

    def _rows(self, plane: str, before: int, losses: np.ndarray) -> Iterator[str]:
        assert self._path is not None
        for step, loss in enumerate(losses.tolist(), before + 1):
            if self._path.suffix == ".csv":
                yield f"{plane},{step},{loss:.9g}\n"
            else:  # JSON has no NaN
                row = {"plane": plane, "step": step, "loss": loss if math.isfinite(loss) else None}
                yield json.dumps(row) + "\n"

    def close(self) -> None:
        """Let go of the files."""
        if self._file is not None:
            with suppress(OSError):  # told already, where it was written
                self._file.close()
        if self._events is not None:
            with suppress(OSError):
                self._events.close()


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
        raise Problem(f"--metrics must end in {' or '.join(SUFFIXES)}, got {str(file)!r}")
    new = not file.exists()
    try:
        file.open("a").close()  # which leaves what is there
        if new:
            file.unlink()
    except OSError as error:
        raise Problem(f"cannot write metrics to {file}: {error.strerror}") from error
