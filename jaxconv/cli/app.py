"""The commands and their options; what each does is in the file of its name."""

from pathlib import Path
from typing import Annotated

import typer

from jaxconv.cli.problem import Problem

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
        typer.Option(
            help="Steps of the optimiser (default: sgd 40, lbfgs 60, adam 500, constrained 300)"
        ),
    ] = None,
    optimizer: Annotated[str, typer.Option(help="sgd (whitened), lbfgs or adam.")] = "sgd",
    learning_rate: Annotated[
        float | None,
        typer.Option(help="For sgd (default: 0.25) and adam (default: 0.1)."),
    ] = None,
    constraint: Annotated[
        list[str] | None,
        typer.Option(
            help="What the kernel must obey: non_negative, sum_to_one, simplex (both), symmetric, "
            "separable or separable:RANK. May be given several times."
        ),
    ] = None,
    one_kernel: Annotated[
        bool, typer.Option("--one-kernel", help="Learn one kernel for all colours, not one each.")
    ] = False,
    bias: Annotated[bool, typer.Option(help="Learn a constant shift too.")] = True,
    exact: Annotated[
        bool, typer.Option("--exact", help="Print the least-squares answer beside the learned one.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="Start from a random kernel of this seed, not from zeros.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder to keep the run in, so that it can be resumed.")
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(help="Steps between checkpoints (default: a twentieth of the steps)"),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the last checkpoint, if there is one."),
    ] = False,
    metrics: Annotated[
        Path | None, typer.Option(help="Write the loss of each step here: .csv or .jsonl.")
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Write the losses for TensorBoard into this folder.")
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
        constraints=tuple(constraint or ()),
        one_kernel=one_kernel,
        bias=bias,
        exact=exact,
        seed=seed,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        resume=resume,
        metrics=metrics,
        tensorboard=tensorboard,
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


@app.command()
def bench(
    *,
    suite: Annotated[
        str | None,
        typer.Option(help="filters,networks,learn,models (default: these), or regret alone."),
    ] = None,
    only: Annotated[
        str, typer.Option(help="Regular expression that 'suite: case, mode' must match.")
    ] = "",
    quick: Annotated[bool, typer.Option("--quick", help="A few cases, less time each.")] = False,
    method: Annotated[str, typer.Option(help="Force one of our methods.")] = "auto",
    against: Annotated[
        str | None,
        typer.Option(help="Peers, with commas: lax, torch, scipy, opencv (default: all)."),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(help="Seconds of timing a case (default: 1.5, with --quick 0.4)."),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write every number to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the ratios into this file.")] = None,
    count: Annotated[int, typer.Option(help="Random shapes of the regret suite.")] = 300,
    seed: Annotated[int, typer.Option(help="Of the regret suite's shapes.")] = 0,
) -> None:
    """Time this package beside lax, torch, scipy and OpenCV, values checked first."""
    from jaxconv.cli import bench as command

    request = command.Request(
        suite=suite,
        only=only,
        quick=quick,
        method=method,
        against=against,
        budget=budget,
        json=json,
        plot=plot,
        count=count,
        seed=seed,
    )
    try:
        right = command.run(request)
    except Problem as problem:
        typer.echo(f"jaxconv bench: {problem}", err=True)
        raise typer.Exit(2) from None
    if not right:
        raise typer.Exit(1)


@app.command()
def apply(
    image: Annotated[
        Path, typer.Argument(help="The image: png, jpeg or tiff; with --tile tiff or zarr.")
    ],
    output: Annotated[
        Path | None, typer.Argument(help="The file to write (default: IMAGE-KERNEL beside it).")
    ] = None,
    *,
    kernel: Annotated[
        str,
        typer.Option(help="A name such as sobel_x, or what learn wrote: its folder, .csv or .npy."),
    ],
    scale: Annotated[
        str | None,
        typer.Option(
            help="clip to 0..1; signed: mid-grey is 0, scaled so that nothing clips; stretch: "
            "smallest to largest, filters twice; none. Default: none for floating-point files, "
            "signed for named kernels with negative weights, else clip."
        ),
    ] = None,
    padding_mode: Annotated[
        str,
        typer.Option(help="Outside: symmetric, reflect, replicate, circular or zeros."),
    ] = "symmetric",
    cut: Annotated[
        bool, typer.Option("--cut", help="Keep only where the kernel lies inside the image.")
    ] = False,
    tile: Annotated[
        int | None,
        typer.Option(help="Filter in square tiles of this side, for images on disk: tiff or zarr."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run with --tile.")
    ] = False,
    method: Annotated[
        str,
        typer.Option(help="auto (direct sums); fastest, which may take FFT; or a method's name."),
    ] = "auto",
) -> None:
    """Filter an image with a kernel, correlated with the stored values of each colour.

    Depth, colour profile and alpha are kept, or the file is refused.
    """
    from jaxconv.cli import apply as command

    options = {"kernel": kernel, "scale": scale, "mode": padding_mode, "cut": cut, "method": method}
    try:
        typer.echo(command.run(image, output, tile=tile, resume=resume, **options))
    except Problem as problem:
        typer.echo(f"jaxconv apply: {problem}", err=True)
        raise typer.Exit(2) from None


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
