"""OpenCV's linear filters as loops over the elements of a kernel, in float64, and drawn images.

Sums of integers times integers (or times multiples of 2^-16) are exact in float64.
"""

import numpy as np

DTYPES = ("uint8", "uint16", "int16", "float32")
# borderType -> where position p outside of n elements is read
BORDERS = {0: "constant", 1: "replicate", 2: "reflect", 4: "reflect_101"}
# orders and ksize -> the kernels, written out
DERIVATIVES = {
    (1, 0, 1): ([-1, 0, 1], [1]),
    (0, 1, 1): ([1], [-1, 0, 1]),
    (2, 0, 1): ([1, -2, 1], [1]),
    (1, 0, 3): ([-1, 0, 1], [1, 2, 1]),
    (1, 1, 3): ([-1, 0, 1], [-1, 0, 1]),
    (0, 2, 3): ([1, 2, 1], [1, -2, 1]),
    (1, 0, 5): ([-1, -2, 0, 2, 1], [1, 4, 6, 4, 1]),
    (3, 1, 5): ([-1, 2, 0, -2, 1], [-1, -2, 0, 2, 1]),
    (0, 1, 7): ([1, 6, 15, 20, 15, 6, 1], [-1, -4, -5, 0, 5, 4, 1]),
    (1, 0, -1): ([-1, 0, 1], [3, 10, 3]),
}
# size -> 256 times the Gaussian kernel of sigma 0
TABLES = {
    1: [256],
    3: [64, 128, 64],
    5: [16, 64, 96, 64, 16],
    7: [8, 28, 56, 72, 56, 28, 8],
    9: [4, 13, 30, 51, 60, 51, 30, 13, 4],
}


def place(p, n, border):
    """The index of the element of n that lies at position p, or None for a zero."""
    if border == 0:
        return p if 0 <= p < n else None
    if border == 1:
        return min(max(p, 0), n - 1)
    if border == 3:
        return p % n
    while n > 1 and not 0 <= p < n:
        if border == 2:
            p = -p - 1 if p < 0 else 2 * n - 1 - p
        else:
            p = -p if p < 0 else 2 * (n - 1) - p
    return 0 if n == 1 else p


def lines(x, offset, border):
    """Row i + offset of x, for each row i."""
    found = []
    for i in range(len(x)):
        at = place(i + offset, len(x), border)
        found.append(np.zeros_like(x[0]) if at is None else x[at])
    return np.stack(found)


def correlated(x, k, border=4, anchor=(-1, -1)):
    """Of (H, W) or (H, W, channels), in float64."""
    x, k = np.asarray(x, np.float64), np.asarray(k, np.float64)
    column, row = (n // 2 if a == -1 else a for a, n in zip(anchor, k.shape[::-1], strict=True))
    y = np.zeros_like(x)
    for a in range(k.shape[0]):
        moved = lines(x, a - row, border)
        for b in range(k.shape[1]):
            y += k[a, b] * lines(moved.swapaxes(0, 1), b - column, border).swapaxes(0, 1)
    return y


def cast(y, dtype):
    """Rounded half to even and clipped, for integers."""
    if np.dtype(dtype).kind == "f":
        return y.astype(dtype)
    ends = np.iinfo(dtype)
    return np.clip(np.rint(y), ends.min, ends.max).astype(dtype)


def gaussian(size, sigma):
    weights = np.array([np.exp(-((a - (size - 1) / 2) ** 2) / (2 * sigma**2)) for a in range(size)])
    return weights / weights.sum()


def drawn(dtype, shape, seed=0):
    """With the smallest and the largest integers."""
    draw = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return draw.normal(size=shape).astype(dtype)
    ends = np.iinfo(dtype)
    x = draw.integers(ends.min, ends.max + 1, shape).astype(dtype)
    x[: len(x) // 2, :2], x[: len(x) // 2, 2:3] = ends.max, ends.min
    return x


def assert_matches(found, wanted, dtype):
    """Integers are equal; floats to 1e-5 of the largest."""
    found = np.asarray(found)
    assert found.dtype == dtype
    assert found.shape == wanted.shape
    if np.dtype(dtype).kind == "f":
        scale = max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(found / scale, wanted / scale, rtol=0, atol=1e-5)
    else:
        np.testing.assert_array_equal(found, wanted)


def assert_equal_but_for_ties(found, exact, dtype, near):
    """Integers are `exact` rounded, except where it lies so near to a half that either is right."""
    found, wanted = np.asarray(found), cast(exact, dtype)
    assert found.dtype == dtype
    tied = np.abs(exact - np.floor(exact) - 0.5) < near
    np.testing.assert_array_equal(found[~tied], wanted[~tied])
    assert (np.abs(found.astype(float) - exact)[tied] <= 0.5 + near).all()
    return tied.mean()
