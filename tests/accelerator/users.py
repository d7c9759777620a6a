"""Layers of Flax, with their gradients, and learning, against loops in float64."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cases
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx as flax_nnx

from accelerator import table, tolerances
from accelerator.running import Check, Outcome, Scope
from jaxconv import learn, linen, nnx, reference
from jaxconv._core.geometry.spec import ConvSpec, normalise

# dtype of the computation, and precision; parameters are float32
NUMERICS = (("float32", "highest"), ("float32", "default"), ("bfloat16", "default"))
FEATURES, KERNEL, STRIDES = 6, (3, 3), (2, 2)
RATE, STEPS = 3e-2, 10
# In a small run.
SMALL = (("linen", "ConvTranspose"), ("nnx", "Conv"))


class Layer(NamedTuple):
    """A layer as contractions.

    Attributes:
        arguments: of its constructors.
        inputs: the shape of its input.
        spec: the geometry of the convolution whose `made` it computes.
        made: "output", or "input" for a transposed convolution.
        kernel: the shape of its kernel.
    """

    arguments: dict[str, Any]
    inputs: tuple[int, ...]
    spec: ConvSpec
    made: str
    kernel: tuple[int, ...]


def _layers() -> dict[str, Layer]:
    inputs, kernel = (2, 7, 8, 4), (*KERNEL, 2, FEATURES)
    geometry = {"padding": "same", "stride": STRIDES}
    spec = normalise("conv", inputs, kernel, groups=2, **geometry)
    layers = {"Conv": Layer({"feature_group_count": 2}, inputs, spec, "output", kernel)}
    inputs, kernel = (2, 4, 5, 4), (*KERNEL, FEATURES, 4)
    result = (2, *(n * s for n, s in zip(inputs[1:3], STRIDES, strict=True)), FEATURES)
    spec = normalise("conv", result, kernel, **geometry)
    arguments = {"transpose_kernel": True}
    return layers | {"ConvTranspose": Layer(arguments, inputs, spec, "input", kernel)}


def checks(scope: Scope) -> Iterator[Check]:
    """Yield the checks of layers and of learning."""
    for (name, layer), (face, build) in itertools.product(_layers().items(), FACES.items()):
        if scope.small and (face, name) not in SMALL:
            continue
        for dtype, precision in NUMERICS[-1:] if scope.small else NUMERICS:
            run = functools.partial(_layer, scope, layer, build, name, dtype, precision)
            title = f"layers/{face}.{name}/{dtype}/{precision}"
            yield Check(title, run, "auto", layer.made, dtype)
    for name, run in {"solve_kernel": _solve_kernel, "fit_kernel": _fit_kernel}.items():
        yield Check(f"learn/{name}", functools.partial(run, scope), "auto", dtype="float32")


def _linen(name: str, layer: Layer, **numerics: Any) -> Callable[..., jax.Array]:
    module = getattr(linen, name)(FEATURES, KERNEL, strides=STRIDES, **layer.arguments, **numerics)
    return lambda kernel, bias, x: module.apply({"params": {"kernel": kernel, "bias": bias}}, x)


def _nnx(name: str, layer: Layer, **numerics: Any) -> Callable[..., jax.Array]:
    sizes = layer.inputs[-1], FEATURES, KERNEL
    how = {"strides": STRIDES, **layer.arguments, **numerics}
    module = getattr(nnx, name)(*sizes, rngs=flax_nnx.Rngs(0), **how)

    def apply(kernel, bias, x):
        graph, state = flax_nnx.split(module)
        flax_nnx.replace_by_pure_dict(state, {"kernel": kernel, "bias": bias})
        return flax_nnx.merge(graph, state)(x)

    return apply


FACES = {"linen": _linen, "nnx": _nnx}


def _layer(
    scope: Scope, layer: Layer, build: Callable[..., Any], name: str, dtype: str, precision: str
) -> Outcome:
    """Compare y and the gradients in kernel, bias and x; the cotangent is of small integers."""
    draw = np.random.default_rng(0)
    x, kernel = (cases.random(draw, shape, "float32") for shape in (layer.inputs, layer.kernel))
    bias = np.arange(FEATURES, dtype="float32") - 2
    apply = build(name, layer, dtype=dtype, precision=table.precision_of(precision))

    @jax.jit
    def step(kernel, bias, x, seed):
        y, pull = jax.vjp(apply, kernel, bias, x)
        return y, *pull(seed)

    x = x.astype(dtype)
    made = jax.eval_shape(apply, kernel, bias, x)
    assert str(made.dtype) == dtype, made
    seed = draw.integers(-3, 4, made.shape).astype(dtype)
    y, of_kernel, of_bias, of_x = map(np.asarray, step(kernel, bias, x, seed))
    used = kernel.astype(dtype)  # as it is multiplied
    tolerance = tolerances.tolerance(scope.platform, dtype, precision)
    within = functools.partial(cases.error_and_bound, spec=layer.spec, tolerance=tolerance)
    error_of = {
        "output": (("kernel", x, seed), ("input", seed, used)),
        "input": (("kernel", seed, x), ("output", seed, used)),
    }[layer.made]
    want = cases.expected(layer.made, x, used, layer.spec) + bias
    _, bound = within(y, layer.made, x, used)
    shares = {
        "y": cases.share(np.abs(cases.wide(y) - want), bound + tolerance * np.abs(bias)),
        "kernel": cases.share(*within(of_kernel, *error_of[0])),
        "x": cases.share(*within(of_x, *error_of[1])),
        "bias": cases.share(np.abs(of_bias - cases.wide(seed).sum((0, 1, 2))), np.zeros(FEATURES)),
    }
    worst = max(shares, key=lambda each: shares[each])
    return Outcome(shares[worst], f"worst: {worst}")


def _images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, the kernel, and the exact y, rounded once."""
    draw = np.random.default_rng(0)
    x, kernel = (cases.random(draw, shape, "float32") for shape in ((16, 15), (3, 2)))
    wide = x.astype(np.float64), kernel.astype(np.float64)
    return x, kernel, reference.corr2d(*wide).astype(np.float32)


def _solve_kernel(scope: Scope) -> Outcome:
    """The kernel again: rounding y is a relative error, times the condition number at most."""
    x, kernel, y = _images()
    found = learn.solve_kernel(x, y, kernel.shape)
    unit = np.finfo(np.float32).eps / 2
    bound = unit * (float(found.condition) + 1) * np.linalg.norm(kernel)  # and that of the result
    error = np.linalg.norm(cases.wide(found.kernel) - kernel)
    assert int(found.rank) == kernel.size, found.rank
    return Outcome(error / bound, f"condition number {float(found.condition):.2f}")


def _fit_kernel(scope: Scope) -> Outcome:
    """The same steps of descent, in float64.

    A step k - r g(k) of this convex loss brings no two kernels further apart while r is at most 2
    over the largest curvature. So the errors of the steps, each that of float32 on the scale of its
    own terms, add up at most.
    """
    x, truth, y = _images()
    x, y = x / 8, y / 8  # curvatures below 2 / r
    spec = normalise("conv", (1, *x.shape, 1), (*truth.shape, 1, 1))
    images = x[None, ..., None], y[None, ..., None]
    k = np.full((*truth.shape, 1, 1), 0.5, np.float32)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        fit = learn.fit_kernel(x, y, truth.shape, init=jnp.asarray(k[..., 0, 0]), steps=STEPS)
    curvatures = np.linalg.eigvalsh(2 * _gram(spec, images[0]))
    assert RATE * curvatures.max() <= 2, curvatures.max()
    tolerance = tolerances.sums(scope.platform, "float32")
    wide_x, wide_y, k = *map(cases.wide, images), cases.wide(k)
    bound = 0.0
    for _ in range(STEPS):
        left = reference.output(wide_x, k, spec) - wide_y
        k_terms = reference.output(np.abs(wide_x), np.abs(k), spec) + np.abs(wide_y)
        terms = np.abs(k) + RATE * 2 * reference.kernel(np.abs(wide_x), k_terms, spec)
        k = k - RATE * 2 * reference.kernel(wide_x, left, spec)
        bound += 2 * tolerance * np.linalg.norm(terms)  # of two convolutions
    error = np.linalg.norm(cases.wide(fit.kernel) - k[..., 0, 0])
    moved = np.linalg.norm(k - 0.5)
    assert moved > 1e3 * bound, (moved, bound)  # otherwise no step is seen
    return Outcome(error / bound, f"{STEPS} steps")


def _gram(spec: ConvSpec, x: np.ndarray) -> np.ndarray:
    """Return the matrix of products of the windows' entries: half of the loss's curvature."""
    columns = []
    for entry in np.ndindex(*spec.kernel_size):
        kernel = np.zeros((*spec.kernel_size, 1, 1))
        kernel[entry] = 1
        columns.append(reference.output(x, kernel, spec).ravel())
    windows = np.stack(columns, -1)
    return windows.T @ windows
