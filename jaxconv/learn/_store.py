"""The checkpoints of one run on disk, written and read by Orbax.

A sharded array is written in parts and read into whatever parts the resumed run has.
"""

import contextlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.extras import needed_by
from jaxconv.learn._checkpoints import Checkpoints, kept_steps, key_data

TEMPORARY = ".orbax-checkpoint-tmp"


class Store:
    """The checkpoints of one run on disk."""

    def __init__(self, checkpoints: Checkpoints, steps: int) -> None:
        """Open the directory, for a run of this many steps.

        Raises:
            ValueError: `every` or `keep` is below 1; the directory holds checkpoints and `resume`
                is False; or its checkpoints are beyond the last step.
            OSError: the directory cannot be written.
        """
        for name, value in (("every", checkpoints.every), ("keep", checkpoints.keep)):
            if value is not None and value < 1:
                raise ValueError(f"Checkpoints: {name} must be 1 or more, got {value!r}")
        self.directory = Path(checkpoints.directory).absolute()
        self.every = checkpoints.every or -(-steps // 20)
        self.kept = kept_steps(self.directory)
        if self.kept and not checkpoints.resume:
            raise ValueError(
                f"{self.directory} holds checkpoints up to step {self.kept[-1]}: resume from "
                f"there, or name another folder"
            )
        if self.kept and self.kept[-1] > steps:
            raise ValueError(
                f"{self.directory} holds checkpoints up to step {self.kept[-1]}, beyond the "
                f"{steps} steps asked for"
            )
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            Path(tempfile.mkdtemp(prefix=".jaxconv-", dir=self.directory)).rmdir()
        except OSError as error:
            raise OSError(
                f"cannot write checkpoints to {self.directory}: {error.strerror}"
            ) from error
        with needed_by("jaxconv.learn.Checkpoints"):
            import orbax.checkpoint as ocp  # not at the top: it takes half a second

        self._args = ocp.args
        with orbax_silenced():
            self._manager = ocp.CheckpointManager(
                self.directory,
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=checkpoints.keep,
                    cleanup_tmp_directories=True,  # of a run that was killed
                    enable_async_checkpointing=False,
                ),
            )

    def save(
        self, step: int, state: Any, losses: Sequence[np.ndarray], settings: Mapping[str, Any]
    ) -> None:
        """Write the state after a step, and the losses up to it.

        Raises:
            OSError: it could not be written; the earlier checkpoints are unchanged.
        """
        leaves = {f"{n:04}": _to_write(leaf) for n, leaf in enumerate(jax.tree.leaves(state))}
        try:
            with orbax_silenced():
                self._manager.save(
                    step,
                    args=self._args.StandardSave(
                        {"state": leaves, "losses": np.concatenate(losses)}
                    ),
                    custom_metadata=dict(settings),
                )
        except Exception as error:  # Orbax documents no exceptions
            shutil.rmtree(self.directory / f"{step}{TEMPORARY}", ignore_errors=True)
            kept = f"those up to step {self.kept[-1]} are kept" if self.kept else "there is none"
            raise OSError(
                f"cannot write the checkpoint of step {step} to {self.directory}: "
                f"{_reason(error)}; {kept}"
            ) from error
        self.kept.append(step)

    def restore(
        self, state: Any, losses: jax.ShapeDtypeStruct, settings: Mapping[str, Any]
    ) -> tuple[int, Any, np.ndarray]:
        """Read the latest checkpoint into the structure and the shardings of a state.

        Args:
            state: the state before the first step.
            losses: of one step; only its dtype is used.
            settings: of this run.

        Returns:
            The step, the state after it and the losses up to it, (step,).

        Raises:
            ValueError: the checkpoint has other settings, or it cannot be read.
        """
        step = self.kept[-1]
        leaves, structure = jax.tree.flatten(state)
        wanted = {
            "state": {f"{n:04}": _to_read(leaf) for n, leaf in enumerate(leaves)},
            "losses": np.empty(step, losses.dtype),
        }
        try:
            with orbax_silenced():
                written = dict(self._manager.metadata(step).custom_metadata or {})
                self._check_settings(written, settings)
                found = self._manager.restore(step, args=self._args.StandardRestore(wanted))
        except _OtherRun as error:
            raise ValueError(str(error)) from None
        except Exception as error:
            raise ValueError(
                f"{self.directory / str(step)} cannot be read as a checkpoint "
                f"({_reason(error)}); delete it to go on from the one before"
            ) from error
        read = [found["state"][f"{n:04}"] for n in range(len(leaves))]
        state = jax.tree.unflatten(structure, map(_as_leaf, read, leaves))
        return step, state, np.asarray(found["losses"])

    def _check_settings(self, written: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        for name, value in settings.items():
            if written.get(name) != value:
                theirs, ours = ("none" if v is None else v for v in (written.get(name), value))
                raise _OtherRun(
                    f"{self.directory} holds a run with {name} {theirs}, this one has {ours}: "
                    "repeat that one's settings, or name another folder"
                )

    def close(self) -> None:
        """Release the directory."""
        with orbax_silenced():
            self._manager.close()


class _OtherRun(Exception):  # noqa: N818 - no failure to read
    pass


class _NotFromOrbax(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "orbax" not in Path(record.pathname).parts


@contextlib.contextmanager
def orbax_silenced() -> Iterator[None]:
    """Drop Orbax's log records meanwhile; it logs a page about an error before it raises it.

    Orbax logs through absl's logger, from threads of its own too. Each use has a filter of its
    own, so that uses that overlap in threads do not end each other, and other users of that
    logger are not affected.
    """
    logger, unwanted = logging.getLogger("absl"), _NotFromOrbax()
    logger.addFilter(unwanted)
    try:
        yield
    finally:
        logger.removeFilter(unwanted)


def _is_sharded(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not leaf.is_fully_replicated


def _to_write(leaf: Any) -> Any:
    """A sharded array, of which each process writes its parts; any other as NumPy's."""
    return key_data(leaf) if _is_sharded(leaf) else np.asarray(key_data(leaf))


def _to_read(leaf: Any) -> Any:
    """The shape, dtype and sharding to read into."""
    array = _to_write(leaf)
    if _is_sharded(array):
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)
    return array


def _as_leaf(read: Any, leaf: jax.Array) -> jax.Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        array = jax.random.wrap_key_data(jnp.asarray(read), impl=jax.random.key_impl(leaf))
    else:
        array = jnp.asarray(read, leaf.dtype)
    # an array on one device stays uncommitted, so that JAX may move it to where others are
    return jax.device_put(array, leaf.sharding) if len(leaf.sharding.device_set) > 1 else array


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # TensorStore's errors end in "...: No space left on device [os_error_code='28']"
    code = re.search(r"os_error_code='(\d+)'", str(error))
    if code:
        return os.strerror(int(code[1]))
    return (str(error) or type(error).__name__).splitlines()[0]
