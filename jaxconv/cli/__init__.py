"""The command line: `jaxconv COMMAND ...`, which needs the `cli` extra.

This file imports nothing of that extra, and names what is missing; `app.py` lists the commands.
"""

import contextlib
import importlib.util
import os
import sys
from collections.abc import Sequence

from jaxconv._core.extras import EXTRAS

EXTRA = (*EXTRAS, "PIL", "rich", "skimage", "tensorboardX", "typer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after `jaxconv` on the command line; `sys.argv[1:]` if None.

    Returns:
        The exit code: 0 done, 1 a benchmark found a wrong value, 2 refused with one line on
        standard error, 130 interrupted.

    Example:
        >>> from jaxconv.cli import main
        >>> main(["--version"])  # doctest: +ELLIPSIS
        jaxconv ...
        0
    """
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"jaxconv: the command line needs {', '.join(missing)}: pip install 'jaxconv[cli]'",
            file=sys.stderr,
        )
        return 2
    try:
        from jaxconv.cli.app import run

        code = run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()  # here, where a full disk can still be reported in one line
        return code
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
    # the text that could not be written stays in the buffer, and would fail again at exit
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
