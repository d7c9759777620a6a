"""The commands and their options; what each does is in the file of its name."""

from pathlib import Path
from typing import Annotated

import typer

from jaxconv.cli.problem import Problem

app = typer.Typer(
    help="Convolution for JAX: learn kernels from images.",
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


@app.command()
def learn(
    before: Annotated[
        Path | None, typer.Argument(help="The image before the filter: png, jpeg or tiff.")
    ] = None,
    after: Annotated[
        Path | None, typer.Argument(help="The same image after it: as large, or cut to 'valid'.")
    ] = None,
    *,
    kernel: Annotated[
        str | None,
        typer.Option(help="Size of the kernel to learn, HxW or one number for a square."),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The hidden kernel of the demonstration (default: sobel_x)")
    ] = None,
    photo: Annotated[
        str | None,
        typer.Option(help="The demonstration's photograph, name or file (default: camera)"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("learned"),
    steps: Annotated[
        int | None,
        typer.Option(help="Steps of the optimiser (default: sgd 40, lbfgs 60, adam 500)"),
    ] = None,
    optimizer: Annotated[str, typer.Option(help="sgd (whitened), lbfgs or adam.")] = "sgd",
    learning_rate: Annotated[
        float | None,
        typer.Option(help="For sgd (default: 0.25) and adam (default: 0.1)."),
    ] = None,
    one_kernel: Annotated[
        bool, typer.Option("--one-kernel", help="Learn one kernel for all colours, not one each.")
    ] = False,
    bias: Annotated[bool, typer.Option(help="Learn a constant shift too.")] = True,
    seed: Annotated[
        int | None, typer.Option(help="Start from a random kernel of this seed, not from zeros.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables.")
    ] = False,
) -> None:
    """Learn the kernel that turned one image into another.

    Without images: learn an edge detector from 6x8 pixels, then a filter from a photograph.
    """
    from jaxconv.cli import learn as command

    request = command.Request(
        before=before,
        after=after,
        kernel=kernel,
        target=target,
        photo=photo,
        out=out,
        steps=steps,
        optimizer=optimizer,
        learning_rate=learning_rate,
        one_kernel=one_kernel,
        bias=bias,
        seed=seed,
        json=json,
    )
    try:
        command.run(request)
    except Problem as problem:
        typer.echo(f"jaxconv learn: {problem}", err=True)
        raise typer.Exit(2) from None


@app.command()
def info(
    *,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables.")
    ] = False,
) -> None:
    """Print versions, devices, and which methods are at hand here, and why not."""
    from jaxconv.cli import info as command

    command.run(as_json=json)


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
