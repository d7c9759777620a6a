"""What a command raises when it was asked for something that cannot be done."""

from collections.abc import Iterator
from contextlib import contextmanager


class Problem(Exception):  # noqa: N818 - it is the user's problem, told in one line
    """One line for standard error; the command ends with exit code 2."""


@contextmanager
def told_as_problem() -> Iterator[None]:
    """Turn the errors of the library's own argument and file checks into problems."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        where = f"{error.filename}: " if error.filename and error.strerror else ""
        raise Problem(f"{where}{reason}") from error
    except (ValueError, TypeError) as error:
        raise Problem(str(error)) from error
