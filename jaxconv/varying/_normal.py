"""The joint least squares of all nodes' kernels, by conjugate gradients, and its derivative.

With A the model of `_apply`, linear in the kernels K of all nodes and in the bias, and W the
weights of the outputs, the normal equations

    (A^T W A + ridge) K = A^T W y

are solved without forming their matrix: A and A^T are correlations. What counts is in float64,
whatever `jax_enable_x64` is, since the normal equations square the condition number.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxconv._core.geometry.dtypes import in_double_precision
from jaxconv.varying._blocks import make_blocks
from jaxconv.varying._conjugate import solve_normal
from jaxconv.varying._system import Problem, System, Unknowns, cast, plus


class Answer(NamedTuple):
    """The fields of `VaryingFit`; the bias is of zeros without one."""

    kernels: jax.Array
    bias: jax.Array
    residual: jax.Array
    std_error: jax.Array
    energies: jax.Array
    steps: jax.Array
    error: jax.Array


def _solved(problem: Problem, x: Any, y: Any, weights: Any, ridge: Any) -> Answer:
    """Solve in float64, from the single kernel of least error on."""
    system = System(problem, x, weights, ridge)
    blocks = make_blocks(problem, x, weights, ridge)
    start = system.zero
    if problem.coarse != problem:
        one = System(problem.coarse, x, weights, ridge)
        rough = make_blocks(problem.coarse, x, weights, ridge)
        single, *_ = solve_normal(one, rough, one.back(y), one.zero)
        start = jax.tree.map(lambda a, like: jnp.broadcast_to(a, like.shape), single, start)
    found, steps, error = solve_normal(system, blocks, system.back(y), start)
    residual = jnp.sum(weights * jnp.square(y - system.made(found)))
    rank = len(problem.model.field.grid)
    unknowns = found.kernels.size // blocks.nodes + int(problem.bias)
    count = jnp.sum(jnp.where(weights > 0, 1.0, 0.0))
    free = count - unknowns * jnp.sum(jnp.where(blocks.energies > 0, 1.0, 0.0))
    noise = residual / jnp.where(free > 0, free, 1.0)
    noise = jnp.where(free > 0, noise, jnp.inf)
    grid, weights_a_node = found.kernels.shape[:rank], unknowns - int(problem.bias)
    errors = jnp.sqrt(blocks.variances[:, :weights_a_node] * noise)
    return Answer(
        kernels=found.kernels,
        bias=jnp.zeros(grid) if found.bias is None else found.bias,
        residual=residual,
        std_error=errors.reshape(found.kernels.shape),
        energies=blocks.energies.reshape(grid),
        steps=steps,
        error=error,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def solve(problem: Problem, x: Any, y: Any, weights: Any, ridge: Any) -> Answer:
    """Solve the normal equations in float64; all arrays are of one floating dtype, the answer too.

    Kernels, bias and residual have derivatives, in reverse mode, by one more solve of the same
    equations; the other fields are constants.
    """
    dtype = x.dtype  # what is kept of x: what a batching rule refers to must not be traced

    def in_double(*arrays: Any) -> Answer:
        # where weights or images are constants of a program, XLA would compute with them while it
        # compiles, for minutes
        arrays = jax.lax.optimization_barrier(arrays)
        return cast(_solved(problem, *cast(arrays, jnp.float64)), dtype)

    return in_double_precision(in_double)(x, y, weights, ridge)


def _forward(problem: Problem, *arrays: Any) -> Any:
    answer: Any = solve(problem, *arrays)
    return answer, (*arrays, answer.kernels, answer.bias)


def _backward(problem: Problem, saved: Any, cotangent: Answer) -> Any:
    dtype = saved[0].dtype
    pulled = (cotangent.kernels, cotangent.bias, cotangent.residual)

    def in_double(saved: Any, pulled: Any) -> Any:
        saved, pulled = jax.lax.optimization_barrier((saved, pulled))
        *arrays, kernels, bias = cast(saved, jnp.float64)
        kernel_pull, bias_pull, residual_pull = cast(pulled, jnp.float64)
        found = Unknowns(kernels, bias if problem.bias else None)
        wanted = Unknowns(kernel_pull, bias_pull if problem.bias else None)

        def residual(found: Unknowns, x: Any, y: Any, weights: Any, ridge: Any) -> jax.Array:
            left = y - System(problem, x, weights, ridge).made(found)
            return residual_pull * jnp.sum(weights * jnp.square(left))

        wanted = plus(wanted, jax.grad(residual)(found, *arrays), 1.0)
        x, _, weights, ridge = arrays
        system = System(problem, x, weights, ridge)
        blocks = make_blocks(problem, x, weights, ridge)
        change, *_ = solve_normal(system, blocks, wanted, system.zero)

        def product(x: Any, y: Any, weights: Any, ridge: Any) -> jax.Array:
            """The residual, and `change` times what is zero at the solution."""
            system = System(problem, x, weights, ridge)
            left = y - system.made(found)
            slope = jnp.sum(weights * system.made(change) * left)
            penalty = ridge * jnp.vdot(change.kernels, found.kernels)
            return slope - penalty + residual(found, x, y, weights, ridge)

        return cast(jax.grad(product, (0, 1, 2, 3))(*arrays), dtype)

    return in_double_precision(in_double)(saved, pulled)


solve.defvjp(_forward, _backward)
