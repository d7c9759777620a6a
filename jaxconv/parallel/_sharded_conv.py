"""`conv` and `conv_transpose` on arrays that are sharded over a mesh."""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec
from jax.typing import ArrayLike

from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.geometry import dtypes
from jaxconv._core.geometry.spec import Padding, normalise, normalise_transpose
from jaxconv._core.partition import placement
from jaxconv._core.partition.layout import lay_out
from jaxconv._core.partition.plan import Plan
from jaxconv._functional import layers as functional
from jaxconv.parallel._shard_map import bias_alone, placed, run


def conv(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
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

    Every device convolves its own part of x. Where space is sharded it is first sent the halo, the
    rows of other devices' parts that its windows reach into, by collective permutes
    (`jaxconv.parallel.halo_bytes` counts them); where the channels summed over are sharded the
    partial sums are added up, with groups among the devices that share one. Nothing else is
    communicated: batch, groups and output channels are free, w's gradient is one sum over the
    devices that share it, and x's sends the halo back.

    Args:
        x: (*batch, *space, in), as in `jaxconv.conv`; any dimensions sharded, each over any number
            of mesh axes. A size that its mesh axes do not divide is padded to a multiple inside.
        w: (*kernel, in // groups, out); any dimensions sharded. Along its channels that is kept,
            with groups where a part of out lies in one group or holds whole ones; along the
            kernel, and over mesh axes that x uses already, w is gathered.
        b: (out,), or None.
        stride: as in `jaxconv.conv`; it need not divide a device's part.
        padding: as in `jaxconv.conv`.
        dilation: as in `jaxconv.conv`; a halo may be wider than a device's part.
        groups: as in `jaxconv.conv`; where x's channels are sharded a part may hold whole groups,
            a part of one group, or parts of several. The last costs a sum of y's full size.
        padding_mode: as in `jaxconv.conv`; "circular" closes the ring of devices.
        flip: as in `jaxconv.conv`.
        method: as in `jaxconv.conv`: what each device uses.
        policy: as in `jaxconv.conv`.
        precision: as in `jaxconv.conv`.
        preferred_element_type: as in `jaxconv.conv`.
        mesh: by default that of x, of w, or of `jax.set_mesh`.
        x_spec: how x is sharded; by default what x says. It must be given where x is traced and
            the mesh's axes are auto, since jit does not say then.
        w_spec: how w is sharded; by default what w says, and whole where it says nothing.

    Returns:
        y: (*batch, *space', out), sharded as x in batch and space and as w in out; with groups in
        out as the groups of x and then w, and where x's parts cut groups apart as x's channels,
        whole where out does not fall into as many parts. JAX's arrays have equal parts, so along a
        batch or spatial dimension that its mesh axes do not divide y is whole: gathered on every
        device, by an all-gather of all of y that `halo_bytes` does not count; on auto axes only
        where it leaves a program, between two layers under jit it is not gathered. Of an x
        without elements y is whole, and b alone.

        With the same method the values are those of `jaxconv.conv`, bit for bit where an element's
        sum is whole on one device and its rounding does not depend on the array's size ("taps" and
        "onednn", see `jaxconv.tiles`); else to rounding. "auto" looks at a device's part, and may
        take another method than for the whole.

    Raises:
        TypeError: as `jaxconv.conv`, and if mesh or a spec is none.
        ValueError: as `jaxconv.conv`; x's layout is not known, the channels summed over do not
            fall into as many parts as there are devices for them, or the mesh has no devices.

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
    numerics = functional.numerics(caller, method, policy, precision)
    b = dtypes.check_bias(caller, b, w.shape[-1], x.dtype, dtype)
    functional.check_padding_mode(caller, x.shape, spec, padding_mode)
    w = functional.flipped(caller, w, flip)
    mesh = placement.find_mesh(caller, mesh, x=x, w=w)
    placement.check_devices(caller, mesh, x, w, b)
    place = lay_out(
        caller,
        spec,
        mesh,
        placement.find_spec(caller, "x", x_spec, x, mesh),
        placement.find_spec(caller, "w", w_spec, w, mesh),
        x_name="x",
        channels=(x.shape[-1], w.shape[-1]),
    )
    plan = Plan("output", spec, place, padding_mode)
    if not x.size:
        y_shape = (*x.shape[: -spec.rank - 1], *spec.output_size, w.shape[-1])
        return bias_alone(plan, y_shape, b, dtype)
    return run(*placed(plan, x, w, b), plan=plan, dtype=dtype, **numerics)


def conv_transpose(
    y: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
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

    Every device spreads its own part of y over the window that it came from; what falls on other
    devices' parts of x is sent there and added: the halo of `conv`, sent the other way.

    Args:
        y: (*batch, *space', out), as in `jaxconv.conv_transpose`; sharded as x is in `conv`.
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
        x: (*batch, *space, in), sharded as y in batch and space and as w in its input channels;
        whole along a dimension whose size its mesh axes do not divide, as in `conv`. Where space is
        sharded an element near a border is a sum of what several devices computed, added in another
        order than `jaxconv.conv_transpose` has: equal to rounding, with no method bit for bit.

    Raises:
        TypeError: as `jaxconv.conv_transpose`, and if mesh or a spec is none.
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
        learning": the transpose of a halo exchange sends the same rows the other way.
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
    numerics = functional.numerics(caller, method, policy, precision)
    made = w.shape[-2] * spec.groups
    b = dtypes.check_bias(caller, b, made, y.dtype, dtype)
    x_shape = (*y.shape[: -spec.rank - 1], *spec.input_size, made)
    functional.check_padding_mode(caller, x_shape, spec, padding_mode)
    w = functional.flipped(caller, w, flip)
    mesh = placement.find_mesh(caller, mesh, y=y, w=w)
    placement.check_devices(caller, mesh, y, w, b)
    place = lay_out(
        caller,
        spec,
        mesh,
        placement.find_spec(caller, "y", y_spec, y, mesh),
        placement.find_spec(caller, "w", w_spec, w, mesh),
        x_name="y",
        channels=(y.shape[-1], made),
    )
    plan = Plan("input", spec, place, padding_mode)
    if not y.size:
        return bias_alone(plan, x_shape, b, dtype)
    return run(*placed(plan, y, w, b), plan=plan, dtype=dtype, **numerics)
