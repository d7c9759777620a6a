"""Photographs in grey and the blurs that psf_table.py and restore_table.py put on them."""

import numpy as np
import skimage.data
from skimage import color

from jaxconv import filters, psf


def photograph(name: str, side: int) -> np.ndarray:
    """Return the middle of a photograph in grey, from 0 to 1."""
    pixels = np.asarray(getattr(skimage.data, name)()) / 255
    grey = color.rgb2gray(pixels) if pixels.ndim == 3 else pixels
    top, left = ((n - side) // 2 for n in grey.shape)
    return grey[top : top + side, left : left + side].astype(np.float32)


def blurs(size: int) -> dict[str, np.ndarray]:
    """Return blur kernels of an odd size."""
    return {
        "Gaussian": filters.gaussian(size / 7.5, size, rank=2),
        "motion": psf.motion(size - 3, 0.5, size=size),
        "defocus": psf.defocus(size / 2 - 1, size=size),
        "Airy": psf.airy(size / 6, size=size),
    }
