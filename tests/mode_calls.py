"""Every kind of public call with arrays: those of `public_calls`, and what they leave out.

Each is held against JAX's modes in `test_modes.py`, tracers in `test_tracers.py` and byte orders
in `test_readers_arrays.py`; a new call is a line here (or there, if it is a new function).
"""

from functools import partial

import numpy as np
from public_calls import CALLS, PLANE, W, X, Y, numbers
from public_calls import first as channels_first

import jaxconv
from jaxconv._core.dispatch import arguments
from jaxconv._core.methods import METHODS
from jaxconv._functional import padding
from jaxconv.compat import torch

B, BACK, LINE = numbers(8), numbers(4), numbers(2, 12, 6)
DEPTHWISE = numbers(3, 3, 1, 8)
SQUARE = numbers(3, 3)

# They take lengths and other numbers, and no arrays.
LENGTHS = {
    f"compat.scipy.signal.{name}"
    for name in ("correlation_lags", "firwin", "get_window", "savgol_coeffs")
}


def of_segments(function, x, w, segment_ids, lengths):
    """In two groups, as causal_conv1d finds by the shapes."""
    groups = {} if function is jaxconv.causal_conv1d else {"groups": 2}
    return function(x, w, segment_ids=segment_ids, lengths=lengths, **groups)


# name -> a function of the arrays that follow
MORE = {
    **{
        f"conv by {method}": (
            partial(jaxconv.conv, stride=2, padding="same", dilation=(1, 2), method=method),
            X,
            W,
            B,
        )
        for method in METHODS
    },
    **{
        f"conv by {method}, depthwise": (
            partial(jaxconv.conv, padding=((2, 0), (-1, 1)), groups=4, method=method),
            X,
            DEPTHWISE,
            B,
        )
        for method in METHODS
    },
    "conv_transpose, strided": (
        partial(jaxconv.conv_transpose, stride=2, output_padding=1),
        Y,
        W,
        BACK,
    ),
    **{
        f"conv, {mode}": (partial(jaxconv.conv, padding="same", padding_mode=mode), X, W, B)
        for mode in arguments.PADDING_MODES
    },
    **{
        f"conv_transpose, {mode}": (
            partial(jaxconv.conv_transpose, padding=1, padding_mode=mode),
            Y,
            W,
            BACK,
        )
        for mode in arguments.PADDING_MODES
    },
    **{
        f"correlate, {mode}": (
            partial(jaxconv.correlate, mode="same", boundary=mode),
            PLANE,
            SQUARE,
        )
        for mode in padding.MODES
    },
    "conv, flipped": (partial(jaxconv.conv, flip=True), X, W, B),
    "conv of one image": (jaxconv.conv, X[0], W, B),
    "causal_conv1d with a state": (
        lambda x, w, b, state: jaxconv.causal_conv1d(x, w, b, state=state, dilation=2),
        LINE,
        numbers(3, 1, 6),
        numbers(6),
        numbers(2, 4, 6),
    ),
    "causal_conv1d with a stride": (
        lambda x, w, state: jaxconv.causal_conv1d(x, w, state=state, stride=2),
        LINE,
        numbers(3, 1, 6),
        numbers(2, 3, 6),
    ),
    **{
        f"{function.__name__} of segments and lengths": (
            partial(of_segments, function),
            LINE,
            numbers(3, 3, 6),
            np.tile(np.arange(12, dtype=np.int32) // 5, (2, 1)),
            np.array([7, 12], np.int32),
        )
        for function in (jaxconv.causal_conv1d, jaxconv.causal_conv_transpose1d)
    },
    "compat.torch.conv2d with a bias": (torch.conv2d, channels_first(X), numbers(8, 4, 3, 3), B),
}
EVERY = {**CALLS, **MORE}


def kind(name):
    """What sort of call it is: the first that fits."""
    words = {
        "learning": name.startswith("learn."),
        "mesh": name.startswith("parallel."),
        "layer": name.startswith(("linen.", "nnx.")),
        "face": name.startswith("compat."),
        "analysis": "." in name,
        "method": " by " in name,
        "transposed": "transpose" in name,
        "causal": name.startswith("causal"),
        "planes": name.startswith(("corr", "convolve")),
        "windows": name.startswith(("fold", "unfold", "pad", "unpad")),
    }
    return next((word for word, fits in words.items() if fits), "convolution")


KINDS = {word: [name for name in EVERY if kind(name) == word] for word in map(kind, EVERY)}


def sort(name):
    """Its kind and the room it is in, which few calls have among them (`covering.py`)."""
    return {kind(name), name.partition(" ")[0].rpartition(".")[0]}


def made(name):
    """The function of a call and its arrays, NumPy's."""
    entry = EVERY[name]
    function, *arrays = entry() if callable(entry) else entry
    return function, arrays
