"""The progress of a run: parts or steps that are done, speed and time left."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

INTERVAL = 30.0  # seconds between plain lines


class Reporter:
    """Shows progress as a bar on a terminal, else as a line from time to time."""

    def __init__(self, total: int, bar: Progress | None, console: Console) -> None:
        """Count to this total, which includes the steps of earlier sessions."""
        self._total, self._done, self._here = total, 0, 0
        self._bar, self._console = bar, console
        self._task = None if bar is None else bar.add_task("learning", total=total, line="")
        self._began = self._printed = time.monotonic()

    def add(self, steps: int, loss: float, *, restored: bool = False) -> None:
        """Count steps, done now or restored from a checkpoint; loss is that of the last one."""
        self._done += steps
        self._here += 0 if restored else steps
        now = time.monotonic()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, line=self._line(loss, now))
        elif now - self._printed >= INTERVAL:
            self._printed = now
            self._console.print(f"jaxconv learn: {self._line(loss, now)}", soft_wrap=True)

    def _line(self, loss: float, now: float) -> str:
        line = f"step {self._done} of {self._total}, loss {loss:.3g}"
        seconds = now - self._began
        if not self._here or seconds <= 0:
            return line
        rate = self._here / seconds
        left = (self._total - self._done) / rate
        return f"{line}, {rate:.3g} steps/s, {duration(left)} left"


def duration(seconds: float) -> str:
    """Format a time in its two largest units."""
    whole = round(seconds)
    for unit, below, size in (("d", "h", 86400), ("h", "min", 3600), ("min", "s", 60)):
        if whole >= size:
            rest = whole % size // {"h": 3600, "min": 60, "s": 1}[below]
            return f"{whole // size} {unit} {rest} {below}"
    return f"{whole} s"


@contextmanager
def reporting(total: int) -> Iterator[Reporter]:
    """Show progress on standard error until the end of the context."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Reporter(total, None, console)
        return
    columns = (TextColumn("learning"), BarColumn(), TextColumn("{task.fields[line]}"))
    with Progress(*columns, console=console, transient=True) as bar:
        yield Reporter(total, bar, console)


@contextmanager
def counting(command: str, doing: str, part: str) -> Iterator[Callable[[int, int], None]]:
    """Report finished parts on standard error: a bar on a terminal, else a line now and then.

    Args:
        command: for the lines.
        doing: for the bar.
        part: what is counted, for the lines.
    """
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task(doing, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    last = time.monotonic()

    def line(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= INTERVAL:
            last = time.monotonic()
            console.print(f"jaxconv {command}: {part} {done} of {total}", soft_wrap=True)

    yield line
