"""`conv1d`, `conv2d` and `conv3d` of `torch.nn.functional`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxconv._core.geometry import shapes
from jaxconv._functional import convolution
from jaxconv.compat.torch import _checks as checks


def _conv_of_rank(rank: int):
    caller = f"conv{rank}d"

    def conv(
        input: jax.Array | np.ndarray,
        weight: jax.Array | np.ndarray,
        bias: jax.Array | np.ndarray | None = None,
        stride: int | Sequence[int] = 1,
        padding: str | int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        *,
        method: str = "auto",
        precision: Any = None,
    ) -> jax.Array:
        """Cross-correlate, as the function of the same name in `torch.nn.functional`.

        y[n, o, t] = bias[o]
                   + sum over i, k of input[n, i, t stride + k dilation - lo] weight[o, i, k]

        Args:
            input: (batch, in, *space), or (in, *space) unbatched; floats, complex numbers or
                integers.
            weight: (out, in // groups, *kernel), in the input's dtype.
            bias: (out,) in the input's dtype, or None.
            stride: elements of the input between neighbouring outputs; one integer or one a
                dimension.
            padding: zeros at both ends, one integer or one per dimension; "valid" for none; "same"
                for as many outputs as inputs, with the larger half after if the total is odd.
            dilation: elements of the input between neighbouring kernel entries.
            groups: number of groups that the channels are divided into.
            method: as in `jaxconv.conv` (not in torch).
            precision: as in `jaxconv.conv` (not in torch).

        Returns:
            y: (batch, out, *space'), unbatched (out, *space'), in the input's dtype (integers wrap
            around); space' = floor((space + 2 padding - (kernel - 1) dilation - 1) / stride) + 1.

        Raises:
            TypeError: dtypes differ or are not supported by torch; an argument is not an integer.
            ValueError: shapes or numbers that torch rejects: wrong ranks or channels, groups that
                do not divide the channels, a stride or dilation below 1, negative padding, "same"
                with a stride, a kernel larger than the padded input.

        Example:
            >>> import jax.numpy as jnp
            >>> x, weight = jnp.ones((4, 3, 32, 32)), jnp.ones((8, 3, 5, 5))
            >>> conv2d(x, weight, stride=2, padding=2).shape
            (4, 8, 16, 16)
        """
        x, w, b = checks.operands(caller, rank, (input, weight, bias))
        groups = checks.check_groups(caller, x, w, groups)
        checks.check_bias(caller, b, w.shape[0])
        stride = checks.per_spatial_dimension(caller, "stride", stride, rank, minimum=1)
        dilation = checks.per_spatial_dimension(caller, "dilation", dilation, rank, minimum=1)
        pads = _padding(caller, padding, w.shape[2:], stride, dilation)
        checks.check_fits(caller, x.shape, w.shape[2:], dilation, pads)
        y = convolution.conv(
            checks.channels_last(x, rank),
            checks.kernel_from_weight(w),
            b,
            stride=stride,
            padding=pads,
            dilation=dilation,
            groups=groups,
            preferred_element_type=x.dtype,  # integers wrap around in it, as torch's
            **checks.numerics(caller, method, precision),
        )
        return checks.channels_first(y, rank)

    conv.__name__ = conv.__qualname__ = caller
    return conv


conv1d, conv2d, conv3d = _conv_of_rank(1), _conv_of_rank(2), _conv_of_rank(3)


def _padding(
    caller: str, padding: Any, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Return (before, after) for each dimension, from a name or a number for both ends."""
    rank = len(kernel)
    if not isinstance(padding, str):
        each = checks.per_spatial_dimension(caller, "padding", padding, rank, minimum=0)
        return tuple((p, p) for p in each)
    if padding not in ("valid", "same"):
        raise ValueError(f"{caller}: padding={padding!r} is neither 'valid' nor 'same'")
    if padding == "valid":
        return ((0, 0),) * rank
    if set(stride) != {1}:
        raise ValueError(
            f"{caller}: padding='same' needs stride 1, as in torch, got stride={tuple(stride)}; "
            "give the padding as numbers"
        )
    totals = (shapes.extent(k, d) - 1 for k, d in zip(kernel, dilation, strict=True))
    return tuple((total // 2, total - total // 2) for total in totals)
