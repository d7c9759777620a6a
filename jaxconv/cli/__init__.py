"""The command line: `jaxconv COMMAND ...`. Needs the `cli` extra, and says so where it is missing.

This file imports nothing of that extra; `app.py` lists the commands.
"""

import contextlib
import os
import sys
from collections.abc import Sequence

EXTRA = {"imageio", "matplotlib", "PIL", "rich", "skimage", "tensorboardX", "tifffile", "typer"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what follows `jaxconv` on the command line; `sys.argv[1:]` if None.

    Returns:
        The exit code: 0 done, 2 refused with one line on standard error, 130 interrupted.

    Example:
        >>> from jaxconv.cli import main
        >>> main(["--version"])  # doctest: +ELLIPSIS
        jaxconv ...
        0

    Source: the exit codes of POSIX shells.
    """
    try:
        from jaxconv.cli.app import run

        code = run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()  # here, where a full disk can still be told in one line
        return code
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRA:
            raise
        print(
            f"jaxconv: the command line needs {missing}: pip install 'jaxconv[cli]'",
            file=sys.stderr,
        )
        return 2
    except OSError as error:
        if error.filename is not None:
            raise
        print(f"jaxconv: cannot write the output: {error.strerror or error}", file=sys.stderr)
        _forget_output()
        return 2
    except KeyboardInterrupt:
        print("jaxconv: interrupted; no results were written", file=sys.stderr)
        return 130


def _forget_output() -> None:
    # what could not be written stays in the buffer, and would fail again at exit
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
