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
from jaxconv import parallel

P = PartitionSpec
KINDS = "collective-permute|all-reduce|all-gather|all-to-all|reduce-scatter"
COLLECTIVE = rf" ((?:{KINDS})(?:-start)?)\("
X, W = (4, 64, 64, 16), (5, 5, 16, 32)


def learn(conv, x, w, y):
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


def main():
    devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices
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
    for name, mesh, conv, spec, forward, backward in rows:
        programs = (
            ("conv", conv, (X, W), forward),
            ("gradients", functools.partial(gradients, conv), (X, W, y), backward),
            # the image is data: only its halo travels forward, and the kernel's sum back
            ("learning step", functools.partial(learn, conv), (X, W, y), backward),
        )
        for what, program, arguments, want in programs:
            specs = (spec, P(), spec)[: len(arguments)]
            done = compiled(mesh, program, arguments, specs)
            found = collections.Counter(
                kind.removesuffix("-start") for kind in re.findall(COLLECTIVE, done.as_text())
            )
            cost = done.cost_analysis()
            print(
                f"{name}, {what}: {cost['flops'] / 1e6:.0f} Mflop and "
                f"{cost['bytes accessed'] / 1e6:.1f} MB a device, {dict(found) or 'no collective'}"
            )
            assert set(found) == want, (name, what, found)
            if want & halo:
                # at the default precision TPUs multiply in bfloat16, and XLA sends what is read as
                # such: half of float32. The gradient's halo comes back in full; in a learning step
                # the image is data, which has none.
                paper = parallel.halo_bytes(*shapes, padding="same", mesh=mesh, x_spec=spec)
                paper = paper // 2 + (paper if what == "gradients" else 0)
                sent = parallel.permuted_bytes(done.as_text())
                print(f"  halos: {paper} bytes on paper, {sent} in the program")
                assert sent == paper, (name, what)


if __name__ == "__main__":
    main()
