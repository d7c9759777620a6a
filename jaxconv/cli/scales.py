"""The scales of `jaxconv apply`: how the responses to a kernel become intensities from 0 to 1."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jaxconv.cli.kernels import Kernel
from jaxconv.cli.problem import Problem
from jaxconv.tiles import Tiled

SCALES = ("clip", "signed", "stretch", "none")


@dataclass(frozen=True)
class Scale:
    """A scale and its numbers: `intensity = offset + (response - low) / divisor`."""

    name: str
    low: float = 0.0
    offset: float = 0.0
    divisor: float = 1.0

    def text(self, clipped: float) -> str:
        """Describe the scale.

        Args:
            clipped: fraction of the values that were clipped.
        """
        return {
            "none": "values kept",
            "clip": f"{clipped:.1%} of the values clipped to 0..1",
            "signed": f"intensity = {self.offset:g} + response / {self.divisor:g}",
            "stretch": f"intensity = (response - {self.low:g}) / {self.divisor:g}",
        }[self.name]


def choose_scale(
    name: str | None, kernel: Kernel, *, floating: bool, apply: Callable[..., Tiled]
) -> Scale:
    """Return the scale that was asked for, or the one that fits the image and the kernel.

    Args:
        name: one of `SCALES`, or None.
        kernel: bounds the response for "signed".
        floating: whether the image has floating-point values.
        apply: filters the image into the target that it is given. "stretch" needs all responses
            before the first result: the image is filtered twice.

    Raises:
        Problem: "none" for an image of integers, or "stretch" with NaN or infinite responses.
    """
    if name is None:
        negative = kernel.built_in and bool((kernel.planes < 0).any())
        name = "none" if floating else "signed" if negative else "clip"
    if name == "none" and not floating:
        raise Problem("--scale none is for floating-point images; clip is the nearest to it")
    if name == "signed":
        return Scale(name, offset=0.5, divisor=2 * kernel.largest_response)
    if name == "stretch":
        responses = Limits()
        apply(target=responses, dtype="float32")
        low, high = responses.both()
        if not math.isfinite(high - low):
            raise Problem("--scale stretch needs finite responses; some are NaN or infinite")
        return Scale(name, low=low, divisor=high - low or 1.0)
    return Scale(name)


class Limits:
    """A target that keeps only the smallest and the largest value."""

    def __init__(self) -> None:
        self._of_boxes: list[tuple[float, float]] = []

    def write(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        """Add the values of a box."""
        del box
        self._of_boxes.append((float(values.min()), float(values.max())))

    def both(self) -> tuple[float, float]:
        """The smallest and the largest of all values; NaN if one of them is."""
        low, high = zip(*self._of_boxes, strict=True)
        return float(np.min(low)), float(np.max(high))
