"""Random convolutions on random meshes under plain `jit`: values and both gradients, exactly.

    python tests/mesh_fuzz.py --count 2000 --seed 0

Arrays hold small whole numbers, so that every sum is exact in float32 whatever its order, and the
explicit loops of `jaxconv.reference` say what is right.
"""

import argparse
import dataclasses
import math
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxconv
import jaxconv._core.dispatch.primitive
from jaxconv import reference
from jaxconv._core.geometry import shapes
from jaxconv._core.geometry.spec import ConvSpec, normalise
from jaxconv._core.partition.layout import axes_of

MESHES = (
    (8,),
    (4, 2),
    (2, 4),
    (2, 2, 2),
    (2, 3),
    (3, 2),
    (6,),
    (2, 1, 3),
    (4,),
    (1, 8),
    (5,),
    (7,),
)
MODES = {"reflect": "reflect", "symmetric": "symmetric", "replicate": "edge", "circular": "wrap"}
CALLS = ("conv", "conv", "conv_transpose", "lax", "lax channels first")


@dataclasses.dataclass(frozen=True)
class Draw:
    """A convolution, the mesh it runs on and how its arrays lie there."""

    seed: int
    call: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    arguments: dict[str, Any]
    mesh: tuple[int, ...]
    explicit: bool
    placed: dict[str, PartitionSpec]  # of x, w and y: where they come from and what they are asked

    @property
    def spec(self) -> ConvSpec:
        plain = {k: v for k, v in self.arguments.items() if k != "padding_mode"}
        return normalise("conv", self.x, self.w, **plain)

    @property
    def y(self) -> tuple[int, ...]:
        return (*self.x[: len(self.x) - self.spec.rank - 1], *self.spec.output_size, self.w[-1])


def draw(seed: int) -> Draw:
    """Draw until the geometry is one."""
    rng = np.random.default_rng(seed)
    while True:
        try:
            found = _draw(seed, rng)
            if min(found.spec.output_size) and _padding_fits(found):
                return found
        except ValueError:
            continue


def _draw(seed: int, rng: np.random.Generator) -> Draw:
    rank = int(rng.choice([1, 2, 2, 3]))
    call = str(rng.choice(CALLS))
    batch = () if call == "conv" and rng.random() < 0.1 else (int(rng.choice([1, 2, 3, 4, 8])),)
    if call == "conv" and rng.random() < 0.2:
        batch = (2, *batch)
    most = {1: 17, 2: 13, 3: 7}[rank]
    space = tuple(int(n) for n in rng.integers(1, most, rank))
    if rng.random() < 0.5:  # sizes that meshes divide
        space = tuple(-(-n // 4) * 4 for n in space)
    kernel = tuple(int(k) for k in rng.integers(1, 5 if rank < 3 else 4, rank))
    groups = int(rng.choice([1, 1, 2, 3, 4, 6, 8]))
    inputs, outputs = (int(c) for c in rng.choice([1, 2, 3, 4, 8], 2))
    arguments: dict[str, Any] = {
        "stride": tuple(int(s) for s in rng.choice([1, 1, 2, 3], rank)),
        "dilation": tuple(int(d) for d in rng.choice([1, 1, 2], rank)),
        "padding": tuple((int(a), int(b)) for a, b in rng.choice([-1, 0, 0, 1, 2, 3], (rank, 2))),
        "groups": groups,
    }
    if "lax" not in call and rng.random() < 0.3:
        arguments["padding_mode"] = str(rng.choice(list(MODES)))
    mesh = MESHES[int(rng.integers(len(MESHES)))]
    explicit = bool(call.startswith("conv") and rng.random() < 0.15)
    shapes = {"x": (*batch, *space, groups * inputs), "w": (*kernel, inputs, groups * outputs)}
    drawn = Draw(seed, call, shapes["x"], shapes["w"], arguments, mesh, explicit, {})
    placed = {
        name: _placement(rng, shape, mesh, even=explicit)
        for name, shape in (*shapes.items(), ("y", drawn.y))
    }
    return dataclasses.replace(drawn, placed=placed)


def _placement(rng, shape, mesh, *, even) -> PartitionSpec:
    """Every mesh axis along some dimension, or idle."""
    entries: list[list[str]] = [[] for _ in shape]
    for axis in rng.permutation(len(mesh)):
        dimension = int(rng.integers(-2, len(shape)))
        if dimension < 0:
            continue
        parts = mesh[axis] * math.prod(mesh[int(name[1])] for name in entries[dimension])
        if shape[dimension] % parts == 0 if even else parts <= max(shape[dimension], 2):
            entries[dimension].append(f"a{axis}")
    return PartitionSpec(*(tuple(names) or None for names in entries))


def _padding_fits(drawn: Draw) -> bool:
    mode = drawn.arguments.get("padding_mode", "zeros")
    for n, (lo, hi) in zip(drawn.spec.input_size, drawn.spec.padding, strict=True):
        if mode != "zeros" and max(lo, hi) >= n:
            return False
        if n + lo + hi < 1:
            return False
    return True


def arrays(drawn: Draw) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(drawn.seed)
    shapes = {"x": drawn.x, "w": drawn.w, "y": drawn.y}
    return {name: rng.integers(-3, 4, shape).astype("f4") for name, shape in shapes.items()}


def expected(drawn: Draw, x, w, y) -> dict[str, np.ndarray]:
    """The three contractions, by loops; x is extended by the rows that its mode repeats."""
    spec, mode = drawn.spec, drawn.arguments.get("padding_mode", "zeros")
    lead = x.shape[: -spec.rank - 1]
    x, y = (a.reshape(-1, *a.shape[len(lead) :]) for a in (x, y))
    if mode == "zeros":
        found = [reference.output(x, w, spec), reference.input(y, w, spec)]
        found.append(reference.kernel(x, y, spec))
    else:
        rows = [_rows(n, pair, mode) for n, pair in zip(x.shape[1:-1], spec.padding, strict=True)]
        at = np.ix_(range(len(x)), *rows, range(x.shape[-1]))
        window = reference.input(y, w, spec.padded)
        folded = np.zeros_like(x, dtype=float)
        np.add.at(folded, at, window)
        found = [reference.output(x[at], w, spec.padded), folded]
        found.append(reference.kernel(x[at], y, spec.padded))
    made, into_x, into_w = found
    return {
        "y": made.reshape(*lead, *made.shape[1:]),
        "x": into_x.reshape(*lead, *into_x.shape[1:]),
        "w": into_w,
    }


def _rows(n: int, pair: tuple[int, int], mode: str) -> np.ndarray:
    lo, hi = pair
    rows = np.pad(np.arange(n), (max(lo, 0), max(hi, 0)), mode=MODES[mode])
    return rows[max(-lo, 0) : len(rows) - max(-hi, 0)]


def function(drawn: Draw):
    """The call, of its first operand (x, or y for the transposed one) and w."""
    spec = drawn.spec
    if drawn.call == "conv":
        return lambda x, w: jaxconv.conv(x, w, **drawn.arguments)
    if drawn.call == "conv_transpose":
        return lambda y, w: _transposed(drawn, y, w)
    first = "first" in drawn.call
    space = "DHW"[-spec.rank :]
    layout = [f"N{space}C", f"{space}IO", f"N{space}C"]
    layout = [f"NC{space}", f"OI{space}", f"NC{space}"] if first else layout

    def plain(x, w):
        if first:
            x, w = jnp.moveaxis(x, -1, 1), jnp.moveaxis(w, (-1, -2), (0, 1))
        y = lax.conv_general_dilated(
            x,
            w,
            spec.stride,
            spec.padding,
            rhs_dilation=spec.dilation,
            dimension_numbers=tuple(layout),
            feature_group_count=spec.groups,
        )
        return jnp.moveaxis(y, 1, -1) if first else y

    return plain


def _transposed(drawn: Draw, y, w):
    spec = drawn.spec
    smallest = (
        shapes.input_size(m, k, s, d, lo, hi) for _, m, k, s, d, (lo, hi) in spec.dimensions
    )
    extra = tuple(n - m for n, m in zip(spec.input_size, smallest, strict=True))
    return jaxconv.conv_transpose(y, w, output_padding=extra, **drawn.arguments)


def run(drawn: Draw) -> dict[str, np.ndarray]:
    """Value and both gradients in one program on the mesh."""
    kind = AxisType.Explicit if drawn.explicit else AxisType.Auto
    names = tuple(f"a{axis}" for axis in range(len(drawn.mesh)))
    devices = jax.devices()[: math.prod(drawn.mesh)]
    mesh = jax.make_mesh(drawn.mesh, names, axis_types=(kind,) * len(names), devices=devices)
    given, made = ("y", "x") if drawn.call == "conv_transpose" else ("x", "y")
    call = function(drawn)

    def constrained(name, array):
        if drawn.explicit:
            return array
        return lax.with_sharding_constraint(array, NamedSharding(mesh, drawn.placed[name]))

    def program(first, w, cotangent):
        first, w = constrained(given, first), constrained("w", w)
        result, pull = jax.vjp(call, first, w)
        result = constrained(made, result)
        return result, *pull(cotangent)

    numbers = arrays(drawn)
    order = (given, "w", made)
    with jax.set_mesh(mesh):
        operands = [_put(numbers[name], drawn.placed[name], mesh) for name in order]
        if drawn.explicit:  # a cotangent must lie as what it belongs to
            like = jax.eval_shape(call, *operands[:2]).sharding.spec
            operands[2] = jax.device_put(numbers[made], NamedSharding(mesh, like))
        if "lax" in drawn.call:
            program = jaxconv.accelerate(program)
        results = jax.jit(program)(*operands)
        return dict(zip((made, given, "w"), map(np.asarray, results), strict=True))


def _put(array, spec, mesh):
    """Place an array, whole along dimensions that have no equal parts."""
    entries = [
        entry if size % math.prod(mesh.shape[name] for name in axes_of(entry)) == 0 else None
        for size, entry in zip(array.shape, spec, strict=True)
    ]
    return jax.device_put(array, NamedSharding(mesh, PartitionSpec(*entries)))


def wrong(drawn: Draw) -> str:
    """What is not right, or an empty string."""
    want, got = expected(drawn, **arrays(drawn)), run(drawn)
    names = [
        n for n, a in got.items() if a.shape != want[n].shape or not np.array_equal(a, want[n])
    ]
    return f"{', '.join(names)} of {drawn}" if names else ""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--by-xla", action="store_true", help="as where it alone partitions (TPU)")
    options = parser.parse_args()
    if options.by_xla:
        jaxconv._core.dispatch.primitive.NOT_PARTITIONED_HERE = {"cpu"}
    jax.config.update("jax_num_cpu_devices", 8)
    jax.config.update("jax_disable_most_optimizations", True)
    bad = refused = 0
    for seed in range(options.seed, options.seed + options.count):
        drawn = draw(seed)
        try:
            if told := wrong(drawn):
                bad += 1
                print("wrong:", told, flush=True)
        except Exception as error:
            refused += 1
            print(f"refused: {drawn}: {type(error).__name__}: {str(error)[:500]}", flush=True)
        if seed % 25 == 0:
            jax.clear_caches()
    print(f"{options.count} cases from seed {options.seed}: {bad} wrong, {refused} refused")
    sys.exit(bool(bad or refused))


if __name__ == "__main__":
    main()
