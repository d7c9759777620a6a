"""The steps of a run, in segments of one compiled program that end where somebody looks."""

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
from jaxconv.learn._checkpoints import Checkpoints, Store

CAPACITY = 1024  # the longest segment, and the size of the buffer of its losses
LOOK = 0.5  # seconds after which to look up, if a segment can be as short

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
    """Take many steps, looking up now and then, with the same bits wherever it looks up.

    `state, losses[i] = step(state, *data)`, for i = 0 to steps - 1

    Args:
        step: pure, `(state, *data) -> (state, loss)`, the state's shapes and dtypes kept.
        state: any pytree of arrays, keys of `jax.random` included.
        data: pytrees of arrays that every step sees.
        steps: how many steps to take in all, those before a resumption included.
        checkpoints: where to keep the run, None for nowhere. A run that was killed goes on to
            the same final state, bit for bit. Their `settings` have to tell the data and the
            start apart; the program, the device and jax's version are told apart here.
        on_losses: called on the host after each segment as `on_losses(before, losses)`, with the
            number of steps before it and the losses of its steps; on resumption first with
            `(0, losses restored)`. With several processes, on each of them.
        program: what tells this program from others, from `describe`; by default `step` and the
            arrays describe it. Where `step` names its devices give one that does not, or the
            checkpoints of one number of devices are refused on another.

    Returns:
        The state after the last step and the losses (steps,).

    Raises:
        ValueError: the directory holds the checkpoints of another run, by the name of what
            differs; or of this one, without `resume`.
        OSError: a checkpoint could not be written; those before it are as they were.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.learn._segments import run_segments
        >>> halve = lambda state, target: (state + 0.5 * (target - state), (target - state) ** 2)
        >>> state, losses = run_segments(halve, jnp.float32(0), jnp.float32(8), steps=3)
        >>> print(state, losses)
        7.0 [64. 16.  4.]

    Source: a while loop with an operand for its bound (`jax.lax.fori_loop`).
    """
    # dtypes only: weakly typed numbers would come back from disk as another type of operand
    state = jax.tree.map(_strong, state)
    seen = jax.eval_shape(step, state, *data)[1]

    def segment(state: S, length: jax.Array, *data: Any) -> tuple[S, jax.Array]:
        def body(i: jax.Array, carry: tuple[S, jax.Array]) -> tuple[S, jax.Array]:
            after, loss = step(carry[0], *data)
            return jax.tree.map(_strong, after), carry[1].at[i].set(loss)

        return lax.fori_loop(0, length, body, (state, jnp.zeros(CAPACITY, seen.dtype)))

    store = None if checkpoints is None else Store(checkpoints, steps)
    settings = {}
    if checkpoints is not None:
        settings = _settings(checkpoints, program or describe(step, state, *data))
    lying = jax.tree.map(_layout, state)
    mesh = next((s.mesh for s in jax.tree.leaves(lying)), None)
    everywhere = None if mesh is None else NamedSharding(mesh, PartitionSpec())
    wanted = (lying, everywhere)
    try:
        done, parts = 0, []
        if store is not None and store.kept:
            done, state, restored = store.restore(state, seen, settings)
            parts.append(restored)
            if on_losses is not None:
                on_losses(0, restored)
        # no step yet: compiles, so that what is timed below are steps
        state, _ = compiled_once(segment, state, _count(0), *data, out_shardings=wanted)
        pace = 1
        while done < steps:
            stop = steps if store is None else min(steps, (done // store.every + 1) * store.every)
            length = min(stop - done, pace if on_losses is not None else CAPACITY, CAPACITY)
            began = time.perf_counter()
            state, losses = compiled_once(
                segment, state, _count(length), *data, out_shardings=wanted
            )
            parts.append(np.asarray(losses)[:length])
            done += length
            if length == pace and _agreed(time.perf_counter() - began < LOOK / 2):
                pace *= 2
            if store is not None and done == stop:
                store.save(done, state, parts, settings)
            if on_losses is not None:
                on_losses(done - length, parts[-1])
    finally:
        if store is not None:
            store.close()
    return state, jnp.asarray(np.concatenate(parts))


def _count(steps: int) -> jax.Array:
    return jax.device_put(np.int32(steps))


def _strong(leaf: Any) -> jax.Array:
    leaf = jnp.asarray(leaf)
    return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.astype(leaf.dtype)


def describe(step: Callable[..., Any], state: Any, *data: Any) -> str:
    """Digest a program, for one device, so that another one is told from it.

    Args:
        step: as in `run_segments`.
        state: as in `run_segments`; of its arrays only shapes and dtypes count.
        data: likewise.

    Returns:
        64 hexadecimal digits: SHA-256 of its text, which holds every shape and every constant.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.learn._segments import describe
        >>> halve, third = lambda state: (state / 2, state), lambda state: (state / 3, state)
        >>> describe(halve, jnp.ones(2)) == describe(third, jnp.ones(2))
        False

    Source: StableHLO, as `jax.stages.Lowered.as_text` has it.
    """
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (state, *data))
    return hashlib.sha256(jax.jit(step).lower(*shapes).as_text().encode()).hexdigest()


def _agreed(here: bool) -> bool:
    """What process 0 found: all must run segments of one length."""
    if jax.process_count() == 1:
        return here
    return bool(multihost_utils.broadcast_one_to_all(np.array(here)))


def _layout(leaf: jax.Array) -> NamedSharding | None:
    """How an array lies on a mesh; None on one device, where it is free to be moved."""
    return leaf.sharding if isinstance(leaf.sharding, NamedSharding) else None


def _settings(checkpoints: Checkpoints, program: str) -> dict[str, Any]:
    return {
        **checkpoints.settings,
        "jax": jax.__version__,
        "platform": jax.default_backend(),
        "optimizer or loss (as a program)": program,
    }
