"""`jaxconv apply --tile`: the same filter and the same rounding, from file to file."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from jaxconv._files.formats import open_source
from jaxconv.cli.apply import Kernel, check_options, chosen_scale, largest_response, read_kernel
from jaxconv.cli.problem import Problem, told_as_problem
from jaxconv.tiles import apply_tiled

INTERVAL = 30.0  # seconds between lines where there is no terminal


def run(
    image: Path,
    output: Path | None,
    *,
    tile: int | None,
    resume: bool,
    kernel: str,
    scale: str | None,
    mode: str,
    cut: bool,
    method: str,
) -> str:
    """Filter an image on disk tile by tile; return the line that says what was done."""
    check_options(scale, mode)
    if tile is None:
        raise Problem("--resume needs --tile N, as the run that was cut off had it")
    if tile < 1:
        raise Problem(f"--tile must be 1 or more, got {tile}")
    if scale == "stretch":
        raise Problem("--scale stretch needs all values at once, --tile has a few; use signed")
    with told_as_problem():
        weights = read_kernel(kernel)
        source = open_source(image)
        if output is None:
            output = image.with_name(f"{image.stem}-{weights.name}{image.suffix}")
        scale = chosen_scale(scale, weights, floating=source.dtype.startswith("float"))
        planes, bias = _planes(weights, source.shape, image)
        offset, divisor = 0.0, 1.0
        if scale == "signed":
            offset, divisor = 0.5, 2 * largest_response(weights)
        with _watch() as on_tile:
            done = apply_tiled(
                image,
                planes,
                output,
                tile=tile,
                bias=bias,
                padding="valid" if cut else "same",
                padding_mode="zeros" if cut else mode,
                groups=1 if planes.ndim == 2 else planes.shape[-1],
                method=method,
                precision="highest",
                offset=offset,
                divisor=divisor,
                resume=resume,
                on_tile=on_tile,
            )
    told = {
        "none": "values kept",
        "clip": f"{done.clipped:.1%} of the values clipped to 0..1",
        "signed": f"intensity = 0.5 + response / {divisor:g}",
    }
    h, w = weights.planes.shape[1:]
    count = done.shape[2] if len(done.shape) == 3 else 1
    colours = {1: "grey", 3: "colour"}.get(count, f"{count} channels")
    parts = [
        f"{'x'.join(map(str, done.shape[:2]))} {colours} {done.dtype}",
        f"{weights.name} ({h}x{w}), {'cut' if cut else mode}",
        told[scale],
        f"{done.tiles} tiles" + (f", {done.resumed} of them before" if done.resumed else ""),
    ]
    return f"wrote {output}: {'; '.join(parts)}"


def _planes(kernel: Kernel, shape: tuple[int, ...], image: Path) -> tuple[np.ndarray, np.ndarray]:
    """The kernel and bias as `apply_tiled` has them, one kernel a channel."""
    if len(shape) not in (2, 3):
        raise ValueError(f"{image}: has shape {shape}; expected (H, W) or (H, W, channels)")
    count = 1 if len(shape) == 2 else shape[2]
    if len(kernel.planes) not in (1, count):
        has = "grey" if count == 1 else f"of {count} channels"
        raise ValueError(f"{kernel.name} has a kernel for each colour, but the image is {has}")
    h, w = kernel.planes.shape[1:]
    if h > shape[0] or w > shape[1]:
        raise ValueError(f"a {h}x{w} kernel is larger than the {shape[0]}x{shape[1]} image")
    if len(shape) == 2:
        return kernel.planes[0], kernel.bias
    planes = np.broadcast_to(kernel.planes, (count, h, w))
    return np.moveaxis(planes, 0, -1)[:, :, None], np.broadcast_to(kernel.bias, count)


@contextmanager
def _watch() -> Iterator[Callable[[int, int], None]]:
    """Tell how far it is on standard error: a bar on a terminal, else now and then a line."""
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task("filtering", total=None)
            yield lambda done, tiles: bar.update(task, completed=done, total=tiles)
        return
    told = time.monotonic()

    def line(done: int, tiles: int) -> None:
        nonlocal told
        if time.monotonic() - told >= INTERVAL:
            told = time.monotonic()
            console.print(f"jaxconv apply: tile {done} of {tiles}", soft_wrap=True)

    yield line
