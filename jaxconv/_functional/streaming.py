"""Convolution of a sequence that arrives in pieces, and its transpose."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.dispatch.arguments import check_numerics
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry import dtypes
from jaxconv._core.geometry.explicit_axes import entries_of, on_explicit_axes
from jaxconv._core.geometry.messages import sequence_layout_hint, torch_kernel_hint
from jaxconv._core.geometry.shapes import below, extent, output_size
from jaxconv._core.geometry.spec import normalise, normalise_transpose, per_dimension
from jaxconv._functional import packed, stream_state


def causal_conv1d(
    x: jax.Array | np.ndarray,
    w: jax.Array | np.ndarray,
    b: jax.Array | np.ndarray | None = None,
    *,
    state: jax.Array | np.ndarray | None = None,
    segment_ids: jax.Array | np.ndarray | None = None,
    lengths: jax.Array | np.ndarray | None = None,
    stride: int = 1,
    dilation: int = 1,
    method: str = "auto",
    policy: Policy | None = None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> tuple[jax.Array, jax.Array]:
    """Convolve a piece of a sequence so that no output depends on later inputs.

    y[t] = b + sum over k of x[t stride - (K - 1 - k) dilation] w[k], where x before the first
    element is `state` (zeros at the start): `conv` with padding="causal".

    No output changes with later inputs, bit for bit, and no NaN or infinity comes from them. FFT
    (method="fft", or "fastest" where it takes FFT) is the exception: the rounding of every output
    depends on the whole sequence, on the scale of its largest elements, and one NaN makes all
    outputs NaN.

    Pieces of any length, each with the state that the last one returned, give the same outputs as
    the whole sequence in one call. With a stride, a piece gives the outputs at those of its inputs
    whose number in the whole sequence is a multiple of the stride, which may be none. The state
    keeps its shape, as `jax.lax.scan` needs it, where pieces are multiples of the stride.

    Args:
        x: (*batch, time, in); time may be zero.
        w: (K, in // groups, out) in x's dtype; the number of groups follows from the shapes, so
            (K, 1, in) is a depthwise kernel. A kernel of torch's, (out, in // groups, K), is turned
            by `jnp.moveaxis(w, (0, 1), (-1, -2))`.
        b: (out,), or None.
        state: (*batch, (K - 1) dilation + phase, in), the inputs before x; None for zeros. phase is
            the number of inputs so far modulo the stride: 0 to stride - 1.
        segment_ids: (*batch, time) integers where rows hold several sequences (segments): an input
            counts as zero for outputs at inputs with another integer. `state` belongs to the
            segment of each row's first input: where that begins in this piece, the row of `state`
            must be zero. It takes K times the memory of x.
        lengths: (*batch,) integers from 0 to time: how many elements of each row are inputs. Those
            after them count as zeros, and the state is that after the last input. It needs
            stride=1.
        stride: elements of x between neighbouring outputs.
        dilation: elements of time between neighbouring kernel entries.
        method: as in `jaxconv.conv`.
        policy: as in `jaxconv.conv`.
        precision: as in `jaxconv.conv`.
        preferred_element_type: as in `jaxconv.conv`.

    Returns:
        (y, state): y is (*batch, outputs, out), outputs = ceil(time / stride) without a state.
        state is the last (K - 1) dilation + phase inputs, zero where they are not of the segment of
        the row's last input.

    Raises:
        TypeError: dtypes differ, integers of 8 or 16 bits without `preferred_element_type`, or an
            argument that must be an integer is not.
        ValueError: the shapes do not fit each other.

    Example:
        >>> x, w = jnp.arange(6.0).reshape(6, 1), jnp.ones((3, 1, 1))
        >>> whole, _ = causal_conv1d(x, w)
        >>> head, state = causal_conv1d(x[:1], w)
        >>> tail, _ = causal_conv1d(x[1:], w, state=state)
        >>> bool((jnp.concatenate([head, tail]) == whole).all())
        True

    Source:
        van den Oord et al. (2016), "WaveNet: A Generative Model for Raw Audio", section 2.1.
    """
    caller = "causal_conv1d"
    x, w = dtypes.as_array(caller, "x", x), dtypes.as_array(caller, "w", w)
    if w.ndim != 3 or x.ndim < 2:
        raise ValueError(
            f"{caller}: x must be (*batch, time, in) and w (K, in // groups, out), got "
            f"x.shape={x.shape}, w.shape={w.shape}{sequence_layout_hint(x.shape, w.shape)}"
        )
    dtype = dtypes.result_dtype(caller, ("x", x), ("w", w), preferred_element_type)
    groups = _groups(caller, x.shape, w.shape)
    (stride,) = per_dimension(caller, "stride", stride, 1, minimum=1)
    (dilation,) = per_dimension(caller, "dilation", dilation, 1, minimum=1)
    numerics = check_numerics(caller, method, policy, precision)
    b = None if b is None else dtypes.as_array(caller, "b", b)
    hint = "" if b is None else torch_kernel_hint(x.shape[-1], w.shape, b.shape)
    b = dtypes.check_bias(caller, b, w.shape[-1], x.dtype, dtype, hint)
    ids = packed.check_integers(caller, "segment_ids", segment_ids, x, "x")
    lengths = packed.check_integers(caller, "lengths", lengths, x, "x")
    if lengths is not None and stride > 1:
        raise ValueError(
            f"{caller}: lengths needs stride=1, not stride={stride}: the state's shape holds the "
            "inputs since the last multiple of the stride, and rows of several lengths have "
            "several; call it for rows of one length at a time"
        )
    memory, kernel, time = extent(w.shape[0], dilation) - 1, w.shape[0], x.shape[-2]
    begins = state is None
    state = stream_state.check_state(
        caller, x, state, memory, most=stride - 1, what=f"(K - 1) dilation = {memory} inputs"
    )

    phase = state.shape[-2] - memory
    first = stride if phase else 0  # the output of the inputs that `phase` counts was given before
    outputs = output_size(state.shape[-2] + time, kernel, stride, dilation, -first, 0)
    x = packed.zeros_from(x, lengths)
    seen = stream_state.joined(x, state)
    ids = None if ids is None or time == 0 else packed.ids_before(ids, state.shape[-2])
    if below(outputs, 1):
        y = jnp.zeros((*x.shape[:-2], 0, w.shape[-1]), dtype)
    elif ids is None and outputs == 1 and groups == 1 and not begins:
        numerics = _by_xla(numerics, "lax", x.dtype)
        row, matrix = _as_product(seen, w, dilation=dilation, first=first)
        spec = normalise(caller, row.shape, matrix.shape)
        y = contract("output", row, matrix, spec, dtype=dtype, **numerics)
    elif ids is None:
        # zeros before the first inputs are padding, which methods need no copy of x for
        source, before = (x, memory) if begins else (seen, -first)
        if outputs == 1 and w.shape[1] == 1 and not begins:
            numerics = _by_xla(numerics, "taps", x.dtype)
        geometry: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": groups}
        spec = normalise(caller, source.shape, w.shape, padding=((before, 0),), **geometry)
        y = contract("output", source, w, spec, dtype=dtype, **numerics)
    else:
        places = {"stride": stride, "dilation": dilation, "first": first}
        windows = packed.own_windows(seen, ids, kernel=kernel, outputs=outputs, **places)
        shape = (*x.shape[:-2], outputs * kernel, x.shape[-1])
        line = _reshaped(windows, shape, entries_of(x))
        spec = normalise(caller, shape, w.shape, stride=kernel, groups=groups)
        y = contract("output", line, w, spec, dtype=dtype, **numerics)
    kept, start = memory + (phase + time) % stride, (phase + time) // stride * stride
    after = stream_state.last_inputs(seen, ids, lengths, time=time, kept=kept, start=start)
    return dtypes.with_bias(y, b), after


def causal_conv_transpose1d(
    y: jax.Array | np.ndarray,
    w: jax.Array | np.ndarray,
    b: jax.Array | np.ndarray | None = None,
    *,
    state: jax.Array | np.ndarray | None = None,
    segment_ids: jax.Array | np.ndarray | None = None,
    lengths: jax.Array | np.ndarray | None = None,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    method: str = "auto",
    policy: Policy | None = None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> tuple[jax.Array, jax.Array]:
    """Apply a transposed convolution to a piece of a sequence: `stride` outputs for each input.

    x[s] = b + sum of y[t] w[k] over t, k with t stride + k dilation = s, where y before the first
    element is `state` (zeros at the start)

    This is `conv_transpose` cut to time times stride elements, those that no later input adds to:
    padding=((0, (K - 1) dilation + 1 - stride),). It is the adjoint of `conv` with that padding,
    whose outputs see no earlier inputs. Pieces of any length, each with the state that the last one
    returned, give the same outputs as the whole sequence in one call.

    Args:
        y: (*batch, time, out); time may be zero.
        w: (K, in // groups, out) in y's dtype: the kernel as `conv_transpose` has it. A kernel of
            torch's is turned as for `causal_conv1d`.
        b: (in,), or None.
        state: (*batch, floor((K - 1) dilation / stride), out), the inputs y before this piece that
            its outputs still see; None for zeros.
        segment_ids: as in `causal_conv1d`: (*batch, time); the outputs s from t stride to
            (t + 1) stride - 1 are of the segment of y[t].
        lengths: as in `causal_conv1d`, with any stride.
        stride: elements of the result between neighbouring inputs.
        dilation: elements of the result between neighbouring kernel entries.
        groups: as in `jaxconv.conv`.
        method: as in `jaxconv.conv`.
        policy: as in `jaxconv.conv`.
        precision: as in `jaxconv.conv`.
        preferred_element_type: as in `jaxconv.conv`.

    Returns:
        (x, state): x is (*batch, time stride, in). state is the last floor((K - 1) dilation /
        stride) inputs, in y's dtype, so that sums are rounded once in pieces too.

    Raises:
        TypeError: dtypes differ, integers of 8 or 16 bits without `preferred_element_type`, or an
            argument that must be an integer is not.
        ValueError: the shapes do not fit each other.

    Example:
        >>> y, w = jnp.arange(1.0, 4.0)[:, None], jnp.ones((4, 1, 1))
        >>> whole, _ = causal_conv_transpose1d(y, w, stride=2)
        >>> head, state = causal_conv_transpose1d(y[:1], w, stride=2)
        >>> tail, _ = causal_conv_transpose1d(y[1:], w, stride=2, state=state)
        >>> whole[:, 0], bool((jnp.concatenate([head, tail]) == whole).all())
        (Array([1., 1., 3., 3., 5., 5.], dtype=float32), True)

    Source:
        Défossez et al. (2022), "High Fidelity Neural Audio Compression", section 3.1: its decoder
        in the streamable setup.
    """
    caller = "causal_conv_transpose1d"
    y, w = dtypes.as_array(caller, "y", y), dtypes.as_array(caller, "w", w)
    if w.ndim != 3 or y.ndim < 2:
        raise ValueError(
            f"{caller}: y must be (*batch, time, out) and w (K, in // groups, out), got "
            f"y.shape={y.shape}, w.shape={w.shape}"
        )
    dtype = dtypes.result_dtype(caller, ("y", y), ("w", w), preferred_element_type)
    (stride,) = per_dimension(caller, "stride", stride, 1, minimum=1)
    (dilation,) = per_dimension(caller, "dilation", dilation, 1, minimum=1)
    reach, time = extent(w.shape[0], dilation), y.shape[-2]
    shape = y.shape if time != 0 else (*y.shape[:-2], 1, y.shape[-1])
    geometry = {"stride": stride, "dilation": dilation, "groups": groups}
    padding = ((0, reach - stride),)
    spec = normalise_transpose(caller, shape, w.shape, padding=padding, **geometry)
    numerics = check_numerics(caller, method, policy, precision)
    channels = w.shape[-2] * spec.groups
    b = dtypes.check_bias(caller, b, channels, y.dtype, dtype)
    ids = packed.check_integers(caller, "segment_ids", segment_ids, y, "y")
    lengths = packed.check_integers(caller, "lengths", lengths, y, "y")
    memory = (reach - 1) // stride
    what = f"(K - 1) dilation // stride = {memory} inputs"
    state = stream_state.check_state(caller, y, state, memory, name="y", what=what)

    seen = stream_state.joined(packed.zeros_from(y, lengths), state)
    ids = None if ids is None or time == 0 else packed.ids_before(ids, memory)
    x_shape = (*y.shape[:-2], time * stride, channels)
    # the outputs of the state's own inputs are cut off
    cut = dataclasses.replace(spec, padding=((memory * stride, reach - stride),))
    if time == 0:
        x = jnp.zeros(x_shape, dtype)
    elif ids is None:
        x = contract("input", seen, w, cut, dtype=dtype, **numerics)
    else:  # (*batch, time, memory + 1, out) -> (*batch, time, stride, in): each input by itself
        places = {"kernel": memory + 1, "outputs": time, "stride": 1, "dilation": 1, "first": 0}
        windows = packed.own_windows(seen, ids, **places)
        one = dataclasses.replace(cut, input_size=(stride,))
        blocks = contract("input", windows, w, one, dtype=dtype, **numerics)
        x = _reshaped(blocks, x_shape, [*entries_of(y)[:-1], entries_of(blocks)[-1]])
    after = stream_state.last_inputs(seen, ids, lengths, time=time, kept=memory, start=time)
    return dtypes.with_bias(x, b), after


def _by_xla(numerics: dict[str, Any], method: str, dtype: jnp.dtype) -> dict[str, Any]:
    """Return what "auto" takes for one output on CPUs: operations that XLA fuses with the state's.

    A call of oneDNN takes longer than the work: steps of float32 took 18 microseconds in place of
    33 (64 to 64 channels, K = 3) and 17 in place of 24 (512, depthwise, K = 4), on two AVX2 cores
    with jax 0.10.2 (2026-11-29). A policy goes before.

    The cost rules do not know this: their constants are fitted to whole calls from Python, of which
    the part that does not grow with the sizes is much the same for all methods (`call`: 6.7 to 11
    microseconds). What a method adds inside of a program, beside operations that XLA may fuse with
    its own, was measured for these steps alone. To be a term of `methods/onednn.py` it takes times
    by `bench.method_times` of steps of a program, for 1 and 8 images, with AVX2 and with AVX-512,
    and a new fit of all constants to both.
    """
    free = numerics["method"] == "auto" and numerics["policy"] is None and dtype == jnp.float32
    on_cpu = jax.default_backend() == "cpu"  # elsewhere nothing was measured
    return numerics | {"method": method} if free and on_cpu else numerics


def _as_product(
    seen: jax.Array, w: jax.Array, *, dilation: int, first: int
) -> tuple[jax.Array, jax.Array]:
    """Return the window that begins at `first`, and the kernel, with K in channels.

    (*batch, time, in) and (K, in, out) -> (*batch, 1, K in) and (1, K in, out)
    """
    kernel, channels, out = w.shape
    shape = (*seen.shape[:-2], 1, kernel * channels)

    def window(seen: jax.Array) -> jax.Array:
        end = first + extent(kernel, dilation)
        return lax.slice_in_dim(seen, first, end, dilation, axis=-2).reshape(shape)

    row = on_explicit_axes(window, seen, shape=shape, entries=entries_of(seen))
    return row, _reshaped(w, (1, kernel * channels, out), entries_of(w))


def _reshaped(array: jax.Array, shape: tuple[Any, ...], entries: list[Any]) -> jax.Array:
    return on_explicit_axes(partial(jnp.reshape, shape=shape), array, shape=shape, entries=entries)


def _groups(caller: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...]) -> int:
    """The number of groups that fits the shapes."""
    if min(*w_shape, x_shape[-1]) < 1:
        raise ValueError(
            f"{caller}: x.shape={x_shape} and w.shape={w_shape} must have channels, and w a length"
        )
    hint = sequence_layout_hint(x_shape, w_shape)
    if x_shape[-1] % w_shape[1]:
        raise ValueError(
            f"{caller}: x has {x_shape[-1]} channels, no multiple of the {w_shape[1]} that w takes "
            f"(x.shape={x_shape}, w.shape={w_shape}){hint}"
        )
    groups = x_shape[-1] // w_shape[1]
    if w_shape[2] % groups:
        raise ValueError(
            f"{caller}: w.shape={w_shape} takes {w_shape[1]} of the {x_shape[-1]} channels of x, "
            f"which makes groups={groups}; that does not divide the {w_shape[2]} output channels "
            f"of w{hint}"
        )
    return groups
