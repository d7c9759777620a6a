"""Integer arithmetic of a convolution along one dimension; nothing here knows of arrays.

Sizes are counts of elements, positions are zero-based, and `lo`, `hi` are the padding before and
after (negative: elements cut off). The relations are those of Dumoulin and Visin, "A guide to
convolution arithmetic for deep learning" (2016), https://arxiv.org/abs/1603.07285.
"""


def extent(kernel: int, dilation: int) -> int:
    """Elements from the first to the last that a dilated kernel touches: (kernel - 1) dilation + 1.

    >>> extent(3, 2)
    5
    """
    return (kernel - 1) * dilation + 1


def output_size(size: int, kernel: int, stride: int, dilation: int, lo: int, hi: int) -> int:
    """Positions of the kernel in the padded input: floor((size + lo + hi - extent) / stride) + 1.

    It is zero or negative exactly where the kernel is larger than the padded input.

    >>> output_size(8, 3, 2, 1, 1, 1)
    4
    """
    return (size + lo + hi - extent(kernel, dilation)) // stride + 1


def input_size(size: int, kernel: int, stride: int, dilation: int, lo: int, hi: int) -> int:
    """Return the smallest input that has `size` outputs: (size - 1) stride + extent - lo - hi.

    The inputs with the same number of outputs are this one to this one + stride - 1.

    >>> input_size(4, 3, 2, 1, 1, 1), output_size(7, 3, 2, 1, 1, 1)
    (7, 4)
    """
    return (size - 1) * stride + extent(kernel, dilation) - lo - hi


def same_padding(
    size: int, kernel: int, stride: int, dilation: int, *, lower: bool = False
) -> tuple[int, int]:
    """Return (before, after) for ceil(size / stride) outputs; `lower` puts the odd element before.

    >>> same_padding(8, 4, 1, 1), same_padding(8, 4, 1, 1, lower=True)
    ((1, 2), (2, 1))
    """
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + extent(kernel, dilation) - size, 0)
    small, large = total // 2, total - total // 2
    return (large, small) if lower else (small, large)


def fast_length(target: int) -> int:
    """Return the smallest 2^a 3^b 5^c of at least `target`: a length that an FFT splits well.

    >>> [fast_length(n) for n in (1, 7, 13, 97, 1021)]
    [1, 8, 15, 100, 1024]
    """
    best = 1 << max(target - 1, 0).bit_length()
    five = 1
    while five < best:
        odd = five
        while odd < best:
            best = min(best, odd << max(-(-target // odd) - 1, 0).bit_length())
            odd *= 3
        five *= 5
    return best
