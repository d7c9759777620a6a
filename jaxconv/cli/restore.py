"""`jaxconv restore`: a blurred image and its kernel to a sharper one, in the image's own type.

Values are those of the file, levels of integers for example; each plane or volume of a stack and
each channel is restored alone. An image in memory is restored like one on disk, in a single tile.
"""

import functools
import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv import restore
from jaxconv._files import formats
from jaxconv._files.axes import layout
from jaxconv._files.stored import Stored, check_holds
from jaxconv.cli.apply import naming_options
from jaxconv.cli.errors import CommandError
from jaxconv.cli.kernels import Kernel, image_axes, read_kernel
from jaxconv.cli.options import Restore
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
from jaxconv.cli.undo import Undo
from jaxconv.cli.windows import View, draw

METHODS = ("wiener", "tikhonov", "richardson-lucy")
BOUNDARIES = ("unknown", "zeros", "reflect", "symmetric", "replicate", "circular")
# option -> the methods that it is for
FOR = {
    "balance": ("wiener", "tikhonov"),
    "noise": ("wiener", "tikhonov"),
    "steps": ("tikhonov", "richardson-lucy"),
    "background": ("richardson-lucy",),
    "total_variation": ("richardson-lucy",),
    "stop": ("richardson-lucy",),
}
MARGIN = 3  # sizes of the kernel that are looked at around a tile


def run(given: Restore) -> str:
    """Undo the blur of an image file; return a line that describes the result."""
    check_options(given)
    image, tiled = given.image, given.tile is not None
    output = named_output(image, given.output, "restored")
    figure = given.figure or output.with_name(f"{output.stem}-before-after.png")
    with naming_options(image):
        kernel = read_kernel(given.kernel, given.kernel_axes)
        source = formats.open_source(
            image, whole=not tiled, page=given.page, level=given.level or 0
        )
        if source.dtype == "bool":
            raise CommandError(f"{image}: has values of one bit, which a blur does not leave")
        axes = image_axes(getattr(source, "axes", ""), source.shape, given.axes, image)
        kernel = kernel.for_image(axes, source.shape)
        check_kernel(given, kernel)
        for written in (output, figure):
            check_output(image, written, overwrite=given.overwrite)
        if figure == output:
            raise CommandError(f"--figure {figure} is the OUTPUT too; name another file")
        found, _ = layout(axes, source.shape, len(kernel.size))
        stack, space, channels = found.sizes(source.shape)
        tile = tuple(min(given.tile or n, n) for n in space)
        margin = tuple(MARGIN * k if tiled else 0 for k in kernel.size)
        views = [View(source, found, at) for at in itertools.product(*map(range, stack))]
        middle = views[len(views) // 2]
        window = middle.window(tile, margin)
        undo = Undo(given, kernel, middle[window], source.dtype)
        tiles = math.prod(-(-n // t) for n, t in zip(space, tile, strict=True))
        if tiled:
            formats.check_target(output, axes, len(space))
        with counting("restore", "restoring", "part") as on_part, removed_on_failure(tiled, output):
            undo.report(on_part, len(views) * tiles * channels)
            target: Any
            if isinstance(source, Stored):
                target = source.blank(axes, (slice(None),) * len(source.shape))
                check_holds(output, target)
            else:
                formats.remove(output)
                chunk = found.result((1,) * len(source.shape), tile, channels)
                target = formats.open_target(
                    output, source.shape, source.dtype, chunk, layout=found, source=source
                )
            for view in views:
                view.target = target
                restore.restore_tiled(view, view, undo, tile=(*tile, channels), margin=(*margin, 0))
            if tiled and hasattr(target, "finish"):
                target.finish()
        told, residual = undo.told(), undo.residual
        if len(views) * tiles > 1:
            undo(middle[window])
        assert undo.last is not None
        drawn = draw(
            *undo.last,
            undo.left_over(*undo.last),
            kernels=undo.kernels,
            title=f"{image.name}: {kernel.name} undone by {given.method}",
            dtype=source.dtype,
        )
        if isinstance(target, Stored):
            write_results(output.parent, {output.name: functools.partial(store, target, output)})
        write_results(figure.parent, {figure.name: drawn})
    clipped = sum(view.clipped for view in views) / math.prod(source.shape)
    parts = [
        described(source.shape, axes, source.dtype),
        f"{kernel.text(source.dtype)} undone by {given.method}",
        told,
        f"residual {residual:.3g} (root mean square)",
        *([f"{clipped:.1%} of the values clipped to those of {source.dtype}"] if clipped else []),
        *lost(kernel),
        *kernel.remarks,
        *remarks(source, output),
        *([f"{len(views) * tiles} tiles"] if tiled else []),
    ]
    return f"wrote {output} and {figure}: {'; '.join(parts)}"


def check_options(given: Restore) -> None:
    """Refuse unknown methods and boundaries, and options of other methods."""
    for option, value, known in (
        ("--method", given.method, METHODS),
        ("--boundary", given.boundary, BOUNDARIES),
    ):
        if value not in known:
            raise CommandError(f"{option} must be one of {', '.join(known)}; got {value!r}")
    if given.method == "wiener" and given.boundary not in ("unknown", "circular"):
        raise CommandError(
            f"--boundary {given.boundary} is for tikhonov and richardson-lucy; wiener takes "
            "unknown or circular"
        )
    for name, methods in FOR.items():
        value, option = getattr(given, name), f"--{name.replace('_', '-')}"
        if value is None:
            continue
        if given.method not in methods:
            raise CommandError(f"{option} is for --method {' or '.join(methods)}")
        least = 1 if name == "steps" else 0
        if not math.isfinite(value) or value < least or (name == "balance" and value == 0):
            rule = "above 0" if name == "balance" else f"{least} or more"
            raise CommandError(f"{option} must be {rule}, got {value}")
    if given.balance is not None and given.noise is not None:
        raise CommandError("--noise is for the estimate of a balance: give it or --balance")
    check_at_least(1, tile=given.tile)
    check_at_least(0, page=given.page, level=given.level)


def check_kernel(given: Restore, kernel: Kernel) -> None:
    """Refuse kernels that no picture of counts can be blurred by."""
    if given.method == "richardson-lucy" and (kernel.weights < 0).any():
        raise CommandError(
            f"{kernel.name} has negative weights, and richardson-lucy is for blurs that have none; "
            "try --method wiener or tikhonov"
        )


def lost(kernel: Kernel) -> list[str]:
    """A remark where a kernel takes the mean of an image away."""
    weights = kernel.weights
    alone = weights.reshape(len(weights) if kernel.axes.startswith("C") else 1, -1)
    if np.any(np.abs(alone.sum(1)) <= 1e-3 * np.abs(alone).sum(1)):
        return ["its weights sum to 0, so that the image's mean is lost"]
    return []


@contextmanager
def removed_on_failure(tiled: bool, output: Path) -> Iterator[None]:
    """Leave no unfinished file of a run in tiles behind."""
    try:
        yield
    except BaseException:
        if tiled:
            formats.remove(output)
        raise
