"""How `jaxconv restore` restores a window: by one of three methods, channel by channel."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxconv import correlate, restore
from jaxconv.cli.kernels import Kernel
from jaxconv.cli.options import Restore

TIKHONOV_STEPS, LUCY_STEPS, STOPPED_STEPS = 100, 30, 500
ROUNDING = 12**-0.5  # the noise of rounding to whole numbers, as a standard deviation
LEVELS = 16  # different values an image must have to show how far apart its levels are
CHUNK = 10  # steps of Richardson and Lucy between two reports of progress


class Undo:
    """Restores windows (*space, channels), a channel always under the same balance.

    Attributes:
        kernels: one for each channel, as `jaxconv.correlate` has them.
        last: the window that was restored last, and its result.
    """

    def __init__(self, given: Restore, kernel: Kernel, first: np.ndarray, dtype: str) -> None:
        """Estimate the balances from a first window.

        Args:
            given: options.
            kernel: as its file has it.
            first: (*space, channels).
            dtype: of the file's values, by name.
        """
        count, each = first.shape[-1], kernel.axes.startswith("C")
        kernels = list(kernel.weights) if each else [kernel.weights] * count
        self.kernels = [np.flip(k) if given.convolution else k for k in kernels]
        largest = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 1.0
        self._biases = np.broadcast_to(kernel.bias * largest, count).astype(np.float32)
        self._given = given
        self._squares, self._count = 0.0, 0
        self._steps: list[int] = []
        self._misfits: list[float] = []
        self._balances: list[float] = []
        self._told: Callable[[int, int], object] = lambda done, parts: None
        self._done, self._parts = 0, 0
        self.last: tuple[np.ndarray, np.ndarray] | None = None
        lucy = given.method == "richardson-lucy"
        usual = (STOPPED_STEPS if given.stop else LUCY_STEPS) if lucy else TIKHONOV_STEPS
        self._most = given.steps or usual
        self._chunks = -(-self._most // CHUNK) if lucy else 1
        if lucy:
            return
        self._ends_decide = False
        self._step = step_of_levels(first) if np.dtype(dtype).kind in "iu" else 0.0
        for c, k in enumerate(self.kernels):
            y = first[..., c] - self._biases[c]
            balance = given.balance or self._balance_for(y, k, given.method)
            self._balances.append(float(balance))
            # large beside that of noise alone
            apart = not given.balance and given.method == "wiener"
            if apart and balance > 10 * self._balance_for(y, k, "tikhonov", steps=10**6):
                self._ends_decide = True

    def report(self, told: Callable[[int, int], object], count: int) -> None:
        """Tell of finished parts from now on: how many, and of how many.

        Args:
            told: is called with both.
            count: of channels of windows to come.
        """
        self._told, self._parts = told, count * self._chunks

    def __call__(self, window: np.ndarray) -> np.ndarray:
        """Restore the channels of a window one after the other."""
        restored = np.empty_like(window)
        for c, k in enumerate(self.kernels):
            restored[..., c] = self._restored(window[..., c] - self._biases[c], k, c)
        left_over = self.left_over(window, restored).astype(np.float64)
        self._squares += float(np.sum(np.square(left_over)))
        self._count += window.size
        self.last = window, restored
        return restored

    def left_over(self, window: np.ndarray, restored: np.ndarray) -> np.ndarray:
        """The window less the blur of its restored image, the ends of which are repeated."""
        blurred = [_blurred(restored[..., c], k) for c, k in enumerate(self.kernels)]
        dark = np.float32(self._given.background or 0.0)
        return window - np.stack(blurred, -1) - self._biases - dark

    @property
    def residual(self) -> float:
        """Root mean square of what is left over."""
        return math.sqrt(self._squares / self._count)

    def told(self) -> str:
        """How it was done, for the line about the result."""
        if self._given.method != "richardson-lucy":
            return f"balance {', '.join(f'{b:.3g}' for b in self._balances)}{self._estimated()}"
        least, most, misfit = min(self._steps), max(self._steps), max(self._misfits)
        steps = f"{most} steps" if least == most else f"{least} to {most} steps"
        stop = self._given.stop
        more = f", not down to {stop:g} yet: more --steps" if stop and misfit > stop else ""
        return f"{steps}, misfit {misfit:.3g}{more}"

    def _balance_for(self, y: np.ndarray, k: np.ndarray, method: str, **more: int) -> Any:
        given = self._given
        return restore.estimate_balance(
            *(y, k),
            noise=given.noise,
            least_noise=None if given.noise is not None else self._step * ROUNDING,
            boundary="circular" if given.boundary == "circular" else "unknown",
            restoration=method,
            **({"steps": self._most} | more),
        )

    def _estimated(self) -> str:
        """How the balance was found, if it was not given."""
        if self._given.balance:
            return ""
        told = ", estimated"
        if self._given.noise is None and self._step:
            levels = "whole levels" if self._step == 1 else f"steps of {self._step:g} levels"
            least = f"{self._step * ROUNDING:.2g}"
            told += f" for noise of at least {least}, which rounding to {levels} makes"
        if self._ends_decide:
            told += (
                "; large because wiener guesses what lies beyond the image's ends: --method "
                "tikhonov finds it, and can restore more"
            )
        return told

    def _restored(self, y: np.ndarray, k: np.ndarray, channel: int) -> Any:
        given = self._given
        if given.method == "richardson-lucy":
            return self._lucy(y, k)
        balance, boundary = self._balances[channel], given.boundary
        if given.method == "wiener":
            found = restore.wiener(y, k, balance=balance, boundary=boundary)
        else:
            steps = self._most
            found = restore.tikhonov(y, k, balance=balance, steps=steps, boundary=boundary).image
        self._advance(1)
        return found

    def _advance(self, parts: int) -> None:
        self._done += parts
        self._told(self._done, self._parts)

    def _lucy(self, y: np.ndarray, k: np.ndarray) -> Any:
        given, state, taken, misfits, image = self._given, None, 0, [], y
        for part in range(self._chunks):
            count = min(CHUNK, self._most - part * CHUNK)
            found = restore.richardson_lucy(
                *(y, k),
                steps=count,
                background=np.float32(given.background or 0.0),
                total_variation=given.total_variation or 0.0,
                stop=given.stop,
                start=state,
                boundary=given.boundary,
            )
            image, state, taken = found.image, found.state, taken + int(found.steps)
            misfits += [float(m) for m in found.misfits if np.isfinite(m)]
            if found.steps < count:  # at the stop
                self._advance(self._chunks - part)
                break
            self._advance(1)
        self._steps.append(taken)
        self._misfits.append(misfits[-1])
        return image


def step_of_levels(values: np.ndarray) -> int:
    """How far apart the levels of an integer image are: 16 for 12 bits at the top of 16.

    1 where too few different values show it.
    """
    levels = np.unique(values.astype(np.int64))
    return int(np.gcd.reduce(np.diff(levels))) if len(levels) >= LEVELS else 1


@jax.jit
def _blurred(x: jax.Array, k: jax.Array) -> jax.Array:
    return correlate(x, k, mode="same", boundary="replicate")
