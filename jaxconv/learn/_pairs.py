"""Pairs of an input and an output of a convolution, checked and in the layout of `jaxconv.conv`."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxconv._core.geometry.messages import shown
from jaxconv._core.geometry.spec import ConvSpec, normalise
from jaxconv._functional.layers import check_padding_mode
from jaxconv.learn import _checks as checks

Images = jax.Array | Sequence[jax.Array]


class Pairs(NamedTuple):
    """What is learned from.

    Attributes:
        xs: each (*batch, *space, in), all of one dtype.
        ys: each (*batch, *space', out), of the same.
        specs: the geometry of each pair.
        kernel_shape: (*kernel, in // groups, out).
    """

    xs: tuple[jax.Array, ...]
    ys: tuple[jax.Array, ...]
    specs: tuple[ConvSpec, ...]
    kernel_shape: tuple[int, ...]

    @property
    def positions(self) -> int:
        """How many windows there are in all."""
        return sum(y.size // y.shape[-1] for y in self.ys)


def size_tuple(caller: str, kernel_size: Any) -> tuple[int, ...]:
    """Return one kernel size a dimension; a bare integer is the side of a square.

    Raises:
        ValueError: it is not made of integers of 1 or more.
    """
    sizes = (kernel_size,) * 2 if isinstance(kernel_size, Integral) else kernel_size
    if (
        not isinstance(sizes, tuple | list)
        or not sizes
        or not all(isinstance(n, Integral) and int(n) >= 1 for n in sizes)
    ):
        raise ValueError(
            f"{caller}: kernel_size must be an integer of 1 or more, or one a dimension, got "
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
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    padding_mode: Any = "zeros",
) -> Pairs:
    """Check x and y, arrays or sequences of them, against each other.

    Raises:
        TypeError: not floating point.
        ValueError: shapes or numbers do not make a convolution from x to y.
    """
    kernel = size_tuple(caller, kernel_size)
    several = isinstance(x, tuple | list) and isinstance(y, tuple | list)
    xs, ys = (tuple(x), tuple(y)) if several else ((x,), (y,))
    if len(xs) != len(ys) or not xs:
        raise ValueError(f"{caller}: x has {len(xs)} images and y {len(ys)}; give one y for each x")
    xs = tuple(checks.floating(caller, "x", array) for array in xs)
    ys = tuple(checks.floating(caller, "y", array) for array in ys)
    if not channels:
        if groups != 1:
            raise ValueError(
                f"{caller}: groups={groups!r} is for arrays with channels; give channels=True"
            )
        for name, arrays in (("x", xs), ("y", ys)):
            for array in arrays:
                if array.ndim < len(kernel):
                    raise ValueError(
                        f"{caller}: {name} must be (*batch, *space) with {len(kernel)} spatial "
                        f"dimensions, as kernel_size={kernel} has, got {name}.shape={array.shape}"
                    )
        xs, ys = tuple(a[..., None] for a in xs), tuple(a[..., None] for a in ys)
    least = len(kernel) + 1
    for name, arrays in (("x", xs), ("y", ys)):
        for array in arrays:
            if array.ndim < least:
                raise ValueError(
                    f"{caller}: {name} must be (*batch, *space, channels) with {len(kernel)} "
                    f"spatial dimensions, as kernel_size={kernel} has, got "
                    f"{name}.shape={array.shape}"
                )
            if array.shape[-1] != arrays[0].shape[-1]:
                raise ValueError(
                    f"{caller}: the images of {name} differ in their number of channels: "
                    f"{arrays[0].shape[-1]} and {array.shape[-1]}"
                )
    inputs, outputs = xs[0].shape[-1], ys[0].shape[-1]
    if not isinstance(groups, Integral) or groups < 1 or inputs % groups or outputs % groups:
        raise ValueError(
            f"{caller}: groups={groups!r} must be an integer that divides the {inputs} channels "
            f"of x and the {outputs} of y"
        )
    kernel_shape = (*kernel, inputs // int(groups), outputs)
    specs = []
    for a, b in zip(xs, ys, strict=True):
        spec = normalise(
            caller,
            a.shape,
            kernel_shape,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
        check_padding_mode(caller, a.shape, spec, padding_mode)
        expected = (*a.shape[: -spec.rank - 1], *spec.output_size, outputs)
        if b.shape != expected:
            shown = slice(None) if channels else slice(-1)
            raise ValueError(
                f"{caller}: y.shape={b.shape[shown]}, but x.shape={a.shape[shown]} and "
                f"kernel_size={kernel} give {expected[shown]}"
            )
        specs.append(spec)
    if not any(b.size for b in ys):
        shown = xs[0].shape if channels else xs[0].shape[:-1]
        raise ValueError(f"{caller}: x and y hold no images: x.shape={shown}")
    with jax.numpy_dtype_promotion("standard"):  # our own rule, whatever the program's is
        dtype = jnp.result_type(jnp.float32, *xs, *ys)
    return Pairs(
        tuple(a.astype(dtype) for a in xs),
        tuple(b.astype(dtype) for b in ys),
        tuple(specs),
        kernel_shape,
    )
