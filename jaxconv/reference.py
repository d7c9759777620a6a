"""The definitions, as explicit loops in NumPy: what every fast path is tested against."""

import numpy as np


def corr2d(x: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Cross-correlate the plane x with the kernel k: y[i, j] = sum_ab x[i + a, j + b] k[a, b]."""
    (height, width), (h, w) = x.shape, k.shape
    y = np.zeros((height - h + 1, width - w + 1), np.result_type(x, k))
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            for a in range(h):
                for b in range(w):
                    y[i, j] += x[i + a, j + b] * k[a, b]
    return y
