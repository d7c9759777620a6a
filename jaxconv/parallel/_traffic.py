"""Bytes that a sharded convolution communicates, computed from shapes; no device is needed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from jaxconv._core.dispatch import arguments
from jaxconv._core.geometry.extension import NONE
from jaxconv._core.geometry.spec import Padding, normalise
from jaxconv._core.partition import placement
from jaxconv._core.partition.halos import Line, sources
from jaxconv._core.partition.layout import lay_out


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
    """Count the halo bytes that all devices together receive in one `parallel.conv`.

    bytes = itemsize * sum over d of (devices / D_d) R_d n' c' prod(e < d) L_e prod(e > d) B_e

    The sum runs over the sharded spatial dimensions d, with D_d parts each. R_d is the number of
    rows, summed over the parts, that a part's windows read outside its own block; n' and c' are the
    batch and channels of one device; L_e is the length of a block with its halo, for dimensions
    whose halo has already been received, and B_e the length without it, for the others. If
    stride times output block = block, with zero padding R_d = (D_d - 1) (extent - stride), with
    circular padding D_d (extent - stride).

    The gradient of x sends the same bytes back, and so does `parallel.conv_transpose` with the same
    w and arguments. If stride times output block differs from block, windows and blocks are not
    aligned, and the compiled program sends to each device as many rows as the one with the most.

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
        Bytes received by all devices together.

    Raises:
        TypeError: as `parallel.conv`, and if x or w has no shape or dtype.
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
    arguments.check_padding_mode(caller, x.shape, spec, padding_mode)
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
        TypeError: program is not a string.

    Example:
        >>> permuted_bytes(
        ...     "%p = bf16[2,8]{1,0} collective-permute(%x), source_target_pairs={{0,1},{1,2}}"
        ... )
        64
    """
    if not isinstance(program, str):
        raise TypeError(
            "permuted_bytes: program must be the text of a compiled program, not "
            f"{type(program).__name__}; use .as_text()"
        )
    total = 0
    for result, start, pairs in _PERMUTE.findall(program):
        # the result of an asynchronous start lists operands, results and two words of state
        shapes = [shape for shape in _SHAPE.findall(result) if shape[:2] != ("u32", "")]
        sizes = [
            math.prod(map(int, filter(None, dims.split(",")))) * _bits(kind)
            for kind, dims in shapes
        ]
        total += sum(sizes) // 8 // (2 if start else 1) * pairs.count("{")
    return total


def _bits(kind: str) -> int:
    found = re.search(r"\d+", kind)
    return int(found[0]) if found else 8  # pred, XLA's bool, has no number in its name


# result, whether it is asynchronous, pairs
_PERMUTE = re.compile(
    r" = (.*?) collective-permute(-start)?\(.*?source_target_pairs=\{([{}\d,]*)\}"
)
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")


def _rows_received(line: Line) -> int:
    """Rows, summed over the parts, that a part's windows read outside its block."""
    received = 0
    for part, row in enumerate(sources(line)):
        read = np.unique(row[row != NONE])
        received += int(np.sum(read // line.block != part))
    return received
