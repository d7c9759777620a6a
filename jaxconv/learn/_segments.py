"""Long runs in segments of one compiled program, whose losses are reported and whose state is kept.

The number of steps of a segment is an operand of the program, not a constant. So all segments are
the same program, and where a run is cut changes no bit of its result.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from jaxconv._core.programs import compiled_once
from jaxconv.learn._checkpoints import Checkpoints, as_setting
from jaxconv.learn._store import Store

CAPACITY = 1024  # steps of the longest segment, and the size of its buffer of losses
INTERVAL = 0.5  # seconds between calls of on_losses, if steps are shorter

S = TypeVar("S")


def run_segments(
    step: Callable[..., tuple[S, jax.Array]],
    state: S,
    *data: Any,
    steps: int,
    checkpoints: Checkpoints | None = None,
    on_losses: Callable[[int, np.ndarray], None] | None = None,
    program: str | None = None,
) -> tuple[S, jax.Array]:
    """Take many steps of any training loop, with checkpoints and reports on the way.

    `state, losses[i] = step(state, *data)`, for i = 0 to steps - 1

    The result has the same bits with and without checkpoints and reports, and if the run was
    killed and resumed.

    Args:
        step: a pure function `(state, *data) -> (state, loss)` that keeps the shapes and dtypes of
            the state.
        state: any pytree of arrays, keys of `jax.random` included.
        data: pytrees of arrays, the same for every step.
        steps: number of steps in all, including those before a resumption.
        checkpoints: where to keep the run, or None. Their `settings` must identify the data and
            the start; the program, the device and jax's version are added here.
        on_losses: called on the host after each segment as `on_losses(before, losses)`, with the
            number of steps before it and the losses of its steps; when a run is resumed, first
            with `(0, restored losses)`. With several processes, on each of them.
        program: identifies the step for `checkpoints`; by default `program_digest(step, state,
            *data)`. If `step` names its devices, give the digest of a step that does not, or the
            checkpoints cannot be resumed on another number of devices.

    Returns:
        The state after the last step and the losses (steps,).

    Raises:
        ValueError: the directory holds the checkpoints of another run (the message names what
            differs), or of this one and `resume` is False.
        OSError: a checkpoint could not be written; the earlier ones are unchanged.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.learn import run_segments
        >>> halve = lambda state, target: (state + 0.5 * (target - state), (target - state) ** 2)
        >>> state, losses = run_segments(halve, jnp.float32(0), jnp.float32(8), steps=3)
        >>> print(state, losses)
        7.0 [64. 16.  4.]
    """
    # read from disk no array is weakly typed, and the program must be the same
    state = jax.tree.map(_strongly_typed, state)
    loss = jax.eval_shape(step, state, *data)[1]

    def segment(state: S, length: jax.Array, *data: Any) -> tuple[S, jax.Array]:
        def body(i: jax.Array, carry: tuple[S, jax.Array]) -> tuple[S, jax.Array]:
            after, loss = step(carry[0], *data)
            return jax.tree.map(_strongly_typed, after), carry[1].at[i].set(loss)

        return lax.fori_loop(0, length, body, (state, jnp.zeros(CAPACITY, loss.dtype)))

    store, settings = None, {}
    if checkpoints is not None:
        store = Store(checkpoints, steps)
        settings = _settings(checkpoints, program or program_digest(step, state, *data))
    shardings = jax.tree.map(_on_mesh, state)
    mesh = next((s.mesh for s in jax.tree.leaves(shardings)), None)
    replicated = None if mesh is None else NamedSharding(mesh, PartitionSpec())

    def advance(state: S, length: int) -> tuple[S, jax.Array]:
        count = jax.device_put(np.int32(length))
        return compiled_once(segment, state, count, *data, out_shardings=(shardings, replicated))

    try:
        done, parts = 0, []
        if store is not None and store.kept:
            done, state, restored = store.restore(state, loss, settings)
            parts.append(restored)
            if on_losses is not None:
                on_losses(0, restored)
        state, _ = advance(state, 0)  # compiles, so that only steps are timed below
        pace = 1
        while done < steps:
            stop = steps if store is None else min(steps, (done // store.every + 1) * store.every)
            length = min(stop - done, pace if on_losses is not None else CAPACITY, CAPACITY)
            began = time.perf_counter()
            state, losses = advance(state, length)
            parts.append(np.asarray(losses)[:length])
            done += length
            if length == pace and _of_process_0(time.perf_counter() - began < INTERVAL / 2):
                pace *= 2
            if store is not None and done == stop:
                store.save(done, state, parts, settings)
            if on_losses is not None:
                on_losses(done - length, parts[-1])
    finally:
        if store is not None:
            store.close()
    return state, jnp.asarray(np.concatenate(parts))


def program_digest(step: Callable[..., Any], state: Any, *data: Any) -> str:
    """Hash the program of a step on one device, to recognise it when a run is resumed.

    Args:
        step: as in `run_segments`.
        state: as in `run_segments`; only shapes and dtypes are used.
        data: likewise.

    Returns:
        64 hexadecimal digits: SHA-256 of the program in StableHLO, with all shapes and constants.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.learn import program_digest
        >>> halve, third = lambda state: (state / 2, state), lambda state: (state / 3, state)
        >>> program_digest(halve, jnp.ones(2)) == program_digest(third, jnp.ones(2))
        False
    """
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (state, *data))
    return hashlib.sha256(jax.jit(step).lower(*shapes).as_text().encode()).hexdigest()


def _strongly_typed(leaf: Any) -> jax.Array:
    leaf = jnp.asarray(leaf)
    return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.astype(leaf.dtype)


def _of_process_0(value: bool) -> bool:
    """The value on process 0: all processes must run segments of one length."""
    if jax.process_count() == 1:
        return value
    return bool(multihost_utils.broadcast_one_to_all(np.array(value)))


def _on_mesh(leaf: jax.Array) -> NamedSharding | None:
    """An array's sharding on a mesh, or None on one device, where JAX may move it."""
    return leaf.sharding if isinstance(leaf.sharding, NamedSharding) else None


def _settings(checkpoints: Checkpoints, program: str) -> dict[str, Any]:
    settings = {name: as_setting(value) for name, value in checkpoints.settings.items()}
    return {
        **settings,
        "jax": jax.__version__,
        "platform": jax.default_backend(),
        "optimizer or loss (as a program)": program,
    }
