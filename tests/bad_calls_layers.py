"""Wrong calls of layers and windows: channels, bias, stride, dilation and padding."""

import jax.numpy as jnp
from bad_calls import LAYERS, PIECES, WINDOWS, A, row

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
    "torch's (in, out // groups, *kernel): use jnp.moveaxis(w, (0, 1), (-1, -2))",
    w=lambda w: jnp.moveaxis(w, (0, 1), (-1, -2)),
)
row(
    "conv_transpose",
    {"y": A((2, 6, 8)), "w": A((8, 4, 5))},
    "y has 8 channels, w makes 5 (w.shape=(8, 4, 5)); y.shape=(2, 6, 8); w.shape looks like "
    "torch's (in, out // groups, *kernel): use jnp.moveaxis(w, (0, 1), (-1, -2))",
    w=lambda w: jnp.moveaxis(w, (0, 1), (-1, -2)),
)
# w's channels are exchanged; read as channels-first, the image would not be square
row(
    "conv_transpose",
    {"y": A((1, 8, 8, 16)), "w": A((3, 3, 16, 8))},
    "y has 16 channels, w makes 8 (w.shape=(3, 3, 16, 8)); y.shape=(1, 8, 8, 16); if w is "
    "(*kernel, out, in // groups), use jnp.swapaxes(w, -1, -2)",
    w=lambda w: jnp.swapaxes(w, -1, -2),
)
row(
    "conv_transpose",
    {"y": A((2, 6, 6, 3))},
    "y has 3 channels, w makes 8 (w.shape=(3, 3, 3, 8)); y.shape=(2, 6, 6, 3); if w is (*kernel, "
    "out, in // groups), use jnp.swapaxes(w, -1, -2)",
    w=lambda w: jnp.swapaxes(w, -1, -2),
)
row(
    "conv",
    {"x": A((2, 5, 5, 8)), "w": A((3, 3, 5, 8))},
    "x has 8 channels, w expects 5 (w.shape=(3, 3, 5, 8), groups=1); x.shape=(2, 5, 5, 8); if w is "
    "(*kernel, out, in // groups), use jnp.swapaxes(w, -1, -2)",
    w=lambda w: jnp.swapaxes(w, -1, -2),
)
row(
    "conv",
    {"x": A((2, 4, 8, 8, 8)), "w": A((3, 3, 3, 2, 4)), "groups": 2},
    "x has 8 channels, w expects 4 (w.shape=(3, 3, 3, 2, 4), groups=2); x.shape=(2, 4, 8, 8, 8) "
    "looks channels-first: use jnp.moveaxis(x, 1, -1); or if w is (*kernel, out, in // groups), "
    "use jnp.swapaxes(w, -1, -2)",
    w=lambda w: jnp.swapaxes(w, -1, -2),
)
# both arrays are torch's
row(
    "conv",
    {"x": A((2, 3, 8, 8)), "w": A((16, 3, 5, 5))},
    "x has 8 channels, w expects 5 (w.shape=(16, 3, 5, 5), groups=1); x.shape=(2, 3, 8, 8); "
    "x.shape and w.shape look like torch's (batch, channels, *space) and (out, in // groups, "
    "*kernel): use jnp.moveaxis(x, 1, -1) and jnp.moveaxis(w, (0, 1), (-1, -2)), or "
    "jaxconv.compat.torch",
    x=lambda x: jnp.moveaxis(x, 1, -1),
    w=lambda w: jnp.moveaxis(w, (0, 1), (-1, -2)),
)
row(
    "conv_transpose",
    {"y": A((2, 16, 8, 8)), "w": A((16, 4, 5, 5))},
    "y has 8 channels, w makes 5 (w.shape=(16, 4, 5, 5)); y.shape=(2, 16, 8, 8); y.shape and "
    "w.shape look like torch's (batch, channels, *space) and (in, out // groups, *kernel): use "
    "jnp.moveaxis(y, 1, -1) and jnp.moveaxis(w, (0, 1), (-1, -2)), or jaxconv.compat.torch",
    y=lambda y: jnp.moveaxis(y, 1, -1),
    w=lambda w: jnp.moveaxis(w, (0, 1), (-1, -2)),
)
row(
    "conv",
    {"x": A((2, 9, 9, 8)), "w": A((8, 1, 5, 5)), "groups": 8},
    "groups=8 does not divide the 5 output channels of w (w.shape=(8, 1, 5, 5); it looks like "
    "torch's: use jnp.moveaxis(w, (0, 1), (-1, -2)))",
    w=lambda w: jnp.moveaxis(w, (0, 1), (-1, -2)),
)
row(
    "conv_transpose",
    {"y": A((2, 0, 6, 8))},
    "y.shape=(2, 0, 6, 8) has a spatial dimension of size zero",
)

# --- bias
for name, channels in (
    *(("conv", 8), ("conv_transpose", 3)),
    *(("causal_conv1d", 4), ("causal_conv_transpose1d", 6)),
):
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
row(f"{GEOMETRY} {PIECES}", {"dilation": 0}, "dilation=0 must be at least 1")
row(GEOMETRY, {"dilation": (1, -1)}, "dilation=(1, -1) must be at least 1 in every dimension")
row(
    PIECES,
    {"dilation": (1, 2)},
    "dilation=(1, 2) has 2 entries for 1 spatial dimension; give one integer",
    dilation=1,
)
row(f"{GEOMETRY} {PIECES}", {"stride": 0}, "stride=0 must be at least 1")
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
row(f"{GEOMETRY} {PIECES}", {"stride": "2"}, "stride='2' must be an integer, not str", TypeError)
row(GEOMETRY, {"stride": None}, "stride=None must be an integer, not NoneType", TypeError)
row(
    GEOMETRY, {"stride": (2, 1.5)}, "stride=(2, 1.5) must be made of integers, not float", TypeError
)
row(
    GEOMETRY,
    {"padding": "SAME"},
    "padding='SAME' must be one of 'valid', 'same', 'same_lower', 'full', 'causal'; use 'same'",
)
row(
    GEOMETRY,
    {"padding": "half"},
    "padding='half' must be one of 'valid', 'same', 'same_lower', 'full', 'causal'",
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
    "padding=((1, 1), (1, 1, 1)): (1, 1, 1) is not a (before, after) pair",
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
for mode, here in (
    *(("wrap", "circular"), ("mirror", "reflect"), ("edge", "replicate"), ("symm", "symmetric")),
    *(("constant", ""), (None, "")),
):
    row(
        LAYERS,
        {"padding_mode": mode},
        f"padding_mode={mode!r} must be one of 'zeros', 'reflect', 'symmetric', 'replicate', "
        f"'circular'{here and f'; {mode!r} is {here!r} here'}",
        **({"padding_mode": here} if here else {}),
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
