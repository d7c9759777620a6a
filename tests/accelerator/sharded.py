"""Values and gradients on a mesh of all devices there are, and what the devices send each other.

Under plain `jit` on sharded arrays, and by `parallel.conv`. The arrays hold small whole numbers.
On one device the meshes have one.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import cases
import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from sharded_cases import Sharded, case, collectives, value_and_gradients

import jaxconv
from accelerator import tolerances
from accelerator.running import Check, Outcome, Refused, Scope
from jaxconv import parallel

P = PartitionSpec
CHANNELS = P(None, None, None, "a")
NUMPY = {"zeros": "constant", "replicate": "edge", "circular": "wrap"}
# In a small run.
SMALL = ("rows", "rows and columns")


def checks(scope: Scope) -> Iterator[Check]:
    """Yield a check for each case under `jit` and by `parallel.conv`, and of the traffic."""
    for each, mesh in table():
        if scope.small and each.name not in SMALL:
            continue
        for way in ("jit", "parallel") if not scope.small or each.name == "rows" else ("jit",):
            run = functools.partial(_values, scope, each, mesh, way)
            yield Check(f"sharded/{way}/{each.name}", run, "auto", dtype="float32")
    for name in ("batch", "rows")[1 if scope.small else 0 :]:
        yield Check(f"sharded/traffic/{name}", functools.partial(_traffic, scope, name), "auto")


def meshes() -> list[Mesh]:
    """Return a mesh of one axis, and one of two where there are enough devices."""
    n = len(jax.devices())
    shapes = [(n,), *([(n // 2, 2)] if n >= 4 and n % 2 == 0 else [])]
    return [
        jax.make_mesh(shape, ("a", "b")[: len(shape)], axis_types=(AxisType.Auto,) * len(shape))
        for shape in shapes
    ]


def table() -> list[tuple[Sharded, Mesh]]:
    """Return the cases, whose sizes the devices divide, and the mesh of each."""
    line, *grids = meshes()
    n = line.size
    rows = P(None, "a")
    found = [
        case("batch", (2 * n, 7, 6, 3), (3, 3, 3, 4), P("a"), padding=1),
        case("rows", (2, 4 * n, 6, 3), (3, 3, 3, 4), rows, padding=1),
        case("rows, strided", (2, 4 * n, 6, 3), (4, 3, 3, 4), rows, padding=1, stride=2),
        case("causal depthwise", (2, 4 * n, 6), (4, 1, 6), rows, padding="causal", groups=6),
        case("several hops", (1, 2 * n, 2), (7, 2, 3), rows, padding="same"),
        case("output channels", (2, 6, 5, 3), (3, 3, 3, 2 * n), P(), CHANNELS),
        case("input channels", (2, 6, 5, 2 * n), (3, 3, 2 * n, 4), CHANNELS, padding=1),
        case("groups", (2, 6, 5, 2 * n), (3, 3, 2, 2 * n), CHANNELS, CHANNELS, groups=n),
        *(
            case(f"{mode} rows", (2, 4 * n, 6, 2), (3, 3, 2, 2), rows, padding=1, padding_mode=mode)
            for mode in ("reflect", "symmetric", "replicate", "circular")
        ),
    ]
    both = [
        case("rows and columns", (2, 2 * n, 8, 3), (3, 3, 3, 4), P(None, "a", "b"), padding=1),
        case("batch and outputs", (n, 6, 5, 3), (3, 3, 3, 8), P("a"), P(None, None, None, "b")),
    ]
    return [(each, line) for each in found] + [(each, grid) for grid in grids for each in both]


def _placed(each: Sharded, mesh: Mesh) -> list[jax.Array]:
    specs = each.x_spec, each.w_spec, P(), P()
    return [
        jax.device_put(array, NamedSharding(mesh, spec))
        for array, spec in zip(each.arrays(), specs, strict=True)
    ]


def _conv(each: Sharded, mesh: Mesh, way: str) -> Callable[..., jax.Array]:
    how: dict[str, Any] = {**each.arguments, "precision": "highest"}
    if way == "jit":
        return functools.partial(jaxconv.conv, **how)
    layout = {"mesh": mesh, "x_spec": each.x_spec, "w_spec": each.w_spec}
    return functools.partial(parallel.conv, **how, **layout)


def _values(scope: Scope, each: Sharded, mesh: Mesh, way: str) -> Outcome:
    arrays = _placed(each, mesh)
    assert len(arrays[0].sharding.device_set) == mesh.size
    found = value_and_gradients(_conv(each, mesh, way))(*arrays)
    x, w, b, seed = (cases.wide(array) for array in each.arrays())
    wanted, terms = _loops(each, x, w, b, seed), _loops(each, *map(np.abs, (x, w, b, seed)))
    tolerance = tolerances.sums(scope.platform, "float32")
    names = ("y", "the gradient of x", "that of w", "that of b")
    shares = {
        name: cases.share(np.abs(cases.wide(array) - want), tolerance * scale)
        for name, array, want, scale in zip(names, found, wanted, terms, strict=True)
    }
    worst = max(shares, key=lambda name: shares[name])
    return Outcome(shares[worst], f"worst: {worst}; {mesh.size} devices")


def _loops(each: Sharded, x: np.ndarray, w: np.ndarray, b: np.ndarray, seed: np.ndarray):
    """Return y and the gradients in x, w and b, by loops on the extended x."""
    spec, mode = each.spec, each.arguments.get("padding_mode", "zeros")
    extend = [
        _positions(n, pads, mode) for n, pads in zip(spec.input_size, spec.padding, strict=True)
    ]
    extended = _along(extend, x)
    return (
        cases.expected("output", extended, w, spec.padded) + b,
        _along([matrix.T for matrix in extend], cases.expected("input", seed, w, spec.padded)),
        cases.expected("kernel", extended, seed, spec.padded),
        seed.sum(tuple(range(seed.ndim - 1))),
    )


def _positions(n: int, pads: tuple[int, int], mode: str) -> np.ndarray:
    """Return the matrix that extends n elements: a row has a one where its element lies."""
    beyond = {"constant_values": n} if mode == "zeros" else {}
    at = np.pad(np.arange(n), pads, NUMPY.get(mode, mode), **beyond)
    return (at[:, None] == np.arange(n)).astype(np.float64)


def _along(matrices: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """Multiply the spatial axes of x by a matrix each."""
    for axis, matrix in enumerate(matrices, x.ndim - len(matrices) - 1):
        x = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return x


def _traffic(scope: Scope, name: str) -> Outcome:
    """Forward nothing but halos, of the bytes on paper; the gradients add sums."""
    if scope.platform == "tpu":
        raise Refused("XLA alone partitions programs for TPUs (jax issue 38196)")
    each, mesh = next(row for row in table() if row[0].name == name)
    if mesh.size == 1:
        raise Refused("there is one device, which sends nothing")
    x, w, b, _ = arrays = _placed(each, mesh)
    conv = _conv(each, mesh, "jit")
    layout = {"mesh": mesh, "x_spec": each.x_spec, "w_spec": each.w_spec}
    paper = parallel.halo_bytes(x, w, **each.arguments, **layout)
    assert (paper > 0) == (name != "batch"), paper
    forward = jax.jit(conv).lower(x, w, b).compile().as_text()
    halos = {"collective-permute"} if paper else set()
    assert set(collectives(forward)) == halos, collectives(forward)
    assert parallel.permuted_bytes(forward) == paper, parallel.permuted_bytes(forward)
    seed = jax.device_put(
        arrays[3], parallel.conv(*arrays[:3], **each.arguments, **layout).sharding
    )
    step = value_and_gradients(conv).lower(*arrays[:3], seed).compile().as_text()
    assert set(collectives(step)) == halos | {"all-reduce"}, collectives(step)
    return Outcome(0.0, f"{paper} bytes on {mesh.size} devices")
