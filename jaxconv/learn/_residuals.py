"""Whether residuals look like independent noise, or have a structure that the model lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxconv._core.geometry.dtypes import refuse_masked
from jaxconv._core.geometry.scalars import check_number
from jaxconv.learn._pairs import Images

BINS = 10  # of predicted values, each with as many outputs
CORRELATED = 0.1  # of the residuals of neighbours, beyond which it is told
DEPENDENT = 0.01  # the share of the residuals' variance that the predicted value explains
BEYOND_CHANCE = 6.0  # standard deviations of the correlation under independence
TIMES_CHANCE = 10.0  # F statistic; noise alone stays near 1
WITHIN_ROUNDING = 1.2  # residuals up to this multiple of the rounding error are not examined


@dataclass(frozen=True, kw_only=True)
class ResidualReport:
    """Whether residuals look like independent noise.

    Attributes:
        rms: root mean square of the residuals.
        rounding: the root mean square below which they count as rounding.
        correlation: of the residuals of neighbouring outputs, along all spatial axes.
        dependence: the share of their variance that ten bins of the predicted value explain.
        message: one sentence for people, None if they look like noise or rounding.
    """

    rms: float
    rounding: float
    correlation: float
    dependence: float
    message: str | None


def examine_residuals(
    prediction: Images,
    y: Images,
    *,
    weights: Images | None = None,
    rounding: float = 0.0,
    rank: int = 2,
) -> ResidualReport:
    """Check whether `r = y - prediction` looks like independent noise.

    `correlation = sum r[a] r[b] / sqrt(sum r[a] ** 2  sum r[b] ** 2)` over neighbours a, b along
    the spatial axes. If residuals are independent, whatever their variances, the products are not
    correlated with each other, so that `z = sum r[a] r[b] / sqrt(sum (r[a] r[b]) ** 2)` is nearly
    standard normal. It is told if abs(z) > 6 and abs(correlation) > 0.1.

    `dependence = 1 - sum over bins of (r - its bin's mean) ** 2 / sum of (r - mean) ** 2` with ten
    bins of equal size of the predicted value. It is told above 0.01, if its F statistic is above
    10.

    Clipped values, a nonlinear response, a kernel that is too small, images that are shifted
    against each other and noise in x show in one or both. Then standard errors are too small, and
    the kernel may be biased. Small weights are taken as large variances.

    Args:
        prediction: (*batch, *space'), such as of `predict`; or a list of such arrays.
        y: the outputs, one for each prediction.
        weights: as in `solve_kernel`; outputs of weight 0 are left out.
        rounding: the root mean square of the rounding error of both images, in units of y:
            `sqrt((step_y ** 2 + step_x ** 2 sum(kernel ** 2)) / 12)` if they were stored in steps.
            Residuals within 1.2 times it, or within the rounding of float32, are not told.
        rank: number of spatial axes, the last ones.

    Returns:
        A `ResidualReport`. Needs values: not under jit or vmap.

    Raises:
        TypeError: an argument is not an array of floating-point numbers, or rounding not a number.
        ValueError: shapes differ, rank is not from 1 to y.ndim, or no output is used.

    Example:
        >>> import numpy as np
        >>> from jaxconv.learn import examine_residuals
        >>> y = 100 * np.random.default_rng(0).normal(size=(50, 60))
        >>> noise = np.random.default_rng(1).normal(size=(50, 60))
        >>> print(examine_residuals(y + noise, y).message)
        None
        >>> report = examine_residuals(y, np.minimum(y, 50.0))
        >>> print(round(report.dependence, 2))
        0.9
        >>> print(report.message.split(":")[0])
        the residuals are not noise

    Source: Moran, Notes on continuous stochastic phenomena, Biometrika 37, 1950 (correlation of
    neighbours); Fisher, Statistical methods for research workers, 1925 (correlation ratio).
    """
    predictions, ys, ws = _read(prediction, y, weights, rank)
    check_number("examine_residuals", "rounding", rounding, traced=False)
    triples = zip(predictions, ys, ws, strict=True)
    left = [np.where(w > 0, b - a, 0) * np.sqrt(w) for a, b, w in triples]
    used = [w > 0 for w in ws]
    values = np.concatenate([r[u] for r, u in zip(left, used, strict=True)])
    if not values.size:
        raise ValueError("examine_residuals: weights are 0 everywhere, so that no output is used")
    target = np.concatenate([b[u] for b, u in zip(ys, used, strict=True)])
    mean_weight = float(np.concatenate([w[u] for w, u in zip(ws, used, strict=True)]).mean())
    rms = float(np.sqrt(np.mean(np.square(values)) / mean_weight))
    # the digits of float32, in which images and predictions are computed
    floor = max(float(rounding), 2e-6 * float(np.sqrt(np.mean(np.square(target)))))
    correlation, z = _correlation(left, used, rank)
    predicted = np.concatenate([a[u] for a, u in zip(predictions, used, strict=True)])
    dependence, statistic = _dependence(values, predicted)
    found = []
    if rms > WITHIN_ROUNDING * floor:
        if abs(correlation) > CORRELATED and abs(z) > BEYOND_CHANCE:
            found.append(f"those of neighbouring outputs correlate ({correlation:+.2f})")
        if dependence > DEPENDENT and statistic > TIMES_CHANCE:
            found.append(f"{dependence:.0%} of their variance depends on the predicted value")
    message = None
    if found:
        message = (
            f"the residuals are not noise: {', and '.join(found)}; the kernel may be biased and "
            "its standard errors too small (clipped values, a kernel that is too small, images "
            "shifted against each other, a response that is not linear, or noise in x)"
        )
    return ResidualReport(
        rms=rms, rounding=floor, correlation=correlation, dependence=dependence, message=message
    )


def _read(prediction: Any, y: Any, weights: Any, rank: int) -> tuple[list[Any], ...]:
    several = isinstance(y, tuple | list)
    arrays = {"prediction": prediction, "y": y, "weights": weights}
    lists: dict[str, list[Any]] = {}
    for name, value in arrays.items():
        if value is None:
            lists[name] = [np.ones(a.shape) for a in lists["y"]]
            continue
        each = list(value) if several else [value]
        for array in each:
            refuse_masked("examine_residuals", name, array)
        lists[name] = [np.asarray(array, np.float64) for array in each]
    for name in ("prediction", "weights"):
        shapes = [a.shape for a in lists[name]], [a.shape for a in lists["y"]]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"examine_residuals: {name} has shape {', '.join(map(str, shapes[0]))} and y "
                f"{', '.join(map(str, shapes[1]))}; give one number for each output"
            )
    if not all(1 <= rank <= a.ndim for a in lists["y"]):
        raise ValueError(
            f"examine_residuals: rank={rank} must be from 1 to {lists['y'][0].ndim}, the number of "
            "axes of y"
        )
    return tuple(lists.values())


def _correlation(left: list[Any], used: list[Any], rank: int) -> tuple[float, float]:
    """The correlation of neighbours, and its sum in standard deviations."""
    total, squares, first, second = 0.0, 0.0, 0.0, 0.0
    for residual, valid in zip(left, used, strict=True):
        for axis in range(residual.ndim - rank, residual.ndim):
            length = residual.shape[axis]
            ends = [np.arange(length - 1), np.arange(1, length)]
            a, b = (residual.take(end, axis) for end in ends)
            both = valid.take(ends[0], axis) & valid.take(ends[1], axis)
            a, b = a[both], b[both]
            total += float(np.sum(a * b))
            squares += float(np.sum(np.square(a * b)))
            first += float(np.sum(np.square(a)))
            second += float(np.sum(np.square(b)))
    if not squares:
        return 0.0, 0.0
    return total / np.sqrt(first * second), total / np.sqrt(squares)


def _dependence(residual: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """The correlation ratio of bins of the predicted value, and its F statistic."""
    whole = float(np.sum(np.square(residual - residual.mean())))
    # equal predictions share a bin
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, BINS + 1)[1:-1]))
    number = np.searchsorted(edges, predicted)
    counts = np.bincount(number)
    bins, freedom = int(np.sum(counts > 0)), residual.size - int(np.sum(counts > 0))
    if bins < 2 or freedom < 1 or not whole:
        return 0.0, 0.0
    means = np.bincount(number, residual) / np.maximum(counts, 1)
    between = float(np.sum(counts * np.square(means - residual.mean())))
    within = max(whole - between, np.finfo(float).tiny)
    return between / whole, between / (bins - 1) / (within / freedom)
