"""Classical filter kernels, as NumPy arrays: constants to correlate with.

Conventions, the same for every function here:

* A kernel is to be **correlated** (`jaxconv.correlate`, `scipy.ndimage.correlate`), not convolved:
  `y[p] = sum over k of x[p + k - centre] * kernel[k]`, unflipped, with `centre = (size - 1) / 2`.
* Shapes have one axis for each spatial dimension and no channels. Rank 2 is (rows, columns): axis 0
  is y and points down, axis 1 is x and points right.
* Lengths (`sigma`, `wavelength`) are in samples, angles in radians.
* Derivative kernels respond positively where intensity grows with the index along `axis`.
* Normalisation is the literature's, so that the entries are the ones printed in books:

| kernel | sum | scale | on an image in [0, 1] (rank 2) |
|---|---|---|---|
| `sobel` | 0 | unnormalised: a ramp of slope 1 gives 8 | [-4, 4] |
| `prewitt` | 0 | unnormalised: a ramp of slope 1 gives 6 | [-3, 3] |
| `scharr` | 0 | unnormalised: a ramp of slope 1 gives 32 | [-16, 16] |
| `laplacian` | 0 | `x^2` gives 2 (4 neighbours) or 6 (8) | [-4, 4] or [-8, 8] |
| `gaussian`, `box` | 1 | an average | [0, 1] |
| `gabor` | not 0 in general | peak 1 at the centre for phase 0 | [-s, s], s = sum of magnitudes |

Kernels are computed in float64 and rounded once, to float32 or to `dtype`. Nothing is clipped.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["NAMES", "box", "by_name", "gabor", "gaussian", "laplacian"]
__all__ += ["prewitt", "scharr", "sobel"]

_SEQUENCES = (Sequence, np.ndarray)
# sigma / wavelength of a Gabor function whose half-response bandwidth is one octave:
# (1/pi) sqrt(ln 2 / 2) (2^b + 1) / (2^b - 1) at b = 1 (Petkov and Kruizinga 1997)
_ONE_OCTAVE = 3 / math.pi * math.sqrt(math.log(2) / 2)


def sobel(axis: int, *, rank: int = 2, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Sobel's derivative: a central difference along one axis, [1, 2, 1] along the others.

    `kernel[k] = d[k_axis] * product over the other axes of s[k_a]`, d = (-1, 0, 1), s = (1, 2, 1).

    Args:
        axis: the axis to differentiate along; negative counts from the last.
        rank: number of dimensions, 1 or more.
        dtype: a signed integer, floating or complex dtype.

    Returns:
        (3,) * rank: a ramp of slope 1 along `axis` gives 2 * 4**(rank - 1).

    Raises:
        ValueError: `axis` outside the rank, `rank` below 1, or a dtype without negative numbers.

    Example:
        >>> sobel(1)
        array([[-1.,  0.,  1.],
               [-2.,  0.,  2.],
               [-1.,  0.,  1.]], dtype=float32)

    Source: I. Sobel and G. Feldman, "A 3x3 isotropic gradient operator for image processing", talk
    at the Stanford Artificial Intelligence Project, 1968.
    """
    return _derivative("sobel", axis, [1, 2, 1], rank, dtype)


def prewitt(axis: int, *, rank: int = 2, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Prewitt's derivative: a central difference along one axis, [1, 1, 1] along the others.

    `kernel[k] = d[k_axis]`, d = (-1, 0, 1).

    Args:
        axis: the axis to differentiate along; negative counts from the last.
        rank: number of dimensions, 1 or more.
        dtype: a signed integer, floating or complex dtype.

    Returns:
        (3,) * rank: a ramp of slope 1 along `axis` gives 2 * 3**(rank - 1).

    Raises:
        ValueError: `axis` outside the rank, `rank` below 1, or a dtype without negative numbers.

    Example:
        >>> prewitt(0, dtype=int).tolist()
        [[-1, -1, -1], [0, 0, 0], [1, 1, 1]]

    Source: J. M. S. Prewitt, "Object enhancement and extraction", in Picture Processing and
    Psychopictorics, Academic Press, 1970, pp. 75-149.
    """
    return _derivative("prewitt", axis, [1, 1, 1], rank, dtype)


def scharr(axis: int, *, rank: int = 2, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Scharr's derivative: a central difference along one axis, [3, 10, 3] along the others.

    `kernel[k] = d[k_axis] * product over the other axes of s[k_a]`, d = (-1, 0, 1), s = (3, 10, 3).
    The weights minimise the error of the gradient's direction under rotation.

    Args:
        axis: the axis to differentiate along; negative counts from the last.
        rank: number of dimensions, 1 or more.
        dtype: a signed integer, floating or complex dtype.

    Returns:
        (3,) * rank: a ramp of slope 1 along `axis` gives 2 * 16**(rank - 1).

    Raises:
        ValueError: `axis` outside the rank, `rank` below 1, or a dtype without negative numbers.

    Example:
        >>> scharr(1, dtype=int).tolist()
        [[-3, 0, 3], [-10, 0, 10], [-3, 0, 3]]

    Source: H. Scharr, Optimale Operatoren in der Digitalen Bildverarbeitung, dissertation,
    Universitaet Heidelberg, 2000.
    """
    return _derivative("scharr", axis, [3, 10, 3], rank, dtype)


def laplacian(
    *, rank: int = 2, connectivity: int | None = None, dtype: DTypeLike = np.float32
) -> np.ndarray:
    """The Laplacian: the sum over the neighbours of their difference from the centre.

    `y[p] = sum over neighbours q of p of (x[q] - x[p])`.

    Args:
        rank: number of dimensions, 1 or more.
        connectivity: number of neighbours: 2 * rank (the default: those along the axes; 4 in a
            plane) or 3**rank - 1 (with the diagonal ones; 8 in a plane).
        dtype: a signed integer, floating or complex dtype.

    Returns:
        (3,) * rank; positive neighbours, the negative of `connectivity` in the centre.

    Raises:
        ValueError: another `connectivity`, `rank` below 1, or a dtype without negative numbers.

    Example:
        >>> laplacian(dtype=int).tolist()
        [[0, 1, 0], [1, -4, 1], [0, 1, 0]]

    Source: R. C. Gonzalez and R. E. Woods, Digital Image Processing, chapter 3, "Using the second
    derivative for image sharpening: the Laplacian".
    """
    _check_rank("laplacian", rank)
    along_axes, everywhere = 2 * rank, 3**rank - 1
    if connectivity not in (None, along_axes, everywhere):
        raise ValueError(
            f"laplacian: connectivity must be {along_axes} (neighbours along the axes) or "
            f"{everywhere} (diagonal ones too) for rank={rank}, got {connectivity!r}"
        )
    distance = np.abs(np.indices((3,) * rank) - 1).sum(axis=0)
    reach = 1 if connectivity in (None, along_axes) else rank
    kernel = ((distance >= 1) & (distance <= reach)).astype(np.float64)
    kernel[(1,) * rank] = -kernel.sum()
    return _cast("laplacian", kernel, dtype)


def gaussian(
    sigma: float | Sequence[float] = 1.0,
    size: int | Sequence[int] | None = None,
    *,
    rank: int | None = None,
    truncate: float = 4.0,
    dtype: DTypeLike = np.float32,
) -> np.ndarray:
    """The Gaussian, sampled and scaled to sum 1: a weighted average.

    `kernel[k] = product over axes a of g_a[k_a]`, with `g_a[k]` proportional to
    `exp(-(k - (size_a - 1) / 2)**2 / (2 * sigma_a**2))` and each `g_a` summing to 1.

    Args:
        sigma: standard deviation in samples, above 0: one number, or one for each dimension.
        size: in samples: one number, or one for each dimension; an even size has its centre
            between two samples.
            By default `2 * floor(truncate * sigma + 1/2) + 1`, scipy.ndimage's rule.
        rank: number of dimensions; by default the length of `sigma` or `size`, or 2.
        truncate: half-width of the default size, in standard deviations.
        dtype: a floating or complex dtype.

    Returns:
        `size`, of rank `rank`.

    Raises:
        ValueError: `sigma` or `truncate` not above 0 or not finite, `size` or `rank` below 1,
            sequences of different lengths, or an integer dtype.

    Example:
        >>> gaussian(1.0, 3, rank=1).round(4)
        array([0.2741, 0.4519, 0.2741], dtype=float32)
        >>> gaussian((1.0, 2.0)).shape
        (9, 17)

    Source: D. Marr and E. Hildreth, "Theory of edge detection", Proceedings of the Royal Society of
    London B 207, 1980, pp. 187-217; truncated as scipy.ndimage.gaussian_filter does.
    """
    if rank is None:
        rank = next((len(v) for v in (sigma, size) if isinstance(v, _SEQUENCES)), 2)
    _check_rank("gaussian", rank)
    sigmas = _per_axis("gaussian", "sigma", sigma, rank)
    for s in sigmas:
        _check_positive("gaussian", sigma=s)
    _check_positive("gaussian", truncate=truncate)
    sizes = tuple(2 * int(truncate * s + 0.5) + 1 for s in sigmas)
    if size is not None:
        sizes = _sizes("gaussian", size, rank)
    profiles = []
    for s, n in zip(sigmas, sizes, strict=True):
        # subtracting the largest exponent avoids 0 / 0 by underflow for a small sigma
        exponent = -0.5 * (_centred(n) / s) ** 2
        profile = np.exp(exponent - exponent.max())
        profiles.append(profile / profile.sum())
    return _cast("gaussian", reduce(np.multiply.outer, profiles), dtype)


def box(
    size: int | Sequence[int] = 3, *, rank: int | None = None, dtype: DTypeLike = np.float32
) -> np.ndarray:
    """The mean over a box.

    `kernel[k] = 1 / product of size`.

    Args:
        size: in samples, 1 or more: one number, or one for each dimension.
        rank: number of dimensions; by default that of `size` if it is a sequence, 2 otherwise.
        dtype: a floating or complex dtype.

    Returns:
        `size`, of rank `rank`.

    Raises:
        ValueError: `size` or `rank` below 1, `size` not of length `rank`, or an integer dtype.

    Example:
        >>> box((1, 4))
        array([[0.25, 0.25, 0.25, 0.25]], dtype=float32)

    Source: M. J. McDonnell, "Box-filtering techniques", Computer Graphics and Image Processing 17,
    1981, pp. 65-70.
    """
    if rank is None:
        rank = len(size) if isinstance(size, _SEQUENCES) else 2
    _check_rank("box", rank)
    sizes = _sizes("box", size, rank)
    return _cast("box", np.full(sizes, 1 / math.prod(sizes)), dtype)


def gabor(
    wavelength: float = 4.0,
    orientation: float = 0.0,
    *,
    phase: float = 0.0,
    sigma: float | None = None,
    aspect: float = 0.5,
    size: int | Sequence[int] | None = None,
    truncate: float = 3.0,
    dtype: DTypeLike = np.float32,
) -> np.ndarray:
    """Gabor's function: a wave times a Gaussian, which detects stripes across `orientation`.

    `kernel[y, x] = exp(-(u**2 + aspect**2 * v**2) / (2 * sigma**2)) * cos(2 * pi * u / wavelength +
    phase)`, with `u = x * cos(t) + y * sin(t)`, `v = -x * sin(t) + y * cos(t)`, t = `orientation`
    and x, y counted from the centre.

    Args:
        wavelength: period of the wave in samples, above 0.
        orientation: direction in which the wave travels, in radians from x (right) towards y
            (down): 0 responds to vertical stripes, pi / 2 to horizontal ones.
        phase: of the wave at the centre, in radians: 0 is even; -pi / 2 is odd, rising along u.
        sigma: standard deviation along u in samples, above 0; by default 0.562 * wavelength, a
            bandwidth of one octave. Along v it is sigma / aspect.
        aspect: above 0; below 1 the Gaussian is longer along the stripes.
        size: (rows, columns), or one number for both; by default the smallest odd size that
            contains `truncate` standard deviations along u and along v.
        truncate: half-width of the default size, in standard deviations.
        dtype: a floating or complex dtype.

    Returns:
        (rows, columns), unnormalised: the centre of an odd size is cos(phase).

    Raises:
        ValueError: `wavelength`, `sigma`, `aspect` or `truncate` not above 0 or not finite,
            `orientation` or `phase` not finite, `size` below 1, or an integer dtype.

    Example:
        >>> gabor(4.0, aspect=1.0, size=(1, 5)).round(3)
        array([[-0.673, 0. , 1. , 0. , -0.673]], dtype=float32)

    Source: J. G. Daugman, "Uncertainty relation for resolution in space, spatial frequency, and
    orientation optimized by two-dimensional visual cortical filters", JOSA A 2, 1985, pp. 1160-69;
    in the parameters of N. Petkov and P. Kruizinga, Biological Cybernetics 76, 1997, pp. 83-96.
    """
    if sigma is None:
        sigma = _ONE_OCTAVE * wavelength
    _check_positive("gabor", wavelength=wavelength, sigma=sigma, aspect=aspect, truncate=truncate)
    for name, angle in (("orientation", orientation), ("phase", phase)):
        if not math.isfinite(angle):
            raise ValueError(f"gabor: {name} must be finite, in radians, got {angle!r}")
    cos, sin = math.cos(orientation), math.sin(orientation)
    if size is None:
        # the box around the ends of the two half axes
        along_u, along_v = truncate * sigma, truncate * sigma / aspect
        half_y = max(abs(along_u * sin), abs(along_v * cos))
        half_x = max(abs(along_u * cos), abs(along_v * sin))
        # rounding noise (cos(pi / 2) = 6e-17) must not add a sample
        sizes = tuple(2 * math.ceil(round(half, 9)) + 1 for half in (half_y, half_x))
    else:
        sizes = _sizes("gabor", size, 2)
    y, x = np.meshgrid(_centred(sizes[0]), _centred(sizes[1]), indexing="ij")
    u, v = x * cos + y * sin, -x * sin + y * cos
    envelope = np.exp(-(u**2 + (aspect * v) ** 2) / (2 * sigma**2))
    return _cast("gabor", envelope * np.cos(2 * math.pi * u / wavelength + phase), dtype)


_BY_NAME: dict[str, Callable[[], np.ndarray]] = {
    **{
        f"{derivative.__name__}_{name}": partial(derivative, axis)
        for derivative in (sobel, prewitt, scharr)
        for name, axis in (("x", 1), ("y", 0))
    },
    **{f.__name__: f for f in (laplacian, gaussian, box, gabor)},
}
NAMES: tuple[str, ...] = tuple(_BY_NAME)


def by_name(name: str) -> np.ndarray:
    """Return the 2-D kernel of this name, with the defaults of its function.

    A name with _x differentiates along the last axis, one with _y along the first.

    Args:
        name: one of `NAMES`.

    Returns:
        (rows, columns) in float32.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.

    Example:
        >>> by_name("box").shape
        (3, 3)
    """
    if name not in _BY_NAME:
        raise ValueError(f"by_name: name must be one of {', '.join(NAMES)}; got {name!r}")
    return _BY_NAME[name]()


def _derivative(caller: str, axis: int, smooth: list, rank: int, dtype: DTypeLike) -> np.ndarray:
    _check_rank(caller, rank)
    if not -rank <= axis < rank:
        raise ValueError(f"{caller}: axis must be in [{-rank}, {rank}) for rank={rank}, got {axis}")
    profiles = [np.array(smooth, np.float64)] * rank
    profiles[axis] = np.array([-1.0, 0.0, 1.0])
    return _cast(caller, reduce(np.multiply.outer, profiles), dtype)


def _centred(size: int) -> np.ndarray:
    return np.arange(size) - (size - 1) / 2


def _cast(caller: str, kernel: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    dtype, fractions = np.dtype(dtype), caller in ("gaussian", "box", "gabor")
    # integers are excluded, not floats included: bfloat16 is not a subtype of np.floating
    if dtype.kind in ("biu" if fractions else "bu"):
        rule = "fractions" if fractions else "negative numbers"
        raise ValueError(f"{caller}: dtype must hold {rule}, got {dtype.name}")
    return kernel.astype(dtype)


def _check_rank(caller: str, rank: int) -> None:
    if rank < 1:
        raise ValueError(f"{caller}: rank must be at least 1, got {rank}")


def _check_positive(caller: str, **values: float) -> None:
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{caller}: {name} must be finite and above 0, got {value!r}")


def _per_axis(caller: str, name: str, value: Any, rank: int) -> tuple[Any, ...]:
    if not isinstance(value, _SEQUENCES):
        return (value,) * rank
    values = tuple(value)
    if len(values) != rank:
        raise ValueError(f"{caller}: {name} must be one number or {rank} of them, got {value!r}")
    return values


def _sizes(caller: str, size: int | Sequence[int], rank: int) -> tuple[int, ...]:
    sizes = _per_axis(caller, "size", size, rank)
    if not all(isinstance(n, int | np.integer) and n >= 1 for n in sizes):
        raise ValueError(f"{caller}: size must be integers of at least 1, got {size!r}")
    return sizes
