"""`conv` and `conv_transpose` on arrays that are sharded over a mesh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from jaxconv._core.dispatch import arguments
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.geometry import dtypes
from jaxconv._core.geometry.spec import (
    Contraction,
    ConvSpec,
    Padding,
    normalise,
    normalise_transpose,
)
from jaxconv._core.partition import placement
from jaxconv._core.partition.layout import lay_out
from jaxconv._core.partition.plan import Plan
from jaxconv.parallel._shard_map import empty_sum, put_on_mesh, run


def conv(
    x: jax.Array | np.ndarray,
    w: jax.Array | np.ndarray,
    b: jax.Array | np.ndarray | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    flip: bool = False,
    method: str = "auto",
    policy: Policy | None = None,
    precision: Any = None,
    preferred_element_type: Any = None,
    mesh: Mesh | AbstractMesh | None = None,
    x_spec: PartitionSpec | None = None,
    w_spec: PartitionSpec | None = None,
) -> jax.Array:
    """Convolve an array that is sharded over a mesh, as `jaxconv.conv` does on one device.

    y[n, t, g, o] = b[g, o] + sum over k, i of x[n, t stride + k dilation - lo, g, i] w[k, g, i, o]

    Every device convolves its own part of x. Where space is sharded it first receives the halo, the
    rows of neighbouring parts that its windows cover, by collective permutes
    (`jaxconv.parallel.halo_bytes` counts the bytes). Where input channels are sharded the partial
    sums are added, with groups only among the devices that share a group. Batch, groups and output
    channels need no communication. The gradient of w is one sum over the devices that share w; the
    gradient of x sends the halo back.

    Args:
        x: (*batch, *space, in), as in `jaxconv.conv`; any dimensions sharded, each over any number
            of mesh axes. A size that its mesh axes do not divide is padded to a multiple inside.
        w: (*kernel, in // groups, out); any dimensions sharded. Sharding of the channels is kept;
            with groups, if each part of out consists of whole groups or lies in one group. Along
            the kernel, and over mesh axes that already shard x, w is gathered.
        b: (out,), or None.
        stride: as in `jaxconv.conv`; it need not divide a device's part.
        padding: as in `jaxconv.conv`.
        dilation: as in `jaxconv.conv`; a halo may be wider than a device's part.
        groups: as in `jaxconv.conv`; a part of sharded channels of x may hold whole groups, a part
            of one group, or parts of several. The last needs a sum of y's full size over devices.
        padding_mode: as in `jaxconv.conv`; with "circular" the first and last parts are neighbours.
        flip: as in `jaxconv.conv`.
        method: as in `jaxconv.conv`, for the part of each device.
        policy: as in `jaxconv.conv`.
        precision: as in `jaxconv.conv`.
        preferred_element_type: as in `jaxconv.conv`.
        mesh: by default the mesh of x, of w, or of `jax.set_mesh`.
        x_spec: how x is sharded; by default its own sharding. It must be given if x is traced and
            the mesh's axes are auto, because the sharding is then unknown.
        w_spec: how w is sharded; by default its own sharding, or not sharded if that is unknown.

    Returns:
        y: (*batch, *space', out), sharded as x in batch and space and as w in out. With groups, out
        is sharded as the groups of x and then as w; if parts of x split groups, as the channels of
        x, or not at all if out cannot be divided into as many parts. JAX's arrays have equal parts:
        along a batch or spatial dimension that its mesh axes do not divide y is not sharded, but
        gathered on every device by an all-gather that `halo_bytes` does not count. On auto axes
        this happens only at the end of a program, not between two layers under jit. If x has no
        elements y is not sharded, and equal to b.

        With the same method the values are those of `jaxconv.conv`: bit for bit if each element's
        sum is computed on one device and its rounding does not depend on the array's size ("taps"
        and "onednn", see `jaxconv.tiles`), otherwise to rounding. "auto" chooses by the part of a
        device, and may take another method than for the whole array.

    Raises:
        TypeError: as `jaxconv.conv`, and if `mesh` is not a mesh or a spec not a PartitionSpec.
        ValueError: as `jaxconv.conv`; x's sharding is unknown, the devices of the input channels do
            not divide them, or the mesh has no devices.

    Example:
        >>> mesh = jax.make_mesh((jax.device_count(),), ("rows",))
        >>> x, w = jax.numpy.ones((2, 32, 32, 3)), jax.numpy.ones((5, 5, 3, 8))
        >>> y = conv(x, w, padding=2, mesh=mesh, x_spec=PartitionSpec(None, "rows"))
        >>> y.shape, y.sharding.spec
        ((2, 32, 32, 8), P(None, 'rows', None, None))

    Source:
        Dryden et al. (2019), "Improving strong-scaling of CNN training by exploiting finer-grained
        parallelism".
    """
    caller = "parallel.conv"
    x, w = dtypes.as_array(caller, "x", x), dtypes.as_array(caller, "w", w)
    dtype = dtypes.result_dtype(caller, ("x", x), ("w", w), preferred_element_type)
    spec = normalise(
        caller, x.shape, w.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    numerics = arguments.check_numerics(caller, method, policy, precision)
    b = dtypes.check_bias(caller, b, w.shape[-1], x.dtype, dtype)
    arguments.check_padding_mode(caller, x.shape, spec, padding_mode)
    return _convolve(
        caller,
        "output",
        spec,
        (x, w, b),
        x_name="x",
        x_spec=x_spec,
        w_spec=w_spec,
        result_shape=(*x.shape[: -spec.rank - 1], *spec.output_size, w.shape[-1]),
        padding_mode=padding_mode,
        flip=flip,
        mesh=mesh,
        dtype=dtype,
        numerics=numerics,
    )


def conv_transpose(
    y: jax.Array | np.ndarray,
    w: jax.Array | np.ndarray,
    b: jax.Array | np.ndarray | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    flip: bool = False,
    method: str = "auto",
    policy: Policy | None = None,
    precision: Any = None,
    preferred_element_type: Any = None,
    mesh: Mesh | AbstractMesh | None = None,
    y_spec: PartitionSpec | None = None,
    w_spec: PartitionSpec | None = None,
) -> jax.Array:
    """Apply the adjoint of `jaxconv.parallel.conv`: `jaxconv.conv_transpose` on a mesh.

    x[n, s, g, i] = b[g, i] + sum of w[k, g, i, o] y[n, t, g, o] over t stride + k dilation - lo = s

    Every device computes the contributions of its own part of y; those to other devices' parts of x
    are sent there and added: the halo of `conv`, sent in the opposite direction.

    Args:
        y: (*batch, *space', out), as in `jaxconv.conv_transpose`; sharded as x in `conv`.
        w: (*kernel, in // groups, out); as in `conv`.
        b: (in,), or None.
        stride: as in `conv`.
        padding: as in `conv`.
        output_padding: as in `jaxconv.conv_transpose`.
        dilation: as in `conv`.
        groups: as in `conv`.
        padding_mode: as in `jaxconv.conv_transpose`.
        flip: as in `conv`.
        method: as in `conv`.
        policy: as in `conv`.
        precision: as in `conv`.
        preferred_element_type: as in `conv`.
        mesh: as in `conv`.
        y_spec: how y is sharded; as x_spec in `conv`.
        w_spec: as in `conv`.

    Returns:
        x: (*batch, *space, in), sharded as y in batch and space and as w in its input channels; not
        sharded along a dimension whose size its mesh axes do not divide, as in `conv`. Where space
        is sharded an element near a border is a sum of several devices' contributions, in another
        order than in `jaxconv.conv_transpose`: equal to rounding, not bit for bit.

    Raises:
        TypeError: as `jaxconv.conv_transpose`, and as `conv`.
        ValueError: as `jaxconv.conv_transpose`, and as `conv`.

    Example:
        >>> mesh = jax.make_mesh((jax.device_count(),), ("rows",))
        >>> y, w = jax.numpy.ones((1, 16, 8, 16)), jax.numpy.ones((4, 4, 3, 16))
        >>> conv_transpose(
        ...     y, w, stride=2, padding=1, mesh=mesh, y_spec=PartitionSpec(None, "rows")
        ... ).shape
        (1, 32, 16, 3)

    Source:
        Hewett and Grady (2020), "A linear algebraic approach to model parallelism in deep
        learning".
    """
    caller = "parallel.conv_transpose"
    y, w = dtypes.as_array(caller, "y", y), dtypes.as_array(caller, "w", w)
    dtype = dtypes.result_dtype(caller, ("y", y), ("w", w), preferred_element_type)
    spec = normalise_transpose(
        caller,
        y.shape,
        w.shape,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        dilation=dilation,
        groups=groups,
    )
    numerics = arguments.check_numerics(caller, method, policy, precision)
    x_shape = (*y.shape[: -spec.rank - 1], *spec.input_size, w.shape[-2] * spec.groups)
    b = dtypes.check_bias(caller, b, x_shape[-1], y.dtype, dtype)
    arguments.check_padding_mode(caller, x_shape, spec, padding_mode)
    return _convolve(
        caller,
        "input",
        spec,
        (y, w, b),
        x_name="y",
        x_spec=y_spec,
        w_spec=w_spec,
        result_shape=x_shape,
        padding_mode=padding_mode,
        flip=flip,
        mesh=mesh,
        dtype=dtype,
        numerics=numerics,
    )


def _convolve(
    caller: str,
    contraction: Contraction,
    spec: ConvSpec,
    arrays: tuple[jax.Array, jax.Array, jax.Array | None],
    *,
    x_name: str,
    x_spec: PartitionSpec | None,
    w_spec: PartitionSpec | None,
    result_shape: tuple[int, ...],
    padding_mode: str,
    flip: bool,
    mesh: Mesh | AbstractMesh | None,
    dtype: Any,
    numerics: dict[str, Any],
) -> jax.Array:
    """Lay out x (or y, by `x_name`), w and b on the mesh and compute the contraction."""
    x, w, b = arrays
    w = arguments.flipped(caller, w, flip)
    mesh = placement.find_mesh(caller, mesh, **{x_name: x}, w=w)
    placement.check_devices(caller, mesh, x, w, b)
    layout = lay_out(
        caller,
        spec,
        mesh,
        placement.find_spec(caller, x_name, x_spec, x, mesh),
        placement.find_spec(caller, "w", w_spec, w, mesh),
        x_name=x_name,
        channels=(x.shape[-1], result_shape[-1]),
    )
    plan = Plan(contraction, spec, layout, padding_mode)
    if not x.size:
        return empty_sum(plan, result_shape, b, dtype)
    return run(*put_on_mesh(plan, x, w, b), plan=plan, dtype=dtype, **numerics)
