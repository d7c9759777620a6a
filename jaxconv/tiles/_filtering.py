"""Filter an image on disk tile by tile: `apply_tiled`."""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv._core.dispatch import seamless
from jaxconv._core.dispatch.choose import RULES, check_method, check_policy, refusal
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.geometry import dtypes
from jaxconv._core.geometry.spec import Padding, normalise, per_dimension
from jaxconv._files import formats, rasters
from jaxconv._functional.layers import check_padding_mode
from jaxconv.tiles import _program as program
from jaxconv.tiles._journal import Journal
from jaxconv.tiles._steps import Grid, Work


class Tiled(NamedTuple):
    """What `apply_tiled` did.

    Attributes:
        shape: of the target.
        dtype: of the target, by name.
        tiles: in all.
        resumed: how many of them were there already.
        clipped: fraction of the target's values that integers could not hold.
        method: that all tiles were filtered with.
    """

    shape: tuple[int, ...]
    dtype: str
    tiles: int
    resumed: int
    clipped: float
    method: str


def apply_tiled(
    source: str | Path,
    kernel: ArrayLike,
    target: str | Path,
    *,
    tile: int | Sequence[int],
    bias: ArrayLike | None = None,
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
    offset: float = 0.0,
    divisor: float = 1.0,
    ahead: int = 2,
    resume: bool = False,
    on_tile: Callable[[int, int], object] | None = None,
) -> Tiled:
    """Convolve an image on disk, far larger than memory, into another file, tile by tile.

    y = offset + (conv(x, kernel, bias) + bias) / divisor

    with x and y as intensities: stored / largest value of the type for bool, uint8 and uint16,
    `stored = round(clip(y, 0, 1) * largest)`; the values themselves for floats. All in float32.

    The tiles fit without a seam: each reads what the kernel and the padding mode need of its
    neighbours, or of the other side of the image, and all go through one compiled program with one
    method. At most 2 `ahead` tiles are in memory, each with the margin it reads and its values in
    float32, and 192 MiB of a zarr's chunks, which neighbouring tiles share.

    The result is that of `jaxconv.conv` on the whole with the method that is returned:

    | method | equal |
    |---|---|
    | "taps", "onednn" | bit for bit, whatever the tile |
    | any other, and all on GPU and TPU | to rounding; integers may differ by one |

    "auto" takes one of the first row on CPUs, "fastest" the one that `conv` would take for the
    whole under that name, which may be FFT: direct sums have less than half of its speed for
    kernels beyond 21 x 21 entries.

    A finished tile is noted in `TARGET.unfinished`, after its data has reached the disk; when all
    are done, that file is renamed `TARGET.finished`. The method is noted there, too: "auto" and
    "fastest" go on with the one that the run began with.

    Args:
        source: a zarr array (version 2 or 3), or a TIFF file of one page: (*space, in), with the
            kernel as `conv` has it, or (*space) with a kernel without channels; bool, uint8,
            uint16, float16, float32 or float64.
        kernel: (*kernel, in // groups, out), or (*kernel) for a source without channels; used as
            float32. Messages about its shape call it w, as `conv` does.
        target: a path that ends in .zarr (version 3, one chunk a tile) or, for planes, in .tif or
            .tiff (uncompressed, in tiles of 256 x 256; one channel is stored without its axis).
        tile: outputs of a tile, one integer or one a spatial dimension; it need not divide the
            image.
        bias: (out,), or one number for a kernel without channels; None for zeros.
        stride: as in `jaxconv.conv`, as are the next eight.
        padding: what is added around the whole image.
        dilation: elements between neighbouring kernel entries.
        groups: parts of the channels. One kernel a channel is computed plane by plane.
        padding_mode: what lies outside the whole image.
        flip: reverse the kernel.
        method: "auto", "fastest", or a method's name.
        policy: what `jaxconv.tune` measured; for the first two, where it has the whole image's
            problem.
        precision: of the device's products.
        dtype: of the target: by default the source's, and uint8 for bool.
        offset: added to the intensities at the end.
        divisor: of the intensities before that.
        ahead: how many tiles are read ahead, and how many are computed or written, at a time.
        resume: go on with a run that was cut off; one that has finished is left alone.
        on_tile: called with the number of tiles done and of all tiles, after each.

    Returns:
        A `Tiled`.

    Raises:
        TypeError: a number is not one.
        ValueError: the shapes and numbers make no convolution; a file of another kind; a target
            that is there already, or was begun with other settings or a method that is not at hand.
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
        Dumoulin and Visin (2016), "A guide to convolution arithmetic for deep learning", for which
        inputs an output reads.
    """
    source, target = Path(source), Path(target)
    image = formats.open_source(source)
    w, channels = _kernel(kernel, image.shape)
    x_shape = image.shape if channels else (*image.shape, 1)
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
    b = _bias(bias, w.shape[-1])
    if not isinstance(flip, bool | np.bool):
        raise TypeError(f"apply_tiled: flip={flip!r} must be True or False")
    stored = program.result_dtype(image.dtype, dtype)
    offset, divisor = _numbers(offset, divisor)
    (ahead,) = per_dimension("apply_tiled", "ahead", ahead, 1, minimum=1)
    tile = per_dimension("apply_tiled", "tile", tile, spec.rank, minimum=1)
    tile = tuple(map(min, tile, spec.output_size))
    formats.check_target(target, spec.rank)
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
        precision=dtypes.check_precision("apply_tiled", precision),
        shifted=(offset, divisor) != (0.0, 1.0),
        dtype=stored,
    )
    settings = {
        "format": "jaxconv tiles 2",
        "jax": f"{jax.__version__} {jax.default_backend()}",
        "source": str(source.resolve()),
        "source_stamp": image.stamp,
        "source_shape": image.shape,
        "source_dtype": image.dtype,
        "kernel": f"{w.shape} {rasters.stamp_of(w.tobytes())}",
        "bias": b.tolist(),
        "tile": tile,
        "padding": spec.padding,
        "padding_mode": padding_mode,
        "offset": offset,
        "divisor": divisor,
        **(rule._asdict() | {"precision": str(rule.precision)}),
    }
    y_shape = (*spec.output_size, w.shape[-1]) if channels else spec.output_size
    grid = Grid(spec, tile, padding_mode)
    kept = ("method",) if method in RULES else ()
    with Journal(target, settings, resume=resume, kept=kept) as journal:
        rule = rule._replace(method=journal.settings["method"])
        before = len(journal.done)
        if not journal.finished:
            why_not = refusal(problem, check_method("apply_tiled", rule.method))
            if why_not:
                raise ValueError(
                    f"apply_tiled: {target} was begun with method={rule.method!r}, which does not "
                    f"serve here: {why_not}; name another target"
                )
            work = Work(image, w, b, grid, rule, channels, (offset, divisor))
            work.output = formats.open_target(target, y_shape, stored, tile, image)
            todo = (number for number in range(grid.count) if number not in journal.done)
            for number, clipped in _overlapped(work, todo, ahead):
                journal.record(number, clipped)
                if on_tile is not None:
                    on_tile(len(journal.done), grid.count)
            journal.finish()
        clipped = sum(journal.done.values()) / math.prod(y_shape)
    return Tiled(tuple(y_shape), stored, grid.count, before, clipped, rule.method)


def _overlapped(work: Work, todo: Iterable[int], ahead: int) -> Iterable[tuple[int, int]]:
    """Read, compute and write tiles at the same time; yield each, in order, when it is written."""
    waiting = iter(todo)
    reading: deque[tuple[int, Future]] = deque()
    writing: deque[tuple[int, Future]] = deque()
    with ThreadPoolExecutor(ahead) as readers, ThreadPoolExecutor(ahead) as writers:
        while True:
            for number in itertools.islice(waiting, ahead - len(reading)):
                reading.append((number, readers.submit(work.read, number)))
            if reading and len(writing) < ahead:
                number, window = reading.popleft()
                # dispatched here, waited for in the thread that writes it
                result = work.compute(number, window.result())
                writing.append((number, writers.submit(work.write, number, result)))
            elif writing:
                number, written = writing.popleft()
                yield number, written.result()
            else:
                return


def _kernel(kernel: ArrayLike, shape: tuple[int, ...]) -> tuple[np.ndarray, bool]:
    """The kernel with axes of channels, and whether it came with them."""
    given = dtypes.as_array("apply_tiled", "kernel", kernel)
    if jnp.issubdtype(given.dtype, jnp.complexfloating):
        raise TypeError(f"apply_tiled: kernel is {given.dtype}; images here are real")
    w = np.asarray(given.astype(jnp.float32))
    if w.ndim == len(shape):
        return w[..., None, None], False
    if w.ndim != len(shape) + 1:
        raise ValueError(
            f"apply_tiled: kernel.shape={w.shape} has rank {w.ndim}; the source {shape} "
            f"takes {len(shape)} without channels, or {len(shape) + 1}: (*kernel, in // groups, "
            "out) for a source (*space, in)"
        )
    return w, True


def _bias(bias: ArrayLike | None, channels: int) -> np.ndarray:
    if bias is None:
        return np.zeros(channels, np.float32)
    b = dtypes.as_array("apply_tiled", "bias", bias)
    if b.shape != (channels,) and (b.shape, channels) != ((), 1):
        raise ValueError(
            f"apply_tiled: bias.shape={b.shape} must be ({channels},), one a channel of the result"
        )
    if jnp.issubdtype(b.dtype, jnp.complexfloating):
        raise TypeError(f"apply_tiled: bias is {b.dtype}; images here are real")
    return np.asarray(b.astype(jnp.float32)).reshape(channels)


def _numbers(offset: Any, divisor: Any) -> tuple[float, float]:
    for name, value in (("offset", offset), ("divisor", divisor)):
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise TypeError(f"apply_tiled: {name}={value!r} must be a number")
        if not math.isfinite(value) or (name == "divisor" and value == 0):
            other = " and not 0" if name == "divisor" else ""
            raise ValueError(f"apply_tiled: {name}={value!r} must be finite{other}")
    return float(offset), float(divisor)
