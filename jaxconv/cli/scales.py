"""The scales of `jaxconv apply`: how the responses to a kernel become intensities from 0 to 1."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jaxconv.cli.errors import CommandError
from jaxconv.cli.kernels import Kernel, white_level
from jaxconv.tiles import Tiled

SCALES = ("clip", "signed", "stretch", "none")


@dataclass(frozen=True)
class Scale:
    """A scale and its numbers: `intensity = offset + (response - low) / divisor`."""

    name: str
    low: float = 0.0
    offset: float = 0.0
    divisor: float = 1.0

    def text(self, clipped: float, dtype: str) -> str:
        """Describe the scale in levels of the file, with the fraction of values clipped."""
        white = white_level(dtype)
        unit, largest = ("intensity", 1) if white == 1 else ("level", np.iinfo(dtype).max)
        beyond = f", {clipped:.1%} of them clipped to the range of the type" if clipped else ""
        low, offset = white * self.low, white * self.offset
        taken = f"{'-' if low > 0 else '+'} {abs(low):g}"
        return {
            "none": f"values kept{beyond}",
            "clip": f"{clipped:.1%} of the values clipped to 0..{largest}",
            "signed": f"{unit} = {f'{offset:g} + ' if offset else ''}response / {self.divisor:g}",
            "stretch": f"{unit} = (response {taken}) / {self.divisor:g}",
        }[self.name]


def choose_scale(
    name: str | None, kernel: Kernel, *, dtype: str, apply: Callable[..., Tiled]
) -> Scale:
    """Return the scale that was asked for, or the one that fits the image and the kernel.

    "stretch" needs all responses before the first result: `apply`, which filters the image into
    the target that it is given, is called once for them alone.
    """
    keeps = dtype.startswith(("float", "int"))
    wide = dtype in ("int32", "uint32")  # float32 holds no small difference from mid-grey
    if name is None:
        negative = kernel.built_in and bool((kernel.weights < 0).any())
        name = "none" if keeps else "signed" if negative and not wide else "clip"
    if name == "none" and not keeps:
        raise CommandError(
            "--scale none is for floating-point and signed images; clip is the nearest to it"
        )
    if name == "signed" and wide:
        raise CommandError(
            f"--scale signed is for images of at most 16 bits and floating-point ones, not {dtype}"
        )
    if name == "signed":
        if dtype.startswith("int"):  # whose 0 is in the middle
            return Scale(name, divisor=kernel.largest_response(signed=True))
        return Scale(name, offset=0.5, divisor=2 * kernel.largest_response())
    if name == "stretch":
        limits = Limits()
        apply(target=limits, dtype="float32")
        low, high = limits.low, limits.high
        if not math.isfinite(high - low):
            raise CommandError("--scale stretch needs finite responses; some are NaN or infinite")
        return Scale(name, low=low, divisor=high - low or 1.0)
    return Scale(name)


class Limits:
    """A target that keeps only the smallest and the largest value."""

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf
        self._lock = threading.Lock()

    def write(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        """Take the values of a box into account; one that is NaN makes both NaN."""
        del box
        with self._lock:
            self.low = float(np.minimum(self.low, values.min()))
            self.high = float(np.maximum(self.high, values.max()))
