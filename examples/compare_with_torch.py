"""Learn the edge kernel of a 6x8 image in torch and in jaxconv, from the same start, side by side.

    python examples/compare_with_torch.py

The loop is that of D2L ("Dive into Deep Learning"), section 6.2.4: summed squared error, learning
rate 3e-2, 10 steps.
"""

import jax.numpy as jnp
import numpy as np
import torch

from jaxconv import corr2d
from jaxconv.learn import fit_kernel

START = np.array([[0.0166553, 0.6072187]], np.float32)
RATE, STEPS = 3e-2, 10


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


def main() -> None:
    their_losses, their_kernel, our_losses, our_kernel = compare()
    print(f"{'step':>4}  {'torch':>12}  {'jaxconv':>12}  relative difference")
    for step, (theirs, ours) in enumerate(zip(their_losses, our_losses, strict=True), start=1):
        print(f"{step:4d}  {theirs:12.6f}  {ours:12.6f}  {abs(ours - theirs) / theirs:.1e}")
    for name, kernel in (("torch", their_kernel), ("jaxconv", our_kernel)):
        print(f"{name:>8} kernel: ({kernel[0, 0]:.5f}, {kernel[0, 1]:.5f})")


if __name__ == "__main__":
    main()
