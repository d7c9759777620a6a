"""`jaxconv apply`: an image and a kernel to the filtered image, in the image's own type.

An image in memory is filtered like one on disk, in a single tile.
"""

import functools
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxconv._files import formats
from jaxconv._files.axes import layout
from jaxconv._files.stored import Stored, check_holds
from jaxconv.cli.errors import CommandError, as_command_error
from jaxconv.cli.kernels import image_axes, read_kernel
from jaxconv.cli.options import Apply
from jaxconv.cli.outputs import (
    check_at_least,
    check_output,
    described,
    named_output,
    remarks,
    store,
)
from jaxconv.cli.progress import counting
from jaxconv.cli.results import write_results
from jaxconv.cli.scales import SCALES, choose_scale
from jaxconv.tiles import apply_tiled

MODES = ("symmetric", "reflect", "replicate", "circular", "zeros")
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
        output = named_output(image, given.output, kernel.name)
        source = formats.open_source(
            image, whole=not tiled, page=given.page, level=given.level or 0
        )
        axes = image_axes(getattr(source, "axes", ""), source.shape, given.axes, image)
        kernel = kernel.for_image(axes, source.shape)
        check_output(
            *(image, output),
            overwrite=given.overwrite or given.resume,
            beside=journals(output) if tiled else (),
            more=", --resume continues an interrupted run" if tiled else "",
        )
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
        with counting("apply", "filtering", "tile") as on_tile:
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
        f"{kernel.text(done.dtype)}, {'cut' if cut else given.mode}",
        chosen.text(done.clipped, done.dtype),
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
    check_at_least(1, tile=given.tile)
    check_at_least(0, page=given.page, level=given.level)


def journals(output: Path) -> list[Path]:
    """The files beside a target that a run in tiles writes."""
    return [output.with_name(output.name + end) for end in (".unfinished", ".finished")]


def discard(output: Path) -> None:
    """Remove the result of a run in tiles, and its journal."""
    formats.remove(output)
    for journal in journals(output):
        journal.unlink(missing_ok=True)


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
