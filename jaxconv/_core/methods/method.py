"""What a method is: the record that every file of this folder ends with."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Literal

import jax

from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import Contraction
from jaxconv._core.methods.measured import BY_DEVICE, CPU
from jaxconv._core.methods.terms import Terms, common

Rule = Literal["auto", "fastest"]


# (a, b, spec, *, precision=None, dtype) -> the array that is left out of a and b. The operands have
# one batch axis: x (n, *space, in) or y (n, *space', out), and w (*kernel, in // groups, out).
# Sums are those of `dtypes.accumulation_dtype`, the result has `dtype`.
Compute = Callable[..., jax.Array]


def _serves(problem: Problem) -> None:
    del problem


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
        refuses: why it cannot serve a problem, in one clause, or None.
        platforms: those, as `Problem` names them, on which rules and `jaxconv.tune` consider it;
            none for all. Its functions then also take `platform`.
        not_exported: platforms for which `jax.export` takes no programs with it.
        terms: what its time grows with, by name: positive terms of a problem.
        constants: contraction -> term -> seconds a unit of it on a CPU. The rules take a method
            only for contractions that have constants. Those that `jaxconv.bench.fit` fitted are
            `fitted`; those of other devices are in `measured.BY_DEVICE` alone.
        rules: the rules that may take it without being asked: none for a reference; not "auto"
            where one NaN spreads or errors are on the scale of whole arrays.
        considered: whether these rules consider it for a problem that it can serve.
        details: what `jaxconv info` adds to it on this machine, or None.
        needs: what it needs besides JAX, in one clause; "" for nothing.
        calls_library: whether its programs call a library of this process. They are for CPUs,
            cannot be exported, and XLA cannot partition them.
        symbolic_sizes: whether it serves sizes that are unknown until a program runs.
    """

    name: str
    summary: str
    contractions: Mapping[Contraction, Compute]
    refuses: Callable[[Problem], str | None] = _serves
    platforms: frozenset[str] = frozenset()
    not_exported: frozenset[str] = frozenset()
    terms: Callable[[Problem], Terms] = common
    constants: Mapping[Contraction, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    rules: frozenset[Rule] = frozenset({"auto", "fastest"})
    considered: Callable[[Problem], bool] = _everywhere
    details: Callable[[], str | None] = lambda: None
    needs: str = ""
    calls_library: bool = False
    symbolic_sizes: bool = False

    def on(self, platform: str, contraction: Contraction) -> Compute:
        """Return the function of a contraction in programs for a platform."""
        compute = self.contractions[contraction]
        return functools.partial(compute, platform=platform) if self.platforms else compute


def fitted(name: str) -> dict[Contraction, Mapping[str, float]]:
    """Return the constants that were fitted to a method's times on CPUs, by contraction."""
    return dict(BY_DEVICE[CPU].seconds[name])
