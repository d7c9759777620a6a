"""The folder of a command's results."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from jaxconv.cli.errors import CommandError


def check_writable(folder: Path) -> None:
    """Check that results can be written to a folder, before they are computed, by writing there.

    Args:
        folder: need not exist yet, nor its parents; nothing is left behind.

    Raises:
        CommandError: the folder, or the one that it would be made in, cannot be written.
    """
    with _prepared(folder):
        pass


def write_results(folder: Path, writers: Mapping[str, Callable[[Path], object]]) -> list[str]:
    """Write files, all of them under temporary names first, then rename them.

    A new folder appears with all its files or, if something fails or the process is killed, not at
    all. In a folder that exists, whose other files stay, each file is replaced as a whole; only a
    process that is killed between two renames leaves some files old and some new.

    Args:
        folder: made if missing.
        writers: for each file name a function that writes it to the path that it gets.

    Returns:
        The paths written.

    Raises:
        CommandError: a file could not be written; the folder is as it was.
    """
    with _prepared(folder) as temporary:
        for name, write in writers.items():
            write(temporary / name)
        if not folder.exists():
            os.rename(temporary, folder)
        else:
            for name in writers:
                if (folder / name).is_dir():
                    raise CommandError(f"cannot write results to {folder}: its {name} is a folder")
            for name in writers:
                os.replace(temporary / name, folder / name)
    return [str(folder / name) for name in writers]


@contextmanager
def _prepared(folder: Path) -> Iterator[Path]:
    """A temporary folder on the file system of the results; parents that stay empty are removed."""
    missing = []
    try:
        parent = folder if folder.exists() else folder.parent
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir():
            raise CommandError(f"cannot write results to {folder}: {there} is not a folder")
        missing = [path for path in (parent, *parent.parents) if not path.exists()]
        parent.mkdir(parents=True, exist_ok=True)
        outer = Path(tempfile.mkdtemp(prefix=".jaxconv-", dir=parent))
        try:
            (outer / "results").mkdir()  # with the usual permissions, which mkdtemp narrows
            yield outer / "results"
        finally:
            shutil.rmtree(outer, ignore_errors=True)
    except OSError as error:
        raise CommandError(
            f"cannot write results to {folder}: {error.strerror or error}"
        ) from error
    finally:
        for made in missing:
            if made.is_dir() and not any(made.iterdir()):
                made.rmdir()
