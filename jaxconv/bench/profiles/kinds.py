"""The kinds of operations that a step's time is divided into."""

FORWARD = "convolution, forward"
OF_X = "convolution, gradient of x"
OF_KERNEL = "convolution, gradient of the kernel"
BACKWARD = "convolution, both gradients"
OF_XLA = "convolution of XLA"
MATRIX = "matrix products"
NORM, NORM_BACKWARD = "norms, forward", "norms, gradients"
REDUCTION = "reductions"
POOLING = "pooling"
ELEMENTWISE = "elementwise"
COPY = "copies and transposes"
SLICE = "pads and slices"
OPTIMIZER = "optimizer"
OTHER = "other"

KINDS = (
    *(FORWARD, OF_X, OF_KERNEL, BACKWARD, OF_XLA, MATRIX, NORM, NORM_BACKWARD),
    *(REDUCTION, POOLING, ELEMENTWISE, COPY, SLICE, OPTIMIZER, OTHER),
)
"""In the order of the tables."""
