"""The output of `jaxconv learn`: tables, JSON and files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from jaxconv import plots
from jaxconv._core.number_text import readable
from jaxconv.cli.pairs import Pair, colours
from jaxconv.cli.tables import fits_table, print_kernels
from jaxconv.learn import Fit, ResidualReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def print_edge(console: Console, fit: Fit) -> None:
    """Print the losses and the kernel of the edge detection example."""
    console.print("[bold]1. The edge of a 6x8 image[/bold]: learn (1, -1), 10 steps of SGD")
    table = Table("step", "summed squared error", box=box.SIMPLE_HEAD)
    for step in range(2, 11, 2):
        table.add_row(str(step), f"{fit.losses[step - 1]:.3f}")
    console.print(table)
    first, second = np.asarray(fit.kernel)[0]
    console.print(f"learned ({first:.4f}, {second:.4f}), true (1, -1)\n")


def print_task(console: Console, pair: Pair) -> None:
    """Print the images and the size of the kernel to learn."""
    size = "x".join(map(str, pair.before.shape[:2]))
    kernel = "x".join(map(str, pair.kernel_size))
    if pair.truth is None:
        more = "" if not pair.others else f", and {len(pair.others)} more"
        console.print(f"[bold]{pair.name}[/bold], {size}{more}: learn a {kernel} kernel")
        for own in pair.every:
            if own.ends is not None and any(own.ends.counts):
                told = own.ends.told(only_many=False)
                console.print(f"{own.name}: after the filter {told}, the ends of the range")
        used, total = pair.outputs
        if used < total:
            console.print(f"{used:,} of {total:,} outputs are used")
        console.print()
        return
    console.print(
        f"[bold]2. A photograph[/bold]: {pair.name}, {size}, filtered with {pair.target}, "
        f"a kernel that is hidden from the learner"
    )
    console.print(
        f"saved in 8 bits: intensity = {pair.scale:.6f} * level {pair.offset:+.4f}; rounding makes "
        f"a mean squared error of {pair.floor:.2e}\n"
    )


def print_fits(
    console: Console, pair: Pair, fits: Sequence[Fit], seconds: float, files: Sequence[str]
) -> None:
    """Print each kernel, beside the true one if it is known, and its losses."""
    names = colours(pair, len(fits))
    one = len(fits) == 1
    shown = {
        "learned" if one else f"learned, {name}": np.asarray(fit.kernel)
        for name, fit in zip(names, fits, strict=True)
    }
    print_kernels(console, shown if pair.truth is None else {**shown, "true": pair.truth})
    if not fits_table(pair.kernel_size):
        console.print("the numbers are in kernel.csv")
    for fit, name in zip(fits, names, strict=True):
        if pair.truth is not None:
            console.print(f"largest error of an entry: {largest_error(fit, pair.truth):.5f}")
        console.print(("" if one else f"{name}: ") + _losses(pair, fit))
    steps = len(fits[0].losses)
    console.print(f"\n{steps} steps in {seconds:.1f} s, compilation included")
    console.print("wrote " + ", ".join(files), soft_wrap=True)


def _losses(pair: Pair, fit: Fit) -> str:
    """The losses, as losses.csv has them, and what they are in levels where the file has these."""
    told = f"loss {fit.losses[0]:.3e} -> {fit.final_loss:.3e}"
    level = pair.levels[1]
    if level > 1:
        told += f", rms {readable(level * float(fit.final_loss) ** 0.5)}"
    if fit.bias is not None:
        told += f", bias {readable(level * float(fit.bias))}"
    told += f" (levels of {level:,})" * (level > 1)
    return told + ("; still falling: more --steps may help" if still_falling(fit) else "")


def largest_error(fit: Fit, truth: np.ndarray) -> float:
    """The largest absolute difference of a weight from the true kernel's."""
    return float(np.abs(np.asarray(fit.kernel) - truth).max())


def still_falling(fit: Fit) -> bool:
    """Whether the last tenth of the steps lowered the loss by more than a hundredth."""
    losses = np.asarray(fit.losses)
    if len(losses) < 10:
        return False
    return bool(fit.final_loss < 0.99 * losses[-len(losses) // 10])


def as_json(
    pair: Pair,
    fits: Sequence[Fit],
    residuals: Sequence[ResidualReport],
    seconds: float,
    files: Sequence[str],
    edge: Fit | None,
) -> dict[str, Any]:
    """Return the result of the run as plain numbers."""
    kernels = []
    names = colours(pair, len(fits))
    for fit, colour, left in zip(fits, names, residuals, strict=True):
        kernels.append(
            {
                "plane": colour,
                "kernel": np.asarray(fit.kernel).tolist(),
                "bias": None if fit.bias is None else float(fit.bias),
                "first_loss": float(fit.losses[0]),
                "final_loss": float(fit.final_loss),
                "still_falling": still_falling(fit),
                "largest_error": (None if pair.truth is None else largest_error(fit, pair.truth)),
                "residuals": {
                    "rms": left.rms,
                    "rounding": left.rounding,
                    "correlation": left.correlation,
                    "dependence": left.dependence,
                    "noise": left.message is None,
                },
            }
        )
    return {
        "image": pair.name,
        "size": list(pair.before.shape),
        "kernel_size": list(pair.kernel_size),
        "target": pair.target,
        "true_kernel": None if pair.truth is None else pair.truth.tolist(),
        "scale": pair.scale,
        "offset": pair.offset,
        "rounding_loss": pair.floor,
        "outputs": dict(zip(("used", "total"), pair.outputs, strict=True)),
        "pairs": [
            {
                "image": own.name,
                "size": list(own.before.shape),
                "ends": None
                if own.ends is None
                else {
                    "levels": list(own.ends.levels),
                    "counts": list(own.ends.counts),
                    "many": list(own.ends.many),
                },
            }
            for own in pair.every
        ],
        "steps": len(fits[0].losses),
        "seconds": round(seconds, 3),
        "learned": kernels,
        "edge": (
            None
            if edge is None
            else {"losses": edge.losses.tolist(), "kernel": edge.kernel.tolist()}
        ),
        "files": list(files),
    }


def writers(
    pair: Pair, fits: Sequence[Fit], prediction: np.ndarray
) -> dict[str, Callable[[Path], object]]:
    """Return a function that writes each file of the results."""
    kernels = [np.asarray(fit.kernel) for fit in fits]
    losses = [np.asarray(fit.losses) for fit in fits]
    names = colours(pair, len(fits))
    stacked = kernels[0] if len(kernels) == 1 else np.stack(kernels)
    return {
        "kernel.npy": lambda path: np.save(path, stacked),
        "kernel.csv": lambda path: path.write_text(_kernel_csv(fits, names)),
        "losses.csv": lambda path: path.write_text(_losses_csv(losses, names)),
        "learning.png": lambda path: _figure(pair, fits, prediction).savefig(path),
    }


def _figure(pair: Pair, fits: Sequence[Fit], prediction: np.ndarray) -> "Figure":
    """The figure, in levels where the files have these."""
    level, unit = pair.levels[1], "intensity" if pair.levels[1] == 1 else "level"
    return plots.learning(
        pair.levels[0] * pair.before,
        level * pair.after,
        level * prediction,
        kernels=[np.asarray(fit.kernel) for fit in fits],
        losses=[level**2 * np.asarray(fit.losses) for fit in fits],
        labels=colours(pair, len(fits)),
        title=_title(pair, fits),
        floor=None if pair.floor is None else level**2 * pair.floor,
        used=pair.weights,
        unit=unit,
    )


def _title(pair: Pair, fits: Sequence[Fit]) -> str:
    size = "x".join(map(str, pair.kernel_size))
    if pair.others:
        return f"A {size} kernel learned from {len(pair.every)} pairs; this is {pair.name}"
    if pair.truth is None:
        return f"A {size} kernel learned from {pair.name}"
    error = max(largest_error(fit, pair.truth) for fit in fits)
    return (
        f"{pair.target} ({size}) recovered from {pair.name}: largest error of an entry {error:.1e}"
    )


def _kernel_csv(fits: Sequence[Fit], names: Sequence[str]) -> str:
    # kernels one below the other; numpy.loadtxt(path, delimiter=",") skips the lines with "#"
    lines = []
    for fit, name in zip(fits, names, strict=True):
        lines.append(f"# {name}" + ("" if fit.bias is None else f", bias {float(fit.bias):.9g}"))
        lines += [",".join(f"{value:.9g}" for value in row) for row in np.asarray(fit.kernel)]
    return "\n".join(lines) + "\n"


def _losses_csv(losses: Sequence[np.ndarray], names: Sequence[str]) -> str:
    lines = ["step," + ",".join(name.replace(" ", "_") for name in names)]
    for step, row in enumerate(zip(*losses, strict=True), start=1):
        lines.append(f"{step}," + ",".join(f"{value:.9g}" for value in row))
    return "\n".join(lines) + "\n"
