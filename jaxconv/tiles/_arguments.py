"""The arguments of `apply_tiled`: what they mean, and messages about those that mean nothing."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv._core.geometry import dtypes
from jaxconv._core.geometry.shapes import extent
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._files import formats, rasters
from jaxconv._files.axes import Layout, check_axes
from jaxconv._files.axes import layout as layout_of
from jaxconv.tiles._journal import FINISHED, UNFINISHED


def remove(path: Path) -> None:
    """Remove a target and its journal."""
    formats.remove(path)
    for end in (UNFINISHED, FINISHED):
        path.with_name(path.name + end).unlink(missing_ok=True)


def origin(image: rasters.Source, spec: ConvSpec) -> list[int]:
    """Where in the source the target's first element is computed, along each spatial axis.

    Raises:
        ValueError: the source has alpha, and not one for every pixel of the target.
    """
    begin = [
        (extent(size, dilation) - 1) // 2 - before
        for size, dilation, (before, _) in zip(
            spec.kernel_size, spec.dilation, spec.padding, strict=True
        )
    ]
    last = [n + first for n, first in zip(spec.output_size, begin, strict=True)]
    inside = min(begin) >= 0 and all(map(int.__le__, last, spec.input_size))
    plain = inside and set(spec.stride) == {1}
    if getattr(getattr(image, "tags", None), "alpha", None) is not None and not plain:
        raise rasters.ImageError(
            "source: has an alpha channel, which is kept with stride=1 and padding 'same' or "
            "'valid'; save it without"
        )
    return begin


def opened(source: Any, page: int | None, level: int) -> rasters.Source:
    for name, value in (("page", page), ("level", level)):
        integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not integer and not (name == "page" and value is None):
            raise TypeError(f"apply_tiled: {name}={value!r} must be an integer")
    if isinstance(source, str | Path):
        return formats.open_source(Path(source), page=page, level=level)
    if page is not None or level:
        raise ValueError("apply_tiled: page and level need a source that is a path")
    if not isinstance(source, rasters.Source):
        raise TypeError(
            "apply_tiled: source must be a path or an object with shape, dtype, stamp and read, "
            f"not {type(source).__name__}"
        )
    formats.check_values(source, "source")
    return source


@contextmanager
def naming_apply_tiled() -> Iterator[None]:
    """Put the function's name in front of the messages about files."""
    try:
        yield
    except rasters.ImageError as error:
        raise ValueError(f"apply_tiled: {error}") from error
    except OSError as error:
        if error.errno is not None:  # raised by the system, not here
            raise
        raise type(error)(f"apply_tiled: {error}") from error


def kernel(
    given: ArrayLike, bias: Any, image: rasters.Source, axes: str | None, groups: Any
) -> tuple[Layout, np.ndarray, np.ndarray, int]:
    """What the kernel makes of the image's axes; it, its bias and groups, with channels."""
    array = dtypes.as_array("apply_tiled", "kernel", given)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(f"apply_tiled: kernel is {array.dtype}; images here are real")
    w = np.asarray(array.astype(jnp.float32))
    try:
        said = getattr(image, "axes", "") if axes is None else check_axes(axes, image.shape)
        layout, with_channels = layout_of(said, image.shape, w.ndim)
    except (ValueError, TypeError) as error:
        raise type(error)(f"apply_tiled: {error}") from None
    if with_channels:
        return layout, w, _bias(bias, w.shape[-1]), groups
    channels = layout.sizes(image.shape)[2]
    if channels > 1 and groups != 1:
        raise ValueError(
            f"apply_tiled: groups={groups} needs a kernel (*kernel, in // groups, out); one "
            "without channels filters each alone"
        )
    b = _bias(bias, 1 if np.size(bias) == 1 else channels)
    w = np.broadcast_to(w[..., None, None], (*w.shape, 1, channels))
    return layout, w, np.broadcast_to(b, (channels,)), channels


def _bias(bias: ArrayLike | None, channels: int) -> np.ndarray:
    if bias is None:
        return np.zeros(channels, np.float32)
    b = dtypes.as_array("apply_tiled", "bias", bias)
    if b.shape != (channels,) and (b.shape, channels) != ((), 1):
        raise ValueError(
            f"apply_tiled: bias.shape={b.shape} must be ({channels},), one a channel of the result"
        )
    if jnp.issubdtype(b.dtype, jnp.complexfloating):
        raise TypeError(f"apply_tiled: bias is {b.dtype}; images here are real")
    return np.asarray(b.astype(jnp.float32)).reshape(channels)


def numbers(**numbers: Any) -> list[float]:
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise TypeError(f"apply_tiled: {name}={value!r} must be a number")
        if not math.isfinite(value) or (name == "divisor" and value == 0):
            other = " and not 0" if name == "divisor" else ""
            raise ValueError(f"apply_tiled: {name}={value!r} must be finite{other}")
    return [float(value) for value in numbers.values()]
