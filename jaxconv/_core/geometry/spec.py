"""The geometry of a convolution, fully explicit, and the checks of its arguments.

Arguments of users are typed `Any`: they are validated here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jax.core import Tracer
from jax.export import is_symbolic_dim

from jaxconv._core.geometry import shapes
from jaxconv._core.geometry.messages import groups_hint, layout_hint, no_channels_hint, shown
from jaxconv._core.geometry.shapes import Size, below

Contraction = Literal["output", "input", "kernel"]
Padding = str | int | Sequence[int | Sequence[int]]

PADDING_NAMES = ("valid", "same", "same_lower", "full", "causal")


@dataclasses.dataclass(frozen=True)
class ConvSpec:
    """The geometry of one convolution: one integer a spatial dimension.

    Sizes, and paddings that follow from them, may be symbolic dimensions of `jax.export`.

    It fixes the trilinear form

        T(x, w, y) = sum x[n, t stride + k dilation - lo, g, i] w[k, g, i, o] y[n, t, g, o]

    with t below `output_size`, k below `kernel_size`, and zero for x outside `input_size`.

    Attributes:
        stride: elements of x between neighbouring outputs, at least 1.
        dilation: elements of x between neighbouring kernel entries, at least 1.
        padding: (before, after) elements of zeros; negative ones are cut off.
        groups: number of groups: the channels are split into `groups` equal parts, each convolved
            with its own kernels.
        input_size: spatial shape of x.
        kernel_size: spatial shape of w.

    Example:
        >>> ConvSpec((2,), (1,), ((1, 1),), 1, (8,), (3,)).output_size
        (4,)
    """

    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[Size, Size], ...]
    groups: int
    input_size: tuple[Size, ...]
    kernel_size: tuple[int, ...]

    @property
    def rank(self) -> int:
        """Number of spatial dimensions."""
        return len(self.kernel_size)

    @property
    def is_symbolic(self) -> bool:
        """Whether a size is unknown until an exported program runs."""
        return any(map(is_symbolic_dim, self.input_size))

    @property
    def output_size(self) -> tuple[Size, ...]:
        """Spatial shape of y."""
        return tuple(
            shapes.output_size(n, k, s, d, lo, hi)
            for n, k, s, d, (lo, hi) in zip(
                self.input_size,
                self.kernel_size,
                self.stride,
                self.dilation,
                self.padding,
                strict=True,
            )
        )

    @property
    def padded(self) -> ConvSpec:
        """The geometry of the same convolution on an input that is already padded."""
        sizes = (n + lo + hi for n, (lo, hi) in zip(self.input_size, self.padding, strict=True))
        none = ((0, 0),) * self.rank
        return dataclasses.replace(self, padding=none, input_size=tuple(sizes))

    @property
    def dimensions(self) -> tuple[tuple[Size, Size, int, int, int, tuple[Size, Size]], ...]:
        """(input size, output size, kernel size, stride, dilation, padding) of each dimension."""
        return tuple(
            zip(
                self.input_size,
                self.output_size,
                self.kernel_size,
                self.stride,
                self.dilation,
                self.padding,
                strict=True,
            )
        )


def normalise(
    caller: str,
    x_shape: tuple[Size, ...],
    w_shape: tuple[int, ...],
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    x_name: str = "x",
) -> ConvSpec:
    """Check the arguments of a convolution of x and return its geometry.

    Args:
        caller: the public function's name, for the messages.
        x_shape: (*batch, *space, in).
        w_shape: (*kernel, in // groups, out).
        stride: an integer of at least 1, or one a dimension.
        padding: an integer, one a dimension, (before, after) a dimension, or a name.
        dilation: an integer of at least 1, or one a dimension.
        groups: number of groups.
        x_name: the caller's name of x.

    Raises:
        TypeError: an argument that must be an integer is not.
        ValueError: the shapes or values do not make a convolution.
    """
    rank = _rank(caller, x_shape, w_shape, x_name)
    size, kernel = tuple(x_shape[-rank - 1 : -1]), tuple(w_shape[:rank])
    stride = per_dimension(caller, "stride", stride, rank, minimum=1)
    dilation = per_dimension(caller, "dilation", dilation, rank, minimum=1)
    groups = check_groups(caller, w_shape, groups)
    _check_channels(caller, x_shape, w_shape, groups, rank, x_name)
    pads = resolve_padding(caller, padding, size, kernel, stride=stride, dilation=dilation)
    spec = ConvSpec(stride, dilation, pads, groups, size, kernel)
    if any(below(n, 1) for n in spec.output_size):
        _refuse_large_kernel(caller, spec, x_name)
    return spec


def normalise_transpose(
    caller: str,
    y_shape: tuple[Size, ...],
    w_shape: tuple[int, ...],
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
) -> ConvSpec:
    """Check the arguments of a transposed convolution of y and return the geometry of its adjoint.

    A strided convolution gives the same output size for several input sizes; the smallest one plus
    `output_padding` is meant, except under "same", where it is output size times stride.

    Args:
        caller: the public function's name, for the messages.
        y_shape: (*batch, *space', out).
        w_shape: (*kernel, in // groups, out), as `conv` has it.
        stride: as in `conv`.
        padding: as in `conv`.
        output_padding: from 0 to stride - 1, or one a dimension.
        dilation: as in `conv`.
        groups: as in `conv`.

    Raises:
        TypeError: an argument that must be an integer is not.
        ValueError: the shapes or values do not make a transposed convolution.
    """
    rank = _rank(caller, y_shape, w_shape, "y")
    output, kernel = tuple(y_shape[-rank - 1 : -1]), tuple(w_shape[:rank])
    stride = per_dimension(caller, "stride", stride, rank, minimum=1)
    dilation = per_dimension(caller, "dilation", dilation, rank, minimum=1)
    extra = per_dimension(caller, "output_padding", output_padding, rank, minimum=0)
    groups = check_groups(caller, w_shape, groups)
    if y_shape[-1] != w_shape[-1]:
        hint = layout_hint("y", y_shape, w_shape, groups, transposed=True)
        raise ValueError(
            f"{caller}: y has {y_shape[-1]} channels, w makes {w_shape[-1]} "
            f"(w.shape={w_shape}); y.shape={y_shape}{hint}"
        )
    if any(op >= s for op, s in zip(extra, stride, strict=True)):
        raise ValueError(
            f"{caller}: output_padding={output_padding} must be below stride={stride} in every "
            "dimension: it picks one of the `stride` input sizes that have the same output size; "
            "to lengthen the result by more, lower the padding after it"
        )
    if any(below(m, 1) for m in output):
        raise ValueError(f"{caller}: y.shape={y_shape} has a spatial dimension of size zero")
    if isinstance(padding, str) and padding in ("same", "same_lower"):
        if any(extra):
            raise ValueError(
                f"{caller}: output_padding={extra} does not go with padding={padding!r}, which "
                "gives size times stride; use explicit padding"
            )
        size = tuple(m * s for m, s in zip(output, stride, strict=True))
        pads = resolve_padding(caller, padding, size, kernel, stride=stride, dilation=dilation)
    else:
        # every other form pads the same whatever the input size, so any size serves
        pads = resolve_padding(caller, padding, output, kernel, stride=stride, dilation=dilation)
        size = tuple(
            shapes.input_size(m, k, s, d, lo, hi) + op
            for m, k, s, d, (lo, hi), op in zip(
                output, kernel, stride, dilation, pads, extra, strict=True
            )
        )
    if any(below(n, 1) for n in size):
        raise ValueError(
            f"{caller}: padding={shown(padding)} cuts the whole result away: its spatial shape "
            f"would be {size} (y.shape={y_shape}, w.shape={w_shape}, stride={stride}, "
            f"dilation={dilation})"
        )
    return ConvSpec(stride, dilation, pads, groups, size, kernel)


def per_dimension(
    caller: str, name: str, value: Any, rank: int, *, minimum: int | None = None
) -> tuple[Size, ...]:
    """Return one integer a spatial dimension from an integer or a sequence of them."""
    entries = list(value) if _is_sequence(value) else [value] * rank
    if len(entries) != rank:
        raise ValueError(
            f"{caller}: {name}={shown(value)} has {_count(entries, 'entry', 'entries')} for "
            f"{_dimensions(rank)}; give one integer{f', or {rank}' * (rank > 1)}"
        )
    numbers = tuple(_integer(caller, name, value, entry) for entry in entries)
    if minimum is not None and any(below(number, minimum) for number in numbers):
        each = " in every dimension" if _is_sequence(value) else ""
        raise ValueError(f"{caller}: {name}={shown(value)} must be at least {minimum}{each}")
    return numbers


def resolve_padding(
    caller: str,
    padding: Any,
    size: Sequence[Size],
    kernel: Sequence[int],
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[tuple[Size, Size], ...]:
    """Return (before, after) a dimension from any form of `padding`."""
    rank = len(kernel)
    if isinstance(padding, str):
        if padding not in PADDING_NAMES:
            names = ", ".join(map(repr, PADDING_NAMES))
            meant = f"; use {padding.lower()!r}" if padding.lower() in PADDING_NAMES else ""
            raise ValueError(f"{caller}: padding={shown(padding)} must be one of {names}{meant}")
        return tuple(
            _named_padding(padding, *dimension)
            for dimension in zip(size, kernel, stride, dilation, strict=True)
        )
    entries = list(padding) if _is_sequence(padding) else [padding] * rank
    if len(entries) != rank:
        raise ValueError(
            f"{caller}: padding={shown(padding)} has {_count(entries, 'entry', 'entries')} for "
            f"{_dimensions(rank)}; give one integer, or {_count([0] * rank, 'integer', 'integers')}"
            f" or (before, after) pair{'s' * (rank > 1)}, one a dimension"
        )
    pads = []
    for entry in entries:
        pair = list(entry) if _is_sequence(entry) else [entry, entry]
        if len(pair) != 2:
            raise ValueError(
                f"{caller}: padding={shown(padding)}: {shown(entry)} is not a (before, after) pair"
            )
        lo, hi = (_integer(caller, "padding", padding, end) for end in pair)
        pads.append((lo, hi))
    return tuple(pads)


def check_groups(caller: str, w_shape: tuple[int, ...], groups: Any) -> int:
    """Return groups as an integer that divides the output channels."""
    groups = _integer(caller, "groups", groups, groups)
    if groups < 1:
        raise ValueError(f"{caller}: groups={groups} must be at least 1")
    if w_shape[-1] % groups:
        raise ValueError(
            f"{caller}: groups={groups} does not divide the {w_shape[-1]} output channels of w "
            f"(w.shape={w_shape}{groups_hint(w_shape, groups)})"
        )
    return groups


def _named_padding(name: str, size: Size, kernel: int, stride: int, dilation: int):
    span = shapes.extent(kernel, dilation) - 1
    match name:
        case "valid":
            return (0, 0)
        case "full":
            return (span, span)
        case "causal":
            return (span, 0)
        case _:
            return shapes.same_padding(size, kernel, stride, dilation, lower=name == "same_lower")


def _is_sequence(value: Any) -> bool:
    return (isinstance(value, Sequence) and not isinstance(value, str)) or (
        hasattr(value, "__array__") and getattr(value, "ndim", 0) > 0
    )


def _integer(caller: str, name: str, value: Any, entry: Any) -> Size:
    if not isinstance(entry, (bool, np.bool)):
        try:
            return shapes.as_size(entry)
        except TypeError:
            pass
    if isinstance(entry, Tracer):
        raise TypeError(
            f"{caller}: {name} must be a fixed integer, but is traced here; under jax.jit name it "
            "in static_argnames"
        )
    rule = "be made of integers" if _is_sequence(value) else "be an integer"
    raise TypeError(f"{caller}: {name}={shown(value)} must {rule}, not {type(entry).__name__}")


def _count(entries: Sequence[Any], one: str, many: str) -> str:
    return f"{len(entries)} {one if len(entries) == 1 else many}"


def _dimensions(rank: int) -> str:
    return _count([0] * rank, "spatial dimension", "spatial dimensions")


def _rank(caller: str, x_shape: tuple[Size, ...], w_shape: tuple[int, ...], x_name: str) -> int:
    rank = len(w_shape) - 2
    if rank < 1:
        raise ValueError(
            f"{caller}: w.shape={w_shape} must be (*kernel, in // groups, out) with at least one "
            "kernel dimension; jaxconv.correlate takes kernels without channels"
        )
    if len(x_shape) < rank + 1:
        raise ValueError(
            f"{caller}: {x_name}.shape={x_shape} must be (*batch, *space, channels), at least "
            f"{rank + 1} dimensions for the rank-{rank} kernel w (w.shape={w_shape})"
            f"{no_channels_hint(x_name, len(x_shape) == rank and w_shape[-2] == 1)}"
        )
    if min(w_shape) < 1:
        raise ValueError(f"{caller}: w.shape={w_shape} has a dimension of size zero")
    return rank


def _check_channels(
    caller: str,
    x_shape: tuple[Size, ...],
    w_shape: tuple[int, ...],
    groups: int,
    rank: int,
    x_name: str,
) -> None:
    expected = w_shape[-2] * groups
    if x_shape[-1] != expected:
        hint = layout_hint(x_name, x_shape, w_shape, groups, transposed=False)
        raise ValueError(
            f"{caller}: {x_name} has {x_shape[-1]} channels, w expects {expected} "
            f"(w.shape={w_shape}, groups={groups}); {x_name}.shape={x_shape}{hint}"
        )


def _refuse_large_kernel(caller: str, spec: ConvSpec, x_name: str) -> None:
    padded = tuple(n + lo + hi for n, (lo, hi) in zip(spec.input_size, spec.padding, strict=True))
    spans = tuple(map(shapes.extent, spec.kernel_size, spec.dilation))
    missing = tuple(max(e - p, 0) for e, p in zip(spans, padded, strict=True))
    raise ValueError(
        f"{caller}: the kernel spans {spans} elements (kernel_size={spec.kernel_size}, "
        f"dilation={spec.dilation}), but the padded {x_name} has {padded} (size "
        f"{spec.input_size}, padding={spec.padding}); use a smaller kernel, or {missing} more "
        "elements of padding"
    )
