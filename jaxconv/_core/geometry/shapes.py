"""Integer arithmetic of a convolution along one dimension; nothing here knows of arrays.

Sizes are counts of elements, positions are zero-based, and `lo`, `hi` are the padding before and
after (negative: elements cut off). The relations are those of Dumoulin and Visin, "A guide to
convolution arithmetic for deep learning" (2016), https://arxiv.org/abs/1603.07285.

A size is an int or, while a program of any size is exported, a symbolic dimension of `jax.export`.
Comparing symbolic ones may have no answer: `below` and `largest` are for sizes of both kinds.
"""

import operator
from typing import Any

from jax import export
from jax.errors import InconclusiveDimensionOperation

Size = Any


def below(size: Size, bound: Size) -> bool:
    """Say whether a size is below a bound for sure; of symbolic ones that may not be known.

    >>> below(2, 3), below(export.symbolic_shape("h")[0], 3)
    (True, False)
    """
    try:
        return bool(size < bound)
    except InconclusiveDimensionOperation:
        return False


def largest(size: Size, bound: Size) -> Size:
    """Return the larger one, which may be a symbolic maximum.

    >>> largest(2, 3), largest(export.symbolic_shape("h")[0] - 2, 0)
    (3, max(h - 2, 0))
    """
    try:
        return max(size, bound)
    except InconclusiveDimensionOperation:
        scope = next(n.scope for n in (size, bound) if export.is_symbolic_dim(n))
        (larger,) = export.symbolic_shape(f"max({size}, {bound})", scope=scope)
        return larger


def as_size(value: Any) -> Size:
    """Return an int or a symbolic dimension.

    Raises:
        TypeError: it is neither.
    """
    return value if export.is_symbolic_dim(value) else operator.index(value)


def extent(kernel: int, dilation: int) -> int:
    """Elements from the first to the last that a dilated kernel touches: (kernel - 1) dilation + 1.

    >>> extent(3, 2)
    5
    """
    return (kernel - 1) * dilation + 1


def output_size(size: Size, kernel: int, stride: int, dilation: int, lo: Size, hi: Size) -> Size:
    """Positions of the kernel in the padded input: floor((size + lo + hi - extent) / stride) + 1.

    It is zero or negative exactly where the kernel is larger than the padded input; symbolic ones
    that may be are counted as none there, as lax does.

    >>> output_size(8, 3, 2, 1, 1, 1)
    4
    """
    outputs = (size + lo + hi - extent(kernel, dilation)) // stride + 1
    return largest(outputs, 0) if export.is_symbolic_dim(outputs) else outputs


def input_size(size: Size, kernel: int, stride: int, dilation: int, lo: Size, hi: Size) -> Size:
    """Return the smallest input that has `size` outputs: (size - 1) stride + extent - lo - hi.

    The inputs with the same number of outputs are this one to this one + stride - 1.

    >>> input_size(4, 3, 2, 1, 1, 1), output_size(7, 3, 2, 1, 1, 1)
    (7, 4)
    """
    return (size - 1) * stride + extent(kernel, dilation) - lo - hi


def same_padding(
    size: Size, kernel: int, stride: int, dilation: int, *, lower: bool = False
) -> tuple[Size, Size]:
    """Return (before, after) for ceil(size / stride) outputs; `lower` puts the odd element before.

    >>> same_padding(8, 4, 1, 1), same_padding(8, 4, 1, 1, lower=True)
    ((1, 2), (2, 1))
    """
    outputs = -(-size // stride)
    total = largest((outputs - 1) * stride + extent(kernel, dilation) - size, 0)
    small, large = total // 2, (total + 1) // 2
    return (large, small) if lower else (small, large)


def outputs_inside(size: int, outputs: int, stride: int, offset: int) -> range:
    """Return the outputs t for which the element t stride + offset lies inside the input.

    With offset = k dilation - lo these are the outputs for which kernel entry k meets no padding.

    >>> outputs_inside(8, 5, 2, -3), outputs_inside(8, 5, 2, 9)
    (range(2, 5), range(0, 0))
    """
    first = max(0, -(offset // stride))
    return range(first, max(first, min(outputs, (size - 1 - offset) // stride + 1)))


def fast_length(target: int) -> int:
    """Return the smallest 2^a 3^b 5^c of at least `target`: a length that an FFT splits well.

    >>> [fast_length(n) for n in (1, 7, 13, 97, 1021)]
    [1, 8, 15, 100, 1024]
    """
    from scipy.fft import next_fast_len  # JAX brings SciPy; this keeps it out of `import jaxconv`

    length: Any = next_fast_len(target, real=True)  # its types do not say what it returns
    return length
