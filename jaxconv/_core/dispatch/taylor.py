"""Taylor mode, `jax.experimental.jet`, of a bilinear function.

For two series a(z) = sum a_k z^k and b(z) = sum b_k z^k,

    c(a(z), b(z)) = sum over k of z^k sum over j of c(a_j, b_(k - j))

so the coefficients of a convolution's result are sums of convolutions of its operands'.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax


def bilinear(
    function: Callable[..., jax.Array],
    primals: Sequence[jax.Array],
    series: Sequence[Sequence[jax.Array]],
    **params: Any,
) -> tuple[jax.Array, list[jax.Array]]:
    """Return the value and the coefficients of c(a, b), as a rule of `jet` does.

    Args:
        function: c, called as `function(a=..., b=..., **params)`.
        primals: a_0 and b_0.
        series: a_1, a_2, ... and as many of b.
        params: the primitive's parameters.
    """
    a, b = ([primal, *terms] for primal, terms in zip(primals, series, strict=True))
    value, *terms = (
        functools.reduce(
            operator.add, (function(a=a[j], b=b[k - j], **params) for j in range(k + 1))
        )
        for k in range(len(a))
    )
    return value, terms
