"""Learn a kernel from an input and its output, by any optax optimiser."""

from jaxconv.learn import losses
from jaxconv.learn.checkpoints import Checkpoints
from jaxconv.learn.fit import Fit, fit_kernel
from jaxconv.learn.photograph import interior, recover_kernel
from jaxconv.learn.state import LearnState, init, predict, step
from jaxconv.learn.whitening import seen_directions, whiten, window_covariance

__all__ = [
    "Checkpoints",
    "Fit",
    "LearnState",
    "fit_kernel",
    "init",
    "interior",
    "losses",
    "predict",
    "recover_kernel",
    "seen_directions",
    "step",
    "whiten",
    "window_covariance",
]
