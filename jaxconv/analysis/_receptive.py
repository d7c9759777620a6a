"""The receptive field of a chain of layers: the inputs that each output is computed from.

Output t of a layer is computed from inputs t s + k d - lo, with k below the kernel size; output u
of a transposed layer from the inputs t with t s + k d - lo = u. A chain is followed from an output
back to the input, one dimension at a time and exactly: gaps from dilation are left out, and outputs
of transposed layers may have different fields. Without transposed layers, for layers 1 to L:

    size = 1 + sum over l of (k_l - 1) d_l (s_1 ... s_{l-1})
    jump = s_1 ... s_L
    start = - sum over l of lo_l (s_1 ... s_{l-1})

`jaxconv.analysis.influence` measures how strongly an output depends on its inputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from jaxconv._core.geometry.spec import (
    ConvSpec,
    Padding,
    normalise,
    normalise_transpose,
    per_dimension,
)

Size = int | Sequence[int]

# Used as size of an input whose size is not given. Only a strided "same" padding depends on it.
_UNKNOWN_SIZE = 1 << 40


@dataclass(frozen=True)
class Layer:
    """The geometry of one layer: a convolution, a pooling, or a transposed convolution.

    Attributes:
        kernel_size: size of the kernel or pooling window; one integer or one for each dimension.
        stride: as in `jaxconv.conv`.
        padding: as in `jaxconv.conv`.
        dilation: as in `jaxconv.conv`.
        output_padding: as in `jaxconv.conv_transpose`; otherwise 0.
        transposed: whether it is a transposed convolution.

    Example:
        >>> receptive_field([Layer(3, padding=1), Layer(2, stride=2)]).size
        (4,)
    """

    kernel_size: Size
    stride: Size = 1
    padding: Padding = 0
    dilation: Size = 1
    output_padding: Size = 0
    transposed: bool = False


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive fields of the outputs of a chain of layers.

    Attributes:
        size: elements from the first to the last of an output's field, padding included; the
            largest, if transposed layers give outputs different fields.
        jump: elements of the input between the fields of neighbouring outputs; a fraction if
            transposed layers make more outputs than inputs.
        start: index of the first element of the first output's field; negative in the padding. (If
            that field is empty: of the next output whose field is not.)
        input_size: spatial shape of the input, or None if it was not given.
        output_size: spatial shape of the output, or None if `input_size` was not given.
        specs: the geometry of each layer; for a transposed layer that of the convolution it is the
            adjoint of.
        transposed: whether each layer is a transposed convolution.
    """

    size: tuple[int, ...]
    jump: tuple[int | Fraction, ...]
    start: tuple[int, ...]
    input_size: tuple[int, ...] | None
    output_size: tuple[int, ...] | None
    specs: tuple[ConvSpec, ...]
    transposed: tuple[bool, ...]

    def span(self, index: Size) -> tuple[tuple[int, int], ...]:
        """Return (first, last) element of an output's field along each dimension, padding included.

        Raises:
            ValueError: the field is empty, or `index` is not an index of the output.
        """
        index = self._check("span", index)
        spans = []
        for d, position in enumerate(index):
            field = _field(self.specs, self.transposed, d, position, clip=False)
            if not field.size:
                raise ValueError(f"span: the field of output {index} is empty along dimension {d}")
            spans.append((int(field[0]), int(field[-1])))
        return tuple(spans)

    def indices(self, index: Size) -> tuple[np.ndarray, ...]:
        """Return the indices of an output's field along each dimension, without padding.

        The field is their product: every combination of one index for each dimension.

        Raises:
            ValueError: `input_size` was not given, or `index` is not an index of the output.
        """
        self._require_size("indices")
        index = self._check("indices", index)
        return tuple(
            _field(self.specs, self.transposed, d, position, clip=True)
            for d, position in enumerate(index)
        )

    def mask(self, index: Size) -> np.ndarray:
        """Return an output's field as a boolean array of shape `input_size`.

        Raises:
            ValueError: as `indices`.
        """
        field = self.indices(index)
        assert self.input_size is not None
        mask = np.zeros(self.input_size, bool)
        mask[np.ix_(*field)] = True
        return mask

    def padding_share(self, index: Size | None = None) -> tuple[float, ...]:
        """Return which share of an output's field along each dimension is padding of any layer.

        Without an index, the mean over all outputs.

        Raises:
            ValueError: as `indices`.
        """
        outputs = self._require_size("padding_share")
        chosen = None if index is None else self._check("padding_share", index)
        shares = []
        for d, count in enumerate(outputs):
            padding = []
            for position in range(count) if chosen is None else (chosen[d],):
                both = (
                    _field(self.specs, self.transposed, d, position, clip=c) for c in (False, True)
                )
                whole, inside = (field.size for field in both)
                padding.append(1 - inside / whole if whole else 0.0)
            shares.append(sum(padding) / len(padding))
        return tuple(shares)

    def _require_size(self, caller: str) -> tuple[int, ...]:
        if self.output_size is None:
            raise ValueError(
                f"{caller}: which elements are padding depends on the input's size; give it: "
                "receptive_field(layers, input_size=...)"
            )
        return self.output_size

    def _check(self, caller: str, index: Size) -> tuple[int, ...]:
        index = per_dimension(caller, "index", index, len(self.size), minimum=0)
        sizes = self.output_size
        if sizes and any(i >= m for i, m in zip(index, sizes, strict=True)):
            raise ValueError(f"{caller}: index={index} lies outside the output's {sizes}")
        return index


def receptive_field(layers: Sequence[Layer], *, input_size: Size | None = None) -> ReceptiveField:
    """Compute the receptive fields of the outputs of a chain of layers.

    size = 1 + sum over l of (k_l - 1) d_l (s_1 ... s_{l-1}) for layers without transposed ones

    Args:
        layers: in the order in which they are applied. An integer argument stands for every
            dimension; the rank is the length of the first sequence among `input_size` and the
            kernel sizes, or 1.
        input_size: spatial shape of the input; needed for the output's size, to separate padding
            from input, and for padding="same" with a stride.

    Returns:
        A ReceptiveField: `size`, `jump`, `start`, and for one output `span`, `indices`, `mask` and
        `padding_share`.

    Raises:
        TypeError: a layer is not a `Layer`, or an argument is not an integer.
        ValueError: the layers do not fit each other or the input.

    Example:
        Two layers of 2x2: an output depends on all nine elements of a 3x3 input.

        >>> layers = [Layer((2, 2)), Layer((2, 2))]
        >>> receptive_field(layers[:1]).size, receptive_field(layers).size
        ((2, 2), (3, 3))
        >>> int(receptive_field(layers, input_size=(3, 3)).mask((0, 0)).sum())
        9

    Source:
        Araujo, Norris and Sim (2019), "Computing Receptive Fields of Convolutional Neural
        Networks", Distill, https://doi.org/10.23915/distill.00021; D2L, section 6.2.6.
    """
    caller = "receptive_field"
    layers = tuple(layers)
    for layer in layers:
        if not isinstance(layer, Layer):
            raise TypeError(
                f"{caller}: {layer!r} is not a Layer; use Layer(kernel_size, stride=..., "
                "padding=..., dilation=...)"
            )
    if not layers:
        raise ValueError(f"{caller}: layers={list(layers)} must have at least one layer")
    sizes = [input_size, *(layer.kernel_size for layer in layers)]
    rank = next((len(size) for size in sizes if isinstance(size, Sequence)), 1)
    known = None
    if input_size is not None:
        known = per_dimension(caller, "input_size", input_size, rank, minimum=1)
    specs, size = [], known
    for number, layer in enumerate(layers, 1):
        spec = _layer_spec(f"{caller}: layer {number}", layer, size, rank)
        specs.append(spec)
        if size is not None:
            size = spec.input_size if layer.transposed else spec.output_size
    specs, transposed = tuple(specs), tuple(layer.transposed for layer in layers)
    extents, starts, jumps = [], [], []
    for d in range(rank):
        up = math.prod(s.stride[d] for s, t in zip(specs, transposed, strict=True) if t)
        down = math.prod(s.stride[d] for s, t in zip(specs, transposed, strict=True) if not t)
        jump = Fraction(down, up)
        # the fields repeat after `up` outputs, shifted
        fields = [_field(specs, transposed, d, position, clip=False) for position in range(up)]
        fields = [field for field in fields if field.size]
        extents.append(max((int(field[-1] - field[0]) + 1 for field in fields), default=0))
        starts.append(int(fields[0][0]) if fields else 0)
        jumps.append(jump.numerator if jump.denominator == 1 else jump)
    return ReceptiveField(
        tuple(extents), tuple(jumps), tuple(starts), known, size, specs, transposed
    )


def _layer_spec(caller: str, layer: Layer, size: tuple[int, ...] | None, rank: int) -> ConvSpec:
    kernel = per_dimension(caller, "kernel_size", layer.kernel_size, rank, minimum=1)
    arguments = {
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
    }
    shape = (*(size or (_UNKNOWN_SIZE,) * rank), 1)
    if layer.transposed:
        extra = layer.output_padding
        return normalise_transpose(
            caller, shape, (*kernel, 1, 1), output_padding=extra, **arguments
        )
    if layer.output_padding != 0:
        raise ValueError(f"{caller}: output_padding={layer.output_padding} needs transposed=True")
    spec = normalise(caller, shape, (*kernel, 1, 1), x_name="input", **arguments)
    if size is None and layer.padding in ("same", "same_lower") and max(spec.stride) > 1:
        raise ValueError(
            f"{caller}: padding={layer.padding!r} with stride={layer.stride} depends on the "
            "input's size; give it: receptive_field(layers, input_size=...)"
        )
    return spec


def _field(
    specs: tuple[ConvSpec, ...],
    transposed: tuple[bool, ...],
    d: int,
    position: int,
    *,
    clip: bool,
) -> np.ndarray:
    """Sorted indices of one output's field along dimension d; `clip` leaves out padding."""
    field = np.array([position], np.int64)
    for spec, is_transposed in zip(reversed(specs), reversed(transposed), strict=True):
        stride, (lo, _) = spec.stride[d], spec.padding[d]
        offsets = np.arange(spec.kernel_size[d]) * spec.dilation[d] - lo
        if is_transposed:
            # t stride + k dilation - lo = u
            scaled = (field[:, None] - offsets).ravel()
            field, size = scaled[scaled % stride == 0] // stride, spec.output_size[d]
        else:
            field, size = (field[:, None] * stride + offsets).ravel(), spec.input_size[d]
        field = np.unique(field)
        if clip:
            field = field[(field >= 0) & (field < size)]
    return field
