"""Point-spread functions that vary over a field of stars, fitted from all of them at once.

    python examples/varying_psf.py [--quick] [--figure FILE.png]

A field of 1024x1024 pixels with 2,000 stars is simulated: a telescope with defocus that grows with
the square of the distance from the centre and coma that grows in proportion to it, seeing, a sky of
100 electrons a pixel, and Poisson noise. The fluxes of the stars go from 1,000 to 100,000
electrons, most of them faint. The catalogue has their places, between pixels, and their fluxes.

`varying.fit` finds the kernels of a grid of 8x8 nodes, 15x15 pixels each, and the sky, in one least
squares; a second one weighs each pixel by the noise that the first one predicts. At 400 places that
are not those of stars the interpolated kernels are compared with the true ones, and with the one
kernel that fits the field best (`learn.solve_kernel`). The errors are `|found - true| / |true|`.
"""

import argparse
import functools
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import learn, varying

SKY = 100.0
STAMP = 48  # side of the square in which a star is computed


class Field(NamedTuple):
    """A simulated field.

    Attributes:
        image: (side, side), electrons.
        positions: (stars, 2), rows and columns.
        fluxes: (stars,), electrons.
    """

    image: np.ndarray
    positions: np.ndarray
    fluxes: np.ndarray


def true_psfs(places: np.ndarray, shifts: np.ndarray, side: int) -> np.ndarray:
    """Return the images of stars, each of total 1.

    Args:
        places: (n, 2), in the field: these determine the aberrations.
        shifts: (n, 2), of each star from the middle of its stamp, in pixels.
        side: of the field.

    Returns:
        (n, STAMP, STAMP); the middle is the element STAMP // 2.
    """
    field = (places / (side - 1) * 2 - 1) / np.sqrt(2)  # length 1 in the corners
    away = np.sum(field**2, 1)[:, None, None]
    # the pupil, whose radius gives 2.4 pixels to a wavelength over the aperture
    y, x = np.meshgrid(*(np.fft.fftfreq(STAMP) * 2 * 2.4,) * 2, indexing="ij")
    square = y**2 + x**2
    along = field[:, 0, None, None] * y + field[:, 1, None, None] * x
    waves = 0.25 * away * (2 * square - 1) + 0.35 * (3 * square - 2) * along
    light = np.abs(np.fft.ifft2((square <= 1) * np.exp(2j * np.pi * waves))) ** 2
    light /= light.sum((1, 2), keepdims=True)
    # seeing, and the shift to the star's place
    f, g = np.meshgrid(*(np.fft.fftfreq(STAMP),) * 2, indexing="ij")
    turned = f * (shifts[:, 0, None, None] + STAMP // 2) + g * (
        shifts[:, 1, None, None] + STAMP // 2
    )
    seeing = np.exp(-2 * np.pi**2 * 0.8**2 * (f**2 + g**2))
    return np.fft.ifft2(np.fft.fft2(light) * seeing * np.exp(-2j * np.pi * turned)).real


def simulate(side: int, stars: int, seed: int = 0) -> Field:
    """Return a field with its catalogue."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform(0, side - 1, (stars, 2))
    fluxes = 1e3 * (1 - rng.uniform(0, 1, stars) * (1 - 1e-2)) ** -1.0
    nearest = np.round(positions).astype(int)
    stamps = fluxes[:, None, None] * true_psfs(positions, positions - nearest, side)
    wide = np.full((side + 2 * STAMP,) * 2, SKY)
    for stamp, (row, column) in zip(stamps, nearest + STAMP // 2, strict=True):
        wide[row : row + STAMP, column : column + STAMP] += stamp
    image = wide[STAMP:-STAMP, STAMP:-STAMP]
    return Field(rng.poisson(np.maximum(image, 0)), positions, fluxes)


def cropped(psfs: np.ndarray, size: int) -> np.ndarray:
    """Cut stamps (n, STAMP, STAMP) to the kernels' size."""
    first = STAMP // 2 - size // 2
    return psfs[:, first : first + size, first : first + size]


def fitted(field: Field, size: int, nodes: int) -> varying.VaryingFit:
    """Fit the point-spread functions, twice: the second time by the noise of the first's model."""
    image = jnp.asarray(field.image, jnp.float32)
    points = stars_of(field)
    how: dict[str, Any] = {"at": "input", "mode": "same"}
    fit = functools.partial(
        varying.fit, points, image, size, grid=nodes, flip=True, bias=True, tolerance=1e-4, **how
    )
    first = fit()
    model = varying.convolve(points, first.kernels, **how) + SKY
    return fit(weights=1 / jnp.maximum(model, SKY / 2))


def stars_of(field: Field) -> jax.Array:
    """The image of the catalogue's points."""
    places, fluxes = (jnp.asarray(a, jnp.float32) for a in (field.positions, field.fluxes))
    return varying.point_sources(places, fluxes, field.image.shape)


def single(field: Field, size: int) -> np.ndarray:
    """Return the one kernel of least error for the whole field."""
    image, half = jnp.asarray(field.image, jnp.float32), size // 2
    found = learn.solve_kernel(stars_of(field), image[half:-half, half:-half], size, bias=True)
    return np.asarray(found.kernel)[::-1, ::-1]  # of a convolution


def errors(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return |found - true| / |true| of each kernel."""
    return np.linalg.norm(found - true, axis=(1, 2)) / np.linalg.norm(true, axis=(1, 2))


def draw(path: Path, rows: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    """Save true, fitted and single kernels, and the fitted ones' differences, at some places."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 2.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 4, squeeze=False)
    titles = ("true", "fitted, varying", "fitted, single", "varying - true")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title)
    for row, (place, (true, found, one)) in zip(axes, rows.items(), strict=True):
        top = max(kernel.max() for kernel in (true, found, one))
        for axis, title, kernel in zip(row, titles, (true, found, one, found - true), strict=True):
            last = title == titles[-1]
            low = -top / 10 if last else 0
            shown = axis.imshow(
                kernel, cmap="RdBu_r" if last else "viridis", vmin=low, vmax=-low if last else top
            )
            axis.set(xticks=[], yticks=[])
            if last or title == titles[2]:
                figure.colorbar(shown, ax=axis, shrink=0.8)
        row[0].set_ylabel(place)
    figure.savefig(path, dpi=120)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a small field")
    parser.add_argument("--figure", type=Path, help="where to save a figure")
    given = parser.parse_args(arguments)
    side, stars, size, nodes = (192, 150, 9, 3) if given.quick else (1024, 2000, 15, 8)
    field = simulate(side, stars)
    seconds = []
    for _ in range(1 if given.quick else 2):  # the second time nothing is compiled
        start = time.perf_counter()
        found = jax.block_until_ready(fitted(field, size, nodes))
        seconds.append(time.perf_counter() - start)
    one = single(field, size)
    places = np.random.default_rng(1).uniform(0, side - 1, (400, 2))
    middle, corner = np.full(2, (side - 1) / 2), np.full(2, 0.05 * side)
    places[:2] = middle, corner
    true = cropped(true_psfs(places, np.zeros_like(places), side), size)
    here = np.asarray(
        varying.kernel_at(found.kernels, places.astype(np.float32), field.image.shape)
    )
    ones = np.broadcast_to(one, true.shape)
    away = np.linalg.norm(places / (side - 1) * 2 - 1, axis=1) / np.sqrt(2)
    print(f"{stars} stars, {side}x{side} pixels, {nodes}x{nodes} kernels of {size}x{size}")
    print(
        f"{int(found.steps)} steps, error {float(found.error):.0e}; seconds for both fits: "
        + ", ".join(f"{each:.1f}" for each in seconds)
    )
    sky = np.asarray(found.bias)
    print(f"sky: {sky.mean():.2f} electrons, from {sky.min():.2f} to {sky.max():.2f}, true {SKY}")
    print("\nmedian error of the kernels   varying   single")
    result: dict[str, Any] = {"sky": sky, "fit": found}
    for name, low, high in (("centre", 0, 0.4), ("between", 0.4, 0.7), ("corners", 0.7, 1.01)):
        which = (away >= low) & (away < high)
        pair = [float(np.median(errors(kernels[which], true[which]))) for kernels in (here, ones)]
        result[name] = pair
        print(f"{name:28} {pair[0]:8.1%} {pair[1]:8.1%}")
    if given.figure:
        rows = zip(("centre", "near a corner"), true, here, ones, strict=False)
        draw(given.figure, {name: tuple(kernels) for name, *kernels in rows})
        print(f"figure: {given.figure.name}")
    return result


if __name__ == "__main__":
    main()
