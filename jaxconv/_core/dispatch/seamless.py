"""The choice of one method for all tiles of an image, from the size of the whole image.

Tiles fit without a seam, bit for bit, where the rounding of an output depends neither on its
position in an array nor on the array's size: where the same products are added in the same order
everywhere. That holds for shifted sums, and for oneDNN wherever it was tried
(tests/test_tiles_methods.py). FFT rounds on the scale of its blocks, and XLA's own convolution on
CPUs splits its sums by the size of the array.
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
from jaxconv._core.machine import device_kind

SEAMLESS = ("taps", "onednn")


def problem_of(spec: ConvSpec, padding_mode: str, kernel: Sequence[int]) -> Problem:
    """Return the problem of `jaxconv.conv` on the whole image.

    Args:
        spec: the geometry of the whole.
        padding_mode: as in `jaxconv.conv`; all but "zeros" extend the image first.
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
    platform = jax.default_backend()
    device = {"platform": platform, "device_kind": device_kind(platform)}
    return Problem.of("output", x, w, spec, dtype=jnp.float32, **device)


def one_a_channel(groups: int, kernel: Sequence[int]) -> bool:
    """Whether every channel has one kernel of its own: those are filtered plane by plane."""
    return kernel[-2] == 1 and groups == kernel[-1] > 1


def choose(problem: Problem, method: str = "auto", policy: Policy | None = None) -> Choice:
    """Return the method for all tiles of an image.

    Args:
        problem: that of the whole image.
        method: "auto" (on CPUs one of `SEAMLESS`), "fastest" (what `conv` takes for the whole), or
            a method's name.
        policy: measured choices; an entry for the whole image goes before the rules, which use its
            profile.

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
    profile = None if policy is None else policy.profile
    fastest = min(serve, key=lambda name: seconds(name, problem, profile))
    return Choice(fastest, "expected to be the fastest of those that leave no seam")
