"""How strongly an output of any JAX function depends on its inputs, measured by gradients.

What it can depend on at all, whatever the numbers are, is in `jaxconv.analysis.reach`; for a chain
of layers it follows from their geometry, in `jaxconv.receptive_field`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxconv._core.geometry.dtypes import as_array, constant
from jaxconv._core.programs import compiled_once
from jaxconv.analysis._reach import check_index

Function = Callable[[jax.Array], jax.Array]


class Influence(NamedTuple):
    """What an output depends on.

    Attributes:
        reached: boolean, x's shape: where the derivative was not zero at one of the probes.
        magnitude: x's shape and dtype: |d f(x)[index] / d x|, the mean over the probes.
    """

    reached: jax.Array
    magnitude: jax.Array

    def effective_count(self, level: float = 0.0455) -> jax.Array:
        """Count the elements whose magnitude is above a share of the largest one.

        The default leaves out what is below 1 - 0.9545, a Gaussian's two deviations (Luo et al.).
        """
        return (self.magnitude > level * self.magnitude.max()).sum()


def influence(
    f: Function, x: ArrayLike, index: Any, *, probes: int = 16, key: jax.Array | None = None
) -> Influence:
    """Find what an output of a function depends on, by its gradient at several points.

    reached = any over probes, magnitude = mean over probes, of |d f(x)[index] / d x|

    The first probe is x; the others are normal noise of x's mean and deviation (deviation 1 where x
    is constant), so that neither zeros in x nor one state of the ReLUs decides.

    What is reported is true: the derivative was not zero there (a method that spreads rounding
    errors, such as FFT, spreads them here). What is not reported had derivative zero at every
    probe. For functions without branches (convolutions, smooth activations) one random probe misses
    with probability zero, underflow aside. ReLU and max pooling hide the inputs that lose: each
    probe of a window of m misses an element with probability 1 - 1 / m, so more `probes` find more.
    Never found is what works through steps (sign, round, argmax), integers or `stop_gradient`.
    `jaxconv.analysis.reach` finds every connection instead, with an effect or without.

    Args:
        f: any function from an array to an array that `jax.vjp` takes, such as a Flax model with
            its parameters bound.
        x: an array of floats, all of it: batch axis and channels included where f wants them.
        index: which output, as in `f(x)[index]`. Where it names several (with `...` or a slice),
            what any of them depends on: they are weighed at random, so that they do not cancel.
        probes: number of points, at least 1.
        key: a `jax.random.key` for points and weights; `jax.random.key(0)` if None.

    Returns:
        Influence(reached, magnitude), both of x's shape; `reached.any(-1)` joins the channels.

    Raises:
        TypeError: x or f(x) is not of floats.
        ValueError: there is no such index, or `probes` is below 1.

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

    def probe(sums, numbered):
        number, key = numbered
        noise_key, weight_key = jax.random.split(key)
        noise = x.mean() + deviation * jax.random.normal(noise_key, x.shape, x.dtype)
        weights = jax.random.normal(weight_key, shape, dtype) if shape else jnp.ones(shape, dtype)
        _, pull = jax.vjp(lambda x: f(x)[index], jnp.where(number == 0, x, noise))
        (gradient,) = pull(weights)
        reached, magnitude = sums
        return (reached | (gradient != 0), magnitude + jnp.abs(gradient)), None

    start = (jnp.zeros(x.shape, bool), jnp.zeros(x.shape, x.dtype))
    numbered = (jnp.arange(probes), jax.random.split(key, probes))
    reached, magnitude = compiled_once(
        lambda *given: jax.lax.scan(probe, *given)[0], start, numbered
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
