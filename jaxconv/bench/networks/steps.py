"""The cases of the suite `steps`, their float64 values, and every way to run them.

A case is a training step (`flax_steps`) or an inference of a network on one batch, written in linen
or in NNX, in float32 or in bfloat16 (Flax's `dtype`, which leaves weights and gradients in float32;
torch's autocast).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxconv._transforms.accelerate import accelerate
from jaxconv.bench import devices, each_method
from jaxconv.bench.networks import flax_steps
from jaxconv.bench.networks.definitions import NETWORKS, Network
from jaxconv.bench.networks.in_flax import LinenNetwork, as_nnx
from jaxconv.bench.numerics import FLOAT32, TF32, Precision
from jaxconv.bench.peers import OURS, Program

TOLERANCES = {
    "training step": 1e-3,
    "inference": 1e-3,
    "bfloat16 training step": 0.9,
    "bfloat16 inference": 0.03,
}
"""Largest error of the output, the loss or a gradient, as a share of its largest magnitude.

In float32 a gradient is off by rounding, except where a ReLU's input, or the difference of two
pixels that a maximum is taken of, is so small that its sign is rounding: then one of the N terms of
either sign that the gradient sums is wrong, which is a share of up to N^-1/2. In bfloat16 one sign
in some hundred is, in every layer; and sums over all pixels are rounded to bfloat16. torch's own
bfloat16 is off by up to 0.75, that of Flax without `accelerate` by up to 0.7; a gradient that is
missing, has the wrong sign or is twice as large is off by 1 or more. (Batches of 2 to 16 of the
five networks; Intel Xeon with AVX-512, jax 0.10.2, torch 2.13.0, 2026-11.)

Signs are all there is to it: of regnet's 12.7 million ReLUs (16 images) three have another sign in
our float32 than in float64, one in plain Flax's, and gradients are off by 6e-3 and 3e-5. With the
signs of float64 given both are off by 1.5e-5 at most, and in bfloat16 (4 images) by 0.1 and 0.08.
"""

KINKED_TOLERANCE = 0.1
"""That of a training step in float32 if the network has ReLUs or maxima."""

ROUNDING = 1e-10
"""Arrays with magnitudes below this, as a share of the largest one, are zero in exact numbers."""

PLAIN = "lax, as Flax calls it"


@dataclass(frozen=True, kw_only=True)
class Step:
    """A case.

    Attributes:
        network: which.
        written: "nnx" or "linen".
        batch: number of images.
        training: whether it is a training step, or an inference.
        dtype: "float32" or "bfloat16".
        compiled: whether torch.compile runs it too, which compiles for a minute.
        quick: whether it belongs to a quick run.
    """

    network: Network
    written: str
    batch: int
    training: bool = True
    dtype: str = "float32"
    compiled: bool = False
    quick: bool = False

    @property
    def name(self) -> str:
        """Network, library and batch."""
        return f"{self.network.name}, {self.written}, batch {self.batch}"

    @property
    def mode(self) -> str:
        """What is computed, and in which dtype if not in float32."""
        what = "training step" if self.training else "inference"
        return what if self.dtype == "float32" else f"{self.dtype} {what}"

    def tolerance_in(self, precision: Precision) -> float:
        """Largest error, as a share of an array's largest magnitude; of TF32 that of bfloat16."""
        if precision is TF32:
            return TOLERANCES["bfloat16 " + self.mode]
        return self.tolerance

    @property
    def tolerance(self) -> float:
        """Largest error in float32 or bfloat16, as a share of an array's largest magnitude."""
        kinked = self.training and self.dtype == "float32" and not self.network.smooth
        return KINKED_TOLERANCE if kinked else TOLERANCES[self.mode]

    def belongs_to(self, precision: Precision) -> bool:
        """Whether it is a case of a run: every case of one in float32, else those of the dtype."""
        return precision is FLOAT32 or precision.dtype == self.dtype

    @property
    def values(self) -> tuple[Network, int, bool]:
        """What the float64 values depend on."""
        return self.network, self.batch, self.training


def _steps(
    network: Network,
    batch: int,
    *,
    other: int | None = None,
    compiled: bool = False,
    quick: bool = False,
) -> tuple[Step, ...]:
    """The cases of a network: training on one or two batch sizes, inference of 1 and 8 images."""
    nnx = {"network": network, "written": "nnx"}
    linen = {"network": network, "written": "linen"}
    second = [] if other is None else [Step(**linen, batch=other, quick=quick)]
    return (
        Step(**nnx, batch=batch, compiled=compiled),
        Step(**linen, batch=batch, dtype="bfloat16"),
        *second,
        Step(**nnx, batch=1, training=False, compiled=compiled, quick=quick),
        Step(**linen, batch=8, training=False),
        Step(**nnx, batch=8, training=False, dtype="bfloat16", quick=quick),
    )


WIDE_RESIDUAL, EFFICIENT, REGNET, LARGE_KERNELS, ENCODER_DECODER = NETWORKS
STEPS = (
    *_steps(WIDE_RESIDUAL, 8, other=32),
    *_steps(EFFICIENT, 4),
    *_steps(REGNET, 16, other=4, compiled=True, quick=True),
    *_steps(LARGE_KERNELS, 8, other=4),
    *_steps(ENCODER_DECODER, 2, other=1),
)


def arrays(case: Step) -> tuple[dict[str, Any], np.ndarray, np.ndarray | None]:
    """The weights as linen has them, the images, and a target of the output in training.

    Kernels have mean 0 and variance 1 / fan_in; of the other arrays no element is that of a new
    layer.
    """
    rng = np.random.default_rng(0)
    network = LinenNetwork(case.network, training=False)

    def drawn(path: Any, array: Any) -> np.ndarray:
        name, noise = path[-1].key, rng.standard_normal(array.shape, np.float32)
        if name == "kernel":
            return noise / np.float32(math.prod(array.shape[:-1])) ** 0.5
        return np.float32(name in ("scale", "var")) + noise / 8

    x = rng.standard_normal((case.batch, *case.network.image), np.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), x)
    variables = jax.tree_util.tree_map_with_path(drawn, shapes)
    if not case.training:
        return variables, x, None
    y = jax.eval_shape(network.apply, variables, x)
    return variables, x, rng.standard_normal(y.shape, np.float32)


def exact(case: Step) -> dict[str, np.ndarray]:
    """The output, or the loss and the gradients, in float64 by Flax's own layers.

    A gradient that is rounding only is set to zero: a bias has none if batch norm follows.
    """
    with devices.on_the_host(), jax.enable_x64(True):
        variables, *images = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), arrays(case))
        network = LinenNetwork(case.network, training=case.training)
        way = flax_steps.linen_training if case.training else flax_steps.linen_inference
        result = jax.jit(way(network))(variables, *(a for a in images if a is not None))
        values = flax_steps.values(result)
    largest = {name: np.abs(a).max() for name, a in values.items()}
    rounding = ROUNDING * max(largest.values())
    return {name: a * (largest[name] > rounding) for name, a in values.items()}


def programs(case: Step, *, method: str, peers: Sequence[str], quick: bool) -> list[Program]:
    """Return every way to run a case, ours first; with `quick` without torch.compile."""
    variables, x, target = arrays(case)
    images = [jnp.asarray(a) for a in (x, target) if a is not None]

    step, state = _in_flax(case, variables, case.dtype)

    def in_flax(peer: str, label: str, step: Any, state: Any) -> Program:
        ways = {"values": flax_steps.values, "compiled": True}
        arguments = [state, *images]
        return Program(peer=peer, label=label, function=step, arguments=arguments, **ways)

    def ours(method: str) -> Program:
        return in_flax(OURS, OURS, accelerate(step, method=method), state)

    found = each_method.programs(ours, method)
    if "lax" in peers:
        found.append(in_flax("lax", PLAIN, step, state))
    if "float32" in peers and case.dtype != "float32":
        wide, state = _in_flax(case, variables, "float32")
        wide = accelerate(wide, method="auto" if method == each_method.EVERY else method)
        found.append(in_flax("float32", f"{OURS} float32", wide, state))
    in_torch = (case.network, variables, x, target)
    if "torch" in peers:
        found.append(_torch(*in_torch, dtype=case.dtype))
    if "torch.compile" in peers and case.compiled and not quick:
        found.append(_torch(*in_torch, dtype=case.dtype, compiled=True))
    return found


def _in_flax(case: Step, variables: Mapping[str, Any], dtype: str) -> tuple[Any, Any]:
    """The step, and the state that is its first argument."""
    options: dict[str, Any] = {
        "training": case.training,
        "dtype": None if dtype == "float32" else jnp.dtype(dtype),
    }
    if case.written == "linen":
        network = LinenNetwork(case.network, **options)
        way = flax_steps.linen_training if case.training else flax_steps.linen_inference
        return way(network), jax.tree.map(jnp.asarray, variables)
    graph, state = nnx.split(as_nnx(case.network, variables, **options))
    way = flax_steps.nnx_training if case.training else flax_steps.nnx_inference
    return way(graph), state


def _torch(*arguments: Any, **options: Any) -> Program:
    from jaxconv.bench.networks import torch_steps

    return torch_steps.program(*arguments, **options)


def memory_beside_lax(contestants: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Our temporary buffers over those of plain Flax, or None where one of them is not known."""
    ours = contestants[OURS]["temporary_bytes"]
    plain = contestants.get(PLAIN, {}).get("temporary_bytes")
    return ours / plain if plain and ours is not None else None
