"""What the modes of a layer compute: arrays by name, in our layout."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

RESULTS = {
    "forward": ("y",),
    "forward+backward": ("y", "dx", "dw"),
    "kernel gradient": ("dw",),
    "per-example gradients": ("dw of each",),
}
"""Of each mode: y, and the gradients of <y, ct>; "dw of each" has one for each image."""


def named(mode: str, results: Sequence[Any]) -> dict[str, np.ndarray]:
    """Return a mode's results by name."""
    return {name: np.asarray(a) for name, a in zip(RESULTS[mode], results, strict=True)}


def channels_last(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return results in our layout; theirs has channels first and kernels (o, i, *kernel)."""
    moves = {"dw": ((0, 1), (-1, -2)), "dw of each": ((1, 2), (-1, -2))}
    return {name: np.moveaxis(a, *moves.get(name, (1, -1))) for name, a in found.items()}
