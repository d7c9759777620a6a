"""Wrong calls of corr2d, correlate, convolve and windows."""

import numpy as np
from bad_calls import PLANES, WINDOWS, A, row

# --- corr2d, correlate, convolve
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
    "mode='half' must be one of 'valid', 'same', 'same_lower', 'full'",
)
row(
    "correlate convolve",
    {"mode": "same", "boundary": "wrap"},
    "boundary='wrap' must be one of 'zeros', 'constant', 'reflect', 'symmetric', 'replicate', "
    "'circular'; 'wrap' is 'circular' here",
    boundary="circular",
)
row(
    "corr2d",
    {"x": A((6, 8), "int8"), "k": A((1, 2), "int8")},
    "x and k are int8, and sums of products may need more bits; use jaxconv.correlate with "
    "preferred_element_type=jnp.int32 (or jnp.int8, in which they wrap around)",
    TypeError,
)
row(
    "correlate convolve",
    {"preferred_element_type": "int32"},
    "preferred_element_type=int32 cannot hold sums of float32; give one that can, or cast the "
    "operands first",
    TypeError,
    preferred_element_type="float32",
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
