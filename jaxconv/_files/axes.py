"""Which axis of an image is what, by a letter an axis, and what a kernel makes of the axes.

| letter | axis | under a kernel |
|---|---|---|
| Z, Y, X | depth, rows, columns | convolved, all by a kernel of rank 3, Y and X by one of rank 2 |
| S, C | samples of a pixel, channels | summed over by a kernel with channels, else each alone |
| T, Q and others | time, pages without a name, anything else | each plane or volume alone |

An image has no letters ("") where its file does not say what its axes are.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SPACE = "ZYX"
UNNAMED = "Q"  # a stack of whatever
# names of dimensions, as zarr's are -> letters
_NAMES = {
    "X": ("x", "lon", "longitude", "easting", "column", "columns", "col", "width"),
    "Y": ("y", "lat", "latitude", "northing", "row", "rows", "height"),
    "Z": ("z", "depth", "slice", "plane"),
    "C": ("c", "channel", "channels", "band", "bands", "wavelength"),
    "S": ("s", "sample", "samples", "rgb", "rgba"),
    "T": ("t", "time"),
}
_LETTERS = {name: letter for letter, names in _NAMES.items() for name in names}


def letters(names: Sequence[str | None]) -> str:
    """Return the letters of named dimensions, "" where Y and X are not among them.

    Example:
        >>> letters(["time", "band", "y", "x"]), letters(["depth", "Y", "X"]), letters(["a", "b"])
        ('TCYX', 'ZYX', '')
    """
    found = ""
    for name in names:
        letter = _LETTERS.get((name or "").lower(), UNNAMED)
        found += UNNAMED if letter in found else letter
    return found if {"Y", "X"} <= set(found) or found == "X" else ""


def dimension_names(
    axes: str, names: Sequence[str | None] | None = None
) -> list[str | None] | None:
    """Return names for the dimensions of axes: those of the source where they mean the same.

    Example:
        >>> dimension_names("QYXS"), dimension_names("ZYX", ["depth", "lat", "lon"])
        ([None, 'y', 'x', 'c'], ['depth', 'lat', 'lon'])
    """
    if names is not None and letters(names) == axes:
        return list(names)
    if not axes:
        return None
    found = axes if "C" in axes else axes.replace("S", "C")
    return [None if letter == UNNAMED else letter.lower() for letter in found]


def check_axes(axes: object, shape: Sequence[int]) -> str:
    """Return letters that a caller gave, as upper case.

    Raises:
        TypeError: no text.
        ValueError: not one letter an axis, or one of them twice.
    """
    if not isinstance(axes, str):
        raise TypeError(f"axes={axes!r} must be a text with one letter an axis, such as 'ZYX'")
    upper = axes.upper()
    if not (upper.isascii() and upper.isalpha() and len(upper) == len(shape)):
        raise ValueError(
            f"axes={axes!r} must have one letter for each of the {len(shape)} axes of "
            f"{tuple(shape)}: Z, Y, X for space, C or S for channels, T or any other for a stack"
        )
    if twice := sorted({a for a in upper if a != UNNAMED and upper.count(a) > 1}):
        raise ValueError(f"axes={axes!r} has {twice[0]} twice")
    return upper


class Layout(NamedTuple):
    """What a kernel makes of the axes of an image.

    Attributes:
        axes: the letters, "" where there are none.
        space: positions of the axes that are convolved, in the kernel's order.
        channel: position of the axis of channels, or None.
        stack: positions of the others.
    """

    axes: str
    space: tuple[int, ...]
    channel: int | None
    stack: tuple[int, ...]

    def sizes(self, shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """Return the sizes of the stacked and of the spatial axes, and the number of channels."""
        stack, space = (tuple(shape[n] for n in part) for part in (self.stack, self.space))
        return stack, space, 1 if self.channel is None else shape[self.channel]

    def result(self, shape: Sequence[int], space: Sequence[int], channels: int) -> tuple[int, ...]:
        """Return a shape with other spatial sizes and another number of channels."""
        sizes = list(shape)
        for n, size in zip(self.space, space, strict=True):
            sizes[n] = size
        if self.channel is not None:
            sizes[self.channel] = channels
        return tuple(sizes)

    def box(self, at: Sequence[int], space: Sequence[slice]) -> tuple[slice, ...]:
        """Return slices of the image's axes: one plane of the stack, a box of it, all channels.

        An axis of channels that is the last is left out.
        """
        slices = [slice(None)] * (len(self.space) + len(self.stack) + (self.channel is not None))
        for n, place in zip(self.stack, at, strict=True):
            slices[n] = slice(place, place + 1)
        for n, part in zip(self.space, space, strict=True):
            slices[n] = part
        return tuple(slices[:-1] if self.channel == len(slices) - 1 else slices)

    def inward(self, values: np.ndarray) -> np.ndarray:
        """Turn a box of one plane, as the image has it, into (*space, channels)."""
        values = values.transpose(self._order)
        values = values.reshape(values.shape[len(self.stack) :])
        return values if self.channel is not None else values[..., None]

    def outward(self, values: np.ndarray) -> np.ndarray:
        """Turn (*space, channels) into a box of one plane, as the image has it."""
        if self.channel is None:
            values = values[..., 0]
        values = values.reshape((1,) * len(self.stack) + values.shape)
        return values.transpose(np.argsort(self._order))

    @property
    def _order(self) -> tuple[int, ...]:
        return (*self.stack, *self.space, *(() if self.channel is None else (self.channel,)))


def layout(axes: str, shape: Sequence[int], rank: int) -> tuple[Layout, bool]:
    """Return what a kernel makes of an image's axes, and whether the kernel has channels.

    Args:
        axes: letters, or "": then a kernel of as many axes as the image is spatial in all of
            them, and one of one more has channels, which are the image's last axis.
        shape: of the image.
        rank: number of axes of the kernel: spatial, and two more where it has channels.

    Raises:
        ValueError: a kernel of this rank does not go with these axes.

    Example:
        >>> layout("TZCYX", (9, 8, 2, 64, 64), 2)[0][1:], layout("ZYX", (8, 64, 64), 3)[0][1:]
        (((3, 4), 2, (0, 1)), ((0, 1, 2), None, ()))
    """
    count = len(shape)
    if not axes:
        if rank == count:
            return Layout("", tuple(range(count)), None, ()), False
        if rank == count + 1:
            return Layout("", tuple(range(count - 1)), count - 1, ()), True
        if 2 <= rank < count:
            raise ValueError(
                f"kernel has rank {rank}, and the source does not say which of its axes "
                f"{tuple(shape)} is what; say it: axes={examples(count)}"
            )
        raise ValueError(
            f"kernel has rank {rank}; the source {tuple(shape)} takes {count} without channels, "
            f"or {count + 1}: (*kernel, in // groups, out) for a source (*space, in)"
        )
    space = [axes.index(letter) for letter in SPACE if letter in axes]
    channel = next((axes.index(letter) for letter in "SC" if letter in axes), None)
    ranks = {len(space)} | ({2} if len(space) == 3 else set())
    with_channels = {n + 2 for n in ranks} if channel is not None else set()
    if rank not in ranks | with_channels:
        takes = " or ".join(map(str, sorted(ranks)))
        more = " or ".join(map(str, sorted(with_channels)))
        more = f", or {more} with channels: (*kernel, in // groups, out)" if more else ""
        unnamed = [n for n, letter in enumerate(axes) if letter not in SPACE + "SC"]
        hint = ""
        if rank == 3 and len(space) == 2 and unnamed:
            said = axes[: unnamed[-1]] + "Z" + axes[unnamed[-1] + 1 :]
            hint = f"; if they are a volume, say it: axes={said!r}"
        raise ValueError(
            f"kernel has rank {rank}; the source {tuple(shape)}, axes {axes}, takes rank "
            f"{takes}{more}{hint}"
        )
    has_channels = rank not in ranks
    if rank - 2 * has_channels < len(space):
        space = space[1:]
    rest = tuple(n for n in range(count) if n not in space and n != channel)
    return Layout(axes, tuple(space), channel, rest), has_channels


def examples(count: int) -> str:
    """Return letters that an image of so many axes may have, for messages."""
    if count == 3:
        return "'ZYX' for a volume or a stack, 'CYX' or 'YXC' for channels"
    if count == 4:
        return "'TZYX', 'CZYX', 'ZCYX' or 'ZYXC'"
    return "one letter an axis, such as 'TCZYX'"
