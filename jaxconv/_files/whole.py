"""Images in memory, with the protocol of those on disk: read and written as whole files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxconv._files import rasters, stored


class WholeSource:
    """An image file of any format that `stored.load` reads, its values held in memory."""

    def __init__(self, path: Path) -> None:
        self.image = stored.load(path)
        self.profile = self.image.profile
        self.shape = self.image.colours.shape
        self.dtype = self.image.colours.dtype.name
        self.stamp = rasters.file_stamp(path)

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return a box."""
        return self.image.colours[box]


class WholeTarget:
    """A filtered image: values in memory, written by `save` with all that the source's file holds.

    Attributes:
        image: the source's image with the values to write.
    """

    def __init__(self, path: Path, source: WholeSource, covered: Sequence[slice]) -> None:
        """Refuse a format that cannot hold the image.

        Args:
            path: its suffix decides the format.
            source: supplies alpha, colour profile and the rest.
            covered: the rows and columns of the source at which there are results.

        Raises:
            ValueError: as `stored.check_holds`.
        """
        image, box = source.image, tuple(covered)
        size, dtype = image.colours[box].shape, rasters.filtered_dtype(source.dtype)
        alpha = None if image.alpha is None else image.alpha[box]
        self.image = replace(image, colours=np.zeros(size, dtype), alpha=alpha)
        stored.check_holds(path, self.image)

    def write(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        """Set a box."""
        self.image.colours[box] = values

    def save(self, path: Path) -> None:
        """Write the file."""
        stored.save(path, self.image)
