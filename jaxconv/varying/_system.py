"""The normal equations of all nodes' kernels, as maps of arrays, and the algebra of trees."""

import functools
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxconv.varying._apply import Model
from jaxconv.varying._field import Field
from jaxconv.varying._grid import Line


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


def inner(a: Any, b: Any) -> jax.Array:
    """Sum of the products of two trees."""
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return functools.reduce(operator.add, [jnp.vdot(*pair) for pair in leaves])


def plus(a: Any, b: Any, factor: Any) -> Any:
    """`a + factor b` of two trees."""
    return jax.tree.map(lambda one, other: one + factor * other, a, b)


def cast(tree: Any, dtype: Any) -> Any:
    """Return a tree with its floating-point arrays in a dtype."""
    return jax.tree.map(
        lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree
    )
