"""Which method filters an image that is cut into tiles: one for all, chosen from the whole.

Tiles fit without a seam, bit for bit, where an output's rounding does not depend on where in an
array it lies, nor on the array's size: where the same products are added in the same order
everywhere. So it is with shifted sums, and so it was with oneDNN wherever it was tried
(tests/test_tiles_methods.py). Spectra round on the scale of their blocks, and XLA's own convolution
on CPUs cuts its sums by the size of the array.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxconv._core.dispatch.choose import Choice, refusal, select
from jaxconv._core.dispatch.costs import seconds
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import ConvSpec

SEAMLESS = ("taps", "onednn")


def problem_of(spec: ConvSpec, padding_mode: str, kernel: Sequence[int]) -> Problem:
    """Return the problem that filtering the whole in memory is, as `jaxconv.conv` meets it.

    Args:
        spec: the geometry of the whole.
        padding_mode: what lies outside; all but zeros is put around the image before.
        kernel: the kernel's shape, (*kernel, in // groups, out).
    """
    if padding_mode != "zeros":
        sizes = tuple(n + sum(pads) for n, pads in zip(spec.input_size, spec.padding, strict=True))
        spec = dataclasses.replace(spec, input_size=sizes, padding=((0, 0),) * spec.rank)
    inputs, outputs = kernel[-2:]
    if one_a_channel(spec.groups, kernel):
        spec, outputs = dataclasses.replace(spec, groups=1), 1
    x = jax.ShapeDtypeStruct((*spec.input_size, inputs * spec.groups), jnp.float32)
    w = jax.ShapeDtypeStruct((*spec.kernel_size, inputs, outputs), jnp.float32)
    return Problem.of("output", x, w, spec, dtype=jnp.float32, platform=jax.default_backend())


def one_a_channel(groups: int, kernel: Sequence[int]) -> bool:
    """Whether every channel has one kernel of its own: those are filtered plane by plane."""
    return kernel[-2] == 1 and groups == kernel[-1] > 1


def choose(problem: Problem, method: str = "auto", policy: Policy | None = None) -> Choice:
    """Return the method for all tiles of an image.

    Args:
        problem: that of the whole image.
        method: "auto" (one of `SEAMLESS` on CPUs), "fastest" (the one that `conv` would take for
            the whole under that name), or the method to be used if it can serve.
        policy: measured choices; one for the whole goes before the rules.

    Example:
        >>> from jaxconv._core.geometry.spec import normalise
        >>> kernel = (51, 51, 1, 1)
        >>> spec = normalise("example", (4000, 4000, 1), kernel)
        >>> problem = problem_of(spec, "zeros", kernel)._replace(platform="cpu")
        >>> choose(problem).method, choose(problem, "fastest").method
        ('taps', 'fft')
    """
    if method != "auto" or problem in (policy or {}) or problem.platform != "cpu":
        return select(problem, method, policy)
    if problem.spec.groups * problem.inputs * problem.outputs == 1:
        return Choice("taps", "the fastest on planes of those that leave no seam")
    serve = [name for name in SEAMLESS if refusal(problem, name) is None]
    fastest = min(serve, key=lambda name: seconds(name, problem))
    return Choice(fastest, "expected to be the fastest of those that leave no seam")
