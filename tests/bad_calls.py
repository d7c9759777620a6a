"""Wrong calls of every public function: how a table row is made, and arguments of wrong types."""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class A:
    """An array of zeros, which jit may trace."""

    shape: tuple[int, ...]
    dtype: Any = "float32"

    def __repr__(self):
        return f"{self.dtype}{self.shape}"

    def make(self):
        return np.zeros(self.shape, jnp.dtype(self.dtype))


GOOD = {
    "conv": {"x": A((2, 8, 8, 3)), "w": A((3, 3, 3, 8))},
    "conv_transpose": {"y": A((2, 6, 6, 8)), "w": A((3, 3, 3, 8))},
    "corr2d": {"x": A((6, 8)), "k": A((1, 2))},
    "correlate": {"x": A((6, 8)), "k": A((1, 2))},
    "convolve": {"x": A((6, 8)), "k": A((1, 2))},
    "unfold": {"x": A((2, 8, 8, 3)), "kernel_size": (3, 3)},
    "fold": {"cols": A((2, 6, 6, 27)), "output_size": (8, 8), "kernel_size": (3, 3)},
    "causal_conv1d": {"x": A((2, 9, 4)), "w": A((3, 1, 4))},
    "causal_conv_transpose1d": {"y": A((2, 9, 4)), "w": A((3, 6, 4))},
}
LAYERS = "conv conv_transpose"
PLANES = "corr2d correlate convolve"
WINDOWS = "unfold fold"
PIECES = "causal_conv1d causal_conv_transpose1d"


@dataclass(frozen=True)
class Row:
    function: str
    change: dict[str, Any]
    message: str
    error: type[Exception] = ValueError
    remedy: dict[str, Any] = field(default_factory=dict)

    def __str__(self):
        return f"{self.function} {self.change}"

    @property
    def arguments(self):
        return GOOD[self.function] | self.change


ROWS: list[Row] = []


def row(functions: str, change: dict[str, Any], message: str, error=ValueError, **remedy: Any):
    for function in functions.split():
        first = next(iter(GOOD[function]))
        second = "k" if function in PLANES.split() else "w"
        text = f"{function}: {message}".replace("{1}", first).replace("{2}", second)
        renamed = {"1": first, "2": second}
        change_ = {renamed.get(name, name): value for name, value in change.items()}
        remedy_ = {renamed.get(name[1:], name): value for name, value in remedy.items()}
        ROWS.append(Row(function, change_, text, error, remedy_))


# --- arguments that are not arrays of numbers, and dtypes
row(
    f"{LAYERS} {PLANES} {WINDOWS} {PIECES}",
    {"1": None},
    "{1} must be an array of numbers, not NoneType",
    TypeError,
)
row(
    f"{LAYERS} {PLANES} {PIECES}",
    {"2": "kernel"},
    "{2} must be an array of numbers, not str",
    TypeError,
)
row(
    f"conv {PIECES}",
    {"b": [[1.0], [1.0, 2.0]]},
    "b must be an array of numbers, not list",
    TypeError,
)
row(
    PIECES,
    {"state": {}},
    "state must be an array of numbers, not dict",
    TypeError,
)
row("conv", {"x": np.array(["a"])}, "x must be an array of numbers, not <U1", TypeError)
for name in (*LAYERS.split(), *PLANES.split(), *PIECES.split()):
    shapes = [argument.shape for argument in GOOD[name].values()]
    row(
        name,
        {"2": A(shapes[1], "bfloat16")},
        "{1} is float32 but {2} is bfloat16; make them one: {2}.astype(jnp.float32)",
        TypeError,
        _2=lambda a: a.astype(jnp.float32),
    )
    row(
        name,
        {"1": A(shapes[0], "int8")},
        "{1} is int8 but {2} is float32; make them one: {1}.astype(jnp.float32)",
        TypeError,
        _1=lambda a: a.astype(jnp.float32),
    )
    row(
        name,
        {"1": A(shapes[0], "float16"), "2": A(shapes[1], "bfloat16")},
        "{1} is float16 but {2} is bfloat16; make them one: {1}.astype(jnp.float32), "
        "{2}.astype(jnp.float32)",
        TypeError,
        _1=lambda a: a.astype(jnp.float32),
        _2=lambda a: a.astype(jnp.float32),
    )
    row(
        name,
        {"1": A(shapes[0], "bool"), "2": A(shapes[1], "bool")},
        "{1} and {2} are bool, which has no sums; to count, cast both: {1}.astype(jnp.int32), "
        "{2}.astype(jnp.int32)",
        TypeError,
        _1=lambda a: a.astype(jnp.int32),
        _2=lambda a: a.astype(jnp.int32),
    )
    row(
        name,
        {"method": "fast"},
        "method='fast' must be one of 'auto', 'fastest', 'lax', 'loops', 'onednn', 'taps', 'fft', "
        "'columns', 'covered', 'floats', 'integers', 'pallas', 'phases', 'products', 'shifts', "
        "'slabs', 'widened'",
    )
for integers in ("int8", "uint16"):
    for name in (*LAYERS.split(), "correlate", "convolve", *PIECES.split()):
        shapes = [argument.shape for argument in GOOD[name].values()]
        row(
            name,
            {"1": A(shapes[0], integers), "2": A(shapes[1], integers)},
            f"{{1}} and {{2}} are {integers}, and sums of products may need more bits; use "
            f"preferred_element_type=jnp.int32 (or jnp.{integers}, in which they wrap around)",
            TypeError,
            preferred_element_type="int32",
        )
for narrow, wide in (("float8_e4m3fn", "bfloat16"), ("int4", "int32"), ("uint2", "int32")):
    row(
        "conv",
        {"x": A((2, 8, 8, 3), narrow), "w": A((3, 3, 3, 8), wide)},
        f"x is {narrow}, which is for storage; compute in a wider one: x.astype(jnp.{wide})",
        TypeError,
        x=lambda x, wide=wide: x.astype(wide),
    )
row(
    "conv",
    {"method": ["lax"]},
    "method=['lax'] must be one of 'auto', 'fastest', 'lax', 'loops', 'onednn', 'taps', 'fft', "
    "'columns', 'covered', 'floats', 'integers', 'pallas', 'phases', 'products', 'shifts', "
    "'slabs', 'widened'",
)
row(
    "fold",
    {"cols": A((2, 6, 6, 27), "bool")},
    "cols is bool, which has no sums; cast it: cols.astype(jnp.int32)",
    TypeError,
    cols=lambda a: a.astype(jnp.int32),
)
for preferred, operands in (("int32", "float32"), ("int8", "int16"), ("uint8", "int8")):
    for name in LAYERS.split():
        row(
            name,
            {
                "1": A(GOOD[name]["x" if name == "conv" else "y"].shape, operands),
                "w": A((3, 3, 3, 8), operands),
                "preferred_element_type": preferred,
            },
            f"preferred_element_type={preferred} cannot hold sums of {operands}; give one that "
            "can, or cast the operands first",
            TypeError,
            preferred_element_type="float32",
        )
row(
    f"{LAYERS} {PIECES}",
    {"preferred_element_type": "big"},
    "preferred_element_type='big' is not a dtype",
    TypeError,
)
for precision, shown in (
    ("best", "'best'"),
    (3, "3"),
    (("high", "best"), "'best'"),
    ({}, "{}"),
    (
        (("high", "high"), "high"),
        "('high', 'high')",
    ),
):
    row(
        f"{LAYERS} {PIECES}",
        {"precision": precision},
        f"precision={shown} must be one of None, 'default', 'high', 'highest', 'tensorfloat32', "
        "'float32', a jax.lax.Precision, a pair of these, or a jax.lax.DotAlgorithmPreset",
        precision="high",
    )
for flip in ("no", 1, None):
    row(
        LAYERS,
        {"flip": flip},
        f"flip={flip!r} must be True or False",
        TypeError,
        flip=True,
    )
