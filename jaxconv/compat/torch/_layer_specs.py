"""The Flax equivalent of a torch layer (`LayerSpec`), and the layout of the array that it is given.

torch keeps channels in dimension 1, but `Linear` and similar layers act on the last dimension; here
channels are last. Which dimension a layer acts on therefore depends on the layers before it:

| layout | the array is | after |
|---|---|---|
| `None` | channels last, of unknown rank | the start |
| "channels" | channels last, of unknown rank | GroupNorm, BatchNorm1d, PReLU |
| an integer | channels last with this number of spatial dimensions | convolutions, pools, ... |
| "features" | laid out as in torch | Linear, Embedding, LayerNorm |
| "flat" | (batch, features), the same in both | Flatten |
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Layout = int | str | None


@dataclasses.dataclass(frozen=True, eq=False)
class LayerSpec:
    """A layer: a Flax class with its arguments and arrays, or a function of an array.

    Attributes:
        kind: name of a class in both `flax.linen` and `flax.nnx`, or in both `jaxconv.linen` and
            `jaxconv.nnx`; None for a function.
        arguments: arguments of both classes.
        linen: arguments of the Linen class only.
        nnx: arguments of the NNX class only.
        params: the parameters, by Flax's names.
        stats: the running statistics, by Flax's names.
        function: a function of the array, and of the parameters by name if there are any.
        dimensions: number of dimensions that the array must have for the layer to act as in torch;
            None for any.
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
        assert self.function is not None, "a Flax class has no function"
        return self.function(x, **params)


@dataclasses.dataclass(frozen=True, eq=False)
class SequentialSpec:
    """A `torch.nn.Sequential`: layers by name, in order."""

    layers: tuple[tuple[str, "LayerSpec | SequentialSpec"], ...]


@dataclasses.dataclass(frozen=True)
class LayerContext:
    """The name of a torch layer for messages, and the layout of the array that it is given.

    Attributes:
        name: dotted name of the module; empty at the top.
        kind: torch's class.
        layout: see the module's docstring.
    """

    name: str
    kind: str
    layout: Layout = None

    def error(self, reason: str) -> ValueError:
        """Return an error that names this layer and the reason."""
        where = f"{self.name!r} is {with_article(self.kind)}, which" if self.name else self.kind
        return ValueError(f"from_torch: {where} {reason}")

    def image(self, rank: int) -> int:
        """Return the layout after a layer over `rank` spatial dimensions.

        Raises:
            ValueError: the input has another number of spatial dimensions, or none.
        """
        if self.layout in (None, "channels", rank):
            return rank
        raise self.error(
            f"takes {_dimensions(rank)} and channels, but its input is {self._input()}; convert "
            "the parts separately and move the axes between them"
        )

    def channels(self) -> tuple[Layout, int | None]:
        """Return the layout after a layer over channels, and the number of dimensions it needs."""
        if self.layout == "features":
            return "flat", 2
        return ("channels" if self.layout is None else self.layout), None

    def features(self) -> tuple[Layout, int | None]:
        """Return the layout after a layer over torch's last dimension, and the dimensions it needs.

        Raises:
            ValueError: the last dimension is spatial in torch, and channels here.
        """
        if isinstance(self.layout, int):
            raise self.error(
                f"acts on torch's last dimension, but its input is {self._input()}, whose last "
                "dimension is spatial in torch and channels here; put a Flatten before it, or "
                "convert the parts separately and move the axes between them"
            )
        if self.layout == "channels":
            return "flat", 2
        return ("features" if self.layout is None else self.layout), None

    def axis(self, dim: Any) -> tuple[int, int | None]:
        """Return the axis of torch's dimension, and the number of dimensions that the array needs.

        Raises:
            ValueError: `dim` is not an integer, or its axis depends on an unknown rank.
        """
        if not isinstance(dim, int) or isinstance(dim, bool):
            raise self.error(f"has dim={dim}; give the dimension, e.g. dim=1")
        if dim == 0 or self.layout in ("features", "flat"):
            return dim, None
        if dim == 1:
            return -1, None
        if isinstance(self.layout, int):
            dimensions = self.layout + 2
            dim = dim + dimensions if dim < 0 else dim
            return (-1 if dim == 1 else max(dim - 1, 0)), dimensions
        if dim == -1:
            return -1, 2
        raise self.error(
            f"has dim={dim}, whose axis depends on the rank of its input, which is unknown"
        )

    def _input(self) -> str:
        if isinstance(self.layout, int):
            return f"an image with {_dimensions(self.layout)}"
        return "an array of features (the output of Linear, Embedding, LayerNorm or Flatten)"


def with_article(kind: str) -> str:
    """Return a class name with its article."""
    return f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind}"


def check_dimensions(layer: LayerSpec, name: str | None, x: Any) -> None:
    """Check that the array has the rank for which a layer acts on the same dimensions as in torch.

    Raises:
        ValueError: it has another rank.
    """
    if layer.dimensions is not None and x.ndim != layer.dimensions:
        where = f"{name!r}" if name else layer.kind or "the layer"
        raise ValueError(
            f"{where}, converted from torch, needs an array of {layer.dimensions} dimensions, got "
            f"shape {x.shape}: otherwise it would act on other dimensions than in torch"
        )


def _dimensions(rank: int) -> str:
    return f"{rank} spatial dimension{'s' * (rank > 1)}"
