"""Where a long run is kept on disk, and what identifies it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxconv._core.programs import compiled_once


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Where and how often a run is kept, so that it can be resumed after a crash.

    A checkpoint is a folder named by its step. It is written under a temporary name and then
    renamed; older ones are deleted only after that. So a run that is killed at any moment leaves
    its last whole checkpoint.

    On as many devices, with the same version of jax, a resumed run ends with the same bits as an
    uninterrupted one. On another number of devices it goes on from the same bits, but rounds the
    sums of the steps that follow in another order.

    Attributes:
        directory: a folder for this run only, made if missing. Several processes
            (`jax.distributed`) must all see it; they write each checkpoint together.
        every: steps between checkpoints; a twentieth of the run if None. The last step is always
            kept. It may change when a run is resumed: it changes no result.
        keep: number of checkpoints to keep, the latest ones.
        resume: whether to go on from the latest checkpoint in the directory, if it has one.
        settings: values that must be the same when the run is resumed, by the name that the error
            message uses: anything JSON can hold, or an array, or a list of arrays, of which dtype,
            shape and a hash are kept.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> from jaxconv import learn
        >>> x = jnp.arange(12.0).reshape(3, 4) / 12
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kept = learn.Checkpoints(directory=folder, every=3, resume=True)
        ...     half = learn.fit_kernel(x, x[1:, 1:], 2, steps=6, checkpoints=kept)
        ...     fit = learn.fit_kernel(x, x[1:, 1:], 2, steps=9, checkpoints=kept)
        ...     print(learn.kept_steps(folder), (fit.losses[:6] == half.losses).all())
        [3, 6, 9] True
    """

    directory: str | Path
    every: int | None = None
    keep: int = 3
    resume: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def including(self, settings: Mapping[str, Any]) -> Checkpoints:
        """Add settings after those given, whose names and values come first."""
        return replace(self, settings={**self.settings, **settings, **self.settings})


def kept_steps(directory: str | Path) -> list[int]:
    """List the steps whose checkpoints are in a directory.

    Args:
        directory: of a run's `Checkpoints`; it need not exist.

    Returns:
        The steps in ascending order.

    Example:
        >>> from jaxconv import learn
        >>> learn.kept_steps("no such folder")
        []
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(int(p.name) for p in Path(directory).iterdir() if p.name.isdecimal())
    return []


def as_setting(value: Any) -> Any:
    """Describe arrays by dtype, shape and a hash; return any other value unchanged.

    The hash is the first 64 bits of SHA-256 of the values in row-major order. An array whose parts
    are on several processes is gathered by each of them for it, once.

    Example:
        >>> import numpy as np
        >>> from jaxconv.learn._checkpoints import as_setting
        >>> as_setting(np.zeros((2, 3), np.float32))
        'float32 (2, 3) 9d908ecfb6b256de'
    """
    if isinstance(value, Sequence) and value and all(hasattr(entry, "dtype") for entry in value):
        if len(value) == 1:
            return as_setting(value[0])
        return f"{len(value)} arrays {_hash(' '.join(map(as_setting, value)).encode())}"
    if not hasattr(value, "dtype"):
        return value
    numbers = np.ascontiguousarray(key_data(_gathered(value)))
    return f"{numbers.dtype} {np.shape(value)} {_hash(numbers.tobytes())}"


def key_data(leaf: Any) -> Any:
    """Return keys of `jax.random` as integers, other arrays unchanged."""
    if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(leaf)
    return leaf


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _gathered(array: Any) -> Any:
    if not isinstance(array, jax.Array) or array.is_fully_addressable or array.is_fully_replicated:
        return array
    assert isinstance(array.sharding, NamedSharding)
    whole = NamedSharding(array.sharding.mesh, PartitionSpec())
    return compiled_once(lambda array: array, array, out_shardings=whole)
