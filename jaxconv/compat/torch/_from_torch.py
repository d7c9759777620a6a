"""Conversion of torch modules to Flax layers with their arguments, parameters and statistics."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxconv._core.extras import needed_by
from jaxconv.compat.torch import _state_dict as state_dict
from jaxconv.compat.torch._conversions import CONVERSIONS
from jaxconv.compat.torch._layer_specs import (
    LayerContext,
    LayerSpec,
    Layout,
    SequentialSpec,
    with_article,
)

_PARAMETRISED = ("_g", "_orig")
_CONTAINERS = ("Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential")


@dataclasses.dataclass(frozen=True, eq=False)
class ConvertedModule:
    """A torch module converted to Flax, as returned by `from_torch`.

    Attributes:
        kind: the class of the torch module.
        variables: Flax's collections: "params", "batch_stats" for running statistics, and "buffers"
            for those of a custom module; nested by torch's names, as NumPy arrays in torch's
            dtypes.
        parts: the converted children by their names; in a Sequential the conversion of a child
            depends on the layers before it.

    Example:
        >>> import torch
        >>> converted = from_torch(torch.nn.ConvTranspose2d(8, 8, 3, stride=2, padding=1))
        >>> converted.layer.strides, converted.layer.padding, converted.layer.transpose_kernel
        ((2, 2), ((1, 1), (1, 1)), True)
        >>> converted.layer.apply(converted.variables, np.ones((1, 5, 5, 8), np.float32)).shape
        (1, 9, 9, 8)
        >>> converted.nnx()(np.ones((1, 5, 5, 8), np.float32)).shape
        (1, 9, 9, 8)
    """

    kind: str
    variables: Mapping[str, Any]
    parts: Mapping[str, ConvertedModule]
    _spec: LayerSpec | SequentialSpec | None
    _reason: str = ""

    @property
    def layer(self) -> Any:
        """The Flax Linen module in evaluation mode, used as `layer.apply(variables, x)`.

        To train, call a Sequential with `train=True`, a BatchNorm after
        `layer.clone(use_running_average=False)`, a Dropout after
        `layer.clone(deterministic=False)`.

        Raises:
            ValueError: the torch module has its own forward method.
        """
        with needed_by("ConvertedModule.layer"):
            from jaxconv.compat.torch import _linen_modules as linen_modules

        return linen_modules.module_of(self._require_spec())

    def nnx(self, *, rngs: Any = None) -> Any:
        """Return a Flax NNX module with the parameters, in evaluation mode until `.train()`.

        Args:
            rngs: a `flax.nnx.Rngs` for dropout; by default with seed 0.

        Raises:
            ValueError: the torch module has its own forward method.
        """
        with needed_by("ConvertedModule.nnx"):
            from flax import nnx

            from jaxconv.compat.torch import _nnx_modules as nnx_modules

        return nnx_modules.module_of(self._require_spec(), nnx.Rngs(0) if rngs is None else rngs)

    def _require_spec(self) -> LayerSpec | SequentialSpec:
        if self._spec is None:
            raise ValueError(self._reason)
        return self._spec


def from_torch(module: Any, *, flattened: state_dict.Flattened | None = None) -> ConvertedModule:
    """Convert a torch module to a Flax layer with all arguments and parameters.

    from_torch(m).layer.apply(from_torch(m).variables, x) = m(x), channels last here, first in torch

    for every `torch.nn` module in the table and every Sequential of them: dimension 1 in torch is
    the last axis here. If a module starts with Linear, Embedding or LayerNorm over one dimension,
    features are last in torch too, and inputs are equal. Flatten flattens in torch's order,
    channels first. Inputs have one batch dimension.

    | torch | Flax, with the argument names of both |
    |---|---|
    | Conv1d, 2d, 3d | `jaxconv` Conv: stride strides, dilation kernel_dilation, groups \
feature_group_count, padding (p, p) per dimension, "same" in numbers, padding_mode padding_mode |
    | ConvTranspose1d, 2d, 3d | `jaxconv` ConvTranspose: the same, with transpose_kernel=True, \
use_consistent_padding=True, padding (p, p - output_padding) |
    | Linear, Embedding | Dense (NNX: Linear), Embed |
    | BatchNorm1d, 2d, 3d | BatchNorm: eps epsilon, momentum 1 - momentum, affine=False neither \
scale nor bias; without running statistics: a custom layer |
    | GroupNorm, InstanceNorm, LayerNorm, RMSNorm | the same names: eps epsilon; LayerNorm over an \
image: a custom layer |
    | Dropout, Dropout1d, 2d, 3d | Dropout: p rate, whole channels by broadcast_dims |
    | pools, padding layers, Upsample, PixelShuffle, PixelUnshuffle, Flatten, Unflatten, Softmax, \
activations | functions |
    | PReLU | a custom layer: weight negative_slope |
    | Sequential | a custom layer, whose children have torch's names |

    The forward method of a custom module cannot be converted: its parameters are in `variables`,
    its layers in `parts`, and `layer` raises an error. In training Flax's running variance is that
    of the batch, torch's is n / (n - 1) times as large; otherwise training is the same.

    Args:
        module: a `torch.nn.Module`. A state dict is not enough: it does not contain layer types.
        flattened: a mapping from the dotted name of each `Linear` whose input is an image flattened
            in a custom forward to the image's (channels, *space). torch flattens channels first;
            the rows of the kernel are reordered for channels last.

    Returns:
        A `ConvertedModule`: `layer` (Linen), `nnx()`, `variables`, `parts`.

    Raises:
        TypeError: `module` is not a torch module.
        ValueError: a layer is not in the table, has an argument that Flax does not have, or would
            act on another dimension here; a weight is parametrised or has no shape yet; the module
            has hooks; a parameter has a name that Flax uses; `flattened` does not fit.

    Example:
        >>> import torch
        >>> nn = torch.nn
        >>> converted = from_torch(nn.Sequential(nn.Conv2d(3, 8, 5), nn.BatchNorm2d(8), nn.ReLU()))
        >>> converted.layer.apply(converted.variables, np.ones((2, 9, 9, 3), np.float32)).shape
        (2, 5, 5, 8)
        >>> converted.variables["params"]["0"]["kernel"].shape, converted.parts["1"].layer.momentum
        ((5, 5, 3, 8), 0.9)
    """
    if isinstance(module, Mapping):
        raise TypeError(_state_dict_message(module))
    import torch

    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            f"from_torch: module must be a torch.nn.Module, not {type(module).__name__}"
        )
    remaining = {name: tuple(shape) for name, shape in (flattened or {}).items()}
    converted, _ = _convert(module, "", None, remaining)
    if remaining:
        layer, shape = next(iter(remaining.items()))
        raise state_dict.no_dense_layer("from_torch", layer, shape, None)
    if isinstance(converted._spec, SequentialSpec):
        _check_no_shared_parameters(module)
    return converted


def _convert(
    module: Any, name: str, layout: Layout, flattened: dict[str, tuple[int, ...]]
) -> tuple[ConvertedModule, Layout]:
    """Convert a module given the layout of its input; removes used entries from `flattened`."""
    _check_convertible(module, name)
    kind = _kind(module, name)
    if kind == "Sequential":
        return _convert_sequential(module, name, layout, flattened)
    if kind is None:
        return _convert_custom(module, name, flattened), None
    arrays = _arrays(module, name)
    context = LayerContext(name, kind, layout)
    spec, after = CONVERSIONS[kind](module, arrays, context)
    if name in flattened:
        if layout == "flat":
            raise context.error("comes after Flatten, so flattened must not name it")
        spec = dataclasses.replace(
            spec, params=state_dict.reordered(spec.params, name, flattened.pop(name))
        )
    found = {"params": dict(spec.params), "batch_stats": dict(spec.stats)}
    return ConvertedModule(type(module).__name__, _without_empty(found), {}, spec), after


def _convert_sequential(
    module: Any, name: str, layout: Layout, flattened: dict[str, tuple[int, ...]]
) -> tuple[ConvertedModule, Layout]:
    parts: dict[str, ConvertedModule] = {}
    reason = ""
    for child, inner in _children(module):
        parts[child], layout = _convert(inner, _dotted(name, child), layout, flattened)
        if parts[child]._spec is None:
            reason, layout = reason or parts[child]._reason, None
    specs = tuple((child, part._spec) for child, part in parts.items() if part._spec is not None)
    spec = None if reason else SequentialSpec(specs)
    return ConvertedModule(type(module).__name__, _merge(parts), parts, spec, reason), layout


def _convert_custom(
    module: Any, name: str, flattened: dict[str, tuple[int, ...]]
) -> ConvertedModule:
    """Convert the parts of a module with its own forward method."""
    order = "" if flattened else _order_hint(module, name)
    parts: dict[str, ConvertedModule] = {}
    for child, inner in _children(module):
        if (
            _is_from_torch(inner)
            and _kind(inner, _dotted(name, child)) is None
            and not list(inner.children())
        ):
            if list(inner.parameters()):
                raise _unsupported(inner, _dotted(name, child))
            continue  # a loss, or another module without parameters
        parts[child], _ = _convert(inner, _dotted(name, child), None, flattened)
    kind = type(module).__name__
    if _is_from_torch(module) and kind not in _CONTAINERS:
        raise _unsupported(module, name)
    arrays = _arrays(module, name)
    for leaf in arrays:
        state_dict.check_name(_dotted(name, leaf), leaf)
    own = {
        "params": {leaf: array for leaf, array in arrays.items() if leaf in module._parameters},
        "buffers": {leaf: array for leaf, array in arrays.items() if leaf in module._buffers},
    }
    found = _merge(parts)
    for collection, leaves in own.items():
        found[collection] = {**leaves, **found.get(collection, {})}
    where = f"{name!r}, {with_article(kind)}," if name else kind
    part = f", such as converted.parts[{next(iter(parts))!r}].layer," if parts and not name else ""
    reason = (
        f"from_torch: {where} has its own forward method, which cannot be converted; write it with "
        f"the layers of its parts{part} and converted.variables{order}"
    )
    return ConvertedModule(kind, _without_empty(found), parts, None, reason)


def _order_hint(module: Any, name: str) -> str:
    """The end of a message about a forward method that may flatten an image for a Linear."""
    parts = {_dotted(name, inner): each for inner, each in module.named_modules() if inner}
    kinds = {inner: _kind(each, inner) or "" for inner, each in parts.items()}
    linear = next((inner for inner, kind in kinds.items() if kind == "Linear"), None)
    if linear is None or not any(kind.startswith("Conv") for kind in kinds.values()):
        return ""
    return (
        f". Where a Linear such as {linear!r} takes a flattened image, torch has channels first: "
        f"from_torch(module, flattened={{{linear!r}: (channels, *space)}})"
    )


def _children(module: Any) -> Iterator[tuple[str, Any]]:
    """Yield the children by name; unlike named_children, a shared child each time."""
    for name, child in module._modules.items():
        if child is not None:
            yield name, child


def _kind(module: Any, name: str) -> str | None:
    """Return the class of the table that a module belongs to; None if it has its own forward."""
    for base in type(module).__mro__:
        if not base.__module__.startswith("torch.nn.") or base.__name__ not in (
            *CONVERSIONS,
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
        context = LayerContext(name, type(module).__name__)
        raise context.error(
            f"overrides the forward method of {base.__name__} and cannot be converted; convert a "
            f"plain {base.__name__} with its weights"
        )
    return None


def _is_from_torch(module: Any) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def _unsupported(module: Any, name: str) -> ValueError:
    context = LayerContext(name, type(module).__name__)
    return context.error(
        "is not among the layers that from_torch converts (its docstring lists them); convert the "
        "other modules, and build this one by hand"
    )


def _arrays(module: Any, name: str) -> dict[str, np.ndarray]:
    """Return a module's own parameters and persistent buffers, by torch's names."""
    own = {leaf: tensor for leaf, tensor in module._parameters.items() if tensor is not None}
    persistent = module.state_dict()
    own |= {leaf: t for leaf, t in module._buffers.items() if t is not None and leaf in persistent}
    return {leaf: state_dict.array_of(_dotted(name, leaf), tensor) for leaf, tensor in own.items()}


def _check_convertible(module: Any, name: str) -> None:
    from torch.nn.parameter import is_lazy
    from torch.nn.utils import parametrize

    for leaf, tensor in module._parameters.items():
        if tensor is not None and is_lazy(tensor):
            raise ValueError(
                f"from_torch: {_dotted(name, leaf)!r} has no shape yet; call the module once on an "
                "input"
            )
    computed = list(module.parametrizations) if parametrize.is_parametrized(module) else []
    # the older weight_norm and spectral_norm of torch.nn.utils
    bases = [leaf.rpartition("_")[0] for leaf in module._parameters if leaf.endswith(_PARAMETRISED)]
    computed += [b for b in bases if hasattr(module, b) and b not in module._parameters]
    if computed:
        raise ValueError(
            f"from_torch: {_dotted(name, computed[0])!r} is computed from other parameters "
            "(weight_norm, spectral_norm or similar); remove that first, e.g. with "
            "torch.nn.utils.parametrize.remove_parametrizations"
        )
    if module._forward_hooks or module._forward_pre_hooks:
        where = f"{name!r} has" if name else f"{type(module).__name__} has"
        raise ValueError(
            f"from_torch: {where} forward hooks, which are Python code and cannot be converted; "
            "remove them first"
        )


def _check_no_shared_parameters(module: Any) -> None:
    names: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        first = names.setdefault(id(parameter), name)
        if first != name:
            raise ValueError(
                f"from_torch: {first!r} and {name!r} are one shared parameter, which would become "
                "two; convert the parts separately and share it by hand"
            )


def _state_dict_message(state: Mapping[str, Any]) -> str:
    """Return the error message for a state dict, with an ambiguous weight as example."""
    layers = {2: "a Linear or an Embedding", 1: "a norm or a PReLU"}
    named = [
        (n, len(t.shape)) for n, t in state.items() if n.endswith("weight") and hasattr(t, "shape")
    ]
    example = ""
    if named:
        name, rank = max(named, key=lambda pair: pair[1])
        layer = layers.get(rank, f"a Conv{rank - 2}d or a ConvTranspose{rank - 2}d")
        example = f" ({name!r} may belong to {layer})"
    return (
        f"from_torch: a state dict does not contain the types of its layers{example}; load it into "
        "its module and convert that: module.load_state_dict(state); from_torch(module)"
    )


def _merge(parts: Mapping[str, ConvertedModule]) -> dict[str, Any]:
    """Merge the collections of children into one of each."""
    found: dict[str, Any] = {}
    for name, part in parts.items():
        for collection, tree in part.variables.items():
            found.setdefault(collection, {})[name] = tree
    return found


def _without_empty(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {collection: tree for collection, tree in variables.items() if tree}


def _dotted(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child
