"""The error of a command that cannot do what it was asked for."""

from collections.abc import Iterator
from contextlib import contextmanager


class CommandError(Exception):
    """Its message is one line for standard error; the command ends with exit code 2."""


@contextmanager
def as_command_error() -> Iterator[None]:
    """Raise the errors of the library's own checks of arguments and files as a CommandError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        where = f"{error.filename}: " if error.filename and error.strerror else ""
        raise CommandError(f"{where}{reason}") from error
    except (ValueError, TypeError) as error:
        raise CommandError(str(error)) from error
