"""Weights of torch modules as parameter trees in the core's layout, and back.

Every convolution layer of `torch.nn`, plain or transposed, of any rank and grouping, and `Linear`
as the convolution of rank zero, have one rule:

    torch weight (a, b, *kernel)  <->  kernel (*kernel, b, a)

| torch | shape | here | shape |
|---|---|---|---|
| Conv `weight` | (out, in // groups, *kernel) | `kernel` | (*kernel, in // groups, out) |
| ConvTranspose `weight` | (in, out // groups, *kernel) | `kernel` | (*kernel, out // groups, in) |
| Linear `weight` | (out, in) | `kernel` | (in, out) |
| norms' `weight`; `running_mean`, `running_var` | | `scale`; `mean`, `var` | the same |
| Embedding `weight` | (entries, features) | `embedding` | the same |
| `bias`, and all else | | the same name | the same |

They are the parameters of `jaxconv.linen` and `jaxconv.nnx`: `Conv`, and `ConvTranspose` with
`transpose_kernel=True, use_consistent_padding=True`; of Flax's `Dense`/`Linear`, `BatchNorm`,
`LayerNorm`, `GroupNorm`, `Embed`; and the arguments of `jaxconv.conv` and `conv_transpose`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

Tree = dict[str, Any]
Flattened = Mapping[str, Sequence[int]]

# our name -> torch's, of what is renamed and not transposed
_RENAMED = {
    "scale": "weight",
    "embedding": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
_OURS = ("kernel", *_RENAMED)


def from_torch(source: Any, *, flattened: Flattened | None = None) -> Tree:
    """Return the weights of a torch module as a tree of NumPy arrays in the core's layout.

    kernel[k, i, o] = weight[o, i, k]

    Args:
        source: a `torch.nn.Module`, or its state dict. A state dict does not name its layers: there
            a `weight` of one dimension is taken for a norm's scale, of more for a kernel, which is
            the same rule for plain and transposed convolutions.
        flattened: for each `Linear` that reads a flattened image, its name and the image's
            (channels, *space): torch flattens channels first, we flatten channels last, so the rows
            of its kernel are reordered.

    Returns:
        A dict nested by the dots of the names, of arrays in the dtypes they had, copied: exactly
        what `to_torch` turns back. A layer on its own is {"kernel": ..., "bias": ...}.

    Raises:
        TypeError: neither a module nor a dict of tensors.
        ValueError: a layer with a parametrised or lazy weight; a name that is one of ours;
            `flattened` that does not fit.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5), torch.nn.BatchNorm2d(8))
        >>> {name: sorted(layer) for name, layer in from_torch(model).items()}
        {'0': ['bias', 'kernel'], '1': ['bias', 'mean', 'num_batches_tracked', 'scale', 'var']}
        >>> from_torch(model)["0"]["kernel"].shape
        (5, 5, 3, 8)

    Source:
        The layouts of `torch.nn.Conv2d`, `torch.nn.ConvTranspose2d` (torch 2.13) and Flax.
    """
    modules: dict[str, Any] = {}
    state = source
    if not isinstance(source, Mapping):
        import torch

        if not isinstance(source, torch.nn.Module):
            raise TypeError(
                "from_torch: source must be a torch.nn.Module or its state dict, not "
                f"{type(source).__name__}"
            )
        modules, state = dict(source.named_modules(remove_duplicate=False)), source.state_dict()
        _check_plain(modules, state)
    tree: Tree = {}
    for name, tensor in state.items():
        layer, _, leaf = name.rpartition(".")
        if leaf in _OURS:
            raise ValueError(
                f"from_torch: {name!r} has a name that is one of ours ({', '.join(_OURS)}), so "
                "that to_torch would rename it; rename it in the module"
            )
        array = _array(name, tensor)
        ours = _our_name(leaf, array, modules.get(layer))
        if ours == "kernel":
            array = np.moveaxis(array, (0, 1), (-1, -2)).copy()
        node = tree
        for part in layer.split(".") if layer else ():
            node = node.setdefault(part, {})
        node[ours] = array
    for layer, shape in (flattened or {}).items():
        _reorder("from_torch", tree, layer, shape, back=False)
    return tree


def to_torch(params: Mapping[str, Any], *, flattened: Flattened | None = None) -> dict[str, Any]:
    """Return a tree of weights as a torch state dict: the inverse of `from_torch`, bit by bit.

    weight[o, i, k] = kernel[k, i, o]

    Args:
        params: a tree as `from_torch` gives it; its leaves are NumPy or JAX arrays.
        flattened: as given to `from_torch`.

    Returns:
        A dict of torch tensors on the CPU, by dotted names: for `module.load_state_dict`.

    Raises:
        TypeError: params is no mapping, or a leaf no array of numbers.
        ValueError: a kernel without its two channel dimensions, two leaves with one torch name, or
            `flattened` that does not fit.

    Example:
        >>> state = to_torch({"conv": {"kernel": jnp.ones((5, 5, 3, 8)), "bias": jnp.ones(8)}})
        >>> {name: tuple(tensor.shape) for name, tensor in state.items()}
        {'conv.weight': (8, 3, 5, 5), 'conv.bias': (8,)}

    Source:
        As `from_torch`.
    """
    if not isinstance(params, Mapping):
        raise TypeError(f"to_torch: params must be a nested dict, not {type(params).__name__}")
    tree = _copied(params)
    for layer, shape in (flattened or {}).items():
        _reorder("to_torch", tree, layer, shape, back=True)
    state: dict[str, Any] = {}
    for path, array in _leaves(tree):
        *layer, leaf = path
        if leaf == "kernel":
            if array.ndim < 2:
                raise ValueError(
                    f"to_torch: {'.'.join(path)} has shape {array.shape}, but a kernel is "
                    "(*kernel, in // groups, out)"
                )
            array = np.moveaxis(array, (-1, -2), (0, 1))
        name = ".".join((*layer, "weight" if leaf == "kernel" else _RENAMED.get(leaf, leaf)))
        if name in state:
            raise ValueError(f"to_torch: two leaves of params are {name!r} in torch")
        state[name] = _tensor(array)
    return state


def _our_name(leaf: str, array: np.ndarray, module: Any) -> str:
    if leaf.startswith("running_"):
        return {"running_mean": "mean", "running_var": "var"}.get(leaf, leaf)
    if leaf != "weight" or array.ndim == 0:
        return leaf
    if module is None:
        return "kernel" if array.ndim > 1 else "scale"
    from torch import nn

    if isinstance(module, _transposed_layouts()):
        return "kernel"
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "embedding"
    if array.ndim == 1 or isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        return "scale"
    return leaf


def _transposed_layouts() -> tuple[type, ...]:
    """The layers whose weight has another layout here."""
    from torch import nn

    plain = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return (*plain, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)


def _check_plain(modules: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    from torch.nn.parameter import is_lazy

    for name, tensor in state.items():
        if is_lazy(tensor):
            raise ValueError(
                f"from_torch: {name!r} has no shape yet; call the module once on an input"
            )
    for name, module in modules.items():
        weight = f"{name}.weight" if name else "weight"
        if isinstance(module, _transposed_layouts()) and weight not in state:
            raise ValueError(
                f"from_torch: {weight!r} is computed from other parameters (weight_norm, "
                "spectral_norm or the like); make it plain first, e.g. with "
                "torch.nn.utils.parametrize.remove_parametrizations"
            )


def _array(name: str, tensor: Any) -> np.ndarray:
    """A copy of a tensor's numbers."""
    import torch

    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"from_torch: {name!r} must be a torch tensor, not {type(tensor).__name__}")
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if tensor.dtype == torch.bfloat16:  # which NumPy does not know by itself
        return tensor.contiguous().view(torch.int16).numpy().copy().view(jnp.bfloat16)
    return tensor.numpy().copy()


def _tensor(array: np.ndarray) -> Any:
    import torch

    array = np.array(array, order="C")
    if array.dtype == jnp.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _copied(params: Mapping[str, Any], path: tuple[str, ...] = ()) -> Tree:
    """The tree with string keys and NumPy leaves."""
    tree: Tree = {}
    for key, value in params.items():
        here = (*path, str(key))
        if isinstance(value, Mapping):
            tree[str(key)] = _copied(value, here)
            continue
        array = np.asarray(value)
        if array.dtype == object or array.dtype.kind in "USM":
            raise TypeError(
                f"to_torch: {'.'.join(here)} must be an array of numbers, not "
                f"{type(value).__name__}"
            )
        tree[str(key)] = array
    return tree


def _leaves(tree: Tree, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _reorder(caller: str, tree: Tree, layer: str, shape: Sequence[int], *, back: bool) -> None:
    """Exchange channels-first rows of a dense kernel for channels-last ones, or back."""
    node: Any = tree
    for part in layer.split(".") if layer else ():
        node = node.get(part) if isinstance(node, dict) else None
    kernel = node.get("kernel") if isinstance(node, dict) else None
    shape = tuple(shape)
    if kernel is None or kernel.ndim != 2 or kernel.shape[0] != math.prod(shape):
        found = "no such layer" if kernel is None else f"a kernel of shape {kernel.shape}"
        raise ValueError(
            f"{caller}: flattened={{{layer!r}: {shape}}} needs a dense layer of that name with "
            f"{math.prod(shape)} inputs, found {found}"
        )
    channels, *space = shape
    if back:
        image = np.moveaxis(kernel.reshape(*space, channels, -1), -2, 0)
    else:
        image = np.moveaxis(kernel.reshape(channels, *space, -1), 0, -2)
    node["kernel"] = image.reshape(kernel.shape).copy()
