"""A drop-in replacement for `jax.lax.conv_general_dilated`: only the import changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import primitives

from jaxconv._core.geometry.dtypes import native, refuse_masked
from jaxconv._core.missing_names import missing_name
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
    """Compute `jax.lax.conv_general_dilated` with jaxconv's methods.

        out[n, g, o, t] = sum over i, k of
            lhs'[n, g, i, t window_strides + k rhs_dilation - lo] rhs[g, o, i, k]

    where lhs' has lhs_dilation - 1 zeros between its elements. A call that equals a convolution, a
    transposed convolution or a kernel gradient of jaxconv is computed by it, any other by lax;
    `jaxconv.explain` reports which.

    Args:
        lhs: n + 2 dimensions in the order of `dimension_numbers`, by default (batch, feature,
            *space).
        rhs: n + 2 dimensions, by default (out, in // feature_group_count, *kernel); in lhs's dtype.
        window_strides: n integers.
        padding: "SAME", "SAME_LOWER", "VALID", or n (before, after) pairs.
        lhs_dilation: n integers, or None; requires `padding` in numbers.
        rhs_dilation: n integers, or None.
        dimension_numbers: None, three strings such as ("NHWC", "HWIO", "NHWC"), or a
            `jax.lax.ConvDimensionNumbers`.
        feature_group_count: number of groups that lhs's features are divided into.
        batch_group_count: number of groups that lhs's batch is divided into; 1 if
            feature_group_count is not.
        precision: as in lax, including the setting `jax.default_matmul_precision`.
        preferred_element_type: the result's dtype.
        out_sharding: on a mesh with explicit axes, the result's sharding.

    Returns:
        An array of the shape and dtype that lax returns. float16 and bfloat16 are summed in float32
        and rounded once.

    Raises:
        TypeError: as lax, whose own checks run first.
        ValueError: as lax.

    Example:
        >>> x, w = jnp.ones((1, 3, 8, 8)), jnp.ones((4, 3, 3, 3))
        >>> conv_general_dilated(x, w, (2, 2), "SAME").shape
        (1, 4, 4, 4)

    Source:
        XLA, "Operation Semantics", section Conv: https://openxla.org/xla/operation_semantics.
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

    # lax checks the arguments and fills in defaults; read them from the equation that it traces
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


def __getattr__(name: str):
    where = "jaxconv.accelerate(f) computes every convolution of lax that f calls"
    raise missing_name(__name__, name, __all__, where)


def __dir__() -> list[str]:
    return sorted(__all__)
