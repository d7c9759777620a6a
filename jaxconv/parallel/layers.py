"""`conv` and `conv_transpose` on arrays that are sharded over a mesh."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from jaxconv import dtypes, functional
from jaxconv import padding as extension
from jaxconv.parallel import layout
from jaxconv.parallel.halos import Line, fill
from jaxconv.parallel.layout import Layout
from jaxconv.policy import Policy
from jaxconv.spec import ConvSpec, Padding, normalise, normalise_transpose
from jaxconv.trilinear import contract


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
    partial sums are added up. Nothing else is communicated: batch, groups and output channels are
    free, w's gradient is one sum over the devices that share it, and x's sends the halo back.

    Args:
        x: (*batch, *space, in), as in `jaxconv.conv`; any dimensions sharded, each over any number
            of mesh axes. A size that its mesh axes do not divide is padded to a multiple inside.
        w: (*kernel, in // groups, out); whole along the kernel, its channels sharded or not. A
            mesh axis that x uses already is gathered.
        b: (out,), or None.
        stride: as in `jaxconv.conv`; it need not divide a device's part.
        padding: as in `jaxconv.conv`.
        dilation: as in `jaxconv.conv`; a halo may be wider than a device's part.
        groups: as in `jaxconv.conv`; where x's channels are sharded, every part must hold whole
            groups.
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
        y: (*batch, *space', out), sharded as x in batch and space and as w in out; whole along a
        dimension whose size its mesh axes do not divide (the only results that are gathered).

    Raises:
        TypeError: as `jaxconv.conv`, and if mesh or a spec is none.
        ValueError: as `jaxconv.conv`; x's layout is not known, w is sharded along the kernel, or
            the channels or groups do not fall into as many parts as there are devices for them.

    Example:
        >>> mesh = jax.make_mesh((jax.device_count(),), ("rows",))
        >>> x = jax.device_put(jnp.ones((2, 32, 32, 3)), NamedSharding(mesh, PartitionSpec(None)))
        >>> y = conv(x, jnp.ones((5, 5, 3, 8)), padding=2, x_spec=PartitionSpec(None, "rows"))
        >>> y.shape, y.sharding.spec
        ((2, 32, 32, 8), PartitionSpec(None, 'rows', None, None))

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
    mesh = layout.find_mesh(caller, mesh, x=x, w=w)
    place = layout.lay_out(
        caller,
        spec,
        mesh,
        layout.find_spec(caller, "x", x_spec, x, mesh),
        layout.find_spec(caller, "w", w_spec, w, mesh),
        x_name="x",
        channels=(x.shape[-1], w.shape[-1]),
    )
    plan = _Plan("output", spec, place, padding_mode)
    return _run(*plan.placed(x, w, b), plan=plan, dtype=dtype, **numerics)


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
        whole along a dimension whose size its mesh axes do not divide.

    Raises:
        TypeError: as `jaxconv.conv_transpose`, and if mesh or a spec is none.
        ValueError: as `jaxconv.conv_transpose`, and as `conv`.

    Example:
        >>> mesh = jax.make_mesh((jax.device_count(),), ("rows",))
        >>> y, w = jnp.ones((1, 16, 8, 16)), jnp.ones((4, 4, 3, 16))
        >>> conv_transpose(
        ...     y, w, stride=2, padding=1, mesh=mesh, y_spec=PartitionSpec(None, "rows")
        ... ).shape
        (1, 32, 16, 3)

    Source:
        The transpose of a halo exchange is the same exchange with senders and receivers swapped:
        Hewett and Grady (2020), "A linear algebraic approach to model parallelism in deep learning".
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
    mesh = layout.find_mesh(caller, mesh, y=y, w=w)
    place = layout.lay_out(
        caller,
        spec,
        mesh,
        layout.find_spec(caller, "y", y_spec, y, mesh),
        layout.find_spec(caller, "w", w_spec, w, mesh),
        x_name="y",
        channels=(y.shape[-1], made),
    )
    plan = _Plan("input", spec, place, padding_mode)
    return _run(*plan.placed(y, w, b), plan=plan, dtype=dtype, **numerics)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """All that is fixed about one call: what is computed, on which device."""

    contraction: str
    spec: ConvSpec
    layout: Layout
    mode: str

    @property
    def kernel_spec(self) -> PartitionSpec:
        return self.layout.kernel(transposed=self.contraction == "input")

    @property
    def lines(self) -> dict[int, Line]:
        """The sharded spatial dimensions, by their axis counted from the end."""
        lines = self.layout.lines(self.spec, self.mode)
        return {dimension - self.spec.rank - 1: line for dimension, line in lines.items()}

    @property
    def whole(self) -> dict[int, tuple[int, int]]:
        """Padding of the dimensions that are not sharded, where its mode is not zeros."""
        pads = {d - self.spec.rank - 1: pair for d, pair in enumerate(self.spec.padding)}
        return {a: p for a, p in pads.items() if a not in self.lines and self.mode != "zeros"}

    @property
    def local(self) -> ConvSpec:
        """The convolution of one device: of its window, with its groups."""
        spec, lines, rank = self.spec, self.lines, self.spec.rank
        sizes, pads = list(spec.input_size), list(spec.padding)
        for axis, (lo, hi) in self.whole.items():
            sizes[axis + rank + 1] += lo + hi
            pads[axis + rank + 1] = (0, 0)
        for axis, line in lines.items():
            sizes[axis + rank + 1], pads[axis + rank + 1] = line.window, (0, 0)
        groups = spec.groups // self.layout.parts(self.layout.groups)
        return dataclasses.replace(
            spec, input_size=tuple(sizes), padding=tuple(pads), groups=groups
        )

    def window(self, x: jax.Array) -> jax.Array:
        """What the local convolution reads, from the device's part of x."""
        for axis, line in self.lines.items():
            names = self.layout.space[axis + self.spec.rank + 1]
            x = fill(x, line, axis=x.ndim + axis, names=names, ring=self.layout.ring(names))
        if not self.whole:
            return x
        return extension.pad(x, tuple(self.whole.values()), axes=tuple(self.whole), mode=self.mode)

    def fold(self, window: jax.Array) -> jax.Array:
        """The transpose of `window`: what falls on other devices' parts is sent there and added."""
        rank = self.spec.rank
        sizes = [*window.shape[: -rank - 1], *self.spec.input_size, window.shape[-1]]
        for axis, line in self.lines.items():
            sizes[axis] = line.block
        # zeros that vary over the mesh as the window does; only their shape is used
        like = jnp.broadcast_to(jnp.zeros_like(window[..., :1].sum()), sizes)
        return jax.linear_transpose(self.window, like)(window)[0]

    def placed(self, operand: jax.Array, w: jax.Array, b: jax.Array | None) -> tuple[Any, ...]:
        """Put the operands on the mesh where this is not done by jit."""
        lead = (*self.layout.batch, *self.layout.space)
        entries = list(self.layout.operand)
        for n, axes in enumerate(lead):
            if operand.shape[n] % self.layout.parts(axes):
                entries[n] = None  # padded later, and sharded then
        return (
            self._put(operand, PartitionSpec(*entries)),
            self._put(w, self.kernel_spec),
            None if b is None else self._put(b, self.layout.bias),
        )

    def _put(self, array: jax.Array, spec: PartitionSpec) -> jax.Array:
        mesh = self.layout.mesh
        if isinstance(array, Tracer) or isinstance(mesh, AbstractMesh):
            return _on_explicit_axes(array, mesh, spec)
        return jax.device_put(array, NamedSharding(mesh, spec))


@partial(jax.jit, static_argnames=("plan", "dtype", "method", "policy", "precision"))
def _run(operand, w, b, *, plan: _Plan, dtype, **numerics):
    place, rank = plan.layout, plan.spec.rank
    counts = [place.parts(axes) for axes in (*place.batch, *place.space)]
    batch = operand.shape[: -rank - 1]
    above = [-n % count for n, count in zip(operand.shape[:-1], counts, strict=True)]
    if any(above):
        operand = jnp.pad(operand, [*((0, n) for n in above), (0, 0)])
        operand = _on_explicit_axes(operand, place.mesh, place.operand)
    made = jax.shard_map(
        partial(_local, plan=plan, dtype=dtype, **numerics),
        mesh=place.mesh,
        in_specs=(place.operand, plan.kernel_spec, place.bias),
        out_specs=place.result,
    )(operand, w, b)
    space = plan.spec.output_size if plan.contraction == "output" else plan.spec.input_size
    shape = (*batch, *space, made.shape[-1])
    if shape == made.shape:
        return made
    # an array has equal parts: what is cut to another size must be whole
    entries = [e if n == m else None for e, n, m in zip(place.result, shape, made.shape, strict=True)]
    made = _on_explicit_axes(made, place.mesh, PartitionSpec(*entries))
    return lax.slice(made, [0] * made.ndim, shape)


def _local(operand, w, b, *, plan: _Plan, dtype, **numerics):
    """Compute one device's part of the result."""
    place = plan.layout
    if plan.contraction == "output":
        made = contract("output", plan.window(operand), w, plan.local, dtype=dtype, **numerics)
    else:
        made = plan.fold(contract("input", operand, w, plan.local, dtype=dtype, **numerics))
    if place.scattered:
        made = lax.psum_scatter(
            made, place.summed, scatter_dimension=made.ndim - 1, tiled=True
        )
    elif place.summed:
        made = lax.psum(made, place.summed)
    return made if b is None else made + b.astype(dtype)


def _on_explicit_axes(array: jax.Array, mesh: Mesh | AbstractMesh, spec: PartitionSpec):
    """Say how the array is sharded where the mesh's axes are explicit; on auto axes jit finds it."""
    explicit = AxisType.Explicit in mesh.axis_types
    return jax.sharding.reshard(array, NamedSharding(mesh, spec)) if explicit else array
