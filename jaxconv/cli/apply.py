"""`jaxconv apply`: an image and a kernel to the filtered image, in the image's own type.

An image in memory is filtered like one on disk, in a single tile.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from jaxconv._files.formats import open_source
from jaxconv._files.rasters import Source
from jaxconv._files.stored import Stored, check_holds, save
from jaxconv.cli.errors import CommandError, as_command_error
from jaxconv.cli.kernels import read_kernel
from jaxconv.cli.options import Apply
from jaxconv.cli.results import write_results
from jaxconv.cli.scales import SCALES, choose_scale
from jaxconv.tiles import apply_tiled

MODES = ("symmetric", "reflect", "replicate", "circular", "zeros")
INTERVAL = 30.0  # seconds between lines of progress where there is no terminal
# arguments in the messages of `apply_tiled` -> the options of the command
OPTIONS = {
    "apply_tiled: ": "",
    "resume=True": "--resume",
    "method=": "--method ",
    "padding_mode=": "--padding-mode ",
    "tile=": "--tile ",
}


def run(given: Apply) -> str:
    """Filter an image file; return a line that describes the result."""
    check_options(given)
    image, output, cut = given.image, given.output, given.cut
    with naming_options():
        weights = read_kernel(given.kernel)
        source = open_source(image, whole=given.tile is None)
        if output is None:
            output = image.with_name(f"{image.stem}-{weights.name}{image.suffix}")
        planes, bias = weights.for_image(source.shape)
        target: Path | Stored = output
        if isinstance(source, Stored):
            sizes = zip(source.shape, weights.size, strict=False)
            covered = [slice((k - 1) // 2, n - k // 2) if cut else slice(n) for n, k in sizes]
            target = source.blank(*covered)
            check_holds(output, target)
        if output.exists() and output.samefile(image):
            raise CommandError(f"{output} is the image itself; name another file")
        apply = functools.partial(
            apply_tiled,
            source if given.tile is None else image,
            planes,
            tile=given.tile,
            bias=bias,
            padding="valid" if cut else "same",
            padding_mode="zeros" if cut else given.mode,
            groups=1 if planes.ndim == 2 else planes.shape[-1],
            method=given.method,
            precision="highest",
        )
        floating = source.dtype.startswith("float")
        chosen = choose_scale(given.scale, weights, floating=floating, apply=apply)
        with progress() as on_tile:
            done = apply(
                target=target,
                low=chosen.low,
                offset=chosen.offset,
                divisor=chosen.divisor,
                clip=chosen.name == "clip",
                resume=given.resume,
                on_tile=on_tile,
            )
        if done.clipped and floating and chosen.name != "clip":
            size = math.prod(done.shape)
            raise CommandError(
                f"{output}: {done.clipped * size:.0f} of {size} values are beyond the largest of "
                f"{done.dtype}; scale the image down, or save it in a wider type"
            )
        if isinstance(target, Stored):
            # the suffix decides the format: the temporary file has it too
            write_results(output.parent, {output.name: lambda path: save(path, target)})
    h, w = weights.size
    parts = [
        f"{'x'.join(map(str, done.shape[:2]))} {colours(done.shape)} {done.dtype}",
        f"{weights.name} ({h}x{w}), {'cut' if cut else given.mode}",
        chosen.text(done.clipped),
        *remarks(source, output),
    ]
    if given.tile is not None:
        parts.append(
            f"{done.tiles} tiles" + (f", {done.resumed} of them before" if done.resumed else "")
        )
    return f"wrote {output}: {'; '.join(parts)}"


def check_options(given: Apply) -> None:
    """Refuse an unknown scale or padding mode, and wrong options about tiles."""
    for option, value, known in (
        ("--scale", given.scale, SCALES),
        ("--padding-mode", given.mode, MODES),
    ):
        if value is not None and value not in known:
            raise CommandError(f"{option} must be one of {', '.join(known)}; got {value!r}")
    if given.tile is None and given.resume:
        raise CommandError("--resume needs the --tile N of the interrupted run")
    if given.tile is not None and given.tile < 1:
        raise CommandError(f"--tile must be 1 or more, got {given.tile}")


@contextmanager
def naming_options() -> Iterator[None]:
    """Turn errors into problems whose messages name the options of the command."""
    try:
        with as_command_error():
            yield
    except CommandError as error:
        message = str(error)
        for argument, option in OPTIONS.items():
            message = message.replace(argument, option)
        raise CommandError(message) from error


def colours(shape: tuple[int, ...]) -> str:
    """Grey, colour or the number of channels."""
    count = shape[2] if len(shape) == 3 else 1
    return {1: "grey", 3: "colour"}.get(count, f"{count} channels")


def remarks(source: Source, output: Path) -> list[str]:
    """What was kept of the file besides its colours, and what was not as in the file."""
    image = source if isinstance(source, Stored) else None
    found = []
    if getattr(source, "profile", None) is not None and output.suffix.lower() != ".zarr":
        found.append("colour profile kept")
    if image is not None and image.alpha is not None:
        found.append("alpha kept as it was")
    if source.dtype == "float64":
        found.append("computed in float32")
    return found + (image.remarks if image is not None else [])


@contextmanager
def progress() -> Iterator[Callable[[int, int], None]]:
    """Report finished tiles on standard error: a bar on a terminal, else a line now and then."""
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task("filtering", total=None)
            yield lambda done, tiles: bar.update(task, completed=done, total=tiles)
        return
    last = time.monotonic()

    def line(done: int, tiles: int) -> None:
        nonlocal last
        if time.monotonic() - last >= INTERVAL:
            last = time.monotonic()
            console.print(f"jaxconv apply: tile {done} of {tiles}", soft_wrap=True)

    yield line
