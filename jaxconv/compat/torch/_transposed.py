"""`conv_transpose1d`, `conv_transpose2d` and `conv_transpose3d` of `torch.nn.functional`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxconv._core.geometry import shapes
from jaxconv._functional import convolution
from jaxconv.compat.torch import _checks as checks


def _conv_transpose_of_rank(rank: int):
    caller = f"conv_transpose{rank}d"

    def conv_transpose(
        input: jax.Array | np.ndarray,
        weight: jax.Array | np.ndarray,
        bias: jax.Array | np.ndarray | None = None,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        dilation: int | Sequence[int] = 1,
        *,
        method: str = "auto",
        precision: Any = None,
    ) -> jax.Array:
        """Transpose a convolution, as the function of the same name in `torch.nn.functional`.

        y[n, o, s] = bias[o] + sum over i of input[n, i, t] weight[i, o, k]
                     over all t, k with t stride + k dilation - padding = s

        the adjoint of `conv1d`, `conv2d` or `conv3d` with the same weight and arguments.

        Args:
            input: (batch, in, *space), or (in, *space) unbatched; floats, complex numbers, or JAX's
                default integers.
            weight: (in, out // groups, *kernel), in the input's dtype.
            bias: (out,) in the input's dtype, or None.
            stride: elements of the result between neighbouring inputs; one integer or one a
                dimension.
            padding: elements cut off at both ends; one integer or one per dimension.
            output_padding: elements added at the end; below the stride or the dilation of its
                dimension.
            groups: number of groups that the channels are divided into.
            dilation: elements of the result between neighbouring kernel entries.
            method: as in `jaxconv.conv_transpose` (not in torch).
            precision: as in `jaxconv.conv_transpose` (not in torch).

        Returns:
            y: (batch, out, *space'), unbatched (out, *space'), in the input's dtype;
            space' = (space - 1) stride - 2 padding + (kernel - 1) dilation + 1 + output_padding.

        Raises:
            TypeError: dtypes differ or are not supported by torch; an argument is not an integer.
            ValueError: shapes or numbers that torch rejects: wrong ranks or channels, groups that
                do not divide the channels, a stride or dilation below 1, negative padding, too
                large an output_padding; or padding that leaves no element.

        Example:
            >>> import jax.numpy as jnp
            >>> x, weight = jnp.ones((4, 8, 16, 16)), jnp.ones((8, 3, 4, 4))
            >>> conv_transpose2d(x, weight, stride=2, padding=1).shape
            (4, 3, 32, 32)
        """
        x, w, b = checks.operands(caller, rank, (input, weight, bias), transposed=True)
        groups = checks.check_groups(caller, x, w, groups, transposed=True)
        checks.check_bias(caller, b, w.shape[1] * groups)
        stride = checks.per_spatial_dimension(caller, "stride", stride, rank, minimum=1)
        dilation = checks.per_spatial_dimension(caller, "dilation", dilation, rank, minimum=1)
        cropping = _cropping(caller, padding, output_padding, stride, dilation)
        _check_size(caller, x.shape, w.shape, stride, dilation, cropping)
        y = convolution.conv_transpose(
            checks.channels_last(x, rank),
            checks.kernel_from_weight(w),
            b,
            stride=stride,
            padding=cropping,
            dilation=dilation,
            groups=groups,
            **checks.numerics(caller, method, precision),
        )
        return checks.channels_first(y, rank)

    conv_transpose.__name__ = conv_transpose.__qualname__ = caller
    return conv_transpose


conv_transpose1d = _conv_transpose_of_rank(1)
conv_transpose2d = _conv_transpose_of_rank(2)
conv_transpose3d = _conv_transpose_of_rank(3)


def _cropping(
    caller: str, padding: Any, output_padding: Any, stride: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Return the elements to crop (before, after); output_padding reduces those after.

    `jaxconv.conv_transpose` accepts an output_padding below the stride only.
    """
    rank = len(stride)
    if isinstance(padding, str):
        raise TypeError(f"{caller}: padding={padding!r} must be made of integers, not a name")
    both = checks.per_spatial_dimension(caller, "padding", padding, rank, minimum=0)
    extra = checks.per_spatial_dimension(caller, "output_padding", output_padding, rank, minimum=0)
    if any(op >= max(s, d) for op, s, d in zip(extra, stride, dilation, strict=True)):
        raise ValueError(
            f"{caller}: output_padding={output_padding!r} must be below the stride or the dilation "
            f"in every dimension (stride={tuple(stride)}, dilation={tuple(dilation)})"
        )
    return tuple((p, p - op) for p, op in zip(both, extra, strict=True))


def _check_size(
    caller: str,
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    cropping: Sequence[tuple[int, int]],
) -> None:
    kernel = w_shape[2:]
    sizes = zip(x_shape[-len(kernel) :], kernel, stride, dilation, cropping, strict=True)
    size = tuple(shapes.input_size(n, k, s, d, lo, hi) for n, k, s, d, (lo, hi) in sizes)
    if min(size) < 1:
        raise ValueError(
            f"{caller}: padding cuts the whole result away: its spatial shape would be {size} "
            f"(input.shape={tuple(x_shape)}, weight.shape={tuple(w_shape)}, "
            f"padding={tuple(lo for lo, _ in cropping)})"
        )
