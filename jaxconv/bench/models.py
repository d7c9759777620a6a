"""Training steps of blocks written with plain Flax, with and without `accelerate`, and in torch.

A step is the loss, its gradients and an update by gradient descent with momentum. The velocity
starts at zero, so that after the first step it is the gradient, which is compared with that of the
same block in float64 without `accelerate`. torch runs the same block from the same weights.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxconv._transforms.accelerate import accelerate
from jaxconv.bench import devices
from jaxconv.bench.peers import OURS, Program

RATE, MOMENTUM = 1e-3, 0.9
# Largest error of a gradient in float32, as a share of its largest magnitude, after five to
# ten layers
TOLERANCE = 1e-3


class ResNeXt(nn.Module):
    """1x1, grouped 3x3, 1x1, batch norms, a shortcut (Xie et al., 2017)."""

    width: int
    groups: int = 32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the block's output, x's shape."""
        h = nn.Conv(self.width, (1, 1), use_bias=False, name="conv1")(x)
        h = nn.relu(_norm("norm1")(h))
        h = nn.Conv(
            self.width,
            (3, 3),
            padding=1,
            feature_group_count=self.groups,
            use_bias=False,
            name="conv2",
        )(h)
        h = nn.relu(_norm("norm2")(h))
        h = nn.Conv(x.shape[-1], (1, 1), use_bias=False, name="conv3")(h)
        return nn.relu(x + _norm("norm3")(h))


class ConvNeXt(nn.Module):
    """Depthwise 7x7, layer norm, two dense layers, a shortcut (Liu et al., 2022)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the block's output, x's shape."""
        channels = x.shape[-1]
        h = nn.Conv(channels, (7, 7), padding=3, feature_group_count=channels, name="conv1")(x)
        h = nn.LayerNorm(epsilon=1e-6, name="norm1")(h)
        h = nn.gelu(nn.Dense(4 * channels, name="dense1")(h), approximate=False)
        return x + nn.Dense(channels, name="dense2")(h)


class MobileNet(nn.Module):
    """Depthwise 3x3 and 1x1, each with batch norm (Howard et al., 2017)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the block's output, x's shape."""
        channels = x.shape[-1]
        h = nn.Conv(
            channels,
            (3, 3),
            padding=1,
            feature_group_count=channels,
            use_bias=False,
            name="conv1",
        )(x)
        h = nn.relu(_norm("norm1")(h))
        h = nn.Conv(channels, (1, 1), use_bias=False, name="conv2")(h)
        return nn.relu(_norm("norm2")(h))


class Causal(nn.Module):
    """Dense, causal depthwise of width 4, a gate, dense: Mamba without its scan (Gu and Dao)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the block's output, x's shape."""
        inner = 2 * x.shape[-1]
        h, gate = jnp.split(nn.Dense(2 * inner, name="dense1")(x), 2, axis=-1)
        h = nn.Conv(inner, (4,), padding="CAUSAL", feature_group_count=inner, name="conv1")(h)
        return x + nn.Dense(x.shape[-1], name="dense2")(nn.silu(h) * nn.silu(gate))


def _norm(name: str) -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=False, name=name)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A block, its input, and the same block in torch as `(weights, x) -> y`."""

    name: str
    x: tuple[int, ...]
    block: nn.Module
    in_torch: Callable[[Mapping[str, Any], Any], Any]
    quick: bool = False


def arrays(case: Model) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Flax's variables (NumPy arrays), the input and the target."""
    rng = np.random.default_rng(0)
    x, target = (rng.standard_normal(case.x, np.float32) for _ in range(2))
    variables = jax.tree.map(np.asarray, case.block.init(jax.random.key(0), jnp.asarray(x)))
    return variables, x, target


def training_step(block: nn.Module) -> Callable[..., Any]:
    """Return `(params, velocity, stats, x, target) -> (loss, params, velocity, stats)`."""

    def step(params: Any, velocity: Any, stats: Any, x: jax.Array, target: jax.Array) -> Any:
        def loss(params: Any) -> Any:
            y, changed = block.apply({"params": params, **stats}, x, mutable=["batch_stats"])
            return jnp.mean(jnp.square(y - target)), changed

        (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
        params = jax.tree.map(lambda p, v: p - RATE * v, params, velocity)
        return value, params, velocity, stats

    return step


def exact(case: Model) -> dict[str, np.ndarray]:
    """The loss and the gradients in float64, by Flax's own layers."""
    with devices.on_the_host(), jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), arrays(case))
        return _values(jax.jit(training_step(case.block))(*_arguments(*wide)))


def _arguments(variables: Any, x: Any, target: Any) -> list[Any]:
    params = variables["params"]
    stats = {name: value for name, value in variables.items() if name != "params"}
    return [params, jax.tree.map(jnp.zeros_like, params), stats, x, target]


def _values(result: Any) -> dict[str, np.ndarray]:
    loss, _, velocity, _ = result
    flat = flax.traverse_util.flatten_dict(velocity, sep="/")
    return {"loss": np.asarray(loss)} | {name: np.asarray(v) for name, v in flat.items()}


def programs(case: Model, *, method: str, peers: Sequence[str]) -> list[Program]:
    """Return the step with `accelerate`, without it, and in torch."""
    variables, x, target = arrays(case)
    step = training_step(case.block)
    ways = {OURS: accelerate(step, method=method)}
    if "lax" in peers:
        ways["lax"] = step
    found = [
        Program(
            peer=peer,
            label=peer if peer == OURS else "lax, as Flax calls it",
            function=function,
            arguments=_arguments(*jax.tree.map(jnp.asarray, (variables, x, target))),
            values=_values,
            compiled=True,
        )
        for peer, function in ways.items()
    ]
    if "torch" in peers:
        formats = ["contiguous_format", "channels_last"] if len(case.x) == 4 else [None]
        found += [_torch(case, variables, x, target, form) for form in formats]
    return found


def _torch(case: Model, variables: Any, x: Any, target: Any, form: str | None) -> Program:
    import torch

    def arranged(a: np.ndarray) -> torch.Tensor:
        # a copy: the step updates in place
        tensor = torch.from_numpy(np.array(a, order="C")).to(devices.torch_device())
        if form is None or tensor.ndim != 4:
            return tensor
        return tensor.contiguous(memory_format=getattr(torch, form))

    flat: dict[str, Any] = flax.traverse_util.flatten_dict(variables["params"], sep="/")
    # torch's kernels are (out, in // groups, *kernel); its images are channels first, its sequences
    # channels last, since they begin in a dense layer
    weights = {name: arranged(_as_torch(name, a)) for name, a in flat.items()}
    velocity = {name: torch.zeros_like(w) for name, w in weights.items()}
    images = [arranged(np.moveaxis(a, -1, 1) if a.ndim == 4 else a) for a in (x, target)]

    def step(x: torch.Tensor, target: torch.Tensor) -> Any:
        for w in weights.values():
            w.requires_grad_()
        loss = torch.mean(torch.square(case.in_torch(weights, x) - target))
        gradients = torch.autograd.grad(loss, list(weights.values()))
        with torch.no_grad():
            for name, gradient in zip(weights, gradients, strict=True):
                velocity[name].mul_(MOMENTUM).add_(gradient)
                weights[name].sub_(velocity[name], alpha=RATE)
        return loss.detach()

    def values(loss: torch.Tensor) -> dict[str, np.ndarray]:
        found = {name: _from_torch(name, v.cpu().numpy()) for name, v in velocity.items()}
        return {"loss": loss.cpu().numpy()} | found

    return Program(
        peer="torch",
        label="torch" if form is None else f"torch {form.removesuffix('_format')}",
        function=step,
        arguments=images,
        values=values,
        on_cuda=devices.torch_device() == "cuda",
    )


def _as_torch(name: str, a: np.ndarray) -> np.ndarray:
    return np.moveaxis(a, (-1, -2), (0, 1)) if name.endswith("kernel") else a


def _from_torch(name: str, a: np.ndarray) -> np.ndarray:
    return np.moveaxis(a, (0, 1), (-1, -2)) if name.endswith("kernel") else a
