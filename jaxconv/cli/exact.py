"""`jaxconv learn --exact`: the least-squares kernel beside the one found by descent."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jaxconv.cli.errors import as_command_error
from jaxconv.cli.pairs import Pair, colours, planes
from jaxconv.cli.tables import fits_table, print_kernels
from jaxconv.learn import Distance, Fit, distance_to_optimum, examine_window, find_shift


def distances(pair: Pair, fits: Sequence[Fit]) -> list[Distance]:
    """Find the distance of each kernel to the exact one."""
    with as_command_error():
        return [
            distance_to_optimum(
                fit,
                [*map(jnp.asarray, plane.xs)],
                [*map(jnp.asarray, plane.ys)],
                weights=plane.ws,  # pyright: ignore
            )
            for fit, plane in zip(fits, planes(pair, len(fits)), strict=True)
        ]


def window_remarks(pair: Pair, fits: Sequence[Fit], *, thorough: bool) -> list[str]:
    """Report kernels that are not inside their windows; if thorough, try a larger window too."""
    remarks = []
    for fit, colour, plane in zip(
        fits, colours(pair, len(fits)), planes(pair, len(fits)), strict=True
    ):
        ws = plane.ws or [None] * len(plane.xs)
        for own, x, y, w in zip(pair.every, plane.xs, plane.ys, ws, strict=True):
            _, message = find_shift(fit.kernel, x, y)
            if thorough and not message:
                given = jnp.asarray(x), jnp.asarray(y), pair.kernel_size
                bias = fit.bias is not None
                message = examine_window(*given, weights=w, bias=bias).message  # pyright: ignore
            if message:
                name = f"{own.name}: " if pair.others else ""
                remarks.append(name + (message if len(fits) == 1 else f"{colour}: {message}"))
    return remarks


def print_distances(console: Console, pair: Pair, found: Sequence[Distance]) -> None:
    """Print each exact kernel, and the distance of the learned one."""
    names = colours(pair, len(found)) if found else []
    for distance, colour in zip(found, names, strict=True):
        exact = jax.tree.map(np.asarray, distance.solution)
        title = "exact" if len(found) == 1 else f"exact, {colour}"
        console.print()
        if fits_table(pair.kernel_size):
            both = {title: exact.kernel, "standard error": exact.std_error}
            print_kernels(console, both, one_format=False)
        else:
            console.print(f"{title}: the numbers and their standard errors come with --json")
        weights = exact.kernel.size
        console.print(
            f"descent stopped {float(distance.kernel):.1e} from it, its error "
            f"{float(distance.excess) / int(exact.positions):.1e} above the least; "
            f"rank {int(exact.rank)} of {weights}, condition {float(exact.condition):.3g}",
            soft_wrap=True,
        )


def as_json(pair: Pair, found: Sequence[Distance]) -> list[dict[str, Any]]:
    """The exact kernels as plain numbers; errors are means over the pixels."""
    return [
        {
            "kernel": np.asarray(d.solution.kernel).tolist(),
            "bias": None if d.solution.bias is None else float(d.solution.bias),
            # JSON has no infinity
            "std_error": [
                [float(v) if np.isfinite(v) else None for v in row] for row in d.solution.std_error
            ],
            "rank": int(d.solution.rank),
            "condition": (
                float(d.solution.condition) if np.isfinite(d.solution.condition) else None
            ),
            "outputs": int(d.solution.positions),
            "loss": float(d.solution.residual) / int(d.solution.positions),
            "distance": float(d.kernel),
            "excess": float(d.excess) / int(d.solution.positions),
        }
        for d in found
    ]
