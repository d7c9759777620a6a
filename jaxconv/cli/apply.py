"""`jaxconv apply`: an image and a kernel to the filtered image, in the image's own type.

An image in memory is filtered like one on disk, in a single tile.
"""

import functools
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from jaxconv._files import formats
from jaxconv._files.axes import layout
from jaxconv._files.rasters import Source
from jaxconv._files.stored import Stored, check_holds, save
from jaxconv.cli.errors import CommandError, as_command_error
from jaxconv.cli.kernels import image_axes, read_kernel
from jaxconv.cli.options import Apply
from jaxconv.cli.results import write_results
from jaxconv.cli.scales import SCALES, choose_scale
from jaxconv.tiles import apply_tiled

MODES = ("symmetric", "reflect", "replicate", "circular", "zeros")
INTERVAL = 30.0  # seconds between lines of progress where there is no terminal
# arguments in the messages of the library -> the options of the command
OPTIONS = {
    "apply_tiled: ": "",
    "resume=True": "--resume",
    "overwrite=True": "--overwrite",
    "method=": "--method ",
    "padding_mode=": "--padding-mode ",
    "tile=": "--tile ",
    "axes=": "--axes ",
    "page=": "--page ",
    "level=": "--level ",
}
# settings of a run in tiles -> what the command calls them
SETTINGS = {
    "source": "IMAGE",
    "source_stamp": "IMAGE (it has changed)",
    "source_shape": "IMAGE (it has changed)",
    "source_dtype": "IMAGE (it has changed)",
    "kernel": "--kernel",
    "bias": "--kernel",
    "flip": "--kernel",
    "rank": "--kernel",
    "groups": "--kernel",
    "padding": "--cut",
    "padding_mode": "--padding-mode",
    "low": "--scale",
    "offset": "--scale",
    "divisor": "--scale",
    "shifted": "--scale",
    "clip": "--scale",
    "jax": "version of JAX or device",
    "format": "version of jaxconv",
}


def run(given: Apply) -> str:
    """Filter an image file; return a line that describes the result."""
    check_options(given)
    image, cut, tiled = given.image, given.cut, given.tile is not None
    with naming_options(image):
        kernel = read_kernel(given.kernel, given.kernel_axes)
        output = named_output(given, kernel.name)
        source = formats.open_source(
            image, whole=not tiled, page=given.page, level=given.level or 0
        )
        axes = image_axes(getattr(source, "axes", ""), source.shape, given.axes, image)
        kernel = kernel.for_image(axes, source.shape)
        check_output(given, output)
        target: Path | Stored = output
        if isinstance(source, Stored):
            space = layout(axes, source.shape, len(kernel.size))[0].space
            box = [slice(0, n) for n in source.shape]
            for n, k in zip(space, kernel.size, strict=True):
                box[n] = slice((k - 1) // 2, source.shape[n] - k // 2) if cut else box[n]
            target = source.blank(axes, tuple(box))
            check_holds(output, target)
        apply = functools.partial(
            apply_tiled,
            source if isinstance(source, Stored) else image,
            tile=given.tile,
            padding="valid" if cut else "same",
            padding_mode="zeros" if cut else given.mode,
            method=given.method,
            precision="highest",
            axes=axes,
            **({"page": given.page, "level": given.level or 0} if tiled else {}),
            **kernel.arguments(),
        )
        chosen = choose_scale(given.scale, kernel, dtype=source.dtype, apply=apply)
        with progress() as on_tile:
            done = apply(
                target=target,
                low=chosen.low,
                offset=chosen.offset,
                divisor=chosen.divisor,
                clip=chosen.name == "clip",
                resume=given.resume,
                overwrite=given.overwrite and tiled,
                on_tile=on_tile,
            )
        if done.clipped and source.dtype.startswith("float") and chosen.name != "clip":
            size = math.prod(done.shape)
            if tiled:
                discard(output)
            raise CommandError(
                f"{output}: {done.clipped * size:.0f} of {size} values are beyond the largest of "
                f"{done.dtype}; scale the image down, or save it in a wider type"
            )
        if isinstance(target, Stored):
            # the suffix decides the format: the temporary file has it too
            write_results(output.parent, {output.name: functools.partial(store, target, output)})
    parts = [
        described(done.shape, axes, done.dtype),
        f"{kernel.text()}, {'cut' if cut else given.mode}",
        chosen.text(done.clipped),
        *kernel.remarks,
        *remarks(source, output),
    ]
    if tiled:
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
    if given.resume and given.overwrite:
        raise CommandError("--overwrite begins again, --resume continues: give one of them")
    if given.tile is not None and given.tile < 1:
        raise CommandError(f"--tile must be 1 or more, got {given.tile}")
    for option, number in (("--page", given.page), ("--level", given.level)):
        if number is not None and number < 0:
            raise CommandError(f"{option} must be 0 or more, got {number}")


def named_output(given: Apply, kernel: str) -> Path:
    """The file to write: given, or beside the image."""
    image = given.image
    if given.output is not None:
        return given.output
    if not image.suffix:
        raise CommandError(f"{image} has no suffix to write another by; name the OUTPUT too")
    return image.with_name(f"{image.stem}-{kernel}{image.suffix}")


def check_output(given: Apply, output: Path) -> None:
    """Refuse to write over the image, or over a file without being told to."""
    if output.exists() and output.samefile(given.image):
        raise CommandError(f"{output} is the image itself; name another file")
    if given.overwrite or given.resume:
        return
    begun = [output.with_name(output.name + end) for end in (".unfinished", ".finished")]
    there = next((path for path in (output, *(begun if given.tile else ())) if path.exists()), None)
    if there is not None:
        more = ", --resume continues an interrupted run" if given.tile is not None else ""
        raise CommandError(f"{there} exists; --overwrite replaces it{more}, or name another file")


def store(target: Stored, output: Path, temporary: Path) -> None:
    """Write an image under a temporary name; a zarr's folder, which none replaces, makes room."""
    save(temporary, target)
    if output.is_dir():
        formats.remove(output)


def discard(output: Path) -> None:
    """Remove the result of a run in tiles, and its journal."""
    formats.remove(output)
    output.with_name(f"{output.name}.finished").unlink(missing_ok=True)


@contextmanager
def naming_options(image: Path) -> Iterator[None]:
    """Turn errors into problems whose messages name the options of the command."""
    try:
        with as_command_error():
            yield
    except CommandError as error:
        cause: Any = error.__cause__
        if changes := getattr(cause, "changes", None):
            told = ", ".join(dict.fromkeys(SETTINGS.get(c[0], f"--{c[0]}") for c in changes))
            raise CommandError(
                f"{cause.target} was begun with another {told}; use the same again, --overwrite, "
                "or name another file"
            ) from error
        message = str(error)
        for argument, option in OPTIONS.items():
            message = re.sub(rf"(?<!\w){re.escape(argument)}", option, message)
        if isinstance(cause, ValueError) and message.startswith("source: "):
            message = f"{image}{message.removeprefix('source')}"
        raise CommandError(message) from error


def described(shape: tuple[int, ...], axes: str, dtype: str) -> str:
    """The size of the result, grey or colour, and its type; the axes where there are more."""
    stack = len(axes) - 2 - axes.endswith(("S", "C"))
    if axes[stack : stack + 2] != "YX":
        return f"{'x'.join(map(str, shape))} ({axes}) {dtype}"
    samples = len(axes) - stack == 3
    colours = {1: "grey", 3: "colour"}.get(shape[-1] if samples else 1, f"{shape[-1]} channels")
    size = "x".join(map(str, shape[: stack + 2])) + (f" ({axes[: stack + 2]})" if stack else "")
    return f"{size} {colours} {dtype}" if samples or not stack else f"{size} {dtype}"


def remarks(source: Source, output: Path) -> list[str]:
    """What was kept of the file besides its colours, and what was not as in the file."""
    found = []
    zarr = output.suffix.lower() == ".zarr"
    if getattr(source, "profile", None) is not None:
        found.append("colour profile left out" if zarr else "colour profile kept")
    tags: Any = getattr(source, "tags", None)
    if getattr(source, "alpha", None) is not None and (tags is None or tags.alpha is not None):
        found.append("alpha kept as it was")
    if tags is not None and tags.no_data is not None:
        found.append(f"no-data value {tags.no_data} filtered like others")
    if tags is not None and output.suffix.lower() in formats.TIFF:
        found += compression(tags, source.dtype)
    if source.dtype == "float64":
        found.append("computed in float32")
    return found + list(getattr(source, "remarks", []))


def compression(tags: Any, dtype: str) -> list[str]:
    """A remark where the source's compression is not the target's."""
    from jaxconv._files.tiff_tags import kept_compression

    used = kept_compression(tags, dtype).get("compression", 1)
    return [] if used == tags.compression else ["compressed by zlib"]


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
