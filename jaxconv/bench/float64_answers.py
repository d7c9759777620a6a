"""Convolutions in float64 by NumPy: the values that every contestant is checked against.

`jaxconv.reference` is the definition. Here the loop is over the kernel's entries, with a matrix
product for each, which is fast enough for real layers; `tests/test_bench.py` compares the two.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from jaxconv._core.geometry.spec import Contraction, ConvSpec
from jaxconv.bench.cases import Layer, Plane


def contract(contraction: Contraction, a: np.ndarray, b: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """Return one contraction of its two operands in float64; padding may be negative."""
    make = {"output": _make_y, "input": _make_x, "kernel": _make_w}[contraction]
    return make(a.astype(np.float64), b.astype(np.float64), spec)


def layer(case: Layer, x: np.ndarray, w: np.ndarray, ct: np.ndarray) -> dict[str, np.ndarray]:
    """Return y, and the gradients dx and dw of <y, ct>, in float64."""
    if case.transposed:
        y, dx = contract("input", x, w, case.spec), contract("output", ct, w, case.spec)
        return {"y": y, "dx": dx, "dw": contract("kernel", ct, x, case.spec)}
    y, dx = contract("output", x, w, case.spec), contract("input", ct, w, case.spec)
    return {"y": y, "dx": dx, "dw": contract("kernel", x, ct, case.spec)}


def of_each(case: Layer, x: np.ndarray, ct: np.ndarray) -> dict[str, np.ndarray]:
    """Return the gradient dw of <y, ct> for each image (n, *kernel, in // groups, out)."""
    pairs = (ct, x) if case.transposed else (x, ct)
    images = zip(*(np.split(a, len(x)) for a in pairs), strict=True)
    return {"dw of each": np.stack([contract("kernel", a, b, case.spec) for a, b in images])}


def plane(case: Plane, x: np.ndarray, k: np.ndarray) -> dict[str, np.ndarray]:
    """Return the correlation of x's size, with zeros outside ("same_lower" padding)."""
    size = [n + m - 1 for n, m in zip(x.shape, k.shape, strict=True)]
    flipped = k[::-1, ::-1].astype(np.float64)
    product = np.fft.rfft2(x.astype(np.float64), size) * np.fft.rfft2(flipped, size)
    full = np.fft.irfft2(product, size)
    rows, columns = ((m - 1) // 2 for m in case.kernel)
    return {"y": full[rows : rows + x.shape[0], columns : columns + x.shape[1]]}


def errors(values: Mapping[str, np.ndarray], exact: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Largest error of each array, as a share of its largest exact magnitude; may be nan or inf."""
    found = {}
    for name, value in values.items():
        want = exact[name]
        if np.shape(value) != want.shape:
            raise ValueError(f"{name} has shape {np.shape(value)}, the exact one {want.shape}")
        scale = float(np.abs(want).max()) or 1.0
        found[name] = float(np.abs(np.asarray(value, np.float64) - want).max()) / scale
    return found


def _make_y(x: np.ndarray, w: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """Y from x (n, *space, in) and w (*kernel, in // groups, out)."""
    x, w = _groups_first(_padded(x, spec.padding), spec.groups), _groups_first(w, spec.groups)
    groups, n = x.shape[:2]
    y = np.zeros((groups, n * math.prod(spec.output_size), w.shape[-1]))
    for k, at in _taps(spec):
        y += x[at].reshape(groups, -1, x.shape[-1]) @ w[:, *k]
    return _groups_last(y.reshape(groups, n, *spec.output_size, w.shape[-1]))


def _make_x(y: np.ndarray, w: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """X from y (n, *space', out) and w."""
    y, w = _groups_first(y, spec.groups), _groups_first(w, spec.groups)
    groups, n = y.shape[:2]
    sizes = [m + lo + hi for m, (lo, hi) in zip(spec.input_size, spec.padding, strict=True)]
    x = np.zeros((groups, n, *sizes, w.shape[-2]))
    flat = y.reshape(groups, -1, y.shape[-1])
    for k, at in _taps(spec):
        terms = flat @ np.swapaxes(w[:, *k], -1, -2)
        x[at] += terms.reshape(x[at].shape)
    return _padded(_groups_last(x), [(-lo, -hi) for lo, hi in spec.padding])


def _make_w(x: np.ndarray, y: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """W from x and y."""
    x, y = _groups_first(_padded(x, spec.padding), spec.groups), _groups_first(y, spec.groups)
    groups = x.shape[0]
    flat = y.reshape(groups, -1, y.shape[-1])
    w = np.zeros((groups, *spec.kernel_size, x.shape[-1], y.shape[-1]))
    for k, at in _taps(spec):
        shifted = x[at].reshape(groups, -1, x.shape[-1])
        w[:, *k] = np.swapaxes(shifted, -1, -2) @ flat
    # (g, *kernel, i, o) -> (*kernel, i, g * o)
    return np.moveaxis(w, 0, -2).reshape(*spec.kernel_size, x.shape[-1], groups * y.shape[-1])


def _padded(x: np.ndarray, padding: Sequence[tuple[int, int]]) -> np.ndarray:
    """(n, *space, c) with zeros added at both ends of the space; negative padding cuts off."""
    kept = [
        slice(max(-lo, 0), size - max(-hi, 0))
        for size, (lo, hi) in zip(x.shape[1:-1], padding, strict=True)
    ]
    zeros = [(max(lo, 0), max(hi, 0)) for lo, hi in padding]
    return np.pad(x[:, *kept], [(0, 0), *zeros, (0, 0)])


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
    """Each kernel position, and the slices of the padded (g, n, *space, c) that it multiplies."""
    for k in np.ndindex(*spec.kernel_size):
        at = tuple(
            slice(a * d, a * d + (m - 1) * s + 1, s)
            for a, d, m, s in zip(k, spec.dilation, spec.output_size, spec.stride, strict=True)
        )
        yield k, (slice(None), slice(None), *at)
