"""What a method is: the record that every file of this folder ends with."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import Contraction, ConvSpec
from jaxconv._core.methods.constants import CONSTANTS
from jaxconv._core.methods.terms import Terms, common

Rule = Literal["auto", "fastest"]


@runtime_checkable
class Compute(Protocol):
    """One contraction by one method: two arrays with one batch axis to the third."""

    def __call__(
        self,
        a: jax.Array,
        b: jax.Array,
        spec: ConvSpec,
        /,
        *,
        precision: Any = None,
        dtype: jnp.dtype,
    ) -> jax.Array:
        """Return the result in `dtype`.

        Args:
            a: x (n, *space, in), or y (n, *space', out) for "input".
            b: w (*kernel, in // groups, out), or y for "kernel".
            spec: the geometry.
            precision: as `jax.lax.Precision`.
            dtype: of the result; sums are those of `dtypes.accumulation_dtype`.
        """
        ...


def _serves(contraction: Contraction, spec: ConvSpec, dtype: jnp.dtype) -> None:
    del contraction, spec, dtype


def _everywhere(problem: Problem) -> bool:
    del problem
    return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """A way to compute convolutions.

    Attributes:
        name: what users ask for with `method=`.
        summary: what it does, in one line.
        contractions: the arrays of the form that it computes, and the function for each.
        refuses: why it cannot serve a contraction, spec and dtype, in one clause, or None.
        terms: what its time on a CPU grows with, by name: positive terms of a problem.
        constants: contraction -> term -> seconds a unit of it. The rules take a method only for
            contractions that have constants. Those that `jaxconv.bench.fit` fitted are `fitted`.
        rules: the rules that may take it without being asked: none for a reference; not "auto"
            where one NaN spreads or errors are on the scale of whole arrays.
        considered: whether these rules consider it for a problem that it can serve.
        details: what `jaxconv info` adds to it on this machine, or None.
        calls_library: whether its programs call a library of this process. They are for CPUs,
            cannot be exported, and XLA cannot partition them.
        symbolic_sizes: whether it serves sizes that are unknown until a program runs.
    """

    name: str
    summary: str
    contractions: Mapping[Contraction, Compute]
    refuses: Callable[[Contraction, ConvSpec, jnp.dtype], str | None] = _serves
    terms: Callable[[Problem], Terms] = common
    constants: Mapping[Contraction, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    rules: frozenset[Rule] = frozenset({"auto", "fastest"})
    considered: Callable[[Problem], bool] = _everywhere
    details: Callable[[], str | None] = lambda: None
    calls_library: bool = False
    symbolic_sizes: bool = False


def fitted(name: str) -> dict[Contraction, Mapping[str, float]]:
    """Return the constants that were fitted to a method's measured times, by contraction."""
    return {contraction: found for (of, contraction), found in CONSTANTS.items() if of == name}
