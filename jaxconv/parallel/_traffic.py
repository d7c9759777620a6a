"""What a sharded convolution communicates, worked out on paper: no device is needed."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from jaxconv._core.geometry.extension import NONE
from jaxconv._core.geometry.spec import Padding, normalise
from jaxconv._core.partition import placement
from jaxconv._core.partition.halos import Line, sources
from jaxconv._core.partition.layout import lay_out
from jaxconv._functional import layers as functional


def halo_bytes(
    x: Any,
    w: Any,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    mesh: Mesh | AbstractMesh | None = None,
    x_spec: PartitionSpec | None = None,
    w_spec: PartitionSpec | None = None,
) -> int:
    """Count the bytes that all devices together are sent as halos in one `parallel.conv`.

    bytes = itemsize * sum over d of (devices / D_d) R_d n' c' prod(e < d) L_e prod(e > d) B_e

    For each sharded spatial dimension d: D_d parts; R_d rows, added up over the parts, that a
    part's windows read and its block does not hold; n' and c', the batch and the channels of one
    device; L_e, a window of a dimension whose halos are there already (its rows travel along), and
    B_e, a block of one whose halos are not. With stride times output block = block and zeros
    outside, R_d = (D_d - 1) (extent - stride), on a ring D_d (extent - stride).

    x's gradient is sent the same bytes back; `parallel.conv_transpose` with the same w and
    arguments, whose result is such an x, is sent these and no more. Where windows drift away from
    the blocks (stride times output block is not block) the compiled program sends every device of
    a hop as many rows as the one that needs the most.

    Args:
        x: (*batch, *space, in): an array or a `jax.ShapeDtypeStruct`.
        w: (*kernel, in // groups, out), likewise.
        stride: as in `parallel.conv`.
        padding: as in `parallel.conv`.
        dilation: as in `parallel.conv`.
        groups: as in `parallel.conv`.
        padding_mode: as in `parallel.conv`.
        mesh: as in `parallel.conv`; a `jax.sharding.AbstractMesh` needs no devices.
        x_spec: as in `parallel.conv`.
        w_spec: as in `parallel.conv`.

    Returns:
        Bytes received; divided by the number of devices, the mean of one.

    Raises:
        TypeError: as `parallel.conv`, and if x or w has no shape and dtype.
        ValueError: as `parallel.conv`.

    Example:
        >>> mesh = AbstractMesh((8,), ("rows",))
        >>> import jax
        >>> x = jax.ShapeDtypeStruct((1, 1024, 512, 16), "float32")
        >>> w = jax.ShapeDtypeStruct((5, 5, 16, 16), "float32")
        >>> halo_bytes(x, w, padding=2, mesh=mesh, x_spec=PartitionSpec(None, "rows"))
        917504
        >>> 7 * (5 - 1) * 512 * 16 * 4
        917504

    Source:
        Dryden et al. (2019), "Improving strong-scaling of CNN training by exploiting finer-grained
        parallelism", section IV.
    """
    caller = "halo_bytes"
    for name, array in (("x", x), ("w", w)):
        if not hasattr(array, "shape") or not hasattr(array, "dtype"):
            kind = type(array).__name__
            raise TypeError(
                f"{caller}: {name} must be an array or a jax.ShapeDtypeStruct, not {kind}"
            )
    spec = normalise(
        caller, x.shape, w.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    functional.check_padding_mode(caller, x.shape, spec, padding_mode)
    mesh = placement.find_mesh(caller, mesh, x=x, w=w)
    place = lay_out(
        caller,
        spec,
        mesh,
        placement.find_spec(caller, "x", x_spec, x, mesh),
        placement.find_spec(caller, "w", w_spec, w, mesh),
        x_name="x",
        channels=(x.shape[-1], w.shape[-1]),
    )
    batch = x.shape[: -spec.rank - 1]
    held = [-(-n // place.parts(axes)) for n, axes in zip(batch, place.batch, strict=True)]
    channels = x.shape[-1] // place.parts(place.groups + place.summed) // place.picks(groups)
    rest = math.prod(held) * channels
    lines = place.lines(spec, padding_mode)
    rows = [lines[d].block if d in lines else n for d, n in enumerate(spec.input_size)]
    total = 0
    for dimension, line in lines.items():
        copies = place.devices // line.parts
        others = math.prod(rows[:dimension] + rows[dimension + 1 :])
        total += copies * _rows_received(line) * others * rest
        rows[dimension] = line.window
    return total * np.dtype(x.dtype).itemsize


def permuted_bytes(program: str) -> int:
    """Count the bytes that the collective permutes of a compiled program send.

    bytes = sum over permutes of (pairs of devices) * (elements of the operand) * itemsize

    Args:
        program: the text of the compiled program: `jax.jit(f).lower(*args).compile().as_text()`.

    Returns:
        Bytes sent by all devices together. A permute in a loop counts once.

    Raises:
        TypeError: program is no text.

    Example:
        >>> permuted_bytes(
        ...     "%p = bf16[2,8]{1,0} collective-permute(%x), source_target_pairs={{0,1},{1,2}}"
        ... )
        64
    """
    if not isinstance(program, str):
        raise TypeError(
            "permuted_bytes: program must be the text of a compiled program, not "
            f"{type(program).__name__}; .as_text() gives it"
        )
    total = 0
    for made, start, pairs in _PERMUTE.findall(program):
        # an asynchronous start holds its operands, its results and two words of state
        shapes = [shape for shape in _SHAPE.findall(made) if shape[:2] != ("u32", "")]
        sizes = [
            math.prod(map(int, filter(None, dims.split(",")))) * _bits(kind)
            for kind, dims in shapes
        ]
        total += sum(sizes) // 8 // (2 if start else 1) * pairs.count("{")
    return total


def _bits(kind: str) -> int:
    found = re.search(r"\d+", kind)
    return int(found[0]) if found else 8  # pred


# made, whether it is asynchronous, pairs
_PERMUTE = re.compile(
    r" = (.*?) collective-permute(-start)?\(.*?source_target_pairs=\{([{}\d,]*)\}"
)
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")


def _rows_received(line: Line) -> int:
    """Rows, added up over the parts, that a window reads and its part does not hold."""
    received = 0
    for part, row in enumerate(sources(line)):
        read = np.unique(row[row != NONE])
        received += int(np.sum(read // line.block != part))
    return received
