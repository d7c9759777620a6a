"""The error of a command that cannot do what it was asked for."""

from collections.abc import Iterator
from contextlib import contextmanager


class Problem(Exception):  # noqa: N818 - the command ends with it, not with a traceback
    """Its message is one line for standard error; the command ends with exit code 2."""


@contextmanager
def told_as_problem() -> Iterator[None]:
    """Raise the errors of the library's own checks of arguments and files as a Problem."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        where = f"{error.filename}: " if error.filename and error.strerror else ""
        raise Problem(f"{where}{reason}") from error
    except (ValueError, TypeError) as error:
        raise Problem(str(error)) from error
