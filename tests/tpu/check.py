"""Compile for a TPU v5e 2x2 without owning one, and print what the programs do and communicate.

What they send as halos is held to `parallel.halo_bytes`, byte for byte.

Run with libtpu in an environment of its own (`make test-tpu`): JAX looks for it at import.
"""

import os

os.environ |= {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "JAX_PLATFORMS": "cpu",
}

import collections
import functools
import re

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxconv
from jaxconv import learn, parallel

P = PartitionSpec
KINDS = "collective-permute|all-reduce|all-gather|all-to-all|reduce-scatter"
COLLECTIVE = rf" ((?:{KINDS})(?:-start)?)\("
X, W = (4, 64, 64, 16), (5, 5, 16, 32)
# Largest share of one device's operations that each of four has: margins are computed twice.
SHARE = 1.25 / 4


def learn_step(conv, x, w, y):
    """One step of gradient descent on the kernel."""
    return w - 3e-2 * jax.grad(lambda w: ((conv(x, w) - y) ** 2).sum())(w)


def gradients(conv, x, w, y):
    return jax.vjp(conv, x, w)[1](y)


def compiled(mesh, program, arguments, specs):
    shapes = [
        jax.ShapeDtypeStruct(shape, "float32", sharding=NamedSharding(mesh, spec))
        for shape, spec in zip(arguments, specs, strict=True)
    ]
    return jax.jit(program).lower(*shapes).compile()


def told(name, mesh, program, arguments, specs, want):
    """Compile, print what it does, hold its collectives to those that are wanted."""
    done = compiled(mesh, program, arguments, specs)
    found = collections.Counter(
        kind.removesuffix("-start") for kind in re.findall(COLLECTIVE, done.as_text())
    )
    cost = done.cost_analysis()
    print(
        f"{name}: {cost['flops'] / 1e6:.0f} Mflop and {cost['bytes accessed'] / 1e6:.1f} MB a "
        f"device, {dict(found) or 'no collective'}"
    )
    assert set(found) == want, (name, found)
    return done, cost["flops"]


def check_halos(done, paper):
    sent = parallel.permuted_bytes(done.as_text())
    print(f"  halos: {paper} bytes on paper, {sent} in the program")
    assert sent == paper


def described():
    """The devices of a v5e 2x2."""
    return topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices


def main():
    devices = described()
    one = Mesh(np.array(devices[:1]), ("a",))
    grid = Mesh(np.array(devices).reshape(2, 2), ("a", "b"))
    plain = functools.partial(jaxconv.conv, padding="same")
    y = (*X[:-1], W[-1])
    halo = {"collective-permute"}
    rows = [("plain", one, plain, P(), set(), set())]
    for name, spec, forward in (
        ("batch", P(("a", "b")), set()),
        ("rows", P(None, ("a", "b")), halo),
        ("rows and columns", P(None, "a", "b"), halo),
    ):
        conv = functools.partial(parallel.conv, padding="same", mesh=grid, x_spec=spec)
        rows.append((name, grid, conv, spec, forward, forward | {"all-reduce"}))
    shapes = [jax.ShapeDtypeStruct(shape, "float32") for shape in (X, W)]
    alone = {}
    for name, mesh, conv, spec, forward, backward in rows:
        programs = (
            ("conv", conv, (X, W), forward),
            ("gradients", functools.partial(gradients, conv), (X, W, y), backward),
            # the image is data: only its halo travels forward, and the kernel's sum back
            ("learning step", functools.partial(learn_step, conv), (X, W, y), backward),
        )
        for what, program, arguments, want in programs:
            specs = (spec, P(), spec)[: len(arguments)]
            done, flops = told(f"{name}, {what}", mesh, program, arguments, specs, want)
            if mesh is one:
                alone[what] = flops
            else:
                assert flops <= SHARE * alone[what], (name, what, flops)
            if want & halo:
                # at the default precision TPUs multiply in bfloat16, and XLA sends what is read as
                # such: half of float32. The gradient's halo comes back in full; in a learning step
                # the image is data, which has none.
                paper = parallel.halo_bytes(*shapes, padding="same", mesh=mesh, x_spec=spec)
                check_halos(done, paper // 2 + (paper if what == "gradients" else 0))
    rows_only = {"padding": "same", "mesh": grid, "x_spec": P(None, ("a", "b"))}
    paper = parallel.halo_bytes(*shapes, **rows_only)

    def back(y, w):
        return parallel.conv_transpose(y, w, padding="same", mesh=grid, y_spec=rows_only["x_spec"])

    specs = rows_only["x_spec"], P()
    done, _ = told("rows, conv_transpose", grid, back, (y, W), specs, halo)
    check_halos(done, paper)
    grouped = functools.partial(
        parallel.conv, padding="same", groups=4, mesh=grid, x_spec=P(("a", "b"))
    )
    arguments = X, (5, 5, 4, 32), y
    specs = P(("a", "b")), P(), P(("a", "b"))
    program = functools.partial(gradients, grouped)
    told("batch, 4 groups, gradients", grid, program, arguments, specs, {"all-reduce"})
    # each group lies on two devices, which sum what they have of it and keep half
    line, channels = Mesh(np.array(devices), ("a",)), P(None, None, None, "a")
    cut = functools.partial(parallel.conv, padding="same", groups=2, mesh=line, x_spec=channels)
    arguments, specs = (X, (5, 5, 8, 32)), (channels, P())
    told("groups cut in two, conv", line, cut, arguments, specs, {"reduce-scatter"})
    check_fits(grid, y)
    check_plain_jit(grid)


def check_plain_jit(grid):
    """`jaxconv.conv` on sharded arrays, with no mesh named: XLA partitions it here.

    The TPU's compiler calls no partitioning of ours (jax issue 38196), and partitions convolutions
    wrongly: so it is handed none whose space is cut, but gathers it first. The result lies as x.
    """
    rows, outputs = P(None, "a"), P(None, None, None, "b")
    conv = functools.partial(jaxconv.conv, padding="same")
    for name, specs, laid, want in (
        ("batch", (P(("a", "b")), P()), P(("a", "b")), set()),
        ("rows", (rows, P()), rows, {"all-gather"}),
        ("rows and outputs", (rows, outputs), P(None, "a", None, "b"), {"all-gather"}),
    ):
        program = functools.partial(constrained, conv, NamedSharding(grid, laid))
        told(f"plain jit, {name}", grid, program, (X, W), specs, want)


def constrained(conv, sharding, x, w):
    return jax.lax.with_sharding_constraint(conv(x, w), sharding)


def check_fits(grid, y):
    """`learn.fit_conv` sums gradients and losses, and sends halos; images move only on demand."""
    rows, both = P(None, ("a", "b")), P(None, "a", "b")
    want = {"collective-permute", "all-reduce"}
    for name, spec, given in (
        ("rows", rows, rows),
        ("rows and columns", both, both),
        ("rows and columns as rows", rows, both),
    ):
        fit = functools.partial(
            learn.fit_conv, kernel_size=5, padding="same", steps=20, mesh=grid, x_spec=spec
        )
        # x and y that lie otherwise than x_spec says are moved there, once each, before the loop
        moves = {"all-to-all"} if spec != given else set()
        specs = given, given
        done, _ = told(f"{name}, fit_conv of 20 steps", grid, fit, (X, y), specs, want | moves)
        named = re.findall(r' all-to-all\(.*op_name="([^"]*)"', done.as_text())
        assert len(named) == 2 * len(moves), named
        assert all(name.endswith("/sharding_constraint") for name in named), named


if __name__ == "__main__":
    main()
