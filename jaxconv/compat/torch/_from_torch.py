"""torch modules as Flax layers with their arguments, parameters and statistics."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxconv.compat.torch import _state_dict as weights
from jaxconv.compat.torch._conversions import KINDS
from jaxconv.compat.torch._layer_specs import Chain, Layout, Place, Step, named

_COMPUTED = ("_g", "_orig")
_CONTAINERS = ("Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential")


@dataclasses.dataclass(frozen=True, eq=False)
class Ported:
    """What `from_torch` returns: a torch module in Flax, whole or in parts.

    Attributes:
        kind: the class of the torch module.
        variables: Flax's collections: "params", "batch_stats" where there are running statistics,
            and "buffers" where a module of one's own has some; nested by torch's names, as NumPy
            arrays in the dtypes they had.
        parts: the module's children by their names, each as it would be ported on its own, but for
            what a Sequential's layers are by their place in it.

    Example:
        >>> import torch
        >>> port = from_torch(torch.nn.ConvTranspose2d(8, 8, 3, stride=2, padding=1))
        >>> port.layer.strides, port.layer.padding, port.layer.transpose_kernel
        ((2, 2), ((1, 1), (1, 1)), True)
        >>> port.layer.apply(port.variables, np.ones((1, 5, 5, 8), np.float32)).shape
        (1, 9, 9, 8)
        >>> port.nnx()(np.ones((1, 5, 5, 8), np.float32)).shape
        (1, 9, 9, 8)
    """

    kind: str
    variables: Mapping[str, Any]
    parts: Mapping[str, "Ported"]
    _step: Step | Chain | None
    _why: str = ""

    @property
    def layer(self) -> Any:
        """The Flax Linen module, for `port.layer.apply(port.variables, x)`; in evaluation.

        Of a Sequential its call takes `train=True` as well; a single BatchNorm trains as
        `port.layer.clone(use_running_average=False)`, a Dropout with `deterministic=False`.

        Raises:
            ValueError: the module's forward is Python code.
        """
        from jaxconv.compat.torch import _linen_modules as in_linen

        return in_linen.module_of(self._known())

    def nnx(self, *, rngs: Any = None) -> Any:
        """Return a Flax NNX module that holds the parameters; in evaluation until `.train()`.

        Args:
            rngs: a `flax.nnx.Rngs`, from which dropout draws; one of seed 0 by default.

        Raises:
            ValueError: the module's forward is Python code.
        """
        from flax import nnx

        from jaxconv.compat.torch import _nnx_modules as in_nnx

        return in_nnx.module_of(self._known(), nnx.Rngs(0) if rngs is None else rngs)

    def _known(self) -> Step | Chain:
        if self._step is None:
            raise ValueError(self._why)
        return self._step


def from_torch(module: Any, *, flattened: weights.Flattened | None = None) -> Ported:
    """Return a torch module in Flax: its layer with all arguments, and its parameters.

    from_torch(m).layer.apply(from_torch(m).variables, x) = m(x with its last axis moved to 1)

    moved back, for every `torch.nn` module in the table and every Sequential of them. What torch
    has as dimension 1 is the last axis here. Where a module begins with Linear, Embedding or
    LayerNorm over one dimension, features are last in torch as well and nothing moves; Flatten
    flattens channels first, as torch's, whatever the layout. Inputs have one batch dimension.

    | torch | Flax, and which arguments come from where |
    |---|---|
    | Conv1d, 2d, 3d | `jaxconv` Conv: stride strides, dilation kernel_dilation, groups \
feature_group_count, padding (p, p) a dimension, "same" in numbers, padding_mode padding_mode |
    | ConvTranspose1d, 2d, 3d | `jaxconv` ConvTranspose: the same, with transpose_kernel=True, \
use_consistent_padding=True, padding (p, p - output_padding) |
    | Linear, Embedding | Dense (NNX: Linear), Embed |
    | BatchNorm1d, 2d, 3d | BatchNorm: eps epsilon, momentum 1 - momentum, affine=False neither \
scale nor bias; without running statistics: a layer of ours |
    | GroupNorm, InstanceNorm, LayerNorm, RMSNorm | the same names: eps epsilon; LayerNorm over an \
image: a layer of ours |
    | Dropout, Dropout1d, 2d, 3d | Dropout: p rate, whole channels by broadcast_dims |
    | pools, padding layers, Upsample, Flatten, Unflatten, Softmax, activations | functions |
    | PReLU | a layer of ours: weight negative_slope |
    | Sequential | a layer of ours, whose children have torch's names |

    A module of one's own has a forward in Python, which is not carried over: its parameters come as
    a tree, its layers as `parts`, and `layer` says so. In training Flax's running variance is that
    of the batch, where torch's is n / (n - 1) of it; all else is torch's.

    Args:
        module: a `torch.nn.Module`; of a state dict alone it cannot be told what its weights are.
        flattened: for each `Linear` that reads an image which a forward in Python flattens: its
            dotted name and the image's (channels, *space). torch flattens channels first; the rows
            of its kernel are put in the order of channels last.

    Returns:
        A `Ported`: `layer` (Linen), `nnx()`, `variables`, `parts`.

    Raises:
        TypeError: no module.
        ValueError: a layer that is not in the table, or with an argument that Flax has not; a
            layer that would act on another dimension here; a weight that is parametrised or has no
            shape yet; hooks; a name that is one of ours; `flattened` that does not fit.

    Example:
        >>> import torch
        >>> nn = torch.nn
        >>> port = from_torch(nn.Sequential(nn.Conv2d(3, 8, 5), nn.BatchNorm2d(8), nn.ReLU()))
        >>> port.layer.apply(port.variables, np.ones((2, 9, 9, 3), np.float32)).shape
        (2, 5, 5, 8)
        >>> port.variables["params"]["0"]["kernel"].shape, port.parts["1"].layer.momentum
        ((5, 5, 3, 8), 0.9)
    """
    if isinstance(module, Mapping):
        raise TypeError(_no_state_dict(module))
    import torch

    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            f"from_torch: module must be a torch.nn.Module, not {type(module).__name__}"
        )
    rows = {name: tuple(shape) for name, shape in (flattened or {}).items()}
    ported, _ = _ported(module, "", None, rows)
    if rows:
        layer, shape = next(iter(rows.items()))
        raise weights.no_dense_layer("from_torch", layer, shape, None)
    if isinstance(ported._step, Chain):
        _check_unshared(module)
    return ported


def _ported(
    module: Any, name: str, layout: Layout, rows: dict[str, tuple[int, ...]]
) -> tuple[Ported, Layout]:
    """Port a module that finds a layout; takes out of `rows` what it uses."""
    _check_plain(module, name)
    kind = _kind(module, name)
    if kind == "Sequential":
        return _chain(module, name, layout, rows)
    if kind is None:
        return _tree(module, name, rows), None
    arrays = _arrays(module, name)
    place = Place(name, kind, layout)
    step, after = KINDS[kind](module, arrays, place)
    if name in rows:
        if layout == "flat":
            raise place.refusal("comes after Flatten, so that flattened need not name it")
        step = dataclasses.replace(
            step, params=weights.reordered(step.params, name, rows.pop(name))
        )
    found = {"params": dict(step.params), "batch_stats": dict(step.stats)}
    return Ported(type(module).__name__, _filled(found), {}, step), after


def _chain(
    module: Any, name: str, layout: Layout, rows: dict[str, tuple[int, ...]]
) -> tuple[Ported, Layout]:
    parts: dict[str, Ported] = {}
    why = ""
    for child, inner in _children(module):
        parts[child], layout = _ported(inner, _dotted(name, child), layout, rows)
        if parts[child]._step is None:
            why, layout = why or parts[child]._why, None
    steps = tuple((child, part._step) for child, part in parts.items() if part._step is not None)
    step = None if why else Chain(steps)
    return Ported(type(module).__name__, _gathered(parts), parts, step, why), layout


def _tree(module: Any, name: str, rows: dict[str, tuple[int, ...]]) -> Ported:
    """A module whose forward is Python code."""
    parts: dict[str, Ported] = {}
    for child, inner in _children(module):
        if (
            _is_torchs(inner)
            and _kind(inner, _dotted(name, child)) is None
            and not list(inner.children())
        ):
            if list(inner.parameters()):
                raise _unknown(inner, _dotted(name, child))
            continue  # a loss, or whatever else has nothing to carry
        parts[child], _ = _ported(inner, _dotted(name, child), None, rows)
    kind = type(module).__name__
    if _is_torchs(module) and kind not in _CONTAINERS:
        raise _unknown(module, name)
    arrays = _arrays(module, name)
    for leaf in arrays:
        weights.check_name(_dotted(name, leaf), leaf)
    own = {
        "params": {leaf: array for leaf, array in arrays.items() if leaf in module._parameters},
        "buffers": {leaf: array for leaf, array in arrays.items() if leaf in module._buffers},
    }
    found = _gathered(parts)
    for collection, leaves in own.items():
        found[collection] = {**leaves, **found.get(collection, {})}
    where = f"{name!r}, {named(kind)}, has a" if name else f"{kind} has a"
    part = f", such as port.parts[{next(iter(parts))!r}].layer," if parts and not name else ""
    why = (
        f"from_torch: {where} forward in Python code, which is not carried over; write it with the "
        f"layers of its parts{part} and port.variables"
    )
    return Ported(kind, _filled(found), parts, None, why)


def _children(module: Any) -> Iterator[tuple[str, Any]]:
    """The children by name, those that appear twice as well."""
    for name, child in module._modules.items():
        if child is not None:
            yield name, child


def _kind(module: Any, name: str) -> str | None:
    """The class in the table that a module is; None if its forward is its own."""
    for base in type(module).__mro__:
        if not base.__module__.startswith("torch.nn.") or base.__name__ not in (
            *KINDS,
            "Sequential",
        ):
            continue
        same = all(
            getattr(type(module), method, None) is getattr(base, method, None)
            for method in ("forward", "_conv_forward")
        )
        if same and "forward" not in vars(module):
            return base.__name__
        if base.__name__ == "Sequential":
            return None
        where = f"{name!r} is " if name else ""
        raise ValueError(
            f"from_torch: {where}{named(type(module).__name__)}, {named(base.__name__)} with a "
            f"forward of its own, which is not carried over; port a plain {base.__name__} with its "
            "weights"
        )
    return None


def _is_torchs(module: Any) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def _unknown(module: Any, name: str) -> ValueError:
    place = Place(name, type(module).__name__)
    return place.refusal(
        "is not among the layers that are carried over (they are listed at from_torch); port the "
        "modules around it, and build this one by hand"
    )


def _arrays(module: Any, name: str) -> dict[str, np.ndarray]:
    """A module's own parameters and persistent buffers, by torch's names."""
    own = {leaf: tensor for leaf, tensor in module._parameters.items() if tensor is not None}
    persistent = module.state_dict()
    own |= {leaf: t for leaf, t in module._buffers.items() if t is not None and leaf in persistent}
    return {leaf: weights.array_of(_dotted(name, leaf), tensor) for leaf, tensor in own.items()}


def _check_plain(module: Any, name: str) -> None:
    from torch.nn.parameter import is_lazy
    from torch.nn.utils import parametrize

    for leaf, tensor in module._parameters.items():
        if tensor is not None and is_lazy(tensor):
            raise ValueError(
                f"from_torch: {_dotted(name, leaf)!r} has no shape yet; call the module once on an "
                "input"
            )
    computed = list(module.parametrizations) if parametrize.is_parametrized(module) else []
    # the older weight_norm and spectral_norm
    bases = [leaf.rpartition("_")[0] for leaf in module._parameters if leaf.endswith(_COMPUTED)]
    computed += [b for b in bases if hasattr(module, b) and b not in module._parameters]
    if computed:
        raise ValueError(
            f"from_torch: {_dotted(name, computed[0])!r} is computed from other parameters "
            "(weight_norm, spectral_norm or the like); make it plain first, e.g. with "
            "torch.nn.utils.parametrize.remove_parametrizations"
        )
    if module._forward_hooks or module._forward_pre_hooks:
        where = f"{name!r} has" if name else f"{type(module).__name__} has"
        raise ValueError(
            f"from_torch: {where} forward hooks, which are Python code and are not carried over; "
            "remove them first"
        )


def _check_unshared(module: Any) -> None:
    names: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        first = names.setdefault(id(parameter), name)
        if first != name:
            raise ValueError(
                f"from_torch: {first!r} and {name!r} are one parameter, which would become two; "
                "port the parts on their own and share it by hand"
            )


def _no_state_dict(state: Mapping[str, Any]) -> str:
    """What a state dict leaves open, by its first weight."""
    layers = {2: "a Linear or an Embedding", 1: "a norm or a PReLU"}
    named = [
        (n, len(t.shape)) for n, t in state.items() if n.endswith("weight") and hasattr(t, "shape")
    ]
    example = ""
    if named:
        name, rank = max(named, key=lambda pair: pair[1])
        layer = layers.get(rank, f"a Conv{rank - 2}d or a ConvTranspose{rank - 2}d, of what stride")
        example = f" (is {name!r} of {layer}?)"
    return (
        f"from_torch: a state dict does not say what its entries are{example}; load it into its "
        "module and pass that: module.load_state_dict(state); from_torch(module)"
    )


def _gathered(parts: Mapping[str, Ported]) -> dict[str, Any]:
    """The collections of children as one of each."""
    found: dict[str, Any] = {}
    for name, part in parts.items():
        for collection, tree in part.variables.items():
            found.setdefault(collection, {})[name] = tree
    return found


def _filled(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {collection: tree for collection, tree in variables.items() if tree}


def _dotted(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child
