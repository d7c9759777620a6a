"""How messages show a value, and the hints that its shape allows."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

_MOST_ELEMENTS = 8
_MOST_LETTERS = 200
_TORCHS = "torch's (out, in // groups, K)"
_MOVE_W = "jnp.moveaxis(w, (0, 1), (-1, -2))"


def shown(value: Any) -> str:
    """Return how a message shows a value: its repr, or the dtype and shape of a larger array.

    Example:
        >>> import numpy as np
        >>> shown((1, 2)), shown(np.ones((2, 32, 32, 3), np.float32))
        ('(1, 2)', 'float32[2,32,32,3]')
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if dtype is not None and isinstance(shape, tuple) and math.prod(shape) > _MOST_ELEMENTS:
        return f"{dtype}[{','.join(map(str, shape))}]"
    text = repr(value)
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}..."


def layout_hint(
    name: str, shape: tuple[int, ...], w_shape: tuple[int, ...], groups: int, *, transposed: bool
) -> str:
    """Name the layouts that fit the shapes, and the calls that convert them to ours."""
    rank = len(w_shape) - 2
    axis = len(shape) - rank - 1
    if transposed:  # the channels that w asks for as ours, with its channels swapped, as torch's
        ours, swapped, torchs = w_shape[-1], w_shape[-2], w_shape[0]
        layout = "(in, out // groups, *kernel)"
    else:
        ours, swapped, torchs = w_shape[-2] * groups, w_shape[-1] * groups, w_shape[1] * groups
        layout = "(out, in // groups, *kernel)"
    first, last = shape[axis], shape[-1]
    # images and kernels are mostly square
    like_torchs = _is_square(w_shape[2:]) or not _is_square(w_shape[:rank])
    like_first = _is_square(shape[axis + 1 :]) or not _is_square(shape[axis:-1])
    move_x = f"jnp.moveaxis({name}, {axis}, -1)"
    others = []
    if last == torchs and like_torchs:
        others.append(f"w.shape looks like torch's {layout}: use {_MOVE_W}")
    elif last == swapped and ours > 1:
        others.append("if w is (*kernel, out, in // groups), use jnp.swapaxes(w, -1, -2)")
    if first == ours and (like_first or not others):
        return f" looks channels-first: use {move_x}" + "".join(f"; or {other}" for other in others)
    if first == torchs and like_torchs and not others:
        both = f"{name}.shape and w.shape look like torch's (batch, channels, *space) and {layout}"
        return f"; {both}: use {move_x} and {_MOVE_W}, or jaxconv.compat.torch"
    return f"; {'; or '.join(others)}" if others else no_channels_hint(name, ours == 1)


def sequence_layout_hint(x_shape: tuple[int, ...], w_shape: tuple[int, ...]) -> str:
    """Name the layouts of a sequence and its kernel that fit, and the calls that convert them.

    x is to be (*batch, time, in), w (K, in // groups, out), for any number of groups. A kernel of
    torch's is (out, in // groups, K), one of Mamba's (channels, K).
    """
    if len(x_shape) < 2 or min((*x_shape[-2:], *w_shape), default=0) < 1:
        return ""
    for axis, move_x in ((-1, ""), (-2, "jnp.moveaxis(x, -2, -1)")):
        channels = x_shape[axis]
        for layout, move_w in _sequence_kernels(channels, w_shape):
            looks = [f"w.shape looks like {layout}: use {move_w}"] if move_w else []
            if move_x:
                looks.insert(0, f"x.shape looks channels-first: use {move_x}")
            return f"; {'; '.join(looks)}" if looks else ""
    return ""


def torch_kernel_hint(channels: int, w_shape: tuple[int, ...], b_shape: tuple[int, ...]) -> str:
    """Return a hint if torch's kernel, which fits as ours by chance, is what the bias fits."""
    groups = channels // w_shape[1]
    if b_shape != w_shape[:1] or w_shape[0] % groups:
        return ""
    return f"; w.shape={w_shape} looks like {_TORCHS}: use {_MOVE_W}"


def _sequence_kernels(channels: int, w_shape: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """Yield the layouts in which a kernel fits the channels, ours first, and how to turn them."""
    if len(w_shape) == 2:
        if w_shape[0] == channels:
            yield "Mamba's (channels, K)", "w.T[:, None]"
        elif w_shape[1] == channels:
            yield "(K, channels)", "w[:, None]"
    elif len(w_shape) == 3 and channels % w_shape[1] == 0:
        groups = channels // w_shape[1]
        if w_shape[2] % groups == 0:
            yield "", ""
        elif w_shape[0] % groups == 0:
            yield _TORCHS, _MOVE_W


def no_channels_hint(name: str, show: bool) -> str:
    """Return how to add a channel axis, if `show` is True."""
    return f"; if {name} has no channel axis, add one: {name}[..., None]" if show else ""


def groups_hint(w_shape: tuple[int, ...], groups: int) -> str:
    """Return a hint if w, whose last dimension `groups` does not divide, looks like torch's."""
    torchs = w_shape[0] % groups == 0 and _is_square(w_shape[2:]) and not _is_square(w_shape[:-2])
    return f"; it looks like torch's: use {_MOVE_W}" if torchs else ""


def _is_square(sizes: Sequence[int]) -> bool:
    return len(set(sizes)) == 1
