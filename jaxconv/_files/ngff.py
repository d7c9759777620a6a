"""Where the elements of a zarr array lie in space and time, as OME-NGFF says it.

The place of element i along an axis is scale * i + translation, in the axis' unit. The description
belongs to a group; its array is one level inside. Version 0.5 is written, 0.1 to 0.5 are read.

Source: "Next-generation file format specification", version 0.5, sections 2.3 and 2.4.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

VERSION = "0.5"
LEVEL = "0"  # name of the array in a group that is written


class Places(NamedTuple):
    """Places of an array's elements.

    Attributes:
        axes: name, and type and unit where they are known, of each axis.
        scale: distance between elements along each axis.
        translation: place of the first element along each axis.
    """

    axes: tuple[Mapping[str, str], ...]
    scale: tuple[float, ...]
    translation: tuple[float, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the axes."""
        return tuple(axis["name"] for axis in self.axes)

    def of(self, kept: Sequence[int]) -> "Places":
        """Return the places along some of the axes."""
        axes = tuple(self.axes[n] for n in kept)
        scale, translation = (
            tuple(each[n] for n in kept) for each in (self.scale, self.translation)
        )
        return Places(axes, scale, translation)

    def cut(self, begin: Sequence[float], step: Sequence[float]) -> "Places":
        """Return the places of an array whose element i is begin + step * i of this one.

        Example:
            >>> Places(({"name": "x"},), (0.5,), (3.0,)).cut([4], [2])
            Places(axes=({'name': 'x'},), scale=(1.0,), translation=(5.0,))
        """
        moved = zip(self.translation, self.scale, begin, strict=True)
        translation = tuple(place + scale * first for place, scale, first in moved)
        scale = tuple(scale * step for scale, step in zip(self.scale, step, strict=True))
        return Places(self.axes, scale, translation)

    def metadata(self) -> dict[str, Any]:
        """Return the contents of a group's zarr.json."""
        transformations: list[dict[str, Any]] = [{"type": "scale", "scale": [*self.scale]}]
        if any(self.translation):
            transformations += [{"type": "translation", "translation": [*self.translation]}]
        level = {"path": LEVEL, "coordinateTransformations": transformations}
        scales = [{"axes": [dict(axis) for axis in self.axes], "datasets": [level]}]
        described = {"ome": {"version": VERSION, "multiscales": scales}}
        return {"zarr_format": 3, "node_type": "group", "attributes": described}


def read(scales: Mapping[str, Any], level: int) -> Places:
    """Return the places that a `multiscales` gives for one of its levels.

    Raises:
        KeyError, TypeError, ValueError: it is not as OME-NGFF has it.
    """
    named = scales.get("axes", ["t", "c", "z", "y", "x"])  # all five before version 0.3
    axes = tuple(_axis(axis) for axis in named)
    scale, translation = [1.0] * len(axes), [0.0] * len(axes)
    # those of the level come first, then those of all levels
    for holder in (scales["datasets"][level], scales):
        for each in holder.get("coordinateTransformations", ()):
            if each["type"] == "scale":
                factors = [float(factor) for factor in each["scale"]]
                scale = [s * f for s, f in zip(scale, factors, strict=True)]
                translation = [t * f for t, f in zip(translation, factors, strict=True)]
            elif each["type"] == "translation":
                added = [float(value) for value in each["translation"]]
                translation = [t + a for t, a in zip(translation, added, strict=True)]
    return Places(axes, tuple(scale), tuple(translation))


def _axis(axis: Any) -> dict[str, str]:
    if not isinstance(axis, Mapping):
        return {"name": str(axis)}
    return {"name": str(axis["name"])} | {k: str(axis[k]) for k in ("type", "unit") if k in axis}
