"""Calls of `lax.conv_general_dilated`, each with the contraction that it is."""

from jax import lax

NHWC = ("NHWC", "HWIO", "NHWC")
NCHW = ("NCHW", "OIHW", "NCHW")
ODD = ("HNWC", "OHWI", "CWHN")
SWAPPED = lax.ConvDimensionNumbers((3, 0, 1, 2), (3, 0, 1, 2), (2, 3, 0, 1))
X, W = (2, 7, 6, 4), (3, 2, 4, 6)  # NHWC, HWIO

# the contraction, the shapes, and lax's arguments beside them
GRID = {
    "nhwc": ("output", X, W, {"padding": "SAME", "dimension_numbers": NHWC}),
    "nchw strided": (
        "output",
        (2, 4, 7, 6),
        (6, 4, 3, 2),
        {"window_strides": (2, 3), "padding": "SAME_LOWER", "dimension_numbers": NCHW},
    ),
    "default numbers": ("output", (2, 4, 7, 6), (6, 4, 3, 2), {"padding": "VALID"}),
    "axes in any order": (
        "output",
        (7, 2, 6, 4),
        (6, 3, 2, 4),
        {"window_strides": (1, 2), "padding": ((1, 0), (-1, 0)), "dimension_numbers": ODD},
    ),
    "depthwise": (
        "output",
        X,
        (3, 2, 1, 8),
        {"padding": "SAME", "dimension_numbers": NHWC, "feature_group_count": 4},
    ),
    "dilated": (
        "output",
        X,
        W,
        {"padding": "SAME", "rhs_dilation": (2, 3), "dimension_numbers": NHWC},
    ),
    "one dimension": (
        "output",
        (2, 9, 4),
        (3, 2, 6),
        {
            "window_strides": (2,),
            "padding": ((2, 1),),
            "dimension_numbers": ("NWC", "WIO", "NWC"),
            "feature_group_count": 2,
        },
    ),
    "transposed": (
        "input",
        X,
        W,
        {"padding": ((2, 2), (1, 0)), "lhs_dilation": (2, 3), "dimension_numbers": NHWC},
    ),
    "transposed, cut and grouped": (
        "input",
        X,
        (3, 2, 2, 6),
        {
            "padding": ((-2, -1), (-1, 0)),
            "lhs_dilation": (2, 1),
            "rhs_dilation": (1, 2),
            "dimension_numbers": NHWC,
            "feature_group_count": 2,
        },
    ),
    "transposed, axes in any order": (
        "input",
        (7, 2, 6, 4),
        (6, 3, 2, 2),
        {
            "padding": ((1, 2), (0, 3)),
            "lhs_dilation": (1, 2),
            "dimension_numbers": ODD,
            "feature_group_count": 2,
        },
    ),
    "batch groups": (
        "kernel",
        (4, 7, 6, 3),
        (3, 2, 3, 6),
        {
            "window_strides": (1, 2),
            "padding": ((1, 0), (0, 2)),
            "rhs_dilation": (2, 1),
            "dimension_numbers": NHWC,
            "batch_group_count": 2,
        },
    ),
    "batch groups, spread": (
        "kernel",
        (4, 5, 4, 3),
        (3, 2, 3, 6),
        {
            "window_strides": (2, 1),
            "padding": ((1, 0), (0, 2)),
            "lhs_dilation": (3, 2),
            "dimension_numbers": NHWC,
            "batch_group_count": 2,
        },
    ),
    "gradient's form": (
        "kernel",
        (7, 6, 3, 2),
        (5, 5, 3, 4),
        {
            "padding": ((0, 0), (1, 0)),
            "dimension_numbers": lax.ConvDimensionNumbers((3, 2, 0, 1), (3, 2, 0, 1), (2, 3, 0, 1)),
        },
    ),
    "gradient's form, spread": (
        "kernel",
        (3, 4, 3, 2),
        (3, 7, 6, 4),
        {
            "padding": ((2, 1), (1, 0)),
            "lhs_dilation": (2, 2),
            "dimension_numbers": SWAPPED,
        },
    ),
    "a stride that acts on nothing": (
        "input",
        (2, 4, 3, 4),
        (4, 3, 4, 2),
        {
            "window_strides": (9, 9),
            "padding": ((0, 1), (0, 2)),
            "lhs_dilation": (2, 3),
            "dimension_numbers": NHWC,
        },
    ),
    "strides and lhs dilation": (
        "lax",
        X,
        W,
        {
            "window_strides": (2, 1),
            "padding": ((1, 1), (1, 1)),
            "lhs_dilation": (1, 2),
            "dimension_numbers": NHWC,
        },
    ),
    "batch groups and both dilations": (
        "lax",
        (4, 4, 4, 2),
        (2, 2, 2, 4),
        {
            "padding": ((0, 0), (1, 0)),
            "lhs_dilation": (2, 1),
            "rhs_dilation": (1, 2),
            "dimension_numbers": NHWC,
            "batch_group_count": 2,
        },
    ),
    "empty": ("lax", (0, 7, 6, 4), W, {"padding": "SAME", "dimension_numbers": NHWC}),
    "empty result": ("lax", (2, 2, 1, 4), W, {"padding": "VALID", "dimension_numbers": NHWC}),
    "no spatial dimensions": ("lax", (2, 4), (6, 4), {"padding": "VALID"}),
}
