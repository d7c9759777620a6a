"""How precisely products are computed where a device offers several ways: `precision`.

| level | names | on NVIDIA GPUs, of float32 | on TPUs, of float32 |
|---|---|---|---|
| DEFAULT | default, fastest, bfloat16 | TF32 | one pass in bfloat16 |
| HIGH | high, tensorfloat32, bfloat16_3x | TF32 | three passes |
| HIGHEST | highest, float32 | float32 | six passes |

A `jax.lax.DotAlgorithmPreset` names the arithmetic of a matrix product. XLA's convolution has no
such thing: lax computes one with DEFAULT whatever is named. Here it is taken as the lowest level
that is at least as precise on every platform, for convolutions and for the matrix products in their
place alike, since those of some presets do not run on every platform. `docs/precision.md` has the
sources.
"""

from typing import Any

import jax

DEFAULT, HIGH, HIGHEST = (
    jax.lax.Precision.DEFAULT,
    jax.lax.Precision.HIGH,
    jax.lax.Precision.HIGHEST,
)
# Presets that round operands to at most 8 significant bits (bfloat16), and to at most 11 (TF32 and
# float16); the others are more precise.
_8_BITS = frozenset(
    {
        *("DEFAULT", "BF16_BF16_BF16", "BF16_BF16_F32"),
        *("ANY_F8_ANY_F8_F32", "ANY_F8_ANY_F8_F32_FAST_ACCUM"),
        *("ANY_F8_ANY_F8_ANY", "ANY_F8_ANY_F8_ANY_FAST_ACCUM"),
    }
)
_11_BITS = frozenset({"F16_F16_F16", "F16_F16_F32", "TF32_TF32_F32"})


def check_precision(caller: str, precision: Any) -> Any:
    """Return `precision` as None, a `jax.lax.Precision` or a pair of them.

    Raises:
        ValueError: it names no precision.
    """
    if precision is None:
        return None
    if isinstance(precision, (tuple, list)) and len(precision) == 2:
        # lax takes no None inside a pair
        return tuple(_level(caller, "default" if p is None else p) for p in precision)
    if isinstance(precision, str) and precision in jax.lax.DotAlgorithmPreset.__members__:
        return _of_algorithm(jax.lax.DotAlgorithmPreset[precision])
    if isinstance(precision, (jax.lax.DotAlgorithmPreset, jax.lax.DotAlgorithm)):
        return _of_algorithm(precision)
    return _level(caller, precision)


def _level(caller: str, precision: Any) -> jax.lax.Precision:
    try:
        return jax.lax.Precision(precision)
    except (ValueError, TypeError):  # TypeError: what cannot be hashed
        raise ValueError(
            f"{caller}: precision={precision!r} must be one of None, 'default', 'high', 'highest', "
            "'tensorfloat32', 'float32', a jax.lax.Precision, a pair of these, or a "
            "jax.lax.DotAlgorithmPreset"
        ) from None


def _of_algorithm(
    algorithm: jax.lax.DotAlgorithmPreset | jax.lax.DotAlgorithm,
) -> jax.lax.Precision:
    """Return the lowest level that is at least as precise on every platform."""
    if isinstance(algorithm, jax.lax.DotAlgorithm):  # any rounding, in any number of parts
        return HIGHEST
    if algorithm.name in _8_BITS:
        return DEFAULT
    # TF32 or more on GPUs, three passes in bfloat16 on TPUs
    return HIGH if algorithm.name in _11_BITS else HIGHEST
