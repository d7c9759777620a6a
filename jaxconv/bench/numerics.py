"""The precisions of a run: what jax and torch are told, and how large errors may be.

| precision | arrays | jax | torch |
|---|---|---|---|
| float32 | float32 | "highest": products of float32 on every device | TF32 off |
| tf32 | float32 | "tensorfloat32": TF32 where the GPU has it | TF32 on |
| bfloat16 | bfloat16 | arrays alone decide | arrays alone decide |

On CPUs the first two are the same arithmetic (`docs/precision.md`).
"""

import contextlib
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True, kw_only=True)
class Precision:
    """One of the precisions.

    Attributes:
        name: as `--precision` takes it.
        dtype: of the arrays.
        level: the value of `jax.default_matmul_precision`.
        tf32: whether torch may use TF32.
        tolerance: largest error allowed, as a share of the largest magnitude of the float64 array.
        reason: of that tolerance.
    """

    name: str
    dtype: str
    level: str
    tf32: bool
    tolerance: float
    reason: str

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return jnp.dtype(self.dtype).itemsize

    def arrays(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """Round float32 arrays to the dtype; the numbers are float32 again, and the given ones."""
        return tuple(np.asarray(a.astype(jnp.dtype(self.dtype)), np.float32) for a in arrays)

    def place(self, a: np.ndarray) -> jax.Array:
        """Put an array on JAX's device, in the dtype."""
        return jnp.asarray(np.ascontiguousarray(a), self.dtype)


FLOAT32 = Precision(
    name="float32",
    dtype="float32",
    level="highest",
    tf32=False,
    tolerance=1e-4,
    reason="rounding of sums of up to 10^5 products, in any order",
)
TF32 = Precision(
    name="tf32",
    dtype="float32",
    level="tensorfloat32",
    tf32=True,
    tolerance=2e-3,
    reason="each operand is rounded to 11 bits, or cut off, which is off by up to 2^-10; emulated, "
    "layers of networks are off by 5e-4 and 1.1e-3, and with operands in bfloat16 by 2e-3 or more",
)
BFLOAT16 = Precision(
    name="bfloat16",
    dtype="bfloat16",
    level="highest",
    tf32=False,
    tolerance=8e-3,
    reason="the result is rounded to 8 bits: by up to 2^-8, twice where a sum is kept in bfloat16",
)
PRECISIONS = {precision.name: precision for precision in (FLOAT32, TF32, BFLOAT16)}


def precision_of(name: str) -> Precision:
    """Return the precision of a name.

    Raises:
        ValueError: there is none.
    """
    if name not in PRECISIONS:
        raise ValueError(f"precision {name!r} is unknown; known: {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


@contextlib.contextmanager
def applied(precision: Precision, peers: Sequence[str] = ()) -> Iterator[None]:
    """Tell jax, and torch if it is a peer, to compute with a precision; undo it afterwards."""
    with jax.default_matmul_precision(precision.level), contextlib.ExitStack() as undone:
        if any(peer.startswith("torch") for peer in peers):
            undone.enter_context(_torch_with(precision))
        yield


@contextlib.contextmanager
def _torch_with(precision: Precision) -> Iterator[None]:
    """Set torch's switches of TF32, and let cuDNN choose by timing, as XLA does."""
    wanted = _switches(precision.tf32)
    wanted.append(("backends.cudnn", "benchmark", True))
    before = [(where, name, getattr(_torch(where), name)) for where, name, _ in wanted]
    try:
        for where, name, value in wanted:
            setattr(_torch(where), name, value)
        yield
    finally:
        for where, name, value in before:
            setattr(_torch(where), name, value)


def _switches(tf32: bool) -> list[tuple[str, str, Any]]:
    """Where in torch, by which name, and the value: since torch 2.9 by names, before by flags."""
    places = ("backends.cudnn.conv", "backends.cuda.matmul")
    if all(hasattr(_torch(where), "fp32_precision") for where in places):
        return [(where, "fp32_precision", "tf32" if tf32 else "ieee") for where in places]
    return [(where, "allow_tf32", tf32) for where in ("backends.cudnn", "backends.cuda.matmul")]


def _torch(where: str) -> Any:
    found: Any = importlib.import_module("torch")
    for name in where.split("."):
        found = getattr(found, name, None)
    return found
