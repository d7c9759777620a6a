"""The commands: what each does is in the file of its name, its options are in `options`."""

import inspect
from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from jaxconv.cli import options
from jaxconv.cli.errors import CommandError

_Options = TypeVar("_Options")

app = typer.Typer(
    help="Convolution for JAX: learn kernels from images, apply them, measure speed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        import jaxconv

        typer.echo(f"jaxconv {jaxconv.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass  # the callback has done it


def _command(
    options: Callable[..., _Options],
) -> Callable[[Callable[[_Options], int]], Callable[[_Options], int]]:
    """Make a function a command: it is given the options as one object, and returns an exit code.

    Typer reads the signature of a class of `options` where it would read the function's.
    """

    def decorate(function: Callable[[_Options], int]) -> Callable[[_Options], int]:
        name = function.__name__

        def command(**given: object) -> None:
            try:
                code = function(options(**given))
            except CommandError as error:
                typer.echo(f"jaxconv {name}: {error}", err=True)
                code = 2
            raise typer.Exit(code)

        command.__doc__ = function.__doc__
        command.__signature__ = inspect.signature(options)  # pyright: ignore
        app.command(name)(command)
        return function

    return decorate


@_command(options.Learn)
def learn(given: options.Learn) -> int:
    """Learn the kernel that turned one image into another.

    Without images: learn an edge detector from 6x8 pixels, then a filter from a photograph.
    """
    from jaxconv.cli import learn as command

    command.run(given)
    return 0


@_command(options.Info)
def info(given: options.Info) -> int:
    """Print versions, devices, methods and their needs, and where expected times are from."""
    from jaxconv.cli import info as command

    command.run(given)
    return 0


@_command(options.Explain)
def explain(given: options.Explain) -> int:
    """List the convolutions of a function with their methods and expected times.

    For example: jaxconv explain model.py:forward "float32[8,32,32,3]" --gradients
    """
    from jaxconv.cli import explain as command

    command.run_explain(given)
    return 0


@_command(options.Tune)
def tune(given: options.Tune) -> int:
    """Measure the methods of each convolution of a function, and write the fastest as a policy."""
    from jaxconv.cli import explain as command

    command.run_tune(given)
    return 0


@_command(options.Calibrate)
def calibrate(given: options.Calibrate) -> int:
    """Measure this machine's CPU, so that the choice of methods fits it.

    Run nothing else at the same time.
    """
    from jaxconv.cli import calibrate as command

    command.run(given)
    return 0


@_command(options.Bench)
def bench(given: options.Bench) -> int:
    """Time this package beside lax, torch, scipy and OpenCV, values checked first."""
    from jaxconv.cli import bench as command

    return 0 if command.run(given) else 1


@_command(options.Apply)
def apply(given: options.Apply) -> int:
    """Filter an image with a kernel, correlated with the stored values of each colour.

    Depth, colour profile and alpha are kept, or the file is refused.
    """
    from jaxconv.cli import apply as command

    typer.echo(command.run(given))
    return 0


@_command(options.Restore)
def restore(given: options.Restore) -> int:
    """Undo the blur of an image whose kernel is known, and draw it before and after.

    Depth, axes, colour profile and alpha are kept, or the file is refused.
    """
    from jaxconv.cli import restore as command

    typer.echo(command.run(given))
    return 0


def run(arguments: list[str]) -> int:
    """Run the app; usage mistakes too are one line and exit code 2."""
    try:
        return app(arguments, prog_name="jaxconv", standalone_mode=False) or 0
    except (typer.Abort, SystemExit) as ending:
        if isinstance(ending, SystemExit):
            raise
        raise KeyboardInterrupt from ending
    except Exception as error:
        # Typer's usage errors: their class has lived in click and in typer
        explain = getattr(error, "format_message", None)
        if explain is None:
            raise
        message = " ".join(explain().split())
        if message:
            typer.echo(f"jaxconv: {message} (see --help)", err=True)
        return int(getattr(error, "exit_code", 2))
