"""Learn a kernel from an input and its output, by any optax optimiser."""

from jaxconv._core.extras import needed_by

with needed_by("jaxconv.learn"):
    from jaxconv.learn import constraints, losses
    from jaxconv.learn._alignment import (
        WindowReport,
        border_side,
        estimate_shift,
        examine_window,
        find_shift,
    )
    from jaxconv.learn._checkpoints import Checkpoints, kept_steps
    from jaxconv.learn._fit_conv import fit_conv
    from jaxconv.learn._fit_kernel import fit_kernel
    from jaxconv.learn._optimum import distance_to_optimum
    from jaxconv.learn._outcome import Distance, Fit
    from jaxconv.learn._photograph import interior, recover_kernel
    from jaxconv.learn._residuals import ResidualReport, examine_residuals
    from jaxconv.learn._segments import program_digest, run_segments
    from jaxconv.learn._solve import Solution, solve_kernel
    from jaxconv.learn._state import LearnState, init, predict, step
    from jaxconv.learn._weights import usable_outputs
    from jaxconv.learn._whitening import seen_directions, whiten, window_covariance

__all__ = [
    "Checkpoints",
    "Distance",
    "Fit",
    "LearnState",
    "ResidualReport",
    "Solution",
    "WindowReport",
    "border_side",
    "constraints",
    "distance_to_optimum",
    "estimate_shift",
    "examine_residuals",
    "examine_window",
    "find_shift",
    "fit_conv",
    "fit_kernel",
    "init",
    "interior",
    "kept_steps",
    "losses",
    "predict",
    "program_digest",
    "recover_kernel",
    "run_segments",
    "seen_directions",
    "solve_kernel",
    "step",
    "usable_outputs",
    "whiten",
    "window_covariance",
]
