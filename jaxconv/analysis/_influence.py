"""How strongly an output of any JAX function depends on its inputs, measured by gradients.

`jaxconv.analysis.reach` finds the inputs that an output can depend on for any values, and
`jaxconv.receptive_field` computes them from the geometry of a chain of layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry.dtypes import as_array, constant
from jaxconv._core.programs import compiled_once
from jaxconv.analysis._reach import check_index

Function = Callable[[jax.Array], jax.Array]


class Influence(NamedTuple):
    """The inputs that an output depends on, and how strongly.

    Attributes:
        reached: boolean, x's shape: where the derivative was not zero at some probe.
        magnitude: x's shape and dtype: |d f(x)[index] / d x|, the mean over the probes.
    """

    reached: jax.Array
    magnitude: jax.Array

    def effective_count(self, level: float = 0.0455) -> jax.Array:
        """Count the elements whose magnitude is above a share of the largest one.

        The default is 1 - 0.9545, two standard deviations of a Gaussian (Luo et al.).
        """
        return (self.magnitude > level * self.magnitude.max()).sum()


def influence(
    f: Function,
    x: jax.Array | np.ndarray,
    index: Any,
    *,
    probes: int = 16,
    key: jax.Array | None = None,
) -> Influence:
    """Find the inputs that an output of a function depends on, by its gradient at several points.

    reached = any over probes, magnitude = mean over probes, of |d f(x)[index] / d x|

    The first probe is x. The others are normal noise with x's mean and standard deviation (1 where
    x is constant), so that the result depends neither on zeros in x nor on which ReLUs are active.

    A reached element had a derivative that was not zero (a method that spreads rounding errors,
    such as FFT, spreads them here too). Any other element had derivative zero at every probe. For
    functions without branches (convolutions, smooth activations) one random probe finds all, except
    for underflow. ReLU and max pooling pass on only some inputs: in a max over m elements each
    probe misses one with probability 1 - 1 / m, so more `probes` find more. An influence through
    steps (sign, round, argmax), integers or `stop_gradient` is never found.
    `jaxconv.analysis.reach` finds every connection, also those without an effect.

    Args:
        f: any function from an array to an array that `jax.vjp` takes, such as a Flax model with
            its parameters bound.
        x: a floating-point array, as f takes it: with batch axis and channels if f needs them.
        index: the output, as in `f(x)[index]`. If it selects several (`...` or a slice), the
            result holds for any of them; random weights keep them from cancelling.
        probes: number of points, at least 1.
        key: a `jax.random.key` for points and weights; by default `jax.random.key(0)`.

    Returns:
        Influence(reached, magnitude), both of x's shape; `reached.any(-1)` joins the channels.

    Raises:
        TypeError: x or f(x) is not floating-point.
        ValueError: `index` is not an index of f(x), or `probes` is below 1.

    Example:
        >>> f = lambda x: jax.nn.relu(x[1:] - x[:-1])
        >>> seen = influence(f, jnp.zeros(6), 2)
        >>> seen.reached
        Array([False, False,  True,  True, False, False], dtype=bool)

    Source:
        Luo, Li, Urtasun and Zemel (2016), "Understanding the Effective Receptive Field in Deep
        Convolutional Neural Networks", section 2.
    """
    caller = "influence"
    x = as_array("influence", "x", x)
    shape, dtype = _selected(caller, f, x, index)
    if probes < 1:
        raise ValueError(f"{caller}: probes={probes} must be at least 1")
    key = jax.random.key(constant(0, "uint32")) if key is None else key
    deviation = x.std()
    deviation = jnp.where(deviation > 0, deviation, jnp.ones_like(deviation))

    def probe(sums, numbered_key):
        number, key = numbered_key
        noise_key, weight_key = jax.random.split(key)
        noise = x.mean() + deviation * jax.random.normal(noise_key, x.shape, x.dtype)
        weights = jax.random.normal(weight_key, shape, dtype) if shape else jnp.ones(shape, dtype)
        _, pull = jax.vjp(lambda x: f(x)[index], jnp.where(number == 0, x, noise))
        (gradient,) = pull(weights)
        reached, magnitude = sums
        return (reached | (gradient != 0), magnitude + jnp.abs(gradient)), None

    start = (jnp.zeros(x.shape, bool), jnp.zeros(x.shape, x.dtype))
    numbered_keys = (jnp.arange(probes), jax.random.split(key, probes))
    reached, magnitude = compiled_once(
        lambda *given: jax.lax.scan(probe, *given)[0], start, numbered_keys
    )
    return Influence(reached, magnitude / probes)


def _selected(caller: str, f: Function, x: jax.Array, index: Any) -> tuple[tuple[int, ...], Any]:
    """Shape and dtype of f(x)[index]."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"{caller}: x is {x.dtype}, but only floats have derivatives")
    y = jax.eval_shape(f, x)
    if not jnp.issubdtype(y.dtype, jnp.floating):
        raise TypeError(f"{caller}: f(x) is {y.dtype}, but only floats have derivatives")
    return check_index(caller, index, y.shape), y.dtype
