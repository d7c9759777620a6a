"""What every public function says about a bad call: whole messages, before anything is traced.

A row changes a good call into a bad one; where the message names a call that would work, the row
holds that call too, and it is made.
"""

import contextlib
import functools
import inspect
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv


@dataclass(frozen=True)
class A:
    """An array of zeros, which jit may trace."""

    shape: tuple[int, ...]
    dtype: Any = "float32"

    def make(self):
        return np.zeros(self.shape, jnp.dtype(self.dtype))


GOOD = {
    "conv": {"x": A((2, 8, 8, 3)), "w": A((3, 3, 3, 8))},
    "conv_transpose": {"y": A((2, 6, 6, 8)), "w": A((3, 3, 3, 8))},
    "corr2d": {"x": A((6, 8)), "k": A((1, 2))},
    "correlate": {"x": A((6, 8)), "k": A((1, 2))},
    "convolve": {"x": A((6, 8)), "k": A((1, 2))},
    "unfold": {"x": A((2, 8, 8, 3)), "kernel_size": (3, 3)},
    "fold": {"cols": A((2, 6, 6, 27)), "output_size": (8, 8), "kernel_size": (3, 3)},
    "causal_conv1d": {"x": A((2, 9, 4)), "w": A((3, 1, 4))},
}
LAYERS = "conv conv_transpose"
PLANES = "corr2d correlate convolve"
WINDOWS = "unfold fold"


@dataclass(frozen=True)
class Row:
    function: str
    change: dict[str, Any]
    message: str
    error: type[Exception] = ValueError
    remedy: dict[str, Any] = field(default_factory=dict)

    def __str__(self):
        return f"{self.function} {self.change}"

    @property
    def arguments(self):
        return GOOD[self.function] | self.change


ROWS: list[Row] = []


def row(functions: str, change: dict[str, Any], message: str, error=ValueError, **remedy: Any):
    for function in functions.split():
        first = next(iter(GOOD[function]))
        second = "k" if function in PLANES.split() else "w"
        text = f"{function}: {message}".replace("{1}", first).replace("{2}", second)
        renamed = {"1": first, "2": second}
        change_ = {renamed.get(name, name): value for name, value in change.items()}
        remedy_ = {renamed.get(name[1:], name): value for name, value in remedy.items()}
        ROWS.append(Row(function, change_, text, error, remedy_))


# --- what is no array of numbers, and dtypes
row(
    f"{LAYERS} {PLANES} {WINDOWS} causal_conv1d",
    {"1": None},
    "{1} must be an array of numbers, not NoneType",
    TypeError,
)
row(
    f"{LAYERS} {PLANES} causal_conv1d",
    {"2": "kernel"},
    "{2} must be an array of numbers, not str",
    TypeError,
)
row(
    "conv causal_conv1d",
    {"b": [[1.0], [1.0, 2.0]]},
    "b must be an array of numbers, not list",
    TypeError,
)
row(
    "causal_conv1d",
    {"state": object()},
    "state must be an array of numbers, not object",
    TypeError,
)
row("conv", {"x": np.array(["a"])}, "x must be an array of numbers, not <U1", TypeError)
for name in (*LAYERS.split(), *PLANES.split(), "causal_conv1d"):
    shapes = [argument.shape for argument in GOOD[name].values()]
    row(
        name,
        {"2": A(shapes[1], "bfloat16")},
        "{1} is float32 but {2} is bfloat16; make them one: {2}.astype(jnp.float32)",
        TypeError,
        _2=lambda a: a.astype(jnp.float32),
    )
    row(
        name,
        {"1": A(shapes[0], "int8")},
        "{1} is int8 but {2} is float32; make them one: {1}.astype(jnp.float32)",
        TypeError,
        _1=lambda a: a.astype(jnp.float32),
    )
    row(
        name,
        {"1": A(shapes[0], "float16"), "2": A(shapes[1], "bfloat16")},
        "{1} is float16 but {2} is bfloat16; make them one: {1}.astype(jnp.float32), "
        "{2}.astype(jnp.float32)",
        TypeError,
        _1=lambda a: a.astype(jnp.float32),
        _2=lambda a: a.astype(jnp.float32),
    )
    row(
        name,
        {"1": A(shapes[0], "bool"), "2": A(shapes[1], "bool")},
        "{1} and {2} are bool, which has no sums; to count, cast both: {1}.astype(jnp.int32), "
        "{2}.astype(jnp.int32)",
        TypeError,
        _1=lambda a: a.astype(jnp.int32),
        _2=lambda a: a.astype(jnp.int32),
    )
    row(name, {"method": "fast"}, "method='fast' is none of 'auto', 'lax', 'loops', 'taps'")
row("conv", {"method": ["lax"]}, "method=['lax'] is none of 'auto', 'lax', 'loops', 'taps'")
row(
    "fold",
    {"cols": A((2, 6, 6, 27), "bool")},
    "cols is bool, which has no sums; cast it: cols.astype(jnp.int32)",
    TypeError,
    cols=lambda a: a.astype(jnp.int32),
)
for preferred, operands in (("int32", "float32"), ("int8", "int16"), ("uint8", "int8")):
    for name in LAYERS.split():
        row(
            name,
            {
                "1": A(GOOD[name]["x" if name == "conv" else "y"].shape, operands),
                "w": A((3, 3, 3, 8), operands),
                "preferred_element_type": preferred,
            },
            f"preferred_element_type={preferred} cannot hold sums of {operands}; give one that "
            "can, or cast the operands first",
            TypeError,
            preferred_element_type="float32",
        )
row(
    LAYERS, {"preferred_element_type": "big"}, "preferred_element_type='big' is no dtype", TypeError
)
for precision, shown in (("best", "'best'"), (3, "3"), (("high", "best"), "'best'"), ({}, "{}")):
    row(
        LAYERS,
        {"precision": precision},
        f"precision={shown} is none of None, 'default', 'high', 'highest', a jax.lax.Precision, or "
        "a pair of these",
        precision="high",
    )

# --- channels, groups, layouts
row(
    "conv",
    {"x": A((2, 3, 32, 32))},
    "x has 32 channels, w expects 3 (w.shape=(3, 3, 3, 8), groups=1); x.shape=(2, 3, 32, 32) looks "
    "channels-first: use jnp.moveaxis(x, 1, -1)",
    x=lambda x: jnp.moveaxis(x, 1, -1),
)
row(
    "conv",
    {"x": A((3, 32, 32))},
    "x has 32 channels, w expects 3 (w.shape=(3, 3, 3, 8), groups=1); x.shape=(3, 32, 32) looks "
    "channels-first: use jnp.moveaxis(x, 0, -1)",
    x=lambda x: jnp.moveaxis(x, 0, -1),
)
row(
    "conv",
    {"x": A((2, 8, 8, 6))},
    "x has 6 channels, w expects 3 (w.shape=(3, 3, 3, 8), groups=1); x.shape=(2, 8, 8, 6)",
)
row(
    "conv",
    {"w": A((16, 3, 5, 5))},
    "x has 3 channels, w expects 5 (w.shape=(16, 3, 5, 5), groups=1); x.shape=(2, 8, 8, 3); "
    "w.shape looks like torch's (out, in // groups, *kernel): use "
    "jnp.moveaxis(w, (0, 1), (-1, -2))",
    w=lambda w: jnp.moveaxis(w, (0, 1), (-1, -2)),
)
row(  # a square kernel whose side is by chance the number of channels is no sign of torch
    "conv",
    {"w": A((3, 3, 64, 8))},
    "x has 3 channels, w expects 64 (w.shape=(3, 3, 64, 8), groups=1); x.shape=(2, 8, 8, 3)",
)
row(
    "conv",
    {"x": A((5, 28, 28)), "w": A((3, 3, 1, 8))},
    "x has 28 channels, w expects 1 (w.shape=(3, 3, 1, 8), groups=1); x.shape=(5, 28, 28); if x "
    "has no channel axis, add one: x[..., None]",
    x=lambda x: x[..., None],
)
row(
    "conv",
    {"x": A((28, 28)), "w": A((3, 3, 1, 8))},
    "x.shape=(28, 28) must be (*batch, *space, channels), at least 3 dimensions for the rank-2 "
    "kernel w (w.shape=(3, 3, 1, 8)); if x has no channel axis, add one: x[..., None]",
    x=lambda x: x[..., None],
)
row(
    LAYERS,
    {"1": A((8, 8))},
    "{1}.shape=(8, 8) must be (*batch, *space, channels), at least 3 dimensions for the rank-2 "
    "kernel w (w.shape=(3, 3, 3, 8))",
)
row(
    LAYERS,
    {"w": A((3, 3))},
    "w.shape=(3, 3) must be (*kernel, in // groups, out) with at least one kernel dimension; "
    "jaxconv.correlate takes kernels without channels",
)
row(LAYERS, {"w": A((0, 3, 3, 8))}, "w.shape=(0, 3, 3, 8) has a dimension of size zero")
row(
    "conv",
    {"groups": 2},
    "x has 3 channels, w expects 6 (w.shape=(3, 3, 3, 8), groups=2); x.shape=(2, 8, 8, 3)",
)
row(
    LAYERS,
    {"groups": 3},
    "groups=3 does not divide the 8 output channels of w (w.shape=(3, 3, 3, 8))",
)
row(LAYERS, {"groups": 0}, "groups=0 must be at least 1")
row(LAYERS, {"groups": 1.0}, "groups=1.0 must be an integer, not float", TypeError)
row(LAYERS, {"groups": True}, "groups=True must be an integer, not bool", TypeError)
row(
    "conv_transpose",
    {"y": A((2, 8, 6, 6))},
    "y has 6 channels, w makes 8 (w.shape=(3, 3, 3, 8)); y.shape=(2, 8, 6, 6) looks "
    "channels-first: use jnp.moveaxis(y, 1, -1)",
    y=lambda y: jnp.moveaxis(y, 1, -1),
)
row(
    "conv_transpose",
    {"w": A((8, 3, 5, 5))},
    "y has 8 channels, w makes 5 (w.shape=(8, 3, 5, 5)); y.shape=(2, 6, 6, 8); w.shape looks like "
    "torch's (out, in // groups, *kernel): use jnp.moveaxis(w, (0, 1), (-1, -2))",
    w=lambda w: jnp.moveaxis(w, (0, 1), (-1, -2)),
)
row(
    "conv_transpose",
    {"y": A((2, 6, 6, 3))},
    "y has 3 channels, w makes 8 (w.shape=(3, 3, 3, 8)); y.shape=(2, 6, 6, 3)",
)
row(
    "conv_transpose",
    {"y": A((2, 0, 6, 8))},
    "y.shape=(2, 0, 6, 8) has a spatial dimension of size zero",
)

# --- bias
for name, channels in (("conv", 8), ("conv_transpose", 3), ("causal_conv1d", 4)):
    row(
        name,
        {"b": A((5,))},
        f"b.shape=(5,) must be ({channels},), one a channel of the result",
    )
    row(
        name,
        {"b": 1.0},
        f"b.shape=() must be ({channels},), one a channel of the result",
        b=A((channels,)),
    )
    row(
        name,
        {"b": A((channels,), "int32")},
        "b is int32 but the operands are float32; cast it: b.astype(jnp.float32)",
        TypeError,
        b=lambda b: b.astype(jnp.float32),
    )
row(
    "conv",
    {
        "x": A((2, 8, 8, 3), "bfloat16"),
        "w": A((3, 3, 3, 8), "bfloat16"),
        "b": A((8,), "float16"),
        "preferred_element_type": "float32",
    },
    "b is float16 but the operands are bfloat16 and the result float32; cast it: "
    "b.astype(jnp.float32)",
    TypeError,
    b=lambda b: b.astype(jnp.float32),
)

# --- stride, dilation, padding
GEOMETRY = f"{LAYERS} {WINDOWS}"
row(f"{GEOMETRY} causal_conv1d", {"dilation": 0}, "dilation=0 must be at least 1")
row(GEOMETRY, {"dilation": (1, -1)}, "dilation=(1, -1) must be at least 1 in every dimension")
row(
    "causal_conv1d",
    {"dilation": (1, 2)},
    "dilation=(1, 2) has 2 entries for 1 spatial dimension; give one integer",
    dilation=1,
)
row(GEOMETRY, {"stride": 0}, "stride=0 must be at least 1")
row(GEOMETRY, {"stride": (1, -2)}, "stride=(1, -2) must be at least 1 in every dimension")
row(
    GEOMETRY,
    {"stride": (1, 1, 1)},
    "stride=(1, 1, 1) has 3 entries for 2 spatial dimensions; give one integer, or 2",
    stride=(1, 1),
)
row(
    GEOMETRY,
    {"stride": ()},
    "stride=() has 0 entries for 2 spatial dimensions; give one integer, or 2",
    stride=1,
)
row(GEOMETRY, {"stride": 2.0}, "stride=2.0 must be an integer, not float", TypeError)
row(GEOMETRY, {"stride": "2"}, "stride='2' must be an integer, not str", TypeError)
row(GEOMETRY, {"stride": None}, "stride=None must be an integer, not NoneType", TypeError)
row(
    GEOMETRY, {"stride": (2, 1.5)}, "stride=(2, 1.5) must be made of integers, not float", TypeError
)
row(
    GEOMETRY,
    {"padding": "SAME"},
    "padding='SAME' is none of 'valid', 'same', 'same_lower', 'full', 'causal'; use 'same'",
)
row(
    GEOMETRY,
    {"padding": "half"},
    "padding='half' is none of 'valid', 'same', 'same_lower', 'full', 'causal'",
)
row(
    GEOMETRY,
    {"padding": (1, 1, 1)},
    "padding=(1, 1, 1) has 3 entries for 2 spatial dimensions; give one integer, or 2 integers or "
    "(before, after) pairs, one a dimension",
)
row(
    GEOMETRY,
    {"padding": ((0, 0), (1, 1), (1, 1), (0, 0))},
    "padding=((0, 0), (1, 1), (1, 1), (0, 0)) has 4 entries for 2 spatial dimensions; give one "
    "integer, or 2 integers or (before, after) pairs, one a dimension",
)
row(
    GEOMETRY,
    {"padding": ((1, 1), (1, 1, 1))},
    "padding=((1, 1), (1, 1, 1)): (1, 1, 1) is no (before, after) pair",
)
row(GEOMETRY, {"padding": None}, "padding=None must be an integer, not NoneType", TypeError)
row(
    GEOMETRY,
    {"padding": ((1, 0.5), (1, 1))},
    "padding=((1, 0.5), (1, 1)) must be made of integers, not float",
    TypeError,
)
row(
    "conv unfold",
    {"x": A((2, 2, 8, 3))},
    "the kernel spans (3, 3) elements (kernel_size=(3, 3), dilation=(1, 1)), but the padded x has "
    "(2, 8) (size (2, 8), padding=((0, 0), (0, 0))); use a smaller kernel, or (1, 0) more elements "
    "of padding",
    padding=((0, 1), (0, 0)),
)
row(
    "conv unfold",
    {"dilation": 4, "padding": (0, -1)},
    "the kernel spans (9, 9) elements (kernel_size=(3, 3), dilation=(4, 4)), but the padded x has "
    "(8, 6) (size (8, 8), padding=((0, 0), (-1, -1))); use a smaller kernel, or (1, 3) more "
    "elements of padding",
    padding=((1, 0), (0, 1)),
)
row(
    "conv_transpose",
    {"padding": 4},
    "padding=4 cuts the whole result away: its spatial shape would be (0, 0) (y.shape=(2, 6, 6, "
    "8), w.shape=(3, 3, 3, 8), stride=(1, 1), dilation=(1, 1))",
)
row(
    "conv_transpose",
    {"output_padding": 2, "stride": (2, 3)},
    "output_padding=2 must be below stride=(2, 3) in every dimension: it picks one of the `stride` "
    "input sizes that have the same output size; to lengthen the result by more, lower the padding "
    "after it",
    output_padding=0,
    padding=((0, -2), (0, -2)),
)
row(
    "conv_transpose",
    {"output_padding": -1},
    "output_padding=-1 must be at least 0",
)
row(
    "conv_transpose",
    {"output_padding": (0, 0, 0)},
    "output_padding=(0, 0, 0) has 3 entries for 2 spatial dimensions; give one integer, or 2",
)
row(
    "conv_transpose",
    {"output_padding": 1, "stride": 2, "padding": "same"},
    "output_padding=(1, 1) does not go with padding='same', which gives size times stride; use "
    "explicit padding",
    padding=1,
)
for mode in ("wrap", "constant", None):
    row(
        LAYERS,
        {"padding_mode": mode},
        f"padding_mode={mode!r} is none of 'zeros', 'reflect', 'replicate', 'circular', "
        "'symmetric'",
    )
row(
    "conv",
    {"padding": (0, 8), "padding_mode": "reflect"},
    "padding_mode='reflect' needs widths below the size, got widths (8, 8) for axis 2 of size 8 "
    "(shape (2, 8, 8, 3))",
    padding=(0, 7),
)
row(
    "conv_transpose",
    {"padding": 3, "padding_mode": "circular"},
    "padding_mode='circular' needs widths of at most the size, got widths (3, 3) for axis 1 of "
    "size 2 (shape (2, 2, 2, 3))",
    padding=2,
)

# --- planes
for name in ("x", "k"):
    row(
        "corr2d",
        {name: A((2, 6, 8))},
        f"{name} must be a plane (height, width), got {name}.shape=(2, 6, 8); jaxconv.correlate "
        "takes any rank and jaxconv.conv takes channels",
    )
row(PLANES, {"x": A((0, 8))}, "x is empty (x.shape=(0, 8))")
row(PLANES, {"k": A((0, 2))}, "k is empty (k.shape=(0, 2))")
row(
    "corr2d",
    {"k": A((1, 9))},
    "k.shape=(1, 9) is larger than x.shape=(6, 8); use jaxconv.correlate with mode='same' or "
    "mode='full', which pad x",
)
row(
    "correlate convolve",
    {"k": A((1, 9))},
    "k.shape=(1, 9) is larger than x.shape=(6, 8); use mode='same' or mode='full', which pad x",
    mode="same",
)
row(
    "correlate convolve",
    {"k": A((9,)), "axes": (1,)},
    "k.shape=(9,) is larger than the (8,) of x along its axes; use mode='same' or mode='full', "
    "which pad x",
    mode="full",
)
row(
    "correlate convolve",
    {"k": A(())},
    "k must have at least one dimension, got k.shape=()",
)
row(
    "correlate convolve",
    {"k": A((3,))},
    "x.shape=(6, 8) and k.shape=(3,) differ in rank; say which axis of x the kernel runs over with "
    "axes=...",
    axes=(0,),
)
row(
    "correlate convolve",
    {"x": A((5, 6, 8))},
    "x.shape=(5, 6, 8) and k.shape=(1, 2) differ in rank; say which 2 axes of x the kernel runs "
    "over with axes=...",
    axes=(1, 2),
)
row(
    "correlate convolve",
    {"x": A((5,))},
    "x.shape=(5,) and k.shape=(1, 2) differ in rank",
)
row(
    "correlate convolve",
    {"axes": 1},
    "axes=1 must be a sequence of integers, one a dimension of k (k.shape=(1, 2))",
    TypeError,
    axes=(1, 0),
)
row(
    "correlate convolve",
    {"axes": (0, 0.5)},
    "axes=(0, 0.5) must be a sequence of integers, one a dimension of k (k.shape=(1, 2))",
    TypeError,
)
row(
    "correlate convolve",
    {"axes": (0, 2)},
    "axes=(0, 2) must name 2 axes of x (x.shape=(6, 8)), one a dimension of k (k.shape=(1, 2))",
)
row(
    "correlate convolve",
    {"k": A((3,)), "axes": (0, 1)},
    "axes=(0, 1) must name one axis of x (x.shape=(6, 8)), one a dimension of k (k.shape=(3,))",
)
row("correlate convolve", {"axes": (1, -1)}, "axes=(1, -1) names an axis twice")
row(
    "correlate convolve",
    {"mode": "half"},
    "mode='half' is none of 'valid', 'same', 'same_lower', 'full'",
)
row(
    "correlate convolve",
    {"boundary": "wrap"},
    "boundary='wrap' is none of 'zeros', 'constant', 'reflect', 'symmetric', 'replicate', "
    "'circular'",
)
row(
    "correlate convolve",
    {"k": A((1, 16)), "mode": "same", "boundary": "reflect"},
    "boundary='reflect' needs widths below the size, got widths (7, 8) for axis 1 of size 8 "
    "(shape (6, 8))",
    boundary="symmetric",
)
row(
    "correlate convolve",
    {"fill_value": 2},
    "fill_value is for boundary='constant', got fill_value=2 with boundary='zeros'",
    boundary="constant",
)
row(
    "correlate convolve",
    {"fill_value": 1j, "boundary": "constant"},
    "fill_value must be a number that x's dtype float32 holds, got 1j",
)
row(
    "correlate convolve",
    {"fill_value": "1", "boundary": "constant"},
    "fill_value must be a number, got '1' (str)",
    TypeError,
)
row(
    "correlate convolve",
    {"fill_value": np.zeros(3), "boundary": "constant"},
    "fill_value must be a scalar, got one of shape (3,)",
)

# --- windows
for size in (3, None, "33", ()):
    row(
        WINDOWS,
        {"kernel_size": size},
        f"kernel_size={size!r} must be a sequence, one integer a spatial dimension: (3,) for "
        "sequences, (3, 3) for images",
        kernel_size=(3, 3),
    )
row(WINDOWS, {"kernel_size": (0, 3)}, "kernel_size=(0, 3) must be at least 1 in every dimension")
row(
    WINDOWS,
    {"kernel_size": (3.0, 3)},
    "kernel_size=(3.0, 3) must be made of integers, not float",
    TypeError,
)
row(
    "unfold",
    {"x": A((8, 3))},
    "x.shape=(8, 3) must be (*batch, *space, channels) with 2 spatial dimensions for "
    "kernel_size=(3, 3)",
    kernel_size=(3,),
)
row("unfold", {"x": A((2, 8, 8, 0))}, "x.shape=(2, 8, 8, 0) has no channels")
row(
    "fold",
    {"cols": A((36, 27))},
    "cols.shape=(36, 27) must be (*batch, *space, channels) with 2 spatial dimensions for "
    "kernel_size=(3, 3)",
    cols=lambda a: a.reshape(6, 6, 27),
)
row(
    "fold",
    {"cols": A((2, 6, 6, 26))},
    "the last axis of cols (cols.shape=(2, 6, 6, 26)) must be a multiple of prod(kernel_size)=9",
)
row(
    "fold",
    {"cols": A((2, 5, 6, 27))},
    "cols has (5, 6) windows, but an array of output_size=(8, 8) has (6, 6) (kernel_size=(3, 3), "
    "stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1))",
    output_size=(7, 8),
)
row(
    "fold",
    {"output_size": (8, 8, 8)},
    "output_size=(8, 8, 8) has 3 entries for 2 spatial dimensions; give one integer, or 2",
    output_size=8,
)
row("fold", {"output_size": (0, 8)}, "output_size=(0, 8) must be at least 1 in every dimension")
row(
    "fold",
    {"output_size": (2, 8)},
    "the kernel spans (3, 3) elements (kernel_size=(3, 3), dilation=(1, 1)), but the padded result "
    "has (2, 8) (size (2, 8), padding=((0, 0), (0, 0))); use a smaller kernel, or (1, 0) more "
    "elements of padding",
)

# --- sequences in pieces
row(
    "causal_conv1d",
    {"w": A((3, 4))},
    "x must be (*batch, time, in) and w (K, in // groups, out), got x.shape=(2, 9, 4), "
    "w.shape=(3, 4)",
)
row(
    "causal_conv1d",
    {"x": A((4,))},
    "x must be (*batch, time, in) and w (K, in // groups, out), got x.shape=(4,), "
    "w.shape=(3, 1, 4)",
)
row(
    "causal_conv1d",
    {"w": A((3, 3, 4))},
    "x has 4 channels, no multiple of the 3 that w takes (x.shape=(2, 9, 4), w.shape=(3, 3, 4))",
)
row(
    "causal_conv1d",
    {"w": A((3, 1, 6))},
    "w.shape=(3, 1, 6) takes 1 of the 4 channels of x, which makes groups=4; that does not divide "
    "the 6 output channels of w",
)
row(
    "causal_conv1d",
    {"w": A((0, 1, 4))},
    "x.shape=(2, 9, 4) and w.shape=(0, 1, 4) must have channels, and w a length",
)
row(
    "causal_conv1d",
    {"state": A((2, 3, 4)), "dilation": 2},
    "state.shape=(2, 3, 4) must be (2, 4, 4), the (K - 1) dilation = 4 inputs before x "
    "(x.shape=(2, 9, 4))",
    state=None,
)
row(
    "causal_conv1d",
    {"state": A((2, 2, 4), "bfloat16")},
    "state is bfloat16 but x is float32; cast it: state.astype(jnp.float32)",
    TypeError,
    state=lambda a: a.astype(jnp.float32),
)


def traced(function: str, arguments: dict[str, Any]):
    """The function of the call's arrays alone, and these."""
    arrays = {name: value.make() for name, value in arguments.items() if isinstance(value, A)}
    return lambda arrays: getattr(jaxconv, function)(**(arguments | arrays)), arrays


@contextlib.contextmanager
def says(error: type[Exception], message: str):
    """The very class and the whole message; jax adds a note to it inside jit, which is no part."""
    with pytest.raises(error) as caught:
        yield
    assert type(caught.value) is error
    assert str(caught.value) == message


@pytest.mark.parametrize("case", ROWS, ids=str)
def test_says_what_is_wrong_before_tracing(case):
    call, arrays = traced(case.function, case.arguments)
    for way in (call, jax.jit(call), functools.partial(jax.eval_shape, call)):
        with says(case.error, case.message):
            way(arrays)

    def refused(arrays):
        with pytest.raises(case.error):
            call(arrays)

    assert not jax.make_jaxpr(refused)(arrays).eqns  # so that nothing was there to compile


@pytest.mark.parametrize("case", [case for case in ROWS if case.remedy], ids=str)
def test_the_call_it_names_works(case):
    changes = {name: value for name, value in case.remedy.items() if not callable(value)}
    call, arrays = traced(case.function, case.arguments | changes)

    def remedied(arrays):
        casts = {name: value for name, value in case.remedy.items() if callable(value)}
        return call(arrays | {name: cast(arrays[name]) for name, cast in casts.items()})

    assert all(0 not in leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(remedied, arrays)))


def test_good_calls_are_good():
    for name, arguments in GOOD.items():
        call, arrays = traced(name, arguments)
        jax.eval_shape(call, arrays)


def test_every_argument_of_every_function_is_covered():
    """All but `flip`, which is true or false, and padding's own, which have their own file."""
    covered = {name: set() for name in GOOD}
    for case in ROWS:
        covered[case.function] |= set(case.change)
    public = {
        name: set(inspect.signature(value).parameters) - {"flip", "policy"}
        for name in jaxconv.__all__
        if inspect.isfunction(value := getattr(jaxconv, name)) and name not in ("pad", "unpad")
    }
    assert covered == public


def test_keys_are_no_numbers():
    key = jax.random.key(0)
    with says(TypeError, "conv: x is key<fry>, which is no number"):
        jaxconv.conv(key, A((3, 3, 3, 8)).make())


def test_a_traced_number_is_told_from_a_wrong_one():
    x, w = A((2, 8, 8, 3)).make(), A((3, 3, 3, 8)).make()
    message = (
        "conv: stride must be a fixed integer, but is traced here; under jax.jit name it in "
        "static_argnames"
    )
    with says(TypeError, message):
        jax.jit(jaxconv.conv)(x, w, stride=2)
    static = jax.jit(jaxconv.conv, static_argnames="stride")
    assert jax.eval_shape(functools.partial(static, stride=2), x, w).shape == (2, 3, 3, 8)


def test_the_check_can_fail():
    """A message that differs in one letter, and an error that comes too late, must not pass."""
    good = next(case for case in ROWS if case.change == {"stride": 0})
    with pytest.raises(AssertionError, match="at most 1"):
        test_says_what_is_wrong_before_tracing(
            Row(good.function, good.change, good.message.replace("least", "most"))
        )
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_says_what_is_wrong_before_tracing(Row("conv", {}, "conv: nothing is wrong"))
