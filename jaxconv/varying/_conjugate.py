"""Preconditioned conjugate gradients in two precisions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxconv.varying._blocks import Blocks
from jaxconv.varying._system import System, Unknowns, cast, inner, plus

# By how much steps in float32 reduce the error before what is left is computed anew.
SHARE = 1e-3


class Progress(NamedTuple):
    """Where an iteration stands.

    Attributes:
        found: the unknowns.
        left: the right side less what they make.
        size: `left` in the norm of the preconditioner, squared.
        steps: taken so far.
    """

    found: Unknowns
    left: Unknowns
    size: jax.Array
    steps: jax.Array


def solve_normal(
    system: System, blocks: Blocks, wanted: Unknowns, start: Unknowns
) -> tuple[Unknowns, jax.Array, jax.Array]:
    """Return the solution for a right side, the number of steps, and the error's estimate.

    Most steps are made in float32, for what is left of the right side; what is left after them is
    computed in float64. Where that no longer helps, steps in float64 go on.

    The error is that of the solution in the norm of the preconditioner, as a share of the
    solution's own: of what the outputs show, about its relative error.
    """
    problem = system.problem
    scale = inner(wanted, blocks.solve(wanted))
    low = cast((system.x, system.weights, system.ridge, blocks), jnp.float32)
    quick = System(problem, *low[:3])

    def begun(found: Unknowns, steps: jax.Array) -> Progress:
        left = plus(wanted, system.normal(found), -1.0)
        return Progress(found, left, inner(left, blocks.solve(left)), steps)

    def helps(state: tuple[Progress, jax.Array]) -> jax.Array:
        now, last = state
        return (
            (now.size > problem.tolerance**2 * scale)
            & (now.size < last / 4)
            & (now.steps < problem.steps)
        )

    def refine(state: tuple[Progress, jax.Array]) -> tuple[Progress, jax.Array]:
        now, _ = state
        unit = jnp.sqrt(jnp.where(now.size > 0, now.size, 1.0))
        right = cast(jax.tree.map(lambda leaf: leaf / unit, now.left), jnp.float32)
        first = Progress(quick.zero, right, inner(right, low[3].solve(right)), now.steps)
        # as far as is asked, or as float32 may lead
        share = jnp.maximum(problem.tolerance**2 * scale / (4 * unit**2), SHARE**2)
        change = conjugate_gradients(quick, low[3], first, share.astype(jnp.float32))
        moved = plus(now.found, cast(change.found, jnp.float64), unit)
        return begun(moved, change.steps), now.size

    state = (begun(start, jnp.int32(0)), jnp.full_like(scale, jnp.inf))
    now, _ = jax.lax.while_loop(helps, refine, state)
    now = conjugate_gradients(system, blocks, now, problem.tolerance**2 * scale)
    return now.found, now.steps, jnp.sqrt(now.size / jnp.where(scale > 0, scale, 1.0))


def conjugate_gradients(
    system: System, blocks: Blocks, start: Progress, target: jax.Array
) -> Progress:
    """Go on until `size` is at most the target, or the problem's steps are taken."""

    def goes_on(state: tuple[Progress, Unknowns]) -> jax.Array:
        now, _ = state
        return (now.size > target) & (now.steps < system.problem.steps)

    def turn(state: tuple[Progress, Unknowns]) -> tuple[Progress, Unknowns]:
        (found, left, size, steps), along = state
        moved = system.normal(along)
        curve = inner(along, moved)
        length = jnp.where(curve > 0, size / jnp.where(curve > 0, curve, 1.0), 0.0)
        found, left = plus(found, along, length), plus(left, moved, -length)
        better = blocks.solve(left)
        now = inner(left, better)
        share = now / jnp.where(size > 0, size, 1.0)
        return Progress(found, left, now, steps + 1), plus(better, along, share)

    found, _ = jax.lax.while_loop(goes_on, turn, (start, blocks.solve(start.left)))
    return found
