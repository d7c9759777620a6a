"""The joint least squares of all nodes' kernels, by conjugate gradients, and its derivative.

With A the model of `_apply`, linear in the kernels K of all nodes and in the bias, and W the
weights of the outputs, the normal equations

    (A^T W A + ridge) K = A^T W y

are solved without forming their matrix: A and A^T are correlations. All of it is in float64,
whatever `jax_enable_x64` is, since the normal equations square the condition number.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from jaxconv.varying._apply import Model
from jaxconv.varying._blocks import Blocks, make_blocks
from jaxconv.varying._field import Field
from jaxconv.varying._grid import Line

R = TypeVar("R")
# By how much steps in float32 reduce the error before what is left is computed anew.
SHARE = 1e-3


class Problem(NamedTuple):
    """What is fixed before a fit is compiled; hashable.

    Attributes:
        model: from kernels and x to y.
        bias: whether there is one.
        tolerance: of the solution's error, as a share of the solution.
        steps: at most so many of conjugate gradients.
    """

    model: Model
    bias: bool
    tolerance: float
    steps: int

    @property
    def coarse(self) -> "Problem":
        """The same with one node."""
        field = self.model.field
        one = field._replace(lines=tuple(Line(line.size, 1) for line in field.lines))
        return self._replace(model=self.model._replace(field=one))

    @property
    def over_outputs(self) -> Field:
        """The grid of the bias, which lies over the output."""
        grid = self.model.field.grid
        return self.model.field._replace(lines=tuple(map(Line, self.model.out, grid)))


class Unknowns(NamedTuple):
    """Kernels (*grid, *kernel) and bias (*grid), None without one."""

    kernels: jax.Array
    bias: jax.Array | None


class Answer(NamedTuple):
    """The fields of `VaryingFit`; the bias is of zeros without one."""

    kernels: jax.Array
    bias: jax.Array
    residual: jax.Array
    std_error: jax.Array
    energies: jax.Array
    steps: jax.Array
    error: jax.Array


def in_double_precision(function: Callable[..., R]) -> Callable[..., R]:
    """Return the function with 64-bit types enabled, for its own arrays only.

    It takes and returns trees of arrays. The batching rule is needed because `vmap` is applied to
    a traced program after 64-bit types are disabled again, and would round some sums to 32 bits.
    """

    @jax.custom_batching.custom_vmap
    def run(*arguments: Any) -> R:
        with jax.enable_x64(True):
            return function(*arguments)

    @run.def_vmap
    def _(size: int, mapped: Any, *arguments: Any) -> Any:
        axes = jax.tree.map(lambda each: 0 if each else None, tuple(mapped))
        results = in_double_precision(jax.vmap(function, axes, axis_size=size))(*arguments)
        return results, jax.tree.map(lambda _: True, results)

    return run


class System:
    """The normal equations for the arrays at hand, in float64.

    Args:
        problem: the model and what is asked.
        x: the input.
        weights: of y's shape.
        ridge: a scalar.
    """

    def __init__(self, problem: Problem, x: jax.Array, weights: jax.Array, ridge: jax.Array):
        self.problem, self.x, self.weights, self.ridge = problem, x, weights, ridge
        field = problem.model.field
        self.cells = problem.model.prepared(x)
        self.zero = Unknowns(
            jnp.zeros((*field.grid, *field.kernel), x.dtype),
            jnp.zeros(field.grid, x.dtype) if problem.bias else None,
        )
        self._transposed = jax.linear_transpose(self.made, self.zero)

    def made(self, unknowns: Unknowns) -> jax.Array:
        """A K, the output that kernels and bias make."""
        y = self.problem.model.applied(self.cells, unknowns.kernels)
        if unknowns.bias is not None:
            y = y + self.problem.over_outputs.constant(unknowns.bias)
        return y

    def back(self, y: jax.Array) -> Unknowns:
        """A^T W y."""
        return self._transposed(self.weights * y)[0]

    def normal(self, unknowns: Unknowns) -> Unknowns:
        """(A^T W A + ridge) K; the bias is not penalised."""
        kernels, bias = self.back(self.made(unknowns))
        return Unknowns(kernels + self.ridge * unknowns.kernels, bias)


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
    low = _cast((system.x, system.weights, system.ridge, blocks), jnp.float32)
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
        right = _cast(jax.tree.map(lambda leaf: leaf / unit, now.left), jnp.float32)
        first = Progress(quick.zero, right, inner(right, low[3].solve(right)), now.steps)
        # as far as is asked, or as float32 may lead
        share = jnp.maximum(problem.tolerance**2 * scale / (4 * unit**2), SHARE**2)
        change = conjugate_gradients(quick, low[3], first, share.astype(jnp.float32))
        moved = plus(now.found, _cast(change.found, jnp.float64), unit)
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


def inner(a: Any, b: Any) -> jax.Array:
    """Sum of the products of two trees."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return functools.reduce(operator.add, (jnp.vdot(*pair) for pair in pairs))


def plus(a: Any, b: Any, factor: Any) -> Any:
    """`a + factor b` of two trees."""
    return jax.tree.map(lambda one, other: one + factor * other, a, b)


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


def _cast(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(
        lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def solve(problem: Problem, x: Any, y: Any, weights: Any, ridge: Any) -> Answer:
    """Solve the normal equations in float64; all arrays are of one floating dtype, the answer too.

    Kernels, bias and residual have derivatives, in reverse mode, by one more solve of the same
    equations; the other fields are constants.
    """

    def in_double(*arrays: Any) -> Answer:
        return _cast(_solved(problem, *_cast(arrays, jnp.float64)), x.dtype)

    return in_double_precision(in_double)(x, y, weights, ridge)


def _forward(problem: Problem, *arrays: Any) -> Any:
    answer: Answer = solve(problem, *arrays)
    return answer, (*arrays, answer.kernels, answer.bias)


def _backward(problem: Problem, saved: Any, cotangent: Answer) -> Any:
    dtype = saved[0].dtype
    pulled = (cotangent.kernels, cotangent.bias, cotangent.residual)

    def in_double(saved: Any, pulled: Any) -> Any:
        *arrays, kernels, bias = _cast(saved, jnp.float64)
        kernel_pull, bias_pull, residual_pull = _cast(pulled, jnp.float64)
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

        return _cast(jax.grad(product, (0, 1, 2, 3))(*arrays), dtype)

    return in_double_precision(in_double)(saved, pulled)


solve.defvjp(_forward, _backward)
