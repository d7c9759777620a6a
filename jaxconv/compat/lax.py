"""`jax.lax`'s convolution over the same core: change the import, not the program."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import primitives

from jaxconv._core.geometry.dtypes import native, refuse_masked
from jaxconv._transforms.reading import perform, read

__all__ = ["conv_general_dilated"]


def conv_general_dilated(
    lhs: Any,
    rhs: Any,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> jax.Array:
    """Compute what `jax.lax.conv_general_dilated` does, with its signature, on this package's core.

        out[n, g, o, t] = sum over i, k of
            lhs'[n, g, i, t window_strides + k rhs_dilation - lo] rhs[g, o, i, k]

    where lhs' has lhs_dilation - 1 zeros between its elements. A call that is one of the three
    contractions (`reading` has the table) goes to them; the rest stays with lax.

    Args:
        lhs: rank n + 2, laid out as `dimension_numbers` says; (batch, feature, *space) by default.
        rhs: rank n + 2; (out, in // feature_group_count, *kernel) by default; lhs's dtype.
        window_strides: n integers.
        padding: "SAME", "SAME_LOWER", "VALID", or n (before, after) pairs.
        lhs_dilation: n integers, or None; not together with a string for `padding`.
        rhs_dilation: n integers, or None.
        dimension_numbers: None, three strings such as ("NHWC", "HWIO", "NHWC"), or a
            `jax.lax.ConvDimensionNumbers`.
        feature_group_count: parts that lhs's features fall into.
        batch_group_count: parts that lhs's batch falls into; not together with the former.
        precision: as in lax, the setting `jax.default_matmul_precision` included.
        preferred_element_type: the result's dtype.
        out_sharding: on a mesh with explicit axes, the result's sharding.

    Returns:
        The array that lax returns, of the same shape and dtype. float16 and bfloat16 are summed in
        float32 and rounded once.

    Raises:
        TypeError: as lax does; its own checks run first, with its own messages.
        ValueError: likewise.

    Example:
        >>> x, w = jnp.ones((1, 3, 8, 8)), jnp.ones((4, 3, 3, 3))
        >>> conv_general_dilated(x, w, (2, 2), "SAME").shape
        (1, 4, 4, 4)

    Source:
        The operation Conv of https://openxla.org/xla/operation_semantics.
    """
    refuse_masked("conv_general_dilated", "lhs", lhs)
    refuse_masked("conv_general_dilated", "rhs", rhs)
    lhs, rhs = native(lhs), native(rhs)

    def call() -> jax.Array:
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            batch_group_count,
            precision,
            preferred_element_type,
            out_sharding,
        )

    # lax checks the arguments and completes them: what it would run is read off its own equation
    equations = jax.make_jaxpr(call)().jaxpr.eqns
    [equation] = [e for e in equations if e.primitive is primitives.conv_general_dilated_p]
    a, b = (atom.aval for atom in equation.invars)
    out = equation.outvars[0].aval
    reading = read(a, b, out, equation.params)
    if isinstance(reading, str):
        return call()
    return perform(
        reading,
        jnp.asarray(lhs),
        jnp.asarray(rhs),
        out,
        precision=equation.params["precision"],
    )
