"""The command line: `jaxconv COMMAND ...`. Needs the `cli` extra, and says so where it is missing.

This file imports nothing of that extra; `app.py` lists the commands.
"""

import sys
from collections.abc import Sequence

EXTRA = {"imageio", "matplotlib", "PIL", "rich", "skimage", "tifffile", "typer"}


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

        return run(list(sys.argv[1:] if arguments is None else arguments))
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRA:
            raise
        print(
            f"jaxconv: the command line needs {missing}: pip install 'jaxconv[cli]'",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("jaxconv: interrupted; nothing was written", file=sys.stderr)
        return 130
