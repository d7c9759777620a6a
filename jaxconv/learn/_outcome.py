"""The results of learning: what was learned, and its distance to the exact answer."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.learn._solve import Solution


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Distance:
    """How far a learned kernel is from the kernel of least squared error.

    Attributes:
        kernel: scalar, the largest absolute difference of a weight, without the free directions
            (see `Solution`).
        excess: scalar, the sum of squared errors minus the least possible one, 0 or more.
        solution: the kernel of least squared error.
    """

    kernel: jax.Array
    excess: jax.Array
    solution: Solution


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Fit:
    """A learned kernel and the losses on the way to it.

    Attributes:
        kernel: (*kernel) or (*kernel, in // groups, out), after the last step.
        bias: scalar or (out,) after the last step, or None where none was learned.
        losses: (steps,); `losses[i]` is the loss in step i + 1, before its update.
        final_loss: scalar, the loss of the returned kernel, after the last update.
        zero_loss: scalar, the loss of predicting 0 everywhere: the scale of the losses.
        distance: to the kernel of least squared error, or None without `exact=True`.
    """

    kernel: jax.Array
    bias: jax.Array | None
    losses: jax.Array
    final_loss: jax.Array
    zero_loss: jax.Array
    distance: Distance | None = None

    @property
    def diverged_at(self) -> int | None:
        """The step (counted from 1) at which learning diverged, or None.

        A run diverged if it ends with a loss that is not finite or above the first one. The step
        is the first of the unbroken series of such losses at the end. Losses below the rounding
        error of zero_loss, or above the first loss by at most a hundred times its rounding error,
        do not count: a run may start at the minimum. Needs values: not under jit or vmap.

        Raises:
            ValueError: the fit holds several runs, from vmap.
        """
        if np.ndim(self.final_loss):
            raise ValueError(
                f"Fit.diverged_at: must be one run, but this fit holds {self.losses.shape[:-1]}; "
                "take one, as in jax.tree.map(lambda leaf: leaf[0], fit)"
            )
        losses = np.append(np.asarray(self.losses), np.asarray(self.final_loss))
        unit = float(jnp.finfo(losses.dtype).eps)
        bound = max((1 + 100 * unit) * losses[0], unit * np.asarray(self.zero_loss))
        # not `losses > bound`: a comparison with NaN must count as diverged
        diverged = ~((losses <= bound) & np.isfinite(losses))
        if not diverged[-1]:
            return None
        return int(np.flatnonzero(~diverged).max(initial=-1)) + 2
