"""Ten steps of learning an edge detector, for one kernel and for a thousand, by us and by torch.

Summed squared error, plain gradient descent, learning rate 3e-2: Dive into Deep Learning, 7.2.4.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxconv.bench import devices
from jaxconv.bench.peers import OURS, Program
from jaxconv.learn import init, step

RATE, STEPS = 3e-2, 10


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Kernels to learn at once, each from its own start and its own target, from one image."""

    name: str
    kernels: int
    quick: bool = True


LESSONS = (
    Lesson(name="ten steps, one kernel", kernels=1),
    Lesson(name="ten steps, 1000 kernels at once", kernels=1000),
)


def arrays(case: Lesson) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The image (6, 8), targets (kernels, 6, 7) and starts (kernels, 1, 2)."""
    x = np.ones((6, 8), np.float32)
    x[:, 2:6] = 0
    rng = np.random.default_rng(0)
    hidden = rng.uniform(-1, 1, (case.kernels, 1, 2)).astype(np.float32)
    y = hidden[:, :, :1] * x[:, :-1] + hidden[:, :, 1:] * x[:, 1:]
    return x, y, rng.uniform(0, 1, (case.kernels, 1, 2)).astype(np.float32)


def exact(case: Lesson) -> dict[str, np.ndarray]:
    """Losses (kernels, steps) and kernels in float64, by the normal equations' gradient."""
    x, y, start = (a.astype(np.float64) for a in arrays(case))
    windows = np.stack([x[:, :-1].ravel(), x[:, 1:].ravel()], axis=1)  # (positions, 2)
    targets, kernels = y.reshape(len(y), -1), start.reshape(len(start), 2)
    losses = []
    for _ in range(STEPS):
        residual = kernels @ windows.T - targets
        losses.append(np.square(residual).sum(axis=1))
        kernels = kernels - RATE * 2 * residual @ windows
    return {"losses": np.stack(losses, axis=1), "kernels": kernels.reshape(start.shape)}


def programs(case: Lesson, *, peers: Sequence[str], quick: bool) -> list[Program]:
    """Return every way to learn, ours first."""
    x, y, start = arrays(case)
    found = [_ours(x, y, start)]
    if "torch" in peers:
        found.append(_torch(x, y, start, compiled=False))
    if "torch.compile" in peers and not quick:  # which takes long to compile
        found.append(_torch(x, y, start, compiled=True))
    return found


def _ours(x: np.ndarray, y: np.ndarray, start: np.ndarray) -> Program:
    optimizer = optax.sgd(RATE)

    def one(x: jax.Array, y: jax.Array, kernel: jax.Array) -> Any:
        def body(state: Any, _: None) -> Any:
            return step(state, x, y, optimizer=optimizer)

        state, losses = jax.lax.scan(body, init(kernel, optimizer=optimizer), None, length=STEPS)
        return losses, state.kernel

    # one kernel is learned as in the chapter, many by vmap
    many = jax.vmap(one, in_axes=(None, 0, 0))
    single = len(start) == 1
    return Program(
        peer=OURS,
        label=OURS,
        function=one if single else many,
        arguments=[jnp.asarray(a) for a in ((x, y[0], start[0]) if single else (x, y, start))],
        values=lambda found: {
            name: np.asarray(a)[None] if single else np.asarray(a)
            for name, a in zip(("losses", "kernels"), found, strict=True)
        },
        compiled=True,
    )


def _torch(x: np.ndarray, y: np.ndarray, start: np.ndarray, *, compiled: bool) -> Program:
    import torch

    def loss(w: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        # kernels as output channels of one layer
        residual = torch.nn.functional.conv2d(x, w) - y
        return (residual**2).sum((0, 2, 3))

    function: Callable[..., Any] = loss
    if compiled:
        if shutil.which("c++") is None and shutil.which("g++") is None:
            function = _without_compiler
        else:
            function = torch.compile(loss)

    def run(x: torch.Tensor, y: torch.Tensor, w: torch.Tensor) -> Any:
        # on so small an image torch is faster on one thread
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            w, losses = w.clone().requires_grad_(), []
            for _ in range(STEPS):
                each = function(w, x, y)
                (gradient,) = torch.autograd.grad(each.sum(), w)
                with torch.no_grad():
                    w -= RATE * gradient
                losses.append(each.detach())
            return losses, w.detach()
        finally:
            torch.set_num_threads(threads)

    return Program(
        peer="torch.compile" if compiled else "torch",
        label="torch.compile" if compiled else "torch eager",
        function=run,
        arguments=[
            torch.from_numpy(a).to(devices.torch_device())
            for a in (x[None, None], y[None], start[:, None])
        ],
        values=lambda found: {
            "losses": torch.stack(found[0], dim=1).cpu().numpy(),
            "kernels": found[1][:, 0].cpu().numpy(),
        },
        on_cuda=devices.torch_device() == "cuda",
    )


def _without_compiler(*_: Any) -> Any:
    raise RuntimeError("torch.compile needs a C++ compiler")
