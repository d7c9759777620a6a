"""XLA's own convolution with one more column of padding, and a result without its last column.

    y = (the convolution of x with one more column of zeros)[..., :-1, :]

XLA's CPU backend gives dense layers of planes to the library YNN, which is faster with a column
more (jax 0.10.2, beside the method lax): 3x3 on 200x200 from 256 to 128 channels without padding
took 0.37 of the time, smaller unpadded layers 0.72 to 0.91; with padding 5x5 on 27x27 from 64 to
192 took 0.55, 14x14x256, 7x7x512 and 56x56x256 0.7 to 0.85, 28x28x128 as long. With jax 0.12.0.1
these took 0.91 and 0.5 to 1.0. Where few channels are read, the copy of the result costs more than
is gained: 1.0 to 1.15 on 224x224x64, 1.3 on 64x64 from 16 to 32. Nothing is gained in one
dimension, by strided layers and by those that read few channels: the rules do not consider them.

All measured on 2 AVX-512 cores, 2026-11.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import lax as jax_lax

from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import Contraction, ConvSpec
from jaxconv._core.methods import lax
from jaxconv._core.methods.method import Method, fitted
from jaxconv._core.methods.terms import Terms

# Channels summed over from which the rules consider it.
CHANNELS = 16
# Set by hand from the measurements above: the share of lax's time, and seconds an element of the
# result, which is copied.
SHARE, COPIED = 0.72, 2.2e-9


def output(
    x: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Convolve with one more stride of padding after the last dimension; drop what it adds."""
    *before, (lo, hi) = spec.padding
    wider = dataclasses.replace(spec, padding=(*before, (lo, hi + spec.stride[-1])))
    y = lax.output(x, w, wider, precision=precision, dtype=dtype)
    return jax_lax.slice_in_dim(y, 0, spec.output_size[-1], axis=-2)


def input(
    y: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Make one more column of x, where there was padding or nothing; drop it."""
    *sizes, n = spec.input_size
    *before, (lo, hi) = spec.padding
    wider = dataclasses.replace(spec, input_size=(*sizes, n + 1), padding=(*before, (lo, hi - 1)))
    x = lax.input(y, w, wider, precision=precision, dtype=dtype)
    return jax_lax.slice_in_dim(x, 0, n, axis=-2)


def _terms(problem: Problem) -> Terms:
    """The terms of lax, and the copy of the result."""
    terms = lax.METHOD.terms(problem)
    return {**terms, "copied": terms["x" if problem.contraction == "input" else "y"]}


def _considered(problem: Problem) -> bool:
    read = problem.inputs if problem.contraction == "output" else problem.outputs
    return gains(problem.spec, read, jnp.dtype(problem.dtype))


def gains(spec: ConvSpec, read: int, dtype: jnp.dtype) -> bool:
    """Whether a column more is expected to gain time.

    XLA gives its library unstrided, dense layers of planes, in floats of up to 32 bits.

    Args:
        spec: the geometry.
        read: channels summed over.
        dtype: of the arrays.
    """
    return (
        spec.rank == 2
        and spec.groups == math.prod(spec.stride) == 1
        and math.prod(spec.kernel_size) > 1
        and read >= CHANNELS
        and dtype in (jnp.float32, jnp.bfloat16, jnp.float16)
    )


def _constants(contraction: Contraction) -> dict[str, float]:
    of_lax = fitted("lax")[contraction].items()
    return {term: SHARE * constant for term, constant in of_lax} | {"copied": COPIED}


METHOD = Method(
    name="widened",
    summary="XLA's own convolution with a column more, which its CPU library computes faster",
    contractions={"output": output, "input": input},
    refuses=lax.refuses,
    terms=_terms,
    constants={which: _constants(which) for which in ("output", "input")},
    considered=_considered,
)
