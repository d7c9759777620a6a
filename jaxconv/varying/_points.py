"""Images of point sources, from a catalogue of places and brightnesses."""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxconv._core.geometry.dtypes import as_array
from jaxconv._core.geometry.messages import shown

# interpolation -> elements on each side of a point that have a share in it
REACH = {"linear": 1, "lanczos": 3}


def point_sources(
    positions: ArrayLike,
    fluxes: ArrayLike,
    shape: Sequence[int],
    *,
    interpolation: str = "lanczos",
) -> jax.Array:
    """Return an image of points of light, such as the stars of a catalogue.

    `x[t] = sum over stars s of flux_s product over axes of w(t - position_s)`, w(d) the weight of
    the interpolation, scaled to sum to 1 over each star's elements, in or out of the image

    Convolved with a point-spread function that is sampled finely enough, it shows every star where
    it is, between elements too. So `varying.fit(point_sources(...), image, ..., at="input",
    flip=True)` finds the point-spread functions of an image from all its stars at once.

    Args:
        positions: (stars, rank), floating point, in elements: the centre of the first element is
            0. Its columns are the axes in their order, so (row, column) = (y, x) for an image; of
            catalogues that count from 1, as FITS does, subtract 1.
        fluxes: (stars,), the total light of each, in the image's units and positions' dtype.
        shape: of the image.
        interpolation: "lanczos" shares a star among six elements along each axis,
            `w(d) = sinc(d) sinc(d / 3)`, and is right for point-spread functions of a width of
            about two elements or more; "linear" shares it between two, `w(d) = 1 - |d|`: never
            negative, but the functions that are fitted are then too narrow, by about the width of
            an element, as they make up for the interpolation.

    Returns:
        `shape`, in positions' dtype. Stars beyond its ends count as far as they reach into it.

    Raises:
        TypeError: positions or fluxes is not floating point, or their dtypes differ.
        ValueError: their shapes or that of the image do not fit, or an unknown interpolation.

    Example:
        >>> point_sources(jnp.array([[1.0], [3.25]]), jnp.array([4.0, 8.0]), (6,),
        ...               interpolation="linear")
        Array([0., 4., 0., 6., 2., 0.], dtype=float32)

    Source: C. E. Duchon, "Lanczos filtering in one and two dimensions", Journal of Applied
    Meteorology 18 (8), 1979, for the window.
    """
    positions = as_array("point_sources", "positions", positions)
    fluxes = as_array("point_sources", "fluxes", fluxes)
    shape = tuple(shape)
    for name, array in (("positions", positions), ("fluxes", fluxes)):
        if not jnp.issubdtype(array.dtype, jnp.floating) or array.dtype != positions.dtype:
            raise TypeError(
                f"point_sources: {name} is {array.dtype}, and positions and fluxes must be of one "
                f"floating dtype; convert it, as in {name}.astype('float32')"
            )
    if positions.ndim != 2 or not shape or positions.shape[1] != len(shape):
        raise ValueError(
            f"point_sources: positions.shape={positions.shape} must be (stars, {len(shape)}), one "
            f"coordinate for each axis of shape={shape}"
        )
    if fluxes.shape != positions.shape[:1]:
        raise ValueError(
            f"point_sources: fluxes.shape={fluxes.shape} must be {positions.shape[:1]}, one for "
            "each of positions"
        )
    if any(n < 1 for n in shape):
        raise ValueError(f"point_sources: shape={shape} must have 1 or more elements an axis")
    if interpolation not in REACH:
        raise ValueError(
            f"point_sources: interpolation={shown(interpolation)} must be one of "
            f"{', '.join(map(repr, REACH))}"
        )
    return _point_sources(positions, fluxes, shape, interpolation)


@functools.partial(jax.jit, static_argnames=("shape", "interpolation"))
def _point_sources(
    positions: jax.Array, fluxes: jax.Array, shape: tuple[int, ...], interpolation: str
) -> jax.Array:
    reach = REACH[interpolation]
    first = jnp.floor(positions)
    steps = jnp.arange(1 - reach, 1 + reach)
    away = steps.astype(positions.dtype)[None, :, None] - (positions - first)[:, None, :]
    if interpolation == "linear":
        weights = 1 - jnp.abs(away)
    else:
        weights = jnp.sinc(away) * jnp.sinc(away / reach)
        weights = weights / jnp.sum(weights, 1, keepdims=True)
    rows = first.astype(jnp.int32)[:, None, :] + steps.astype(jnp.int32)[None, :, None]
    image = jnp.zeros(shape, positions.dtype)
    for each in itertools.product(range(2 * reach), repeat=len(shape)):
        share = fluxes
        index = []
        for axis, number in enumerate(each):
            share = share * weights[:, number, axis]
            index.append(rows[:, number, axis])
        # a negative index would count from the end
        inside = jnp.stack([i >= 0 for i in index]).all(0)
        share = jnp.where(inside, share, jnp.zeros((), share.dtype))
        image = image.at[tuple(jnp.maximum(i, 0) for i in index)].add(share, mode="drop")
    return image
