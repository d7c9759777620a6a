"""What the learned kernels predict, and whether what is left looks like noise."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxconv.cli.pairs import Pair, colours, planes
from jaxconv.learn import Fit, ResidualReport, examine_residuals, predict

SETTLED = 0.99  # of the loss before the last step; residuals of a run that goes on tell nothing


def prediction(pair: Pair, fits: Sequence[Fit]) -> np.ndarray:
    """The output of one pair, (H - h + 1, W - w + 1) or with 3 colours."""
    if pair.before.ndim == 2:
        return _predicted(pair.before, fits[0])
    each = list(fits) * 3 if len(fits) == 1 else fits
    return np.stack([_predicted(pair.before[..., n], fit) for n, fit in enumerate(each)], axis=-1)


def reports(pair: Pair, fits: Sequence[Fit]) -> list[ResidualReport]:
    """Examine the residuals of each kernel, over all pairs."""
    found = []
    for fit, plane in zip(fits, planes(pair, len(fits)), strict=True):
        energy = float(np.sum(np.square(fit.kernel)))
        # rounding both images to their levels; the coarsest of all pairs
        rounding = max(
            np.sqrt((p.steps[1] ** 2 + p.steps[0] ** 2 * energy) / 12) for p in pair.every
        )
        predicted: Any = [_predicted(x, fit) for x in plane.xs]
        ys: Any = plane.ys
        ws: Any = plane.ws
        found.append(examine_residuals(predicted, ys, weights=ws, rounding=float(rounding)))
    return found


def remarks(pair: Pair, fits: Sequence[Fit], found: Sequence[ResidualReport]) -> list[str]:
    """Say whose residuals are not noise, of the kernels that the last step hardly changed."""
    told = []
    for fit, report, colour in zip(fits, found, colours(pair, len(found)), strict=True):
        settled = float(fit.final_loss) >= SETTLED * float(fit.losses[-1])
        if settled and report.message is not None:
            told.append(report.message if len(found) == 1 else f"{colour}: {report.message}")
    return told


def _predicted(x: Any, fit: Fit) -> np.ndarray:
    return np.asarray(predict(x, fit.kernel, fit.bias))  # pyright: ignore
