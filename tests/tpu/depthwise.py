"""Compile the depthwise kernels for a TPU v5e, and print the compiler's estimates beside lax's.

Nothing runs here: `tests/test_pallas.py` has the values. Of the kernels the compiler schedules
bundles of instructions, one a cycle or slower: their number, with each loop's as often as it runs,
is a lower bound of the cycles of computing. For its own operations it estimates cycles. The arrays,
each moved once at the device's bandwidth, with its channels in whole tiles of 128, are a bound for
any program.

Run with libtpu in an environment of its own (`make test-tpu`), like check.py.
"""

import functools
import math
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import check  # before jax: it says which TPU is described
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry.spec import normalise
from jaxconv._core.methods.pallas_blocks import cut
from jaxconv._core.methods.pallas_plan import backward, forward

LAYERS = {
    "3x3, 8x56x56x144": ((8, 56, 56, 144), (3, 3, 1, 144), {"padding": 1}),
    "4 taps, 4096x2048": ((1, 4096, 2048), (4, 1, 2048), {"padding": "causal"}),
}
# The largest kernels that are served, which need the most of the 16 MiB that a program has.
LARGEST = {
    "output": ((1, 256, 256, 130), (64, 64, 1, 130)),
    "input": ((1, 256, 256, 130), (64, 64, 1, 130)),
    "kernel": ((1, 256, 256, 130), (32, 32, 1, 130)),
}
OPERANDS = {"output": "xw", "input": "yw", "kernel": "xy"}
CLOCK, BANDWIDTH = 1.5e9, 819e9  # of a v5e


def problems():
    """(name, contraction, dtype, spec, shapes by array)."""
    for name, (x, w, arguments) in LAYERS.items():
        spec = normalise("conv", x, w, groups=x[-1], **arguments)
        shapes = {"x": x, "w": w, "y": (x[0], *spec.output_size, w[-1])}
        for dtype in ("float32", "bfloat16"):
            for contraction in OPERANDS:
                yield name, contraction, dtype, spec, shapes


def largest():
    """Compile the largest kernels; the compiler ends with an error if they do not fit."""
    for contraction, (x, w) in LARGEST.items():
        spec = normalise("conv", x, w, groups=x[-1])
        shapes = {"x": x, "w": w, "y": (x[0], *spec.output_size, w[-1])}
        for dtype in ("float32", "bfloat16"):
            text = compiled(contraction, dtype, spec, shapes, "pallas").as_text()
            assert text.count('custom_call_target="tpu_custom_call"') == 1, text
        print(f"{w[0]}x{w[1]}, {contraction}: fits", flush=True)


def compiled(contraction, dtype, spec, shapes, method):
    one = NamedSharding(Mesh(np.array(check.described()[:1]), ("a",)), PartitionSpec())
    operands = [
        jax.ShapeDtypeStruct(shapes[name], dtype, sharding=one) for name in OPERANDS[contraction]
    ]
    f = functools.partial(contract, contraction, spec=spec, dtype=dtype, method=method)
    return jax.jit(f).lower(*operands).compile()


def bundles(text: str, unknown: int) -> int:
    """Bundles of a schedule, those of a loop as often as it runs.

    A line is `address [LB:] > > { instructions }` with a `>` for each loop around it; `LB` begins a
    loop, whose length is in its exit test, unless it is known only when it runs.
    """
    lines, loops, around = [], [], []
    for line in text.splitlines():
        found = re.match(r"\s*(?:0x)?[0-9a-f]+\s+(\w\w)?\s*:\s*((?:>\s*)*)\{(\})?", line)
        if not found:
            continue
        begins, depth = found[1] == "LB", found[2].count(">")
        if not found[3]:  # empty bundles have no marks
            del around[depth - begins :]
        if begins:
            loops.append(unknown)
            around.append(len(loops) - 1)
        test = re.search(r"totalorder [^,;]*, (\d+) /\* loop exit test", line)
        if test and around:
            loops[around[-1]] = int(test[1])
        lines.append(tuple(around))
    return sum(math.prod(loops[loop] for loop in each) for each in lines)


def scheduled(folder: Path) -> None:
    """Compile the kernels and print the bundles of each, in a process that writes schedules."""
    for _, contraction, dtype, spec, shapes in problems():
        old = {*folder.glob("*final_bundles.txt")}
        done = compiled(contraction, dtype, spec, shapes, "pallas")
        text = done.as_text()
        assert text.count('custom_call_target="tpu_custom_call"') == 1, text
        assert " convolution(" not in text, text
        # nothing but w is copied, widened or laid out anew, which is small
        moved, arrays = done.cost_analysis()["bytes accessed"], size(shapes, dtype)
        assert arrays <= moved <= 1.01 * arrays, (contraction, moved, arrays)
        new = {*folder.glob("*depthwise*final_bundles.txt")} - old
        new = [path for path in new if "analysis" not in path.name]
        plan = backward if contraction == "input" else forward
        rows, _ = cut(plan(spec), dtype, dtype)
        print(sum(bundles(path.read_text(), rows.steps) for path in new), flush=True)


def size(shapes, dtype, tile: int = 1) -> int:
    """Bytes of all arrays, with channels in whole tiles."""
    elements = (math.prod(s[:-1]) * -(-s[-1] // tile) * tile for s in shapes.values())
    return sum(elements) * jnp.dtype(dtype).itemsize


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # libtpu reads its arguments when it is loaded
        written = f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true"
        done = subprocess.run(
            [sys.executable, __file__, folder],
            env=os.environ | {"LIBTPU_INIT_ARGS": written},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    largest()  # now, since one process at a time may load libtpu
    found = [int(line) for line in done.stdout.split()]
    for (name, contraction, dtype, spec, shapes), ours in zip(problems(), found, strict=True):
        lax = compiled(contraction, dtype, spec, shapes, "lax")
        needed = size(shapes, dtype, tile=128) / BANDWIDTH * CLOCK
        moved = lax.cost_analysis()["bytes accessed"] / size(shapes, dtype)
        cycles = sum(map(int, re.findall(r'"estimated_cycles":"(\d+)"', lax.as_text())))
        print(
            f"{name}, {dtype} {contraction}: {ours or 'no'} scheduled bundles, and memory needs "
            f"{needed:.0f} cycles; lax {cycles} estimated cycles, {moved:.1f} times the bytes",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) == 2:
        scheduled(Path(sys.argv[1]))
    else:
        main()
