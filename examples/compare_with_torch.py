"""Learn the edge kernel of a 6x8 image in torch and in jaxconv, from the same start, side by side.

    python examples/compare_with_torch.py
    python examples/compare_with_torch.py --device cuda --precision tf32

The loop is that of D2L ("Dive into Deep Learning"), section 6.2.4: summed squared error, learning
rate 3e-2, 10 steps. Then a layer and its gradients in jaxconv, lax and torch, on one device and at
one precision, beside float64 (docs/precision.md has the levels and the bounds).
"""

import argparse
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import conv, corr2d
from jaxconv.learn import fit_kernel

try:
    import torch
except ImportError:
    raise SystemExit("compare_with_torch: torch is not installed; pytorch.org says how") from None

START = np.array([[0.0166553, 0.6072187]], np.float32)
RATE, STEPS = 3e-2, 10
# dtype of the arrays, JAX's precision, torch's, largest error as a share of the largest magnitude
PRECISIONS = {
    "float32": ("float32", "highest", "ieee", 1e-4),
    "tf32": ("float32", "tensorfloat32", "tf32", 2e-3),
    "bfloat16": ("bfloat16", "highest", "ieee", 8e-3),
}
X, W = (2, 32, 32, 16), (3, 3, 16, 32)


def edge_images() -> tuple[np.ndarray, np.ndarray]:
    x = np.ones((6, 8), np.float32)
    x[:, 2:6] = 0
    return x, np.asarray(corr2d(jnp.asarray(x), jnp.array([[1.0, -1.0]])))


def learn_in_torch(x: torch.Tensor, y: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    layer = torch.nn.Conv2d(1, 1, kernel_size=(1, 2), bias=False)
    # (h, w) -> (1, 1, h, w): torch's output and input channels are first
    layer.weight.data = torch.from_numpy(START.copy())[None, None]
    losses = []
    for _ in range(STEPS):
        loss = ((layer(x) - y) ** 2).sum()
        layer.zero_grad()
        loss.backward()
        layer.weight.data[:] -= RATE * layer.weight.grad
        losses.append(loss.detach())
    return losses, layer.weight.data[0, 0]


def compare() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return torch's losses and kernel, then jaxconv's."""
    x, y = edge_images()
    losses, kernel = learn_in_torch(torch.from_numpy(x)[None, None], torch.from_numpy(y.copy()))
    fit = fit_kernel(jnp.asarray(x), jnp.asarray(y), (1, 2), init=jnp.asarray(START), steps=STEPS)
    theirs = np.array([float(loss) for loss in losses], np.float32)
    return theirs, kernel.numpy(), np.asarray(fit.losses), np.asarray(fit.kernel)


def layer_in_jax(layer, device: str, dtype: str, *arrays: np.ndarray) -> list[np.ndarray]:
    """Return y and the gradients of x and w, from x, w and the gradient of y."""
    [where] = jax.devices("gpu" if device == "cuda" else "cpu")[:1]
    x, w, ct = (jax.device_put(a.astype(jnp.dtype(dtype)), where) for a in arrays)
    results = jax.jit(lambda x, w, ct: (lambda y, pull: (y, *pull(ct)))(*jax.vjp(layer, x, w)))
    return [np.asarray(a, np.float64) for a in results(x, w, ct)]


def layer_in_torch(device: str, dtype: str, *arrays: np.ndarray) -> list[np.ndarray]:
    """Return the same; torch has channels first, and output channels before input channels."""
    x, w, ct = (torch.from_numpy(a).to(device, getattr(torch, dtype)) for a in arrays)
    x, w = x.requires_grad_(), w.requires_grad_()
    channels_first, kernel_last = (0, 3, 1, 2), (3, 2, 0, 1)
    y = torch.nn.functional.conv2d(x.permute(channels_first), w.permute(kernel_last), padding=1)
    y = y.permute(0, 2, 3, 1)
    results = (y, *torch.autograd.grad(y, (x, w), ct))
    return [a.detach().cpu().double().numpy() for a in results]


def compare_layer(device: str, precision: str) -> tuple[dict[str, list[float]], float]:
    """Return the largest errors of y, dx and dw by library, and the bound of all of them.

    Each error is a share of the largest magnitude of its array.
    """
    dtype, level, of_torch, bound = PRECISIONS[precision]
    draw = np.random.default_rng(0)
    arrays = [draw.standard_normal(shape, np.float32) for shape in (X, W, (*X[:3], W[-1]))]
    # the same numbers for everyone, also for float64
    arrays = [np.asarray(a.astype(jnp.dtype(dtype)), np.float32) for a in arrays]
    exact = layer_in_torch("cpu", "float64", *arrays)
    switch = getattr(torch.backends.cudnn, "conv", None)
    if not hasattr(switch, "fp32_precision"):
        raise SystemExit(
            f"compare_with_torch: torch is {torch.__version__}; 2.9 or later is needed"
        )
    before, switch.fp32_precision = switch.fp32_precision, of_torch
    try:
        found = {"torch": layer_in_torch(device, dtype, *arrays)}
    finally:
        switch.fp32_precision = before
    layers = {
        "jaxconv": lambda x, w: conv(x, w, padding=1, precision=level),
        "lax": lambda x, w: jax.lax.conv_general_dilated(
            x,
            w,
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=level,
        ),
    }
    for name, layer in layers.items():
        found[name] = layer_in_jax(layer, device, dtype, *arrays)

    def errors(results: list[np.ndarray]) -> list[float]:
        pairs = zip(results, exact, strict=True)
        return [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs]

    return {name: errors(results) for name, results in found.items()}, bound


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where the layer is compared"
    )
    parser.add_argument(
        "--precision",
        choices=tuple(PRECISIONS),
        default="float32",
        help="of the layer's arrays and products, in each library",
    )
    given = parser.parse_args(arguments)
    seen = jax.default_backend() == "gpu" and torch.cuda.is_available()
    if given.device == "cuda" and not seen:
        parser.error("--device cuda needs a GPU that both JAX and torch see")
    their_losses, their_kernel, our_losses, our_kernel = compare()
    print(f"{'step':>4}  {'torch':>12}  {'jaxconv':>12}  relative difference")
    for step, (theirs, ours) in enumerate(zip(their_losses, our_losses, strict=True), start=1):
        print(f"{step:4d}  {theirs:12.6f}  {ours:12.6f}  {abs(ours - theirs) / theirs:.1e}")
    for name, kernel in (("torch", their_kernel), ("jaxconv", our_kernel)):
        print(f"{name:>8} kernel: ({kernel[0, 0]:.5f}, {kernel[0, 1]:.5f})")
    errors, bound = compare_layer(given.device, given.precision)
    print(f"\na 3x3 layer in {given.precision} on {given.device}: largest error beside float64,")
    print(f"as a share of the largest magnitude (at most {bound:.0e})")
    print(f"{'':>8}  {'y':>8}  {'dx':>8}  {'dw':>8}")
    for name in ("torch", "lax", "jaxconv"):
        print(f"{name:>8}  " + "  ".join(f"{error:8.1e}" for error in errors[name]))


if __name__ == "__main__":
    main()
