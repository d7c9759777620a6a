"""Computed scaling of a convolution on P devices: computation, communication and their overlap.

A convolution of an n x n image, k x k kernel, c channels in and out, with rows (and columns)
sharded over a mesh of a x b devices:

    arithmetic  = 2 k k c c * outputs of the largest block             (operations of one device)
    halo        = jaxconv.parallel.halo_bytes                          (bytes of all devices)
    compute     = max(arithmetic / peak, bytes read and written / memory bandwidth)    (roofline)
    halo time   = sum over sharded axes of (hops * latency + bytes over the busiest link / its rate)
    in turn     = halo time + compute
    hidden      = max(halo time, compute of the inside) + compute of the rim

The bytes are checked against the collective permutes in compiled programs, here on eight virtual
CPU devices, and on a TPU topology by `make test-tpu` (where float32 is sent as bfloat16 if the
products use it). The times are not measured: they are lower bounds from published peaks.

Assumptions:

- Neighbours in the mesh are neighbours in the machine and connected by a link, as on a torus of
  TPUs. Rows from devices that are not neighbours pass every link in between.
- Both directions of a link work at the same time. The second axis waits for the first, whose rows
  include the corners, as in `parallel.conv`.
- A hop takes LATENCY, which is assumed, not published; its effect on the smallest block is printed.
- The devices compute at their peak rates, with bfloat16 operands. x with its halo and w are read
  once, y is written once.
- "hidden" needs a program that computes the inside of a block while halos are sent. `parallel.conv`
  computes a block at once, so a single layer runs "in turn"; only other work can hide its halo.

Run: python examples/scaling.py [FOLDER FOR THE FIGURE]
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from _figures import save
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec
from matplotlib.figure import Figure

from jaxconv import output_size, parallel

ITEMSIZE = 2  # bfloat16
LATENCY = 1e-6  # seconds a hop: assumed


class Machine(NamedTuple):
    """Published peaks of one device: operations, bytes and bytes each way over a link, a second."""

    name: str
    peak: float
    memory: float
    link: float
    most: int  # devices that such links join
    source: str


MACHINES = (
    # 400 GB/s of interconnect a chip, both directions of the four links of a 2-D torus
    Machine("TPU v5e", 197e12, 819e9, 400e9 / 4 / 2, 256, "cloud.google.com/tpu/docs/v5e"),
    # 1200 GB/s a chip, both directions of the six links of a 3-D torus
    Machine("TPU v5p", 459e12, 2765e9, 1200e9 / 6 / 2, 6144, "cloud.google.com/tpu/docs/v5p"),
    # 1979 Tflop/s with sparsity, half of it without; NVLink: 900 GB/s both directions, through
    # switches within a node of eight. Two neighbours of an axis share them.
    Machine("H100 SXM", 1979e12 / 2, 3350e9, 900e9 / 2 / 2, 8, "NVIDIA's H100 data sheet"),
)


class Layer(NamedTuple):
    """A convolution of rows x columns, k x k kernel, c channels in and out, that keeps the size."""

    rows: int
    columns: int
    k: int
    c: int

    @property
    def operands(self):
        shapes = (1, self.rows, self.columns, self.c), (self.k, self.k, self.c, self.c)
        return [jax.ShapeDtypeStruct(shape, "bfloat16") for shape in shapes]


def arithmetic(x, w, mesh, **geometry):
    """Return the operations of the largest block of outputs: 2 * multiply-adds."""
    space = output_size(x.shape[1:3], w.shape[:2], **geometry)
    block = math.prod(-(-m // d) for m, d in zip(space, mesh, strict=True))
    return 2 * x.shape[0] * block * math.prod(w.shape)


def halo(x, w, mesh, **geometry):
    """Return the bytes that all devices receive, by `parallel.halo_bytes`."""
    shape, spec = AbstractMesh(mesh, ("a", "b")), PartitionSpec(None, "a", "b")
    return parallel.halo_bytes(x, w, **geometry, mesh=shape, x_spec=spec)


def sent(x, w, mesh, **geometry):
    """Return the bytes that the collective permutes of the compiled program send."""
    real = jax.make_mesh(mesh, ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    spec = PartitionSpec(None, "a", "b")

    def program(x, w):
        y = parallel.conv(x, w, **geometry, mesh=real, x_spec=spec)
        return jnp.sum(y**2)  # an array of unequal parts would be gathered at the end

    divides = all(n % d == 0 for n, d in zip(x.shape[1:3], mesh, strict=True))
    put = NamedSharding(real, spec if divides else PartitionSpec())
    x = jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=put)
    return parallel.permuted_bytes(jax.jit(program).lower(x, w).compile().as_text())


class Times(NamedTuple):
    """Seconds of one layer on one machine and mesh."""

    compute: float
    halo: float
    inside: float

    @property
    def in_turn(self):
        return self.halo + self.compute

    @property
    def hidden(self):
        return max(self.halo, self.inside) + self.compute - self.inside


def one_way(layer, mesh, axis):
    """Return the bytes over the busiest link of an axis in one direction: half of an inner halo."""
    reach = layer.k // 2
    rows, columns = (-(-n // d) for n, d in zip(layer[:2], mesh, strict=True))
    along, across = (rows, columns) if axis == 0 else (columns, rows)
    if axis == 1 and mesh[0] > 1:
        across += 2 * reach  # the rows received along the first axis are included
    # rows from the j-th neighbour pass j links
    whole, rest = divmod(reach, along)
    passed = along * whole * (whole + 1) // 2 + (whole + 1) * rest
    return passed * across * layer.c * ITEMSIZE


def times(layer, machine, mesh, latency=LATENCY):
    """Return the times of the module's docstring, for an inner device."""
    k, c, reach = layer.k, layer.c, layer.k // 2
    block = [-(-n // d) for n, d in zip(layer[:2], mesh, strict=True)]
    rims = [2 * reach if d > 1 else 0 for d in mesh]
    window = [n + rim for n, rim in zip(block, rims, strict=True)]
    inside = [max(n - rim, 0) for n, rim in zip(block, rims, strict=True)]

    def roofline(read, made):
        moved = ITEMSIZE * c * (math.prod(read) + math.prod(made) + k * k * c)
        return max(2 * k * k * c * c * math.prod(made) / machine.peak, moved / machine.memory)

    travel = 0.0
    for axis, devices in enumerate(mesh):
        if devices > 1:
            travel += -(-reach // block[axis]) * latency
            travel += one_way(layer, mesh, axis) / machine.link
    return Times(roofline(window, block), travel, roofline(block, inside) if all(inside) else 0.0)


def grid(devices):
    """Return the mesh of two axes that is nearest to a square."""
    rows = next(a for a in range(math.isqrt(devices), 0, -1) if devices % a == 0)
    return devices // rows, rows


def meshes(devices):
    return {"rows": (devices, 1), "rows and columns": grid(devices)}


# x, w, mesh of eight devices, geometry: one axis and two, sizes that the mesh does not divide,
# strides, dilation, a halo of more rows than a neighbour has.
CHECKED = (
    ((1, 64, 48, 8), (3, 3, 8, 8), (8, 1), {"padding": 1}),
    ((1, 64, 48, 8), (5, 5, 8, 8), (4, 2), {"padding": 2}),
    ((2, 64, 48, 8), (5, 3, 8, 4), (2, 4), {"padding": (2, 1)}),
    ((1, 64, 48, 8), (4, 3, 8, 8), (4, 2), {"stride": 2, "padding": 1}),
    ((1, 64, 48, 8), (3, 3, 8, 8), (4, 2), {"dilation": 2, "padding": 2}),
    ((1, 32, 48, 8), (19, 3, 8, 8), (8, 1), {"padding": (9, 1)}),
    ((1, 61, 48, 8), (3, 3, 8, 8), (8, 1), {"padding": 1}),
    ((1, 61, 45, 8), (5, 5, 8, 8), (4, 2), {"padding": 2}),
)
# If the stride does not divide a block, windows and blocks are not aligned, and every device
# receives as many rows as the one with the most: more than the formula counts.
UNALIGNED = ((1, 64, 48, 8), (3, 3, 8, 8), (4, 2), {"stride": 3, "padding": 1})


def check_bytes():
    """Print halo bytes and those of compiled programs, and check that they agree."""
    columns = f"{'operations':>10} {'formula':>8} {'program':>8}  bytes"
    print(f"{'x':16} {'w':14} {'mesh':7} {'geometry':26} {columns}")
    for x, w, mesh, geometry in (*CHECKED, UNALIGNED):
        arguments = ", ".join(f"{key}={value}" for key, value in geometry.items())
        print(f"{x!s:16} {w!s:14} {mesh!s:7} {arguments:26}", end=" ")
        x, w = (jax.ShapeDtypeStruct(shape, "float32") for shape in (x, w))
        formula, program = halo(x, w, mesh, **geometry), sent(x, w, mesh, **geometry)
        print(f"{arithmetic(x, w, mesh, **geometry):10,} {formula:8,} {program:8,}")
        unaligned = geometry.get("stride") == 3
        assert formula < program < 2 * formula if unaligned else program == formula


def check_link(layer, mesh):
    """Check that the bytes of all links in `times` add up to `parallel.halo_bytes`."""
    total = 0
    for axis, (devices, others) in enumerate((mesh, mesh[::-1])):
        if devices > 1:
            total += 2 * (devices - 1) * others * one_way(layer, mesh, axis)
    assert total == halo(*layer.operands, mesh, padding=layer.k // 2), (layer, mesh)


def hides(layer, machine, mesh, latency=LATENCY):
    """Whether the computation of the inside takes at least as long as the halo."""
    found = times(layer, machine, mesh, latency)
    return 0 < found.halo <= found.inside


def smallest(machine, k, c, latency=LATENCY):
    """Return the smallest b for which a b x b block with neighbours on all sides hides its halo."""
    layers = ((b, Layer(3 * b, 3 * b, k, c)) for b in range(8, 8192, 8))
    return next(b for b, layer in layers if hides(layer, machine, (3, 3), latency))


def powers(machine):
    """Return the numbers of devices: powers of two that the links can connect, at most 1024."""
    return [2**e for e in range(11) if 2**e <= machine.most]


def strong(layer, machine, way):
    """Return (devices, speed-up in turn, hidden) for the same image on more devices."""
    one = times(layer, machine, (1, 1)).compute
    found = [(p, times(layer, machine, meshes(p)[way])) for p in powers(machine)]
    return [(p, one / t.in_turn, one / t.hidden) for p, t in found]


def weak(block, machine, way):
    """Return (devices, efficiency in turn, hidden) for one block per device."""
    one = times(block, machine, (1, 1)).compute
    found = []
    for p in powers(machine):
        a, b = meshes(p)[way]
        t = times(block._replace(rows=block.rows * a, columns=block.columns * b), machine, (a, b))
        found.append((p, one / t.in_turn, one / t.hidden))
    return found


STRONG = Layer(1024, 1024, 5, 64)
WEAK = Layer(256, 256, 5, 64)


def print_machines():
    print("one device  bf16 Tflop/s  memory GB/s  link GB/s each way  devices  source")
    for m in MACHINES:
        figures = f"{m.peak / 1e12:12.1f} {m.memory / 1e9:12.0f} {m.link / 1e9:19.0f} {m.most:8}"
        print(f"{m.name:11} {figures}  {m.source}")
    print(f"assumed: {LATENCY * 1e6:g} microsecond a hop\n")


def print_blocks():
    print("\nsmallest block whose halo the inside hides, rows = columns, multiples of 8:")
    print(f"{'':9} channels {'k=3':>6} {'k=7':>6} {'k=31':>6}   no latency, k=3")
    for machine in MACHINES:
        for c in (16, 64, 256):
            blocks = [smallest(machine, k, c) for k in (3, 7, 31)]
            sizes = " ".join(f"{b:6}" for b in blocks)
            print(f"{machine.name:9} {c:8} {sizes} {smallest(machine, 3, c, 0):17}")


def print_curves():
    for name, layer, curve in (("strong", STRONG, strong), ("weak", WEAK, weak)):
        quantity = "speed-up" if name == "strong" else "efficiency"
        print(f"\n{name} scaling, {layer}: {quantity} in turn / hidden")
        for machine in MACHINES:
            for way in meshes(4):
                rows = [
                    row for row in curve(layer, machine, way) if row[0] in (2, 8, 64, 256, 1024)
                ]
                values = "  ".join(f"{p:4}: {turn:6.2f} /{hide:6.2f}" for p, turn, hide in rows)
                print(f"{machine.name:9} {way:17} {values}")


def check_claims():
    """Check the properties that the tables show."""
    for machine in MACHINES:
        for way in meshes(4):
            for p, turn, hide in strong(STRONG, machine, way):
                assert turn <= hide <= 1.001 * p  # never more than the devices
        most = powers(machine)[-1]
        by_way = {way: strong(STRONG, machine, way)[-1] for way in meshes(most)}
        if most > 8:  # on many devices squares have a smaller halo than strips
            assert by_way["rows and columns"][1] > by_way["rows"][1]
        # weak: an inner device's halo is the same however many there are
        found = [row for row in weak(WEAK, machine, "rows and columns") if row[0] >= 16]
        assert all(
            abs(row[1] - found[0][1]) < 0.01 for row in found if math.isqrt(row[0]) ** 2 == row[0]
        )


def draw():
    figure = Figure(figsize=(9, 4.2), layout="constrained", dpi=150)
    left, right = figure.subplots(1, 2)
    colours = ("#0072b2", "#d55e00", "#009e73")
    for machine, colour in zip(MACHINES, colours, strict=True):
        for way, style in (("rows", "--"), ("rows and columns", "-")):
            for panel, layer, curve in ((left, STRONG, strong), (right, WEAK, weak)):
                p, turn, hide = zip(*curve(layer, machine, way), strict=True)
                panel.plot(p, turn, style, color=colour, label=f"{machine.name}, {way}")
                panel.fill_between(p, turn, hide, color=colour, alpha=0.12, lw=0)
    left.plot([1, 1024], [1, 1024], color="black", lw=0.8, ls=":")
    left.set(xscale="log", yscale="log", ylabel="speed-up", title=title("strong", STRONG))
    right.set(xscale="log", ylim=(0, 1.05), ylabel="efficiency", title=title("weak", WEAK))
    for panel in (left, right):
        panel.set(xlabel="devices", xticks=[1, 8, 64, 1024], xticklabels=["1", "8", "64", "1024"])
        panel.minorticks_off()
    left.legend(fontsize=7.5, loc="upper left")
    figure.suptitle("On paper: lines with the halo first, shades up to where it hides", fontsize=10)
    save(figure, "scaling")


def title(name, layer):
    size = f"{layer.rows} x {layer.columns}"
    size += " a device" if name == "weak" else ""
    return f"{name}: {size}, {layer.k}x{layer.k}, {layer.c} channels"


def main():
    print_machines()
    check_bytes()
    for layer in (STRONG, STRONG._replace(k=31, c=3)):
        for devices in (4, 8, 64):
            for mesh in meshes(devices).values():
                check_link(layer, mesh)
    print_blocks()
    print_curves()
    check_claims()
    draw()


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)
    main()
