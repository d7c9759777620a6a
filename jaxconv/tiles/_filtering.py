"""Filter an image on disk tile by tile: `apply_tiled`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxconv._core.dispatch import seamless
from jaxconv._core.dispatch.arguments import check_method, check_padding_mode, check_policy
from jaxconv._core.dispatch.choose import RULES, refusal
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.geometry.precision import check_precision
from jaxconv._core.geometry.spec import Padding, normalise, per_dimension
from jaxconv._files import formats, rasters
from jaxconv.tiles import _arguments as arguments
from jaxconv.tiles import _program as program
from jaxconv.tiles._journal import Journal
from jaxconv.tiles._steps import Grid, Work, process


class Tiled(NamedTuple):
    """The result of `apply_tiled`.

    Attributes:
        shape: of the target.
        dtype: of the target, by name.
        tiles: total number of tiles.
        resumed: number of tiles that an interrupted run had finished.
        clipped: fraction of the target's values that were clipped to 0 to 1, or that float16
            overflowed.
        method: the method that filtered all tiles.
    """

    shape: tuple[int, ...]
    dtype: str
    tiles: int
    resumed: int
    clipped: float
    method: str


def apply_tiled(
    source: str | Path | rasters.Source,
    kernel: jax.Array | np.ndarray,
    target: str | Path | rasters.Target,
    *,
    tile: int | Sequence[int] | None,
    bias: jax.Array | np.ndarray | None = None,
    stride: int | Sequence[int] = 1,
    padding: Padding = "same",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    flip: bool = False,
    method: str = "auto",
    policy: Policy | None = None,
    precision: Any = None,
    dtype: Any = None,
    low: float = 0.0,
    offset: float = 0.0,
    divisor: float = 1.0,
    clip: bool = False,
    axes: str | None = None,
    page: int | None = None,
    level: int = 0,
    ahead: int = 2,
    resume: bool = False,
    overwrite: bool = False,
    on_tile: Callable[[int, int], object] | None = None,
) -> Tiled:
    """Convolve an image on disk, far larger than memory, into another file, tile by tile.

    y = offset + (conv(x, kernel) + bias - low) / divisor

    where x and y are intensities: stored / largest value of the type for bool and unsigned
    integers, `stored = round(clip(y, 0, 1) * largest)`; for signed integers of b bits stored /
    2**(b - 1), from -1 to almost 1; the values themselves for floats. All in float32: 32-bit
    integers that it changes are refused.

    What the axes of the image are is read from its file, or said by `axes`. A kernel without
    channels filters each channel alone; a kernel of rank 2 each plane of a stack, whatever the
    stack is; one of rank 3 each volume Z, Y, X. The target has the axes of the source.

    There are no seams: each tile reads the elements that the kernel and the padding mode need,
    from its neighbours or from the other side of the image, and one compiled program with one
    method filters all. At most 2 `ahead` tiles are in memory, each with its halo and its values in
    float32, and 192 MiB of a zarr's chunks, which neighbouring tiles share.

    The result equals that of `jaxconv.conv` on the whole image with the returned method:

    | method | equal |
    |---|---|
    | "taps", "onednn" | bit for bit, whatever the tile |
    | any other, and all on GPU and TPU | to rounding; integers may differ by one |

    "auto" takes one of the first row on CPUs, "fastest" the method that `conv` would take for the
    whole image under that name, which may be FFT: direct sums have less than half of its speed for
    kernels beyond 21 x 21 entries.

    A finished tile is recorded in `TARGET.unfinished`, after its data has reached the disk; once
    all are done, that file is renamed `TARGET.finished`. It records the method too: a resumed run
    under "auto" or "fastest" keeps the method it began with.

    Args:
        source: a zarr array (version 2 or 3, or the group of an OME-NGFF pyramid), or a TIFF file
            of one page or of a stack: (*space, in), with the kernel as `conv` has it, or (*space)
            with a kernel without channels, and stacks of both; of any type in `dtype`, or bool.
            Alpha, where TIFF's ExtraSamples say so, is no channel, and kept as it is. Or an object
            with `shape`, `dtype` (a name), `stamp` (a text that changes with the values), perhaps
            `axes`, and `read(slices)`, for several threads.
        kernel: (*kernel, in // groups, out), or (*kernel), which filters each channel alone; used
            as float32. Messages about its shape call it w, as `conv` does.
        target: a path that ends in .zarr (version 3, one chunk a tile, with the names of the
            dimensions, compressed if the source is; where that is OME-NGFF, a group of version 0.5
            with one level, its scale and its units) or, for planes and their stacks, in .tif or
            .tiff (in tiles of 256 x 256, compressed at the end if the source is; with its tags; one
            channel is stored without its axis). Or an object with `write(slices, values)`, for
            several threads; it has no journal.
        tile: output size of a tile, one integer or one a spatial dimension; it need not divide the
            image. None for the whole image in one tile, or a plane of a stack in one.
        bias: (out,), or one number for a kernel without channels; None for zeros.
        stride: as in `jaxconv.conv`, like the next eight.
        padding: added around the whole image.
        dilation: distance between neighbouring kernel entries.
        groups: number of groups of channels. One kernel a channel is computed plane by plane.
        padding_mode: how the whole image is extended.
        flip: reverse the kernel.
        method: "auto", "fastest", or a method's name.
        policy: measured choices of `jaxconv.tune`, used under "auto" and "fastest" if it has the
            problem of the whole image.
        precision: of the device's products.
        dtype: of the target: by default the source's, and uint8 for bool; or "uint8", "int8",
            "uint16", "int16", "uint32", "int32", "float16", "float32" or "float64".
        low: subtracted from the response.
        offset: added to the intensities at the end.
        divisor: of the response, after `low` is subtracted.
        clip: clip floating-point and signed results to 0 to 1 too.
        axes: a letter an axis of the source, such as "ZYX": Z, Y, X for space, C or S for channels,
            T or any other for a stack. None for what the file says; where that is nothing, all
            axes are spatial, or all but a last one of channels, as the kernel's rank has it.
        page: number of one page of a stack, from 0; None for all.
        level: number of the level of a pyramid, 0 for the full resolution.
        ahead: number of tiles that are read ahead, and that are computed or written, at a time.
        resume: continue an interrupted run; a finished one is left unchanged.
        overwrite: replace a target that exists, and its journal.
        on_tile: called after each tile with the number of finished tiles and of all tiles.

    Returns:
        A `Tiled`.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: no convolution has these shapes and numbers; a file of another kind; a target
            that exists, or was begun with other settings or a method that is not available.
        OSError: a file is missing or cannot be written.

    Example:
        >>> import pathlib, tempfile, numpy as np, tifffile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> x = np.arange(48, dtype=np.uint8).reshape(6, 8)
        >>> tifffile.imwrite(folder / "x.tif", x)
        >>> done = apply_tiled(folder / "x.tif", np.ones((1, 3)) / 3, folder / "y.tif", tile=4)
        >>> done.tiles, tifffile.imread(folder / "y.tif")[0]
        (4, array([0, 1, 2, 3, 4, 5, 6, 4], dtype=uint8))

    Source:
        Dumoulin and Visin (2016), "A guide to convolution arithmetic for deep learning", for the
        inputs that an output reads.
    """
    with arguments.naming_apply_tiled():
        image = arguments.opened(source, page, level)
        path = Path(target) if isinstance(target, str | Path) else None
        file = isinstance(source, str | Path)
        if path is None and not isinstance(target, rasters.Target):
            kind = type(target).__name__
            raise TypeError(
                f"apply_tiled: target must be a path or an object with write, not {kind}"
            )
        layout, w, b, groups = arguments.kernel(kernel, bias, image, axes, groups)
        stack, space, channels = layout.sizes(image.shape)
        x_shape = (*space, channels)
        spec = normalise(
            "apply_tiled",
            x_shape,
            w.shape,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            x_name="source",
        )
        check_padding_mode("apply_tiled", x_shape, spec, padding_mode)
        flags = {"flip": flip, "clip": clip, "resume": resume, "overwrite": overwrite}
        for name, value in flags.items():
            if not isinstance(value, bool | np.bool):
                raise TypeError(f"apply_tiled: {name}={value!r} must be True or False")
        stored = program.result_dtype(image.dtype, dtype)
        low, offset, divisor = arguments.numbers(low=low, offset=offset, divisor=divisor)
        (ahead,) = per_dimension("apply_tiled", "ahead", ahead, 1, minimum=1)
        tile = spec.output_size if tile is None else tile
        tile = per_dimension("apply_tiled", "tile", tile, spec.rank, minimum=1)
        tile = tuple(map(min, tile, spec.output_size))
        begin = arguments.origin(image, spec)
        if path is not None:
            formats.check_target(path, layout.axes, spec.rank)
        elif resume or overwrite:
            name = "resume" if resume else "overwrite"
            raise ValueError(f"apply_tiled: {name}=True needs a target that is a path")
        if resume and overwrite:
            raise ValueError("apply_tiled: overwrite=True begins again, resume=True continues")
        problem = seamless.problem_of(spec, padding_mode, w.shape)
        method = check_method("apply_tiled", method)
        chosen = seamless.choose(problem, method, check_policy("apply_tiled", policy))
        rule = program.Rule(
            rank=spec.rank,
            stride=spec.stride,
            dilation=spec.dilation,
            groups=spec.groups,
            flip=bool(flip),
            method=chosen.method,
            precision=check_precision("apply_tiled", precision),
            shifted=(low, offset, divisor) != (0.0, 0.0, 1.0),
            clip=bool(clip),
            dtype=stored,
        )
        settings = {
            "format": "jaxconv tiles 4",
            "jax": f"{jax.__version__} {jax.default_backend()}",
            "source": str(Path(source).resolve()) if file else "",
            "source_stamp": image.stamp,
            "source_shape": image.shape,
            "source_dtype": image.dtype,
            "axes": layout.axes,
            "page": page,
            "level": level,
            "kernel": f"{w.shape} {rasters.stamp_of(w.tobytes())}",
            "bias": b.tolist(),
            "tile": tile,
            "padding": spec.padding,
            "padding_mode": padding_mode,
            "low": low,
            "offset": offset,
            "divisor": divisor,
            **(rule._asdict() | {"precision": str(rule.precision)}),
        }
        y_shape = layout.result(image.shape, spec.output_size, w.shape[-1])
        grid = Grid(spec, tile, padding_mode, stack)
        chunk = layout.result((1,) * len(y_shape), tile, w.shape[-1])
        kept = ("method",) if method in RULES else ()
        if path is not None and path.exists() and file and path.samefile(source):
            raise ValueError(f"apply_tiled: {path} is the source; name another target")
        if path is not None and overwrite:
            arguments.remove(path)
        with Journal(path, settings, resume=resume, kept=kept) as journal:
            rule = rule._replace(method=journal.settings["method"])
            before = len(journal.done)
            if not journal.finished:
                why_not = refusal(problem, check_method("apply_tiled", rule.method))
                if why_not:
                    raise ValueError(
                        f"apply_tiled: {target} was begun with method={rule.method!r}, which "
                        f"cannot be used here: {why_not}; name another target"
                    )
                try:
                    output: Any = target
                    if path is not None:
                        output = formats.open_target(
                            path,
                            y_shape,
                            stored,
                            chunk,
                            layout=layout,
                            source=image,
                            begin=begin,
                            steps=spec.stride,
                        )
                    work = Work(image, output, w, b, grid, rule, layout, (low, offset, divisor))
                    todo = (number for number in range(grid.count) if number not in journal.done)
                    for number, clipped in process(work, todo, ahead):
                        journal.record(number, clipped)
                        if on_tile is not None:
                            on_tile(len(journal.done), grid.count)
                    if hasattr(output, "finish"):
                        output.finish()
                    journal.finish()
                except BaseException:
                    if path is not None and journal.begun and not journal.done:
                        arguments.remove(path)  # nothing to resume
                    raise
            clipped = sum(journal.done.values()) / math.prod(y_shape)
    return Tiled(tuple(y_shape), stored, grid.count, before, clipped, rule.method)
