"""One layer of torch, said in Flax's terms, and the layout in which it finds the array.

torch keeps channels in dimension 1 and lets `Linear` and its like act on the last one; here the
channels are last. So whether a layer means the same depends on what came before it:

| layout | the array is | after |
|---|---|---|
| `None` | channels last, of any rank; nothing has said more yet | the start |
| "channels" | the same | GroupNorm, BatchNorm1d, PReLU |
| an integer | channels last with so many spatial dimensions | convolutions, pools, ... |
| "features" | laid out as in torch | Linear, Embedding, LayerNorm |
| "flat" | (batch, features), which is the same in both | Flatten |
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Layout = int | str | None


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """A layer: a Flax module with its arguments and arrays, or a function without parameters.

    Attributes:
        kind: name of a class that `flax.linen` and `flax.nnx`, or the two of `jaxconv`, both have;
            None for a function.
        arguments: of both classes.
        linen: arguments of Linen's alone.
        nnx: arguments of NNX's alone.
        params: the parameters, by Flax's names.
        stats: the running statistics, by Flax's names.
        function: of the array, and of the parameters by name if there are any.
        dimensions: how many the array must have for the step to mean what it means in torch; None
            for any.
    """

    kind: str | None = None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    linen: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    nnx: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    params: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    stats: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    function: Callable[..., Any] | None = None
    dimensions: int | None = None

    def apply(self, x: Any, params: Mapping[str, Any]) -> Any:
        """Apply the function."""
        assert self.function is not None, "a step of a Flax module has no function"
        return self.function(x, **params)


@dataclasses.dataclass(frozen=True, eq=False)
class Chain:
    """Steps one after another, by name: a `torch.nn.Sequential`."""

    steps: tuple[tuple[str, "Step | Chain"], ...]


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a layer stands: what messages call it, and the layout it finds.

    Attributes:
        name: dotted name of the module; empty at the top.
        kind: torch's class.
        layout: see the module's docstring.
    """

    name: str
    kind: str
    layout: Layout = None

    def refusal(self, why: str) -> ValueError:
        """Return the error that says what is wrong with this layer."""
        where = f"{self.name!r} is {named(self.kind)}, which" if self.name else self.kind
        return ValueError(f"from_torch: {where} {why}")

    def image(self, rank: int) -> int:
        """Return the layout after a layer over so many spatial dimensions.

        Raises:
            ValueError: the array it finds is none.
        """
        if self.layout in (None, "channels", rank):
            return rank
        raise self.refusal(
            f"takes {_dimensions(rank)} and channels, but finds {self._found()}; port the "
            "parts on their own and move the axes between them"
        )

    def channels(self) -> tuple[Layout, int | None]:
        """Return the layout after a layer over channels, and how many dimensions it needs."""
        if self.layout == "features":
            return "flat", 2
        return ("channels" if self.layout is None else self.layout), None

    def features(self) -> tuple[Layout, int | None]:
        """Return the layout after a layer over torch's last dimension, and how many it needs.

        Raises:
            ValueError: the last dimension is one of space in torch, and channels here.
        """
        if isinstance(self.layout, int):
            raise self.refusal(
                f"acts on torch's last dimension, but finds {self._found()}, whose last dimension "
                "is one of space there and the channels here; put a Flatten before it, or port the "
                "parts on their own and move the axes between them"
            )
        if self.layout == "channels":
            return "flat", 2
        return ("features" if self.layout is None else self.layout), None

    def axis(self, dim: Any) -> tuple[int, int | None]:
        """Return the axis here of torch's dimension, and the dimensions that the array needs.

        Raises:
            ValueError: it is not an integer, or which axis it is cannot be told.
        """
        if not isinstance(dim, int) or isinstance(dim, bool):
            raise self.refusal(f"has dim={dim}; give the dimension, e.g. dim=1")
        if dim == 0 or self.layout in ("features", "flat"):
            return dim, None
        if dim == 1:
            return -1, None
        if isinstance(self.layout, int):
            dimensions = self.layout + 2
            there = dim + dimensions if dim < 0 else dim
            return (-1 if there == 1 else max(there - 1, 0)), dimensions
        if dim == -1:
            return -1, 2
        raise self.refusal(f"has dim={dim}, of which it cannot be told which axis it is here")

    def _found(self) -> str:
        if isinstance(self.layout, int):
            return f"an image with {_dimensions(self.layout)}"
        return "an array of features, as Linear, Embedding, LayerNorm and Flatten make it"


def named(kind: str) -> str:
    """Return a class's name with its article."""
    return f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind}"


def check_dimensions(step: Step, name: str | None, x: Any) -> None:
    """Refuse an array of another rank than the one for which a step means what it does in torch.

    Raises:
        ValueError: it has other dimensions.
    """
    if step.dimensions is not None and x.ndim != step.dimensions:
        kind = step.kind or "the layer"
        where = f"{name!r}" if name else kind
        raise ValueError(
            f"{where}, carried over from torch, needs an array of {step.dimensions} dimensions "
            f"here, got shape {x.shape}: with others torch's acts on another dimension"
        )


def _dimensions(rank: int) -> str:
    return f"{rank} spatial dimension{'s' * (rank > 1)}"
