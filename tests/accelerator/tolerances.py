"""How far results may be from loops in float64 on a device, and why.

Two errors add up, both as a share of the sum of |a| |b| over each result's terms:

- sums: `cases.TOLERANCE` of the result's dtype. TPUs have float64 as pairs of float32
  (jax issue 10158), 2 x 24 bits in place of 53: as many units of 2^-48 as float32 may be off by
  units of 2^-24.
- products at the default precision, for which a device may round the operands to fewer bits
  (`jax.lax.Precision`):

  | device | operands | are rounded to | bits after the first | error of one, at most |
  |---|---|---|---|---|
  | GPU | float32, complex64 | TF32 | 10 | 2^-10: the other bits may simply be dropped |
  | TPU | float32, complex64, float16 | bfloat16 | 7 | 2^-8: to the nearest |

  A product has two operands. A complex product is three real ones of sums of the parts (Gauss),
  with four times the error. At `precision="highest"` operands are not rounded.

Nothing is allowed for the algorithms that a library chooses by itself: cuDNN's by Winograd and by
Fourier transforms have larger errors than sums have, and a check that fails by them says so.

Sources: NVIDIA A100 Tensor Core GPU Architecture, 2020, for TF32; Wang and Kanwar, BFloat16: The
secret to high performance on Cloud TPUs, 2019.
"""

from typing import Any

import cases
import numpy as np

from jaxconv._core.methods import METHODS

PRECISIONS = ("highest", "default")
# Largest relative error of an operand, and the dtypes that have it.
OPERANDS = {
    "gpu": (2.0**-10, ("float32", "complex64")),
    "tpu": (2.0**-8, ("float32", "complex64", "float16")),
}
GAUSS = 4


def products(platform: str, dtype: str, precision: str) -> float:
    """Return the relative error of a product whose operands are rounded, or 0."""
    error, narrowed = OPERANDS.get(platform, (0.0, ()))
    if precision == "highest" or dtype not in narrowed:
        return 0.0
    return ((1 + error) ** 2 - 1) * (GAUSS if dtype.startswith("complex") else 1)


def sums(platform: str, dtype: str) -> float:
    """Return the largest error of a sum of exact products."""
    if platform == "tpu" and dtype in ("float64", "complex128"):
        return cases.TOLERANCE["float32" if dtype == "float64" else "complex64"] * 2.0**-24
    return cases.TOLERANCE[dtype]


def tolerance(platform: str, dtype: str, precision: str) -> float:
    """Return the largest error of a result, as a share of the sum of |a| |b|; integers have 0."""
    if dtype in cases.EXACT:
        return 0.0
    return sums(platform, dtype) + products(platform, dtype, precision)


def all_of(platform: str) -> dict[str, dict[str, float]]:
    """Return the tolerances of a device by dtype and precision."""
    return {
        dtype: {precision: tolerance(platform, dtype, precision) for precision in PRECISIONS}
        for dtype in (*cases.TOLERANCE, *cases.EXACT)
    }


def precisions(dtype: str) -> tuple[str, ...]:
    """Return the precisions to check a dtype at: the default where it differs on some device."""
    narrowed = any(dtype in dtypes for _, dtypes in OPERANDS.values())
    return PRECISIONS if narrowed else PRECISIONS[:1]


def in_norm(method: str) -> bool:
    """Whether a method's errors are on the scale of whole arrays, as those of spectra are."""
    return method in METHODS and METHODS[method].rules == {"fastest"}


def share(
    method: str,
    actual: Any,
    contraction: str,
    a: np.ndarray,
    b: np.ndarray,
    spec: Any,
    *,
    platform: str,
    precision: str = "highest",
) -> float:
    """Return the largest error of a method's result, divided by its bound."""
    given = actual, contraction, a, b, spec
    made, rounded = str(actual.dtype), products(platform, str(a.dtype), precision)
    if made in cases.EXACT:
        return cases.share(*cases.error_and_bound(*given))
    if in_norm(method):
        return cases.share(*cases.error_and_bound_in_norm(*given, products=rounded))
    most = sums(platform, made) + rounded
    return cases.share(*cases.error_and_bound(*given, tolerance=most))
