"""Conversion between the parameters of torch and those of Flax.

One rule holds for every convolution of `torch.nn`, plain or transposed, of any rank and number of
groups, and for `Linear`, a convolution of rank zero:

    torch weight (a, b, *kernel)  <->  kernel (*kernel, b, a)

| torch | shape | here | shape |
|---|---|---|---|
| Conv `weight` | (out, in // groups, *kernel) | `kernel` | (*kernel, in // groups, out) |
| ConvTranspose `weight` | (in, out // groups, *kernel) | `kernel` | (*kernel, out // groups, in) |
| Linear `weight` | (out, in) | `kernel` | (in, out) |
| norms' `weight`; `running_mean`, `running_var` | | `scale`; `mean`, `var` | the same |
| Embedding `weight` | (entries, features) | `embedding` | the same |
| PReLU `weight` | (channels,) | `negative_slope` | the same |
| `bias` and others | | the same name | the same |
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

Tree = dict[str, Any]
Flattened = Mapping[str, Sequence[int]]

COLLECTIONS = ("params", "batch_stats", "buffers")
# Flax's name -> torch's name, for arrays that are not transposed
_RENAMED = {
    "scale": "weight",
    "embedding": "weight",
    "negative_slope": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
_FLAX_NAMES = ("kernel", *_RENAMED)


def to_torch(variables: Mapping[str, Any], *, flattened: Flattened | None = None) -> dict[str, Any]:
    """Return Flax's variables as a torch state dict: the exact inverse of `from_torch`.

    weight[o, i, k] = kernel[k, i, o]

    Args:
        variables: the `variables` of `from_torch`, also after training; or a tree of parameters and
            statistics, such as that of `nnx.state`. Leaves are NumPy or JAX arrays.
        flattened: as in `from_torch`.

    Returns:
        A dict of torch tensors on the CPU, by dotted names, for `module.load_state_dict`. It has no
        `num_batches_tracked`, which Flax does not have; torch then keeps its own.

    Raises:
        TypeError: variables is not a mapping, or a leaf is not an array of numbers.
        ValueError: a kernel has no channel dimensions, two leaves have the same torch name, or
            `flattened` does not fit.

    Example:
        >>> state = to_torch({"conv": {"kernel": jnp.ones((5, 5, 3, 8)), "bias": jnp.ones(8)}})
        >>> {name: tuple(tensor.shape) for name, tensor in state.items()}
        {'conv.weight': (8, 3, 5, 5), 'conv.bias': (8,)}
    """
    if not isinstance(variables, Mapping):
        raise TypeError(
            f"to_torch: variables must be a nested dict, not {type(variables).__name__}"
        )
    trees = [variables]
    if variables and all(name in COLLECTIONS for name in variables):
        trees = list(variables.values())
    state: dict[str, Any] = {}
    rows = {layer: tuple(shape) for layer, shape in (flattened or {}).items()}
    for path, array in (leaf for tree in trees for leaf in _leaves(_copied(tree))):
        *layer, leaf = path
        if leaf == "kernel":
            name = ".".join(layer)
            if array.ndim < 2:
                raise ValueError(
                    f"to_torch: {'.'.join(path)} has shape {array.shape}, but a kernel is "
                    "(*kernel, in // groups, out)"
                )
            if name in rows:
                array = _rows(array, "to_torch", name, rows.pop(name), back=True)
            array = np.moveaxis(array, (-1, -2), (0, 1))
        name = ".".join((*layer, "weight" if leaf == "kernel" else _RENAMED.get(leaf, leaf)))
        if name in state:
            raise ValueError(f"to_torch: two leaves of variables have the torch name {name!r}")
        state[name] = _tensor(array)
    if rows:
        layer, shape = next(iter(rows.items()))
        raise no_dense_layer("to_torch", layer, shape, None)
    return state


def check_name(name: str, leaf: str) -> None:
    """Check that a parameter of torch does not have a name that `to_torch` would change.

    Raises:
        ValueError: it has such a name.
    """
    if leaf in _FLAX_NAMES:
        raise ValueError(
            f"from_torch: {name!r} has a name that Flax uses ({', '.join(_FLAX_NAMES)}), which "
            "to_torch would change; rename it in the module"
        )


def array_of(name: str, tensor: Any) -> np.ndarray:
    """Return a copy of a tensor as a NumPy array.

    Raises:
        ValueError: the tensor is on the meta device.
    """
    import torch

    if tensor.is_meta:
        raise ValueError(f"from_torch: {name!r} is on the meta device and has no values; load them")
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if tensor.dtype == torch.bfloat16:  # NumPy has no bfloat16 of its own
        return tensor.contiguous().view(torch.int16).numpy().copy().view(jnp.bfloat16)
    return tensor.numpy().copy()


def reordered(params: Mapping[str, np.ndarray], layer: str, shape: tuple[int, ...]) -> Tree:
    """Return a dense layer's parameters for an image (channels, *space) flattened channels last.

    Raises:
        ValueError: it is not a dense layer, or has another number of inputs.
    """
    kernel = params.get("kernel")
    if kernel is None:
        raise no_dense_layer("from_torch", layer, shape, None)
    return {**params, "kernel": _rows(kernel, "from_torch", layer, shape, back=False)}


def no_dense_layer(
    caller: str, layer: str, shape: tuple[int, ...], kernel: np.ndarray | None
) -> ValueError:
    """Return the error for an entry of `flattened` without a matching dense layer."""
    found = "no such layer" if kernel is None else f"a kernel of shape {kernel.shape}"
    return ValueError(
        f"{caller}: flattened={{{layer!r}: {shape}}} needs a dense layer of that name with "
        f"{math.prod(shape)} inputs, found {found}"
    )


def _rows(
    kernel: np.ndarray, caller: str, layer: str, shape: tuple[int, ...], *, back: bool
) -> np.ndarray:
    """Reorder the rows of a dense kernel from channels first to channels last, or back."""
    if kernel.ndim != 2 or kernel.shape[0] != math.prod(shape):
        raise no_dense_layer(caller, layer, shape, kernel)
    channels, *space = shape
    if back:
        image = np.moveaxis(kernel.reshape(*space, channels, -1), -2, 0)
    else:
        image = np.moveaxis(kernel.reshape(channels, *space, -1), 0, -2)
    return image.reshape(kernel.shape).copy()


def _tensor(array: np.ndarray) -> Any:
    import torch

    array = np.array(array, order="C")
    if array.dtype == jnp.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _copied(params: Mapping[str, Any], path: tuple[str, ...] = ()) -> Tree:
    """Return the tree with string keys and NumPy leaves."""
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
