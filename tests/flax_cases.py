"""Layers as Flax has them: the table both faces are held against, and what is compared."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

HIGHEST = jax.lax.Precision.HIGHEST
# Both sides sum the same few hundred float32 products, in different orders.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Layer:
    name: str
    x: tuple[int, ...]
    features: int
    kernel_size: Any
    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def linen(self, module: type) -> Any:
        return module(self.features, self.kernel_size, precision=HIGHEST, **self.arguments)

    def nnx(self, module: type, rngs: Any) -> Any:
        sizes = (self.x[-1], self.features, self.kernel_size)
        return module(*sizes, precision=HIGHEST, rngs=rngs, **self.arguments)

    @property
    def inputs(self) -> np.ndarray:
        return np.random.default_rng(0).normal(size=self.x).astype("float32")


def _mask(*shape: int) -> np.ndarray:
    return (np.arange(np.prod(shape)).reshape(shape) % 3 > 0).astype("float32")


IMAGE = (2, 7, 8, 4)
CONV = [
    Layer("defaults", IMAGE, 3, (3, 3)),
    Layer("bare integer", (2, 9, 4), 3, 3),
    Layer("no batch, bare integer", (9, 4), 3, 4),
    Layer("no batch", IMAGE[1:], 3, (3, 2)),
    Layer("two batch axes", (2, 3, 7, 8, 4), 3, (3, 3), {"strides": None}),
    Layer("volume", (1, 4, 5, 4, 2), 3, (2, 3, 1), {"strides": (1, 2, 1)}),
    Layer("same even strided", IMAGE, 3, (4, 4), {"strides": 2}),
    Layer("same even dilated", IMAGE, 3, (2, 4), {"strides": (3, 1), "kernel_dilation": (3, 2)}),
    Layer("same stride over kernel", IMAGE, 3, (1, 2), {"strides": 3}),
    Layer("SAME_LOWER", IMAGE, 3, (4, 4), {"padding": "SAME_LOWER", "strides": (1, 2)}),
    Layer("VALID", IMAGE, 3, (3, 4), {"padding": "VALID", "strides": 2}),
    Layer("lower-case name", IMAGE, 3, (4, 3), {"padding": "same"}),
    Layer("CIRCULAR", IMAGE, 3, (3, 4), {"padding": "CIRCULAR"}),
    Layer("CIRCULAR strided", IMAGE, 3, (4, 3), {"padding": "CIRCULAR", "strides": 2}),
    Layer(
        "REFLECT dilated",
        IMAGE,
        3,
        (4, 3),
        {"padding": "REFLECT", "kernel_dilation": (1, 2), "strides": (2, 1)},
    ),
    Layer("CAUSAL", (2, 9, 4), 3, (3,), {"padding": "CAUSAL", "kernel_dilation": 2}),
    Layer("integer", IMAGE, 3, (3, 3), {"padding": 2}),
    Layer("integers", IMAGE, 3, (4, 3), {"padding": (1, 2), "strides": (2, 1)}),
    Layer("pairs", IMAGE, 3, (4, 3), {"padding": [(0, 2), (1, 0)], "strides": [1, 2]}),
    Layer("integer and pair", IMAGE, 3, (4, 3), {"padding": (1, (2, 0))}),
    Layer("negative pair", IMAGE, 3, (2, 3), {"padding": ((-1, 0), (0, -2))}),
    Layer("grouped", IMAGE, 6, (3, 3), {"feature_group_count": 2}),
    Layer("depthwise", IMAGE, 8, (3, 3), {"feature_group_count": 4, "strides": 2}),
    Layer("input dilation", IMAGE, 3, (3, 3), {"input_dilation": (2, 3), "padding": 1}),
    Layer(
        "input dilation, strided",
        IMAGE,
        3,
        (3, 2),
        {"input_dilation": 2, "strides": 3, "padding": ((1, 0), (2, 1)), "kernel_dilation": 2},
    ),
    Layer("masked", IMAGE, 3, (3, 3), {"mask": _mask(3, 3, 4, 3)}),
    Layer("no bias", IMAGE, 3, (3, 3), {"use_bias": False}),
]

TRANSPOSED = {"transpose_kernel": True}
CONV_TRANSPOSE = [
    Layer("defaults", IMAGE, 3, (3, 3)),
    Layer("bare integer", (2, 9, 4), 3, 3, {"strides": 2}),
    Layer("no batch", IMAGE[1:], 3, (3, 2), {"strides": (2, 2)}),
    Layer("two batch axes", (2, 3, 4, 5, 4), 3, (3, 3), {"strides": (2, 2)}),
    Layer("same even", IMAGE, 3, (4, 2), {"strides": (2, 3)}),
    Layer("same odd", IMAGE, 3, (5, 3), {"strides": (2, 2)}),
    Layer("same stride over kernel", IMAGE, 3, (1, 2), {"strides": (3, 4)}),
    Layer("same dilated", IMAGE, 3, (3, 2), {"strides": (2, 2), "kernel_dilation": (2, 3)}),
    Layer("VALID", IMAGE, 3, (4, 3), {"padding": "VALID", "strides": (2, 1)}),
    Layer("VALID stride over kernel", IMAGE, 3, (2, 1), {"padding": "VALID", "strides": (4, 3)}),
    Layer("transposed kernel", IMAGE, 3, (4, 3), {"strides": (2, 2), **TRANSPOSED}),
    Layer("CIRCULAR", IMAGE, 3, (3, 4), {"padding": "CIRCULAR"}),
    Layer("CIRCULAR odd excess", IMAGE, 3, (5, 4), {"padding": "CIRCULAR", "strides": (2, 1)}),
    Layer(
        "CIRCULAR transposed kernel",
        IMAGE,
        3,
        (5, 6),
        {"padding": "CIRCULAR", "strides": (2, 2), **TRANSPOSED},
    ),
    Layer(
        "CIRCULAR stride over kernel",
        IMAGE,
        3,
        (2, 3),
        {"padding": "CIRCULAR", "strides": (4, 2), "kernel_dilation": (1, 2), **TRANSPOSED},
    ),
    Layer("integer", IMAGE, 3, (5, 5), {"padding": 1, "strides": (2, 2)}),
    Layer("wide integers", IMAGE, 3, (3, 2), {"padding": (4, 3), "strides": (2, 1)}),
    Layer(
        "pairs",
        IMAGE,
        3,
        (4, 3),
        {"padding": ((0, 2), (1, 3)), "strides": (3, 2), "kernel_dilation": (1, 2), **TRANSPOSED},
    ),
    Layer("masked", IMAGE, 3, (3, 3), {"mask": _mask(3, 3, 4, 3)}),
    Layer("no bias", IMAGE, 3, (3, 3), {"use_bias": False}),
]


def outcomes(applies: Any, parameters: Any, x: np.ndarray) -> Any:
    """For each apply(parameters, x): its output and its gradients in both for a fixed cotangent."""

    @jax.jit  # both sides in one program: half the compilations
    def run(parameters, x):
        results = []
        for apply in applies:
            y, pull = jax.vjp(apply, parameters, x)
            cotangent = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
            results.append((y, pull(cotangent)))
        return results

    return run(parameters, x)


def assert_same(actual: Any, expected: Any) -> None:
    """Equal trees, dtypes and shapes; values up to TOLERANCE of each array's largest entry."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE * np.abs(b).max())
