"""Layers of sequences, and the definitions of the streaming functions as explicit loops."""

import numpy as np


def integers(*shape, seed=0):
    """Small integers in float32, so that sums are exact and comparisons can be too."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype("float32")


# (batch, in), (K, in // groups, out), stride, dilation
LAYERS = {
    "dense": ((2, 3), (3, 3, 4), 1, 1),
    "depthwise": ((2, 4), (4, 1, 4), 1, 1),
    "multiplier": ((3,), (2, 1, 6), 1, 1),
    "grouped and dilated": ((2, 1, 4), (3, 2, 6), 1, 3),
    "no memory": ((2, 3), (1, 3, 2), 1, 1),
    "strided": ((2, 3), (4, 3, 2), 2, 1),
    "strided, depthwise and dilated": ((4,), (3, 1, 4), 3, 2),
    "stride beyond the kernel": ((2, 2), (2, 2, 3), 4, 1),
}


def layer(name, time=9, seed=0):
    """x, w, b and the keyword arguments of `causal_conv1d`."""
    (*batch, channels), kernel, stride, dilation = LAYERS[name]
    x = integers(*batch, time, channels, seed=seed)
    w, b = integers(*kernel, seed=seed + 1), integers(kernel[-1], seed=seed + 2)
    return x, w, b, {"stride": stride, "dilation": dilation}


def transposed_layer(name, time=6, seed=0):
    """y, w, b and the keyword arguments of `causal_conv_transpose1d`."""
    x, w, _, how = layer(name)
    groups = x.shape[-1] // w.shape[1]
    y = integers(*x.shape[:-2], time, w.shape[2], seed=seed + 3)
    return y, w, integers(x.shape[-1], seed=seed + 4), how | {"groups": groups}


def causal(x, w, b, ids=None, *, stride=1, dilation=1):
    """y[t] = b + sum over k of x[t stride - (K - 1 - k) dilation] w[k], of one row (time, in)."""
    (time, channels), (kernel, part, out) = x.shape, w.shape
    ids, groups = np.zeros(time, int) if ids is None else ids, channels // part
    y = np.tile(np.asarray(b, "float64"), (-(-time // stride), 1))
    for t in range(len(y)):
        for k in range(kernel):
            s = t * stride - (kernel - 1 - k) * dilation
            if s < 0 or ids[s] != ids[t * stride]:
                continue
            for o in range(out):
                first = o // (out // groups) * part
                y[t, o] += x[s, first : first + part] @ w[k, :, o]
    return y


def transposed(y, w, b, ids=None, *, stride=1, dilation=1, groups=1):
    """x[s] = b + sum of y[t] w[k] over t stride + k dilation = s, of one row (time, out)."""
    (time, out), (kernel, part, _) = y.shape, w.shape
    ids = np.zeros(time, int) if ids is None else ids
    x = np.tile(np.asarray(b, "float64"), (time * stride, 1))
    for t in range(time):
        for k in range(kernel):
            s = t * stride + k * dilation
            if s >= len(x) or ids[t] != ids[s // stride]:
                continue
            for o in range(out):
                first = o // (out // groups) * part
                x[s, first : first + part] += y[t, o] * w[k, :, o]
    return x


def rows(function, x, w, b, ids=None, **how):
    """A definition of one row, for every row of a batch."""
    batch = x.shape[:-2]
    found = [
        function(x[at], w, b, None if ids is None else np.asarray(ids)[at], **how)
        for at in np.ndindex(*batch)
    ]
    return np.reshape(found, (*batch, *found[0].shape))


def split(x, cuts):
    return np.split(x, sorted(cuts), axis=-2)
