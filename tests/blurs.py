"""Blurs of small images by loops and by dense matrices of NumPy's, in float64."""

import itertools
import math

import numpy as np

from jaxconv._core.geometry.extension import NONE, source_index

# rank -> size of an image, size of a kernel
SIZES = {
    1: ((9,), (4,)),
    2: ((6, 5), (3, 2)),
    3: ((3, 2, 3), (2, 1, 2)),
    4: ((2, 1, 2, 2), (2, 1, 1, 2)),
}


def drawn(seed, *shape):
    return np.random.default_rng(seed).uniform(0.1, 1.0, shape)


def blurred(x, k, size, boundary, flip):
    """The blur of x element by element, with x reaching beyond y where that is unknown."""
    k = k[(slice(None, None, -1),) * k.ndim] if flip else k
    y = np.zeros(size)
    for t in itertools.product(*map(range, size)):
        for a in itertools.product(*map(range, k.shape)):
            at = [i + j for i, j in zip(t, a, strict=True)]
            if boundary != "unknown":
                at = [i - (n - 1) // 2 for i, n in zip(at, k.shape, strict=True)]
                read = [
                    int(source_index(np.array([i]), n, boundary)[0])
                    for i, n in zip(at, size, strict=True)
                ]
                if NONE in read:
                    continue
                at = read
            y[t] += x[tuple(at)] * k[a]
    return y


def matrix(function, shape):
    """The matrix of a linear function of arrays of a shape."""
    units = np.eye(math.prod(shape)).reshape(-1, *shape)
    return np.stack([np.ravel(function(unit)) for unit in units], axis=1)


def shape_of_x(size, kernel, boundary):
    if boundary != "unknown":
        return size
    return tuple(n + a - 1 for n, a in zip(size, kernel, strict=True))


def middle(size, kernel, boundary):
    """Where y lies in x."""
    if boundary != "unknown":
        return (slice(None),) * len(size)
    return tuple(slice((a - 1) // 2, (a - 1) // 2 + n) for n, a in zip(size, kernel, strict=True))
