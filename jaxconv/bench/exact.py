"""Float64 answers from NumPy, by a way of its own: what every contestant must agree with.

`reference.py` is the definition; this sum over the kernel's entries, a matrix product each, is the
same in affordable time, and `tests/test_bench.py` holds it against the definition.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from jaxconv._core.geometry.spec import ConvSpec
from jaxconv.bench.cases import Layer, Plane

TOLERANCE = 1e-4
"""Largest error allowed in float32, as a share of the largest magnitude of the float64 answer."""


def layer(case: Layer, x: np.ndarray, w: np.ndarray, ct: np.ndarray) -> dict[str, np.ndarray]:
    """Return y, and the gradients dx and dw of <y, ct>, in float64."""
    x, w, ct = (a.astype(np.float64) for a in (x, w, ct))
    spec = case.spec
    if case.transposed:
        return {
            "y": make_x(x, w, spec),
            "dx": make_y(ct, w, spec),
            "dw": make_w(ct, x, spec),
        }
    return {"y": make_y(x, w, spec), "dx": make_x(ct, w, spec), "dw": make_w(x, ct, spec)}


def plane(case: Plane, x: np.ndarray, k: np.ndarray) -> dict[str, np.ndarray]:
    """Return the correlation of x's size, zeros outside, an even kernel's odd row before."""
    size = [n + m - 1 for n, m in zip(x.shape, k.shape, strict=True)]
    flipped = k[::-1, ::-1].astype(np.float64)
    product = np.fft.rfft2(x.astype(np.float64), size) * np.fft.rfft2(flipped, size)
    full = np.fft.irfft2(product, size)
    rows, columns = ((m - 1) // 2 for m in case.kernel)
    return {"y": full[rows : rows + x.shape[0], columns : columns + x.shape[1]]}


def errors(values: Mapping[str, np.ndarray], exact: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Largest error of each array as a share of its largest exact magnitude; nan and inf kept."""
    found = {}
    for name, value in values.items():
        want = exact[name]
        if np.shape(value) != want.shape:
            raise ValueError(f"{name} has shape {np.shape(value)}, the exact one {want.shape}")
        scale = float(np.abs(want).max()) or 1.0
        found[name] = float(np.abs(np.asarray(value, np.float64) - want).max()) / scale
    return found


def make_y(x: np.ndarray, w: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """Y from x (n, *space, in) and w (*kernel, in // groups, out)."""
    x, w = _groups_first(_embed(x, spec), spec.groups), _groups_first(w, spec.groups)
    groups, n = x.shape[:2]
    y = np.zeros((groups, n * math.prod(spec.output_size), w.shape[-1]))
    for k, at in _taps(spec):
        y += x[at].reshape(groups, -1, x.shape[-1]) @ w[:, *k]
    return _groups_last(y.reshape(groups, n, *spec.output_size, w.shape[-1]))


def make_x(y: np.ndarray, w: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """X from y (n, *space', out) and w."""
    y, w = _groups_first(y, spec.groups), _groups_first(w, spec.groups)
    groups, n = y.shape[:2]
    embedded = [m + lo + hi for m, (lo, hi) in _sides(spec)]
    x = np.zeros((groups, n, *embedded, w.shape[-2]))
    flat = y.reshape(groups, -1, y.shape[-1])
    for k, at in _taps(spec):
        terms = flat @ np.swapaxes(w[:, *k], -1, -2)
        x[at] += terms.reshape(x[at].shape)
    cut = tuple(slice(lo, lo + m) for m, (lo, _) in _sides(spec))
    return _groups_last(x[:, :, *cut])


def make_w(x: np.ndarray, y: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """W from x and y."""
    x, y = _groups_first(_embed(x, spec), spec.groups), _groups_first(y, spec.groups)
    groups = x.shape[0]
    flat = y.reshape(groups, -1, y.shape[-1])
    w = np.zeros((groups, *spec.kernel_size, x.shape[-1], y.shape[-1]))
    for k, at in _taps(spec):
        shifted = x[at].reshape(groups, -1, x.shape[-1])
        w[:, *k] = np.swapaxes(shifted, -1, -2) @ flat
    # (g, *kernel, i, o) -> (*kernel, i, g * o)
    return np.moveaxis(w, 0, -2).reshape(*spec.kernel_size, x.shape[-1], groups * y.shape[-1])


def _sides(spec: ConvSpec):
    return zip(spec.input_size, spec.padding, strict=True)


def _embed(x: np.ndarray, spec: ConvSpec) -> np.ndarray:
    if min(min(pair) for pair in spec.padding) < 0:
        raise ValueError(f"bench: padding={spec.padding} must not be negative")
    return np.pad(x, [(0, 0), *spec.padding, (0, 0)])


def _groups_first(a: np.ndarray, groups: int) -> np.ndarray:
    # (..., g * c) -> (g, ..., c)
    return np.ascontiguousarray(
        np.moveaxis(a.reshape(*a.shape[:-1], groups, a.shape[-1] // groups), -2, 0)
    )


def _groups_last(a: np.ndarray) -> np.ndarray:
    # (g, ..., c) -> (..., g * c)
    a = np.moveaxis(a, 0, -2)
    return a.reshape(*a.shape[:-2], a.shape[-2] * a.shape[-1])


def _taps(spec: ConvSpec) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Each kernel entry, and what it reads of the embedded (g, n, *space, c)."""
    for k in np.ndindex(*spec.kernel_size):
        at = tuple(
            slice(a * d, a * d + (m - 1) * s + 1, s)
            for a, d, m, s in zip(k, spec.dilation, spec.output_size, spec.stride, strict=True)
        )
        yield k, (slice(None), slice(None), *at)
