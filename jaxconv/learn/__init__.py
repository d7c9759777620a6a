"""Learn a kernel from an input and its output, by any optax optimiser."""

from jaxconv.learn import constraints, losses
from jaxconv.learn.alignment import (
    WindowReport,
    border_side,
    estimate_shift,
    examine_window,
    find_shift,
)
from jaxconv.learn.checkpoints import Checkpoints
from jaxconv.learn.fit import fit_kernel
from jaxconv.learn.layer import fit_conv
from jaxconv.learn.optimum import distance_to_optimum
from jaxconv.learn.outcome import Distance, Fit
from jaxconv.learn.photograph import interior, recover_kernel
from jaxconv.learn.solve import Solution, solve_kernel
from jaxconv.learn.state import LearnState, init, predict, step
from jaxconv.learn.whitening import seen_directions, whiten, window_covariance

__all__ = [
    "Checkpoints",
    "Distance",
    "Fit",
    "LearnState",
    "Solution",
    "WindowReport",
    "border_side",
    "constraints",
    "distance_to_optimum",
    "estimate_shift",
    "examine_window",
    "find_shift",
    "fit_conv",
    "fit_kernel",
    "init",
    "interior",
    "losses",
    "predict",
    "recover_kernel",
    "seen_directions",
    "solve_kernel",
    "step",
    "whiten",
    "window_covariance",
]
