"""The one table of convolutions that every method, contraction, face and transform is tested on."""

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import reference
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import ConvSpec, normalise

OPERANDS = {"output": ("x", "w"), "input": ("y", "w"), "kernel": ("x", "y")}
CONTRACTIONS = tuple(OPERANDS)

# Largest error beside the float64 reference, as a share of sum |a| |b| over each result's terms.
TOLERANCE = {
    "float16": 1e-3,
    "bfloat16": 8e-3,
    "float32": 2e-6,
    "float64": 1e-14,
    "complex64": 3e-6,
    "complex128": 2e-14,
}
# Integers, whose results must be equal, and the results' dtypes that are not the operands'.
EXACT = ("bool", "int8", "uint8", "int16", "int32", "int64")
RESULT = {"bool": "int32", "int8": "int32"}


@dataclass(frozen=True)
class Case:
    name: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    @property
    def spec(self) -> ConvSpec:
        return normalise("conv", self.x, self.w, **self.arguments)

    @property
    def y(self) -> tuple[int, ...]:
        batch = self.x[: len(self.x) - len(self.w) + 1]
        return (*batch, *self.spec.output_size, self.w[-1])

    def arrays(self, dtype: str = "float32", seed: int = 0) -> dict[str, np.ndarray]:
        """Random x, w and y of the case."""
        rng = np.random.default_rng(seed)
        return {name: random(rng, getattr(self, name), dtype) for name in ("x", "w", "y")}

    def problem(
        self,
        contraction: str = "output",
        dtype: str = "float32",
        *,
        platform: str = "cpu",
        device_kind: str = "",
    ) -> Problem:
        """Return the problem of operands of a dtype, with the result's of `RESULT`."""
        with jax.enable_x64(True):
            a, b = (
                jax.ShapeDtypeStruct(getattr(self, name), jnp.dtype(dtype))
                for name in OPERANDS[contraction]
            )
            device = {"platform": platform, "device_kind": device_kind}
            result = RESULT.get(dtype, dtype)
            return Problem.of(contraction, a, b, self.spec, dtype=result, **device)

    def operands(self, contraction: str, dtype: str = "float32") -> list[np.ndarray]:
        arrays = self.arrays(dtype)
        return [arrays[name] for name in OPERANDS[contraction]]


def traits(case: Case) -> set[str]:
    """Return what distinguishes a case: few cases have all traits among them (`covering.py`)."""
    spec, batch = case.spec, case.x[: len(case.x) - len(case.w) + 1]
    sizes = [
        (n + lo + hi, (k - 1) * d + 1, s, (lo, hi)) for n, _, k, s, d, (lo, hi) in spec.dimensions
    ]
    found = {
        f"rank {spec.rank}": True,
        f"{len(batch)} batch axes": True,
        "empty batch": 0 in batch,
        "even kernel": any(k % 2 == 0 for k in spec.kernel_size),
        "kernel of one element": set(spec.kernel_size) == {1},
        "stride": max(spec.stride) > 1,
        "stride over kernel": any(s > k for _, k, s, _ in sizes),
        "remainder": any((n - k) % s for n, k, s, _ in sizes),
        "dilation": max(spec.dilation) > 1,
        "padding": any(max(pair) > 0 for *_, pair in sizes),
        "uneven padding": any(lo != hi for *_, (lo, hi) in sizes),
        "cut": any(min(pair) < 0 for *_, pair in sizes),
        "padding over kernel": any(max(pair) >= k for _, k, _, pair in sizes),
        "groups": spec.groups > 1 and case.w[-2] > 1,
        "depthwise": spec.groups > 1 and case.w[-2:] == (1, spec.groups),
        "multiplier": spec.groups > 1 and case.w[-2] == 1 and case.w[-1] > spec.groups,
        "many channels": case.w[-2] >= 16,
        "one channel": case.w[-2:] == (1, 1),
        # methods for volumes treat the first dimension apart
        "stride between planes": spec.rank > 2 and spec.stride[0] > 1,
        "dilation between planes": spec.rank > 2 and spec.dilation[0] > 1,
        "padding before planes": spec.rank > 2 and spec.padding[0] != (0, 0),
    }
    return {name for name, has in found.items() if has}


def random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Normal numbers, small integers or coins, whichever the dtype holds."""
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype.startswith(("int", "uint")):
        low = 0 if dtype.startswith("uint") else -4
        return rng.integers(low, 5, shape).astype(dtype)
    if dtype.startswith("complex"):
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    return np.asarray(rng.normal(size=shape)).astype(np.dtype(dtype))


def expected(contraction: str, a: np.ndarray, b: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """The reference's answer, for any number of batch axes."""
    stored = ((str(array.dtype), array.shape, np.asarray(array).tobytes()) for array in (a, b))
    return _expected(contraction, spec, *stored)


# every method is held to the same answers
@functools.lru_cache(maxsize=500)
def _expected(contraction: str, spec: ConvSpec, *stored: tuple) -> np.ndarray:
    a, b = (
        np.frombuffer(values, np.dtype(dtype)).reshape(shape) for dtype, shape, values in stored
    )
    rank = spec.rank
    second = OPERANDS[contraction][1]
    batch = a.shape[: -rank - 1]
    a = one_batch_axis(a, rank)
    b = b if second == "w" else one_batch_axis(b, rank)
    result = reference.CONTRACTIONS[contraction](a, b, spec)
    result = result if contraction == "kernel" else result.reshape(*batch, *result.shape[1:])
    result.flags.writeable = False
    return result


def one_batch_axis(array: np.ndarray, rank: int) -> np.ndarray:
    shape = array.shape
    size = int(np.prod(shape[: -rank - 1], dtype=int))
    return array.reshape(size, *shape[-rank - 1 :])


def error_and_bound(
    actual: Any,
    contraction: str,
    a: Any,
    b: Any,
    spec: ConvSpec,
    *,
    tolerance: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each element is from the reference, and the most that is allowed.

    The bound is on the scale of each element's own terms. Integers must be equal: their bound is 0.
    """
    want = expected(contraction, a, b, spec)
    assert actual.shape == want.shape, (actual.shape, want.shape)
    if _is_exact(actual):
        return _difference(np.asarray(actual), want.astype(actual.dtype)), np.zeros(want.shape)
    scale = expected(contraction, np.abs(wide(a)), np.abs(wide(b)), spec)
    tolerance = TOLERANCE[str(actual.dtype)] if tolerance is None else tolerance
    return np.abs(wide(actual) - want), tolerance * scale


def error_and_bound_in_norm(
    actual: Any,
    contraction: str,
    a: Any,
    b: Any,
    spec: ConvSpec,
    *,
    products: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the same with the bound on the scale of the whole arrays, as spectra round.

    |error| <= (4 u log2(N) + e) |a| |b| in Euclidean norms, where N counts the elements of the
    padded input, u is the unit of the dtype summed in (float32 for half precision, whose one
    rounding at the end adds its own unit times the result), and e, `products`, is the error of a
    product of spectra beyond u.
    """
    if _is_exact(actual):
        return error_and_bound(actual, contraction, a, b, spec)
    want = expected(contraction, a, b, spec)
    assert actual.shape == want.shape, (actual.shape, want.shape)
    dtype = str(actual.dtype)
    half = TOLERANCE[dtype] if dtype in ("float16", "bfloat16") else 0.0
    unit = np.finfo(np.float32 if half else dtype).eps
    points = np.prod(
        [n + lo + hi for n, (lo, hi) in zip(spec.input_size, spec.padding, strict=True)]
    )
    relative = 4 * unit * np.log2(max(points, 2)) + products
    norms = np.linalg.norm(wide(a)) * np.linalg.norm(wide(b))
    return np.abs(wide(actual) - want), relative * norms + half * np.abs(want)


def share(error: np.ndarray, bound: np.ndarray) -> float:
    """Return the largest error divided by its bound: above 1, or infinite, if something is wrong.

    It is infinite for NaN and for an error where none is allowed.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(error == 0, 0.0, error / bound)
    return float(np.max(np.where(np.isnan(found), np.inf, found), initial=0.0))


def assert_matches(actual: Any, contraction: str, a: Any, b: Any, spec: ConvSpec, **kwargs) -> None:
    """Compare with the reference, element by element, on the scale of each element's own terms."""
    _assert_within(actual, contraction, *error_and_bound(actual, contraction, a, b, spec, **kwargs))


def assert_matches_in_norm(actual: Any, contraction: str, a: Any, b: Any, spec: ConvSpec) -> None:
    """Compare with the reference on the scale of the whole arrays, as spectra round."""
    _assert_within(actual, contraction, *error_and_bound_in_norm(actual, contraction, a, b, spec))


def _assert_within(actual: Any, contraction: str, error: np.ndarray, bound: np.ndarray) -> None:
    assert share(error, bound) <= 1, (
        f"{actual.dtype} {contraction} is off by {error.max()} (bound {bound.max()})"
    )


def _is_exact(array: Any) -> bool:
    return str(array.dtype).startswith(("int", "uint"))


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return |a - b| of integers in float64, and 1 at least where they are not equal.

    Differences of integers wrap around, and float64 has 53 bits.
    """
    return np.where(a == b, 0.0, np.maximum(np.abs(wide(a) - wide(b)), 1.0))


def wide(array: Any) -> np.ndarray:
    array = np.asarray(array)
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


def _case(name: str, x: tuple[int, ...], w: tuple[int, ...], **arguments) -> Case:
    return Case(name, x, w, arguments)


CASES = (
    _case("seed edge", (1, 6, 8, 1), (1, 2, 1, 1)),
    _case("1d", (2, 9, 3), (3, 3, 4)),
    _case("1d causal depthwise", (2, 9, 6), (4, 1, 6), padding="causal", groups=6),
    _case("1d stride over kernel", (2, 11, 2), (2, 2, 3), stride=3),
    _case("1d no batch", (10, 2), (3, 2, 3), padding="full", dilation=2),
    _case("2d", (2, 7, 6, 3), (3, 3, 3, 4)),
    _case("2d same even", (2, 6, 7, 2), (4, 2, 2, 3), padding="same"),
    _case("2d same strided", (1, 8, 9, 2), (3, 4, 2, 2), padding="same", stride=(2, 3)),
    _case("2d same_lower even", (1, 6, 5, 2), (4, 4, 2, 2), padding="same_lower"),
    _case("2d 1x1", (2, 5, 4, 6), (1, 1, 6, 5)),
    _case("2d 1x1 strided", (2, 5, 6, 16), (1, 1, 16, 5), stride=2),
    _case("2d uneven pads", (2, 6, 7, 2), (3, 3, 2, 3), padding=((2, 0), (1, 3))),
    _case("2d negative pads", (1, 8, 9, 2), (3, 2, 2, 3), padding=((-1, 0), (0, -2))),
    _case("2d wide pads", (1, 3, 3, 2), (2, 2, 2, 2), padding=4, stride=2),
    _case("2d dilated", (1, 9, 10, 2), (3, 2, 2, 3), dilation=(2, 3), padding=1),
    _case("2d grouped", (2, 6, 6, 6), (3, 3, 3, 4), groups=2, padding=1),
    _case("2d depthwise", (2, 6, 5, 4), (3, 3, 1, 4), groups=4, padding="same"),
    _case("2d multiplier", (2, 6, 5, 3), (3, 2, 1, 6), groups=3, stride=2, padding=1),
    _case(
        "2d everything",
        (2, 9, 8, 4),
        (3, 2, 2, 6),
        stride=(2, 1),
        padding=((1, 0), (-1, 0)),
        dilation=(1, 2),
        groups=2,
    ),
    _case("2d two batch axes", (2, 3, 6, 5, 2), (2, 3, 2, 3)),
    _case("2d empty batch", (0, 6, 5, 4), (3, 3, 2, 4), groups=2),
    _case("2d remainder", (1, 8, 10, 2), (3, 3, 2, 2), stride=(2, 4)),
    _case("3d", (1, 5, 4, 6, 2), (2, 3, 2, 2, 3), stride=(1, 1, 2), padding=1),
    _case("3d grouped", (1, 4, 5, 4, 4), (3, 2, 2, 2, 4), groups=2, dilation=(1, 2, 1)),
    _case("3d dilated", (1, 6, 4, 5, 2), (2, 2, 2, 2, 3), dilation=(3, 1, 2), stride=(2, 1, 1)),
    _case("4d", (1, 3, 4, 3, 4, 2), (2, 2, 2, 2, 2, 2), padding=(1, 0, 0, 1), stride=(1, 2, 1, 1)),
)


@functools.cache
def by_name(name: str) -> Case:
    return next(case for case in CASES if case.name == name)
