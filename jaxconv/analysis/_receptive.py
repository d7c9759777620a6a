"""What an output sees: the receptive field of a chain of layers, in integers.

A layer maps output t to inputs t s + k d - lo, k below the kernel size; a transposed layer maps
output u to the inputs t with t s + k d - lo = u. A chain is followed from one output back to the
input, one dimension at a time, exactly: gaps left by dilation and phases of a transposed layer
included. For layers 1 to L without transposed ones this comes to

    size = 1 + sum over l of (k_l - 1) d_l (s_1 ... s_{l-1})
    jump = s_1 ... s_L
    start = - sum over l of lo_l (s_1 ... s_{l-1})

What a function really depends on, and how strongly, is measured in `jaxconv.analysis.influence`.
"""

import math
from collections.abc import Iterable, Sequence
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

# stands for an input of unknown size, which no padding but a strided "same" asks for
_LARGE = 1 << 40


@dataclass(frozen=True)
class Layer:
    """The geometry of one layer: a convolution, a pooling, or a transposed convolution.

    Attributes:
        kernel_size: elements of the kernel or the pooling window; one integer or one a dimension.
        stride: as in `jaxconv.conv`.
        padding: as in `jaxconv.conv`.
        dilation: as in `jaxconv.conv`.
        output_padding: as in `jaxconv.conv_transpose`; 0 for other layers.
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
    """What the outputs of a chain of layers see of its input.

    Attributes:
        size: elements from the first to the last that one output sees, margins included; the
            largest, where transposed layers make outputs differ.
        jump: elements of the input from one output's field to the next one's; a fraction where
            transposed layers make more outputs than inputs.
        start: first element that the first output sees, counted from the input's first; negative
            in the margin. (Of a first output that sees none, the next one's that does.)
        input_size: spatial shape of the input, or None where it was not given.
        output_size: spatial shape of the output, or None likewise.
        specs: the geometry of each layer; of a transposed one, that of the convolution it is the
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
        """Return (first, last) element a dimension that an output sees, margins included.

        Raises:
            ValueError: the output sees nothing, or `index` is none of its positions.
        """
        index = self._check("span", index)
        spans = []
        for d, position in enumerate(index):
            seen = _seen(self.specs, self.transposed, d, position, clip=False)
            if not seen.size:
                raise ValueError(f"span: the output at {index} sees nothing along dimension {d}")
            spans.append((int(seen[0]), int(seen[-1])))
        return tuple(spans)

    def indices(self, index: Size) -> tuple[np.ndarray, ...]:
        """Return the elements of the input a dimension that an output sees, without margins.

        It sees their product: every combination of one a dimension.

        Raises:
            ValueError: the chain's `input_size` was not given, or there is no such output.
        """
        self._require_size("indices")
        index = self._check("indices", index)
        return tuple(
            _seen(self.specs, self.transposed, d, position, clip=True)
            for d, position in enumerate(index)
        )

    def mask(self, index: Size) -> np.ndarray:
        """Return a boolean array of `input_size`: what an output sees.

        Raises:
            ValueError: as `indices`.
        """
        seen = self.indices(index)
        assert self.input_size is not None
        mask = np.zeros(self.input_size, bool)
        mask[np.ix_(*seen)] = True
        return mask

    def padding_share(self, index: Size | None = None) -> tuple[float, ...]:
        """Return the share of an output's field a dimension that lies in margins, of any layer.

        Without an index: the mean over all outputs.

        Raises:
            ValueError: as `indices`.
        """
        outputs, _ = self._require_size("padding_share")
        if index is None:
            positions: Iterable[Iterable[int]] = map(range, outputs)
        else:
            positions = ((i,) for i in self._check("padding_share", index))
        shares = []
        for d, along in enumerate(positions):
            lost = []
            for position in along:
                whole = _seen(self.specs, self.transposed, d, position, clip=False).size
                kept = _seen(self.specs, self.transposed, d, position, clip=True).size
                lost.append(1 - kept / whole if whole else 0.0)
            shares.append(sum(lost) / len(lost))
        return tuple(shares)

    def _require_size(self, caller: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if self.output_size is None or self.input_size is None:
            raise ValueError(
                f"{caller}: where margins begin depends on the input's size; give it: "
                "receptive_field(layers, input_size=...)"
            )
        return self.output_size, self.input_size

    def _check(self, caller: str, index: Size) -> tuple[int, ...]:
        index = per_dimension(caller, "index", index, len(self.size), minimum=0)
        sizes = self.output_size
        if sizes and any(i >= m for i, m in zip(index, sizes, strict=True)):
            raise ValueError(f"{caller}: index={index} lies outside the output's {sizes}")
        return index


def receptive_field(layers: Sequence[Layer], *, input_size: Size | None = None) -> ReceptiveField:
    """Follow a chain of layers back from its outputs to what they see of its input.

    size = 1 + sum over l of (k_l - 1) d_l (s_1 ... s_{l-1}) for layers without transposed ones

    Args:
        layers: the first layer first. Numbers stand for every dimension; the rank is that of the
            first kernel size (or `input_size`) that has one a dimension, and 1 if none has.
        input_size: spatial shape of the input; needed for the shape of the output, for what falls
            into margins, and for padding="same" under a stride.

    Returns:
        A ReceptiveField: `size`, `jump`, `start`, and for one output `span`, `indices`, `mask` and
        `padding_share`.

    Raises:
        TypeError: a layer is no `Layer`, or a number no integer.
        ValueError: the layers do not fit each other or the input.

    Example:
        The chapter's two layers of (2, 2): the second sees four elements of the first's output and
        all nine of a 3 by 3 input.

        >>> layers = [Layer((2, 2)), Layer((2, 2))]
        >>> receptive_field(layers[:1]).size, receptive_field(layers).size
        ((2, 2), (3, 3))
        >>> int(receptive_field(layers, input_size=(3, 3)).mask((0, 0)).sum())
        9

    Source:
        Araujo, Norris and Sim (2019), "Computing Receptive Fields of Convolutional Neural
        Networks", Distill, https://doi.org/10.23915/distill.00021; Zhang et al., "Dive into Deep
        Learning", section 6.2.6.
    """
    caller = "receptive_field"
    layers = tuple(layers)
    for layer in layers:
        if not isinstance(layer, Layer):
            raise TypeError(
                f"{caller}: {layer!r} is no Layer; write Layer(kernel_size, stride=..., "
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
        # what outputs see repeats after `up` of them
        seen = [_seen(specs, transposed, d, position, clip=False) for position in range(up)]
        seen = [elements for elements in seen if elements.size]
        extents.append(max((int(e[-1] - e[0]) + 1 for e in seen), default=0))
        starts.append(int(seen[0][0]) if seen else 0)
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
    shape = (*(size or (_LARGE,) * rank), 1)
    if layer.transposed:
        extra = layer.output_padding
        return normalise_transpose(
            caller, shape, (*kernel, 1, 1), output_padding=extra, **arguments
        )
    if layer.output_padding != 0:
        raise ValueError(
            f"{caller}: output_padding={layer.output_padding} goes with transposed=True only"
        )
    spec = normalise(caller, shape, (*kernel, 1, 1), x_name="input", **arguments)
    if size is None and layer.padding in ("same", "same_lower") and max(spec.stride) > 1:
        raise ValueError(
            f"{caller}: padding={layer.padding!r} under stride={layer.stride} depends on the "
            "input's size; give it: receptive_field(layers, input_size=...)"
        )
    return spec


def _seen(
    specs: tuple[ConvSpec, ...],
    transposed: tuple[bool, ...],
    d: int,
    position: int,
    *,
    clip: bool,
) -> np.ndarray:
    """Sorted elements of the input that one output sees along dimension d.

    With `clip`, positions outside an array on the way are margins, which hold no input.
    """
    seen = np.array([position], np.int64)
    for spec, back in zip(reversed(specs), reversed(transposed), strict=True):
        stride, (lo, _) = spec.stride[d], spec.padding[d]
        reach = np.arange(spec.kernel_size[d]) * spec.dilation[d] - lo
        if back:
            # t stride + k dilation - lo = u
            scaled = (seen[:, None] - reach).ravel()
            seen, size = scaled[scaled % stride == 0] // stride, spec.output_size[d]
        else:
            seen, size = (seen[:, None] * stride + reach).ravel(), spec.input_size[d]
        seen = np.unique(seen)
        if clip:
            seen = seen[(seen >= 0) & (seen < size)]
    return seen
