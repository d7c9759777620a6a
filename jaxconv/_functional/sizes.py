"""Calculators of sizes: of the output, of the input, of the padding.

Two quantities are called padding. The argument `padding` is elements *per side*, as in `conv`. The
p of D2L (chapter 6) is the *total*, before plus after:

    outputs = floor((n - k + p + s) / s),   p = before + after

with n inputs, a kernel of k (with dilation d, (k - 1) d + 1) elements and stride s. So p = k - 1
keeps the size under stride 1; with an odd kernel that is (k - 1) / 2 per side, and with an even one
the odd element goes to one of the sides: before in D2L ("same_lower"), after in lax and torch
("same").
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxconv._core.geometry import spec as specs
from jaxconv._core.geometry.spec import ConvSpec, Padding

Size = int | Sequence[int]


def output_size(
    input_size: Size,
    kernel_size: Size,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
) -> int | tuple[int, ...]:
    """Return the number of outputs of a convolution or a pooling.

    outputs = floor((n - ((k - 1) d + 1) + before + after + s) / s)

    Args:
        input_size: elements of the input, n; one integer a dimension, or one for one dimension.
        kernel_size: elements of the kernel, k; one integer stands for every dimension.
        stride: as in `jaxconv.conv`.
        padding: as in `jaxconv.conv`, all its forms; integers are per side.
        dilation: as in `jaxconv.conv`.

    Returns:
        One integer for an integer `input_size`, else a tuple.

    Raises:
        TypeError: an argument that must be an integer is not.
        ValueError: the kernel does not fit into the padded input, or an argument does not fit.

    Example:
        Two layers that keep 8 by 8 (D2L, section 6.3): a (3, 3) kernel with one element of padding
        on every side, and a (5, 3) kernel with (2, 1).

        >>> output_size((8, 8), 3, padding=1), output_size((8, 8), (5, 3), padding=(2, 1))
        ((8, 8), (8, 8))
        >>> output_size(8, 3, padding=1, stride=2)
        4

    Source:
        Zhang et al., "Dive into Deep Learning", section 6.3; Dumoulin and Visin (2016), section 2.
    """
    spec = _forward(
        "output_size",
        input_size,
        kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )
    return _like(input_size, spec.output_size)


def input_size(
    output_size: Size,
    kernel_size: Size,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
) -> int | tuple[int, ...]:
    """Return the input size for a number of outputs: the size of the result of `conv_transpose`.

    n = (outputs - 1) s + (k - 1) d + 1 - before - after + output_padding

    With stride s, s input sizes have the same number of outputs: this one, with `output_padding`
    from 0 to s - 1. Under "same" and "same_lower" it is the largest, outputs times s.

    Args:
        output_size: number of outputs; one integer a dimension, or one for one dimension.
        kernel_size: elements of the kernel; one integer stands for every dimension.
        stride: as in `jaxconv.conv`.
        padding: as in `jaxconv.conv`, all its forms; integers are per side.
        output_padding: as in `jaxconv.conv_transpose`.
        dilation: as in `jaxconv.conv`.

    Returns:
        One integer for an integer `output_size`, else a tuple.

    Raises:
        TypeError: an argument that must be an integer is not.
        ValueError: there is no such input, or an argument does not fit.

    Example:
        >>> [input_size(4, 3, padding=1, stride=2, output_padding=extra) for extra in (0, 1)]
        [7, 8]

    Source:
        Dumoulin and Visin (2016), section 4.
    """
    caller = "input_size"
    rank = _rank(output_size)
    outputs = specs.per_dimension(caller, "output_size", output_size, rank, minimum=1)
    kernel = specs.per_dimension(caller, "kernel_size", kernel_size, rank, minimum=1)
    spec = specs.normalise_transpose(
        caller,
        (*outputs, 1),
        (*kernel, 1, 1),
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        dilation=dilation,
    )
    return _like(output_size, spec.input_size)


def explicit_padding(
    input_size: Size,
    kernel_size: Size,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
) -> tuple[tuple[int, int], ...]:
    """Return any form of `padding` as (before, after) pairs, one a dimension.

    The total p of D2L is their sum; its rule for p = k - 1 is "same_lower": ceil(p / 2) before and
    floor(p / 2) after.

    Args:
        input_size: as in `output_size`.
        kernel_size: as in `output_size`.
        stride: as in `jaxconv.conv`.
        padding: as in `jaxconv.conv`, all its forms.
        dilation: as in `jaxconv.conv`.

    Returns:
        One (before, after) pair a dimension; `conv` takes them as `padding`.

    Raises:
        TypeError: an argument that must be an integer is not.
        ValueError: the kernel does not fit into the padded input, or an argument does not fit.

    Example:
        >>> explicit_padding((8, 8), (5, 3), padding="same_lower")
        ((2, 2), (1, 1))
        >>> [explicit_padding(8, 4, padding=name) for name in ("same_lower", "same")]
        [((2, 1),), ((1, 2),)]

    Source:
        Zhang et al., "Dive into Deep Learning", section 6.3.1.
    """
    return _forward(
        "explicit_padding",
        input_size,
        kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
    ).padding


def _forward(caller: str, input_size: Size, kernel_size: Size, **arguments) -> ConvSpec:
    """The spec of one channel of these sizes."""
    rank = _rank(input_size)
    size = specs.per_dimension(caller, "input_size", input_size, rank, minimum=1)
    kernel = specs.per_dimension(caller, "kernel_size", kernel_size, rank, minimum=1)
    return specs.normalise(caller, (*size, 1), (*kernel, 1, 1), x_name="input", **arguments)


def _rank(size: Size) -> int:
    return len(size) if isinstance(size, Sequence) else 1


def _like(given: Size, sizes: tuple[int, ...]) -> int | tuple[int, ...]:
    return sizes if isinstance(given, Sequence) else sizes[0]
