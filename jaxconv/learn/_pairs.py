"""Pairs of an input and an output of a convolution, checked and in the layout of `jaxconv.conv`."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv._core.dispatch.arguments import check_padding_mode
from jaxconv._core.geometry.messages import shown
from jaxconv._core.geometry.spec import ConvSpec, normalise
from jaxconv.learn import _checks as checks

Images = jax.Array | Sequence[jax.Array]


class Pairs(NamedTuple):
    """Inputs and outputs to learn a kernel from.

    Attributes:
        xs: each (*batch, *space, in), all of one dtype.
        ys: each (*batch, *space', out), of the same dtype.
        specs: the geometry of each pair.
        kernel_shape: (*kernel, in // groups, out).
    """

    xs: tuple[jax.Array, ...]
    ys: tuple[jax.Array, ...]
    specs: tuple[ConvSpec, ...]
    kernel_shape: tuple[int, ...]

    @property
    def positions(self) -> int:
        """Number of windows in all images together."""
        return sum(y.size // y.shape[-1] for y in self.ys)


def size_tuple(caller: str, kernel_size: Any, *, rank: int | None = None) -> tuple[int, ...]:
    """Return one kernel size a dimension; one integer alone is the side of a square.

    Args:
        caller: the public function's name, for messages.
        kernel_size: the argument.
        rank: number of dimensions it must have, None for any.

    Raises:
        ValueError: it is not made of integers of 1 or more, or has another rank.
    """
    sizes = (kernel_size,) * 2 if isinstance(kernel_size, Integral) else kernel_size
    if (
        not isinstance(sizes, tuple | list)
        or not sizes
        or len(sizes) != (rank or len(sizes))
        or not all(isinstance(n, Integral) and int(n) >= 1 for n in sizes)
    ):
        several = "one a dimension" if rank is None else f"{rank} of them"
        raise ValueError(
            f"{caller}: kernel_size must be an integer of 1 or more, or {several}, got "
            f"{shown(kernel_size)}"
        )
    return tuple(int(n) for n in sizes)


def read_pairs(
    caller: str,
    x: Any,
    y: Any,
    kernel_size: Any,
    *,
    channels: bool,
    least: Any = jnp.float32,
    complexes: bool = False,
    groups: Any = 1,
    padding_mode: Any = "zeros",
    **geometry: Any,
) -> Pairs:
    """Check x and y, arrays or sequences of them, against each other.

    Args:
        caller: the public function's name, for messages.
        x: (*batch, *space) or with channels (*batch, *space, in).
        y: likewise.
        kernel_size: as in `size_tuple`.
        channels: whether x and y have axes of channels.
        least: the narrowest dtype to compute in, None for any.
        complexes: whether x and y may be complex.
        groups: as in `jaxconv.conv`.
        padding_mode: as in `jaxconv.conv`.
        geometry: stride, padding and dilation.

    Raises:
        TypeError: x or y is not floating point.
        ValueError: shapes or numbers do not make a convolution from x to y.
    """
    kernel = size_tuple(caller, kernel_size)
    several = isinstance(x, tuple | list) and isinstance(y, tuple | list)
    xs, ys = (tuple(x), tuple(y)) if several else ((x,), (y,))
    if len(xs) != len(ys) or not xs:
        raise ValueError(f"{caller}: x has {len(xs)} images and y {len(ys)}; give one y for each x")
    xs = tuple(checks.floating(caller, "x", array, complexes=complexes) for array in xs)
    ys = tuple(checks.floating(caller, "y", array, complexes=complexes) for array in ys)
    layout = "(*batch, *space, channels)" if channels else "(*batch, *space)"
    for name, arrays in (("x", xs), ("y", ys)):
        for array in arrays:
            if array.ndim < len(kernel) + channels:
                raise ValueError(
                    f"{caller}: {name} must be {layout} with {len(kernel)} spatial dimensions, as "
                    f"kernel_size={kernel} has, got {name}.shape={array.shape}"
                )
            if channels and array.shape[-1] != arrays[0].shape[-1]:
                raise ValueError(
                    f"{caller}: the images of {name} differ in their number of channels: "
                    f"{arrays[0].shape[-1]} and {array.shape[-1]}"
                )
    if not channels:
        if groups != 1:
            raise ValueError(
                f"{caller}: groups={groups!r} is for arrays with channels; give channels=True"
            )
        # `a[..., None]`, which takes several times as long to call
        xs, ys = (tuple(lax.expand_dims(a, (a.ndim,)) for a in arrays) for arrays in (xs, ys))
    inputs, outputs = xs[0].shape[-1], ys[0].shape[-1]
    if not isinstance(groups, Integral) or groups < 1 or inputs % groups or outputs % groups:
        raise ValueError(
            f"{caller}: groups={groups!r} must be an integer that divides the {inputs} channels "
            f"of x and the {outputs} of y"
        )
    kernel_shape = (*kernel, inputs // int(groups), outputs)
    own = slice(None) if channels else slice(-1)  # of a shape, as the caller gave it
    specs = []
    for a, b in zip(xs, ys, strict=True):
        size = a.shape[-len(kernel) - 1 : -1]
        if not geometry and any(k > n for k, n in zip(kernel, size, strict=True)):
            # the caller has no padding, which `normalise` would recommend
            raise ValueError(f"{caller}: kernel_size={kernel} is larger than x's size {size}")
        spec = normalise(caller, a.shape, kernel_shape, groups=groups, **geometry)
        check_padding_mode(caller, a.shape, spec, padding_mode)
        expected = (*a.shape[: -spec.rank - 1], *spec.output_size, outputs)
        if b.shape != expected:
            raise ValueError(
                f"{caller}: y.shape={b.shape[own]}, but x.shape={a.shape[own]} and "
                f"kernel_size={kernel} give {expected[own]}"
            )
        specs.append(spec)
    if not any(b.size for b in ys):
        raise ValueError(f"{caller}: x and y hold no images: x.shape={xs[0].shape[own]}")
    with jax.numpy_dtype_promotion("standard"):  # for mixed images, whatever the program's rule is
        dtype = jnp.result_type(*xs, *ys, *([] if least is None else [least]))
    return Pairs(
        tuple(a.astype(dtype) for a in xs),
        tuple(b.astype(dtype) for b in ys),
        tuple(specs),
        kernel_shape,
    )
