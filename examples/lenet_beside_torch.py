"""Train LeNet on handwritten digits in jaxconv and in torch, from the same weights.

    python examples/lenet_beside_torch.py [folder for the figures]

The digits are scikit-learn's (1,797 scans of 8x8 pixels; no download). The network is that of LeCun
et al., 1998, with tanh and average pooling: two convolutions with biases (6 and 16 channels) and
three dense layers (120, 84, 10). In jaxconv it is a Flax module with `jaxconv.linen`, and an epoch
is one compiled scan with optax; in torch it is the usual loop. Both use the same batches in the
same order. Printed are the losses and their differences, the accuracies on test digits, and the
time of an epoch divided by torch's.

The digits are enlarged to 16x16, and the training set also has them shifted by half a pixel in each
direction, because 1,437 digits are few.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from _digits import batches, digits
from _figures import save
from flax import linen as nn

from jaxconv import linen, plots
from jaxconv.compat.torch import from_torch, to_torch

RATE, MOMENTUM = 0.05, 0.9
EPOCHS = 12
COMPARED = 100  # number of steps whose losses are compared
# (channels, *space) of the image whose flattened pixels are the input of a dense layer
FLATTENED = {"dense1": (16, 4, 4)}


class LeNet(nn.Module):
    """(batch, 16, 16, 1) -> (batch, 10)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.tanh(linen.Conv(6, (5, 5), padding=2, name="conv1")(x))
        x = nn.avg_pool(x, (2, 2), (2, 2))
        x = jnp.tanh(linen.Conv(16, (5, 5), padding=2, name="conv2")(x))
        x = nn.avg_pool(x, (2, 2), (2, 2))
        x = x.reshape(len(x), -1)  # (batch, 4, 4, 16) -> (batch, 256)
        x = jnp.tanh(nn.Dense(120, name="dense1")(x))
        x = jnp.tanh(nn.Dense(84, name="dense2")(x))
        return nn.Dense(10, name="dense3")(x)


class TorchLeNet(torch.nn.Module):
    """(batch, 1, 16, 16) -> (batch, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = torch.nn.Conv2d(6, 16, 5, padding=2)
        self.dense1 = torch.nn.Linear(256, 120)
        self.dense2 = torch.nn.Linear(120, 84)
        self.dense3 = torch.nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.avg_pool2d(torch.tanh(self.conv1(x)), 2)
        x = torch.nn.functional.avg_pool2d(torch.tanh(self.conv2(x)), 2)
        x = torch.tanh(self.dense1(x.flatten(1)))
        return self.dense3(torch.tanh(self.dense2(x)))


def epoch_here() -> tuple[optax.GradientTransformation, Callable[..., Any]]:
    """Return the optimiser, and an epoch as a compiled scan with carry (params, state)."""
    model, optimizer = LeNet(), optax.sgd(RATE, momentum=MOMENTUM)

    def loss_of(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        logits: Any = model.apply({"params": params}, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @jax.jit
    def epoch(carry: Any, x: jax.Array, y: jax.Array, order: jax.Array) -> Any:
        def step(carry: Any, batch: jax.Array) -> Any:
            params, state = carry
            loss, gradient = jax.value_and_grad(loss_of)(params, x[batch], y[batch])
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), loss

        return jax.lax.scan(step, carry, order)

    return optimizer, epoch


def epoch_in_torch(
    model: TorchLeNet, optimizer: torch.optim.Optimizer, x: Any, y: Any, order: Any
) -> list[torch.Tensor]:
    losses = []
    for batch in order:
        loss = torch.nn.functional.cross_entropy(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


def train_here(start: Any, x: np.ndarray, y: np.ndarray, order: np.ndarray) -> tuple[Any, Any]:
    """Return the trained parameters and the loss of every step."""
    optimizer, epoch = epoch_here()
    params = jax.tree.map(jnp.asarray, start)
    carry, losses = (params, optimizer.init(params)), []
    for each in order:
        carry, found = epoch(carry, jnp.asarray(x), jnp.asarray(y), jnp.asarray(each))
        losses.append(found)
    return carry[0], np.concatenate(losses)


def train_in_torch(
    start: Any, x: np.ndarray, y: np.ndarray, order: np.ndarray
) -> tuple[TorchLeNet, np.ndarray]:
    """Return the trained model and the loss of every step."""
    model = TorchLeNet()
    model.load_state_dict(to_torch(start, flattened=FLATTENED))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    inputs = channels_first(x)
    labels = torch.from_numpy(y.astype(np.int64))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on images this small several threads are slower
    found = [
        epoch_in_torch(model, optimizer, inputs, labels, torch.from_numpy(each)) for each in order
    ]
    torch.set_num_threads(threads)
    return model, np.array([float(loss) for losses in found for loss in losses], np.float32)


def channels_first(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def logits_here(params: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(LeNet().apply({"params": params}, jnp.asarray(x)))


def logits_in_torch(model: TorchLeNet, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(channels_first(x)).numpy()


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    return float((logits.argmax(axis=1) == labels).mean())


def initial() -> Any:
    """Return torch's random initial parameters, converted to Flax."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return from_torch(TorchLeNet(), flattened=FLATTENED).variables["params"]


def part_of_torchs_time(start: Any, x: np.ndarray, y: np.ndarray, order: np.ndarray) -> float:
    """Return the median time of an epoch in jaxconv divided by torch's.

    On images this small torch may be faster with one thread than with its default number, so both
    are measured and the faster counts. Each runs all of its epochs before the next, because threads
    of another that are still spinning would use its cores.
    """
    optimizer, epoch = epoch_here()
    params = jax.tree.map(jnp.asarray, start)
    ours = (params, optimizer.init(params)), jnp.asarray(x), jnp.asarray(y)
    model = TorchLeNet()
    model.load_state_dict(to_torch(start, flattened=FLATTENED))
    theirs = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    inputs, labels = channels_first(x), torch.from_numpy(y.astype(np.int64))
    threads = torch.get_num_threads()
    calls: list[Callable[[np.ndarray], Any]] = [
        lambda each: jax.block_until_ready(epoch(*ours, jnp.asarray(each))),
        lambda each: epoch_in_torch(model, theirs, inputs, labels, torch.from_numpy(each)),
        lambda each: epoch_in_torch(model, theirs, inputs, labels, torch.from_numpy(each)),
    ]
    times: list[list[float]] = [[], [], []]
    for number, (call, count) in enumerate(zip(calls, (threads, threads, 1), strict=True)):
        torch.set_num_threads(count)
        for each in order:
            began = time.perf_counter()
            call(each)
            times[number].append(time.perf_counter() - began)
    torch.set_num_threads(threads)
    # the first epoch of each compiles or warms up
    here, *there = (statistics.median(column[1:]) for column in times)
    return here / min(there)


def draw(params: Any, x: np.ndarray, label: int) -> None:
    """Plot the first layer's kernels and their feature maps of one digit."""
    kernel = np.asarray(params["conv1"]["kernel"])  # (5, 5, 1, 6)
    save(plots.kernels(kernel, title="LeNet's first layer, trained on digits"), "lenet_kernels")
    _, seen = LeNet().apply({"params": params}, jnp.asarray(x), capture_intermediates=True)
    maps = jnp.tanh(seen["intermediates"]["conv1"]["__call__"][0][0])  # (16, 16, 6)
    title = f"A test digit, {label}, and its feature maps by the six kernels"
    save(plots.feature_maps(maps, title=title, image=x[0, ..., 0]), "lenet_feature_maps")


def main(*, rounds: int = 12) -> dict[str, Any]:
    x, y, x_test, y_test = digits()
    order = batches(len(x), EPOCHS)
    start = initial()
    params, ours = train_here(start, x, y, order)
    model, theirs = train_in_torch(start, x, y, order)
    print(f"{'step':>4}  {'torch':>9}  {'jaxconv':>9}  difference")
    for step in (1, 2, 5, 10, 20, 50, COMPARED):
        a, b = theirs[step - 1], ours[step - 1]
        print(f"{step:4d}  {a:9.6f}  {b:9.6f}  {abs(a - b):.1e}")
    apart = float(np.abs(ours - theirs)[:COMPARED].max())
    print(f"furthest apart in {COMPARED} steps: {apart:.1e}")
    scores = [
        accuracy(logits, y_test)
        for logits in (logits_in_torch(model, x_test), logits_here(params, x_test))
    ]
    print(f"{EPOCHS} epochs of {order.shape[1]} steps, last losses {theirs[-1]:.4f} {ours[-1]:.4f}")
    for name, score in zip(("torch", "jaxconv"), scores, strict=True):
        print(f"{name}: {score:.1%} of {len(y_test)} unseen digits")
    model.load_state_dict(to_torch(params, flattened=FLATTENED))
    carried = np.abs(logits_in_torch(model, x_test) - logits_here(params, x_test)).max()
    print(f"jaxconv's trained weights in torch's network: outputs differ by {carried:.0e}")
    if rounds:
        part = part_of_torchs_time(start, x, y, order[:rounds])
        print(f"an epoch takes {part:.2f} times as long as in torch")
    draw(params, x_test[:1], int(y_test[0]))
    return {"apart": apart, "accuracies": scores, "carried": float(carried)}


if __name__ == "__main__":
    main()
