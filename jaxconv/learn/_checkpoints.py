"""Long runs: the steps in segments of one compiled program, kept on disk, resumed bit for bit.

Every segment is the same program, whatever its length: a loop whose number of steps is an operand,
not a constant. So neither where a run was cut nor how often changes a bit of its result, on as many
devices with the same version of jax. On another number of devices a run goes on too: what is in
parts is written in parts and read into whatever parts the new run has, bit for bit; the steps after
it round their sums in another order.

A checkpoint is a folder named by its step, written beside the others under a temporary name and
then renamed; older ones are deleted only after that. Killed at any moment, a run leaves its last
whole checkpoint. Several processes (`jax.distributed`) write one together into a folder that all of
them see; it is renamed when all have written.
"""

import contextlib
import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxconv._core.programs import compiled_once

TEMPORARY = ".orbax-checkpoint-tmp"


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Where and how often a run is kept.

    Attributes:
        directory: a folder of this run's own, made if missing; of several processes one that all
            of them see.
        every: steps between checkpoints; a twentieth of the run if None. The last step is always
            kept. It may change when a run is resumed: it changes no result.
        keep: how many checkpoints stay, the latest ones.
        resume: whether to go on from the latest checkpoint in the directory, if it has one.
        settings: what has to be the same when the run is resumed, by the name that the refusal
            uses: anything JSON can hold.
    """

    directory: str | Path
    every: int | None = None
    keep: int = 3
    resume: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


def digest(array: Any) -> str:
    """Describe an array so that another one is told from it: dtype, shape and a hash.

    An array in parts on several processes is gathered by each of them for it, once.

    Args:
        array: anything NumPy takes, or a key of `jax.random`.

    Returns:
        A line such as `float32 (6, 8) 1f2e3d4c5b6a7980`.

    Example:
        >>> import numpy as np
        >>> from jaxconv.learn import _checkpoints as checkpoints
        >>> checkpoints.digest(np.zeros((2, 3), np.float32))
        'float32 (2, 3) 9d908ecfb6b256de'

    Source: the first 64 bits of SHA-256 (FIPS 180-4) of the values in row-major order.
    """
    values = np.ascontiguousarray(_plain(_everywhere(array)))
    return f"{values.dtype} {np.shape(array)} {hashlib.sha256(values.tobytes()).hexdigest()[:16]}"


def named_first(checkpoints: Checkpoints, own: Mapping[str, Any]) -> dict[str, Any]:
    """Add a function's own settings after its caller's, whose names and values count first."""
    return {**checkpoints.settings, **own, **checkpoints.settings}


def kept_steps(directory: str | Path) -> list[int]:
    """List the steps whose checkpoints are in a directory.

    Args:
        directory: need not exist.

    Returns:
        The steps in ascending order.

    Example:
        >>> from jaxconv.learn import _checkpoints as checkpoints
        >>> checkpoints.kept_steps("no such folder")
        []

    Source: the layout of `orbax.checkpoint.CheckpointManager`.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(int(p.name) for p in Path(directory).iterdir() if p.name.isdecimal())
    return []


class Store:
    """The checkpoints of one run on disk."""

    def __init__(self, checkpoints: Checkpoints, steps: int) -> None:
        """Open the directory, for a run of so many steps.

        Raises:
            ValueError: `every` or `keep` is below 1; the directory holds checkpoints and `resume`
                is off; or they reach beyond the run.
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
        import orbax.checkpoint as ocp  # late: it costs half a second

        self._args = ocp.args
        with _quiet():
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
        """Keep the state after a step, and the losses up to it.

        Raises:
            OSError: it could not be written; the checkpoints before it are as they were.
        """
        leaves = {f"{n:04}": _kept(leaf) for n, leaf in enumerate(jax.tree.leaves(state))}
        try:
            with _quiet():
                self._manager.save(
                    step,
                    args=self._args.StandardSave(
                        {"state": leaves, "losses": np.concatenate(losses)}
                    ),
                    custom_metadata=dict(settings),
                )
        except Exception as error:  # its writers raise what they like
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
        """Read the latest checkpoint into a state of this structure, laid out as it is.

        Args:
            state: what the run begins with.
            losses: of one step; only its dtype counts.
            settings: of this run.

        Returns:
            The step, the state after it and the losses up to it, (step,).

        Raises:
            ValueError: the checkpoint's settings are others, or it cannot be read.
        """
        step = self.kept[-1]
        leaves, structure = jax.tree.flatten(state)
        wanted = {
            "state": {f"{n:04}": _wanted(_kept(leaf)) for n, leaf in enumerate(leaves)},
            "losses": np.empty(step, losses.dtype),
        }
        try:
            with _quiet():
                written = dict(self._manager.metadata(step).custom_metadata or {})
                self._refuse_others(written, settings)
                found = self._manager.restore(step, args=self._args.StandardRestore(wanted))
            kept = [found["state"][f"{n:04}"] for n in range(len(leaves))]
            past = np.asarray(found["losses"])
        except _OtherRun as refusal:
            raise ValueError(str(refusal)) from None
        except Exception as error:
            raise ValueError(
                f"{self.directory / str(step)} cannot be read as a checkpoint "
                f"({_reason(error)}); delete it to go on from the one before"
            ) from error
        state = jax.tree.unflatten(structure, map(_as_before, kept, leaves))
        return step, state, past

    def _refuse_others(self, written: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        for name, value in settings.items():
            if written.get(name) != value:
                raise _OtherRun(
                    f"{self.directory} holds a run with {name} {_told(written.get(name))}, this "
                    f"one has {_told(value)}: repeat that one's settings, or name another folder"
                )

    def close(self) -> None:
        """Let go of the directory."""
        with _quiet():
            self._manager.close()


class _OtherRun(Exception):  # noqa: N818 - no error of reading
    pass


def _told(value: Any) -> str:
    return "none" if value is None else str(value)


def _data(leaf: Any) -> Any:
    """Keys of `jax.random` as the numbers that they are."""
    if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(leaf)
    return leaf


def _plain(leaf: Any) -> np.ndarray:
    return np.asarray(_data(leaf))


def _in_parts(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not leaf.is_fully_replicated


def _everywhere(array: Any) -> Any:
    if not _in_parts(array) or array.is_fully_addressable:
        return array
    whole = NamedSharding(array.sharding.mesh, PartitionSpec())
    return compiled_once(lambda array: array, array, out_shardings=whole)


def _kept(leaf: Any) -> Any:
    """What is written: in parts, each by the process that has it, or as one."""
    return _data(leaf) if _in_parts(leaf) else _plain(leaf)


def _wanted(kept: Any) -> Any:
    """What is read: in the parts that this run has, whatever they were when it was written."""
    if _in_parts(kept):
        return jax.ShapeDtypeStruct(kept.shape, kept.dtype, sharding=kept.sharding)
    return kept


def _as_before(kept: Any, leaf: jax.Array) -> jax.Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        found = jax.random.wrap_key_data(jnp.asarray(kept), impl=jax.random.key_impl(leaf))
    else:
        found = jnp.asarray(kept, leaf.dtype)
    # one device's arrays stay free to be moved to where others are
    return jax.device_put(found, leaf.sharding) if len(leaf.sharding.device_set) > 1 else found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without orbax's log, which tells a failure in a page before it raises it."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # TensorStore's errors end in "...: No space left on device [os_error_code='28']"
    code = re.search(r"os_error_code='(\d+)'", str(error))
    if code:
        return os.strerror(int(code[1]))
    return (str(error) or type(error).__name__).splitlines()[0]
