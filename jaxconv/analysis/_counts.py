"""How many weights a layer has before and after each step from dense to convolutional."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from jaxconv._core.geometry.spec import per_dimension


class ParameterCounts(NamedTuple):
    """Numbers of weights of a dense, a shared and a local layer, without biases."""

    dense: int
    shared: int
    local: int


def parameter_counts(
    image_size: int | Sequence[int],
    delta: int | Sequence[int],
    *,
    in_channels: int = 1,
    out_channels: int = 1,
) -> ParameterCounts:
    """Count the weights of a layer from an image to one of its size: dense, shared, local.

    dense = (H W)^2, shared = (2 H - 1) (2 W - 1), local = (2 delta + 1)^2, each times
    in_channels out_channels

    Args:
        image_size: (H, W), or one integer per dimension, in any rank.
        delta: the largest offset of the local layer; one integer or one per dimension.
        in_channels: channels of the image.
        out_channels: channels of the hidden representation.

    Returns:
        ParameterCounts(dense, shared, local): exact integers.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: a size or a number of channels is below 1, or delta is negative.

    Example:
        A megapixel image: from 10^12 weights to nine.

        >>> parameter_counts((1000, 1000), 1)
        ParameterCounts(dense=1000000000000, shared=3996001, local=9)

    Source:
        D2L, section 6.1.2.
    """
    caller = "parameter_counts"
    rank = len(image_size) if isinstance(image_size, Sequence) else 1
    size = per_dimension(caller, "image_size", image_size, rank, minimum=1)
    delta = per_dimension(caller, "delta", delta, rank, minimum=0)
    (c,) = per_dimension(caller, "in_channels", in_channels, 1, minimum=1)
    (o,) = per_dimension(caller, "out_channels", out_channels, 1, minimum=1)
    return ParameterCounts(
        dense=math.prod(size) ** 2 * c * o,
        shared=math.prod(2 * n - 1 for n in size) * c * o,
        local=math.prod(2 * reach + 1 for reach in delta) * c * o,
    )
