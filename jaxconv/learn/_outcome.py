"""What a run of learning found, and how far that is from the exact answer."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.learn._solve import Solution
from jaxconv.learn._state import pure_state


@pure_state
class Distance:
    """Where descent stopped, seen from the optimum.

    Attributes:
        kernel: scalar, the largest absolute difference of a weight, free directions left out.
        excess: scalar, the sum of squared errors above the least there is; never below 0.
        solution: the optimum.
    """

    kernel: jax.Array
    excess: jax.Array
    solution: Solution


@pure_state
class Fit:
    """What a run of learning found.

    Attributes:
        kernel: (h, w), after the last step.
        bias: scalar after the last step, or None where none was learned.
        losses: (steps,); `losses[i]` is the loss that step i + 1 saw, before its update.
        final_loss: scalar, the loss of the kernel returned, after the last update.
        zero_loss: scalar, the loss of predicting 0 everywhere: the scale of the losses.
        distance: to the kernel of least squared error, None where it was not asked for.
    """

    kernel: jax.Array
    bias: jax.Array | None
    losses: jax.Array
    final_loss: jax.Array
    zero_loss: jax.Array
    distance: Distance | None = None

    @property
    def diverged_at(self) -> int | None:
        """The step (counted from 1) at which learning diverged, None if it did not.

        It diverged if the run ends with a loss that is not finite or above the one it started
        from; the step is the first of those at the end that saw such a loss. Losses below the
        rounding of zero_loss do not count as growth, nor does a hundred times the rounding of the
        first loss: a run may start at its end. Values are looked at: not under jit or vmap.

        Raises:
            ValueError: the fit is of several runs, from vmap.
        """
        if np.ndim(self.final_loss):
            raise ValueError(
                f"Fit.diverged_at: is of one run, this holds {self.losses.shape[:-1]}; take one, "
                "as in jax.tree.map(lambda leaf: leaf[0], fit)"
            )
        losses = np.append(np.asarray(self.losses), np.asarray(self.final_loss))
        unit = float(jnp.finfo(losses.dtype).eps)
        bound = max((1 + 100 * unit) * losses[0], unit * np.asarray(self.zero_loss))
        # not "above": a comparison with NaN has to come out as astray
        astray = ~((losses <= bound) & np.isfinite(losses))
        if not astray[-1]:
            return None
        return int(np.flatnonzero(~astray).max(initial=-1)) + 2
