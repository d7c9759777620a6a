"""Arrays of torch's parameters in the core's layout, and back.

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
| PReLU `weight` | (channels,) | `negative_slope` | the same |
| `bias`, and all else | | the same name | the same |
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

Tree = dict[str, Any]
Flattened = Mapping[str, Sequence[int]]

COLLECTIONS = ("params", "batch_stats", "buffers")
# our name -> torch's, of what is renamed and not transposed
_RENAMED = {
    "scale": "weight",
    "embedding": "weight",
    "negative_slope": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
_OURS = ("kernel", *_RENAMED)


def to_torch(variables: Mapping[str, Any], *, flattened: Flattened | None = None) -> dict[str, Any]:
    """Return Flax's variables as a torch state dict: the inverse of `from_torch`, bit by bit.

    weight[o, i, k] = kernel[k, i, o]

    Args:
        variables: the `variables` of `from_torch`, as they are or trained; or a tree of parameters
            and statistics, as `nnx.state` gives it. Leaves are NumPy or JAX arrays.
        flattened: as given to `from_torch`.

    Returns:
        A dict of torch tensors on the CPU, by dotted names: for `module.load_state_dict`, which
        leaves `num_batches_tracked`, that Flax has not, as it is.

    Raises:
        TypeError: variables is no mapping, or a leaf no array of numbers.
        ValueError: a kernel without its two channel dimensions, two leaves with one torch name, or
            `flattened` that does not fit.

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
            raise ValueError(f"to_torch: two leaves of variables are {name!r} in torch")
        state[name] = _tensor(array)
    if rows:
        layer, shape = next(iter(rows.items()))
        raise no_dense_layer("to_torch", layer, shape, None)
    return state


def check_name(name: str, leaf: str) -> None:
    """Refuse a parameter of torch's that has one of our names.

    Raises:
        ValueError: `to_torch` would rename it.
    """
    if leaf in _OURS:
        raise ValueError(
            f"from_torch: {name!r} has a name that is one of ours ({', '.join(_OURS)}), so "
            "that to_torch would rename it; rename it in the module"
        )


def array_of(name: str, tensor: Any) -> np.ndarray:
    """Return a copy of a tensor's numbers.

    Raises:
        ValueError: it has none.
    """
    import torch

    if tensor.is_meta:
        raise ValueError(
            f"from_torch: {name!r} is on the meta device and has no numbers; load them"
        )
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if tensor.dtype == torch.bfloat16:  # which NumPy does not know by itself
        return tensor.contiguous().view(torch.int16).numpy().copy().view(jnp.bfloat16)
    return tensor.numpy().copy()


def reordered(params: Mapping[str, np.ndarray], layer: str, shape: tuple[int, ...]) -> Tree:
    """Return a dense layer's parameters for an image (channels, *space) flattened channels last.

    Raises:
        ValueError: it is no dense layer of so many inputs.
    """
    kernel = params.get("kernel")
    if kernel is None:
        raise no_dense_layer("from_torch", layer, shape, None)
    return {**params, "kernel": _rows(kernel, "from_torch", layer, shape, back=False)}


def no_dense_layer(
    caller: str, layer: str, shape: tuple[int, ...], kernel: np.ndarray | None
) -> ValueError:
    """Return the error that says what `flattened` needs."""
    found = "no such layer" if kernel is None else f"a kernel of shape {kernel.shape}"
    return ValueError(
        f"{caller}: flattened={{{layer!r}: {shape}}} needs a dense layer of that name with "
        f"{math.prod(shape)} inputs, found {found}"
    )


def _rows(
    kernel: np.ndarray, caller: str, layer: str, shape: tuple[int, ...], *, back: bool
) -> np.ndarray:
    """Exchange channels-first rows of a dense kernel for channels-last ones, or back."""
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
