"""Convolution by explicit loops in NumPy: the definition that every method is tested against.

`output`, `input` and `kernel` loop over the output positions t and kernel positions k of the form

    T(x, w, y) = sum x[n, t stride + k dilation - lo, g, i] w[k, g, i, o] y[n, t, g, o]

and compute its derivative with respect to y, x or w. Positions outside x are skipped, not padded.
All are computed in float64, complex128 or int64.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from jaxconv._core.geometry.spec import ConvSpec

__all__ = ["corr2d", "input", "kernel", "output"]

Position = tuple[int, ...]


def corr2d(x: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Cross-correlate x with k: y[i, j] = sum over a, b of x[i + a, j + b] k[a, b].

    Args:
        x: (H, W).
        k: (h, w).

    Returns:
        y: (H - h + 1, W - w + 1).

    Example:
        >>> corr2d(np.arange(9.0).reshape(3, 3), np.arange(4.0).reshape(2, 2))
        array([[19., 25.],
               [37., 43.]])

    Source:
        D2L ("Dive into Deep Learning"), section 6.2.1.
    """
    (height, width), (h, w) = x.shape, k.shape
    y = np.zeros((height - h + 1, width - w + 1), np.result_type(x, k))
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            for a in range(h):
                for b in range(w):
                    y[i, j] += x[i + a, j + b] * k[a, b]
    return y


def output(x: np.ndarray, w: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """Return y[n, t, g, o] = sum over k, i of x[n, t stride + k dilation - lo, g, i] w[k, g, i, o].

    Args:
        x: (n, *space, groups * i).
        w: (*kernel, i, groups * o).
        spec: the geometry.

    Returns:
        y: (n, *space', groups * o).
    """
    xs, ws = _split_channels(x, spec.groups), _split_kernel(w, spec.groups)
    y = np.zeros((x.shape[0], *spec.output_size, spec.groups, ws.shape[-1]), _accumulator(x, w))
    for t, k, s in _terms(spec):
        y[:, *t] += np.einsum("ngi,gio->ngo", xs[:, *s], ws[k])
    return _join_channels(y)


def input(y: np.ndarray, w: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """Return x[n, s, g, i] = sum of w[k, g, i, o] y[n, t, g, o], t stride + k dilation - lo = s.

    Args:
        y: (n, *space', groups * o).
        w: (*kernel, i, groups * o).
        spec: the geometry.

    Returns:
        x: (n, *space, groups * i).
    """
    ys, ws = _split_channels(y, spec.groups), _split_kernel(w, spec.groups)
    x = np.zeros((y.shape[0], *spec.input_size, spec.groups, ws.shape[-2]), _accumulator(y, w))
    for t, k, s in _terms(spec):
        x[:, *s] += np.einsum("ngo,gio->ngi", ys[:, *t], ws[k])
    return _join_channels(x)


def kernel(x: np.ndarray, y: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """Return w[k, g, i, o] = sum over n, t of x[n, t stride + k dilation - lo, g, i] y[n, t, g, o].

    Args:
        x: (n, *space, groups * i).
        y: (n, *space', groups * o).
        spec: the geometry.

    Returns:
        w: (*kernel, i, groups * o).
    """
    xs, ys = _split_channels(x, spec.groups), _split_channels(y, spec.groups)
    w = np.zeros((*spec.kernel_size, spec.groups, xs.shape[-1], ys.shape[-1]), _accumulator(x, y))
    for t, k, s in _terms(spec):
        w[k] += np.einsum("ngi,ngo->gio", xs[:, *s], ys[:, *t])
    # (*kernel, g, i, o) -> (*kernel, i, g, o) -> (*kernel, i, g * o)
    return _join_channels(np.moveaxis(w, -3, -2))


CONTRACTIONS = {"output": output, "input": input, "kernel": kernel}


def _terms(spec: ConvSpec) -> Iterator[tuple[Position, Position, Position]]:
    """Yield (output, kernel, input position) of each multiplication inside the input."""
    for t in product(*map(range, spec.output_size)):
        for k in product(*map(range, spec.kernel_size)):
            s = tuple(
                t_ * stride + k_ * dilation - lo
                for t_, k_, stride, dilation, (lo, _) in zip(
                    t, k, spec.stride, spec.dilation, spec.padding, strict=True
                )
            )
            if all(0 <= s_ < size for s_, size in zip(s, spec.input_size, strict=True)):
                yield t, k, s


def _accumulator(a: np.ndarray, b: np.ndarray) -> np.dtype:
    if np.iscomplexobj(a) or np.iscomplexobj(b):
        return np.dtype(np.complex128)
    exact = all(array.dtype == bool or np.issubdtype(array.dtype, np.integer) for array in (a, b))
    return np.dtype(np.int64 if exact else np.float64)


def _split_channels(a: np.ndarray, groups: int) -> np.ndarray:
    """(..., groups * c) -> (..., groups, c), in the accumulator's dtype."""
    a = np.asarray(a)
    return a.astype(_accumulator(a, a)).reshape(*a.shape[:-1], groups, a.shape[-1] // groups)


def _split_kernel(w: np.ndarray, groups: int) -> np.ndarray:
    """(*kernel, i, groups * o) -> (*kernel, groups, i, o), in the accumulator's dtype."""
    return np.moveaxis(_split_channels(w, groups), -2, -3)


def _join_channels(a: np.ndarray) -> np.ndarray:
    """(..., groups, c) -> (..., groups * c)."""
    return a.reshape(*a.shape[:-2], a.shape[-2] * a.shape[-1])
