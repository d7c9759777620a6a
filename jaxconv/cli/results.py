"""A folder of results that is written whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from jaxconv.cli.problem import Problem


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written, before any work is done for it, by writing there.

    Args:
        folder: need not exist yet, nor its parents; nothing is left behind.

    Raises:
        Problem: it, or what it would be made in, is no folder or not writable.
    """
    missing = []
    there = folder
    try:
        while not there.exists() and there != there.parent:
            missing.append(there)
            there = there.parent
        if not there.is_dir():
            raise Problem(f"cannot write results to {folder}: {there} is not a folder")
        folder.mkdir(parents=True, exist_ok=True)
        os.rmdir(tempfile.mkdtemp(prefix=".jaxconv-", dir=folder))
    except OSError as error:
        raise Problem(f"cannot write results to {folder}: {error.strerror}") from error
    finally:
        for made in missing:
            if made.is_dir():
                made.rmdir()


def write_results(folder: Path, writers: Mapping[str, Callable[[Path], object]]) -> list[str]:
    """Write files under temporary names, all of them, then rename each into the folder.

    Args:
        folder: made if missing.
        writers: for each file name a function that writes it to the path it is given.

    Returns:
        The paths written.

    Raises:
        Problem: something could not be written; the folder's files are as they were.
    """
    new = not folder.exists()
    if not new and not folder.is_dir():
        raise Problem(f"cannot write results to {folder}: it is not a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Inside the folder, so that renaming never crosses a file system.
        temporary = Path(tempfile.mkdtemp(prefix=".jaxconv-", dir=folder))
    except OSError as error:
        raise Problem(f"cannot write results to {folder}: {error.strerror}") from error
    try:
        for name, write in writers.items():
            write(temporary / name)
        for name in writers:
            if (folder / name).is_dir():
                raise Problem(f"cannot write results to {folder}: its {name} is a folder")
        for name in writers:
            os.replace(temporary / name, folder / name)
    except OSError as error:
        raise Problem(f"cannot write results to {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if new and not any(folder.iterdir()):
            folder.rmdir()
    return [str(folder / name) for name in writers]
