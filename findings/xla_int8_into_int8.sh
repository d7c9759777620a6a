#!/usr/bin/env bash
# jax and jaxlib 0.10.2, on CPUs of x86-64.
#
# Expected: a convolution of int8 whose result is int8 takes as long as one into int32, or less: the
# sums can be cut to their last 8 bits at the end, with the same bits.
# Seen: it takes many times as long. Into int32 XLA gives planes of many channels to the library YNN
# (a fusion named __ynn_fusion in the program), into int8 it computes them by loops of its own. Lines
# go to no library, and there integers take many times as long as float32. Milliseconds on 2 cores
# with AVX2:
#   3x3 on 28x28, 64 to 64 channels: int8 into int8 8.08, into int32 1.03, float32 1.34; equal bits
#   3 on 1000, 64 to 64 channels: int8 into int8 2.60, into int32 5.20, float32 0.58; equal bits
# (jax 0.12.0.1, which needs Python 3.12: 9.66, 0.73 and 0.88; 1.91, 4.75 and 0.60.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2
JAX_PLATFORMS=cpu "$folder/bin/python" - <<'EOF'
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

draw = np.random.default_rng(0)


def compiled(x, w, result):
    conv = lambda x, w: jax.lax.conv_general_dilated(
        *(x, w, (1,) * (x.ndim - 2), "SAME"),
        dimension_numbers=("NHWC", "HWIO", "NHWC") if x.ndim == 4 else ("NWC", "WIO", "NWC"),
        preferred_element_type=result,
    )
    program = jax.jit(conv).lower(x, w).compile()
    return lambda: program(x, w), "__ynn_fusion" in program.as_text()


def race(size, kernel):
    x = jnp.asarray(draw.integers(-128, 128, (1, *size, 64)), jnp.int8)
    w = jnp.asarray(draw.integers(-128, 128, (*kernel, 64, 64)), jnp.int8)
    arrays = {"int8": (x, w), "int32": (x, w), "float32": (x.astype("float32"), w.astype("float32"))}
    calls, by_ynn = {}, {}
    for result, (a, b) in arrays.items():
        calls[result], by_ynn[result] = compiled(a, b, jnp.dtype(result))
    assert (calls["int8"]() == calls["int32"]().astype(jnp.int8)).all()
    times = {result: [] for result in calls}
    for _ in range(9):
        for result, call in calls.items():
            call().block_until_ready()  # threads of the one before may still spin
            start = time.perf_counter()
            call().block_until_ready()
            times[result].append(1e3 * (time.perf_counter() - start))
    found = {result: statistics.median(taken) for result, taken in times.items()}
    what = f"{'x'.join(map(str, kernel))} on {'x'.join(map(str, size))}, 64 to 64 channels"
    text = "int8 into int8 {int8:.2f}, into int32 {int32:.2f}, float32 {float32:.2f}".format(**found)
    print(f"{what}: {text}; equal bits")
    return found, by_ynn


plane, by_ynn = race((28, 28), (3, 3))
assert by_ynn == {"int8": False, "int32": True, "float32": True}, by_ynn
assert plane["int8"] > 4 * plane["int32"], plane
line, by_ynn = race((1000,), (3,))
assert not by_ynn["int32"], by_ynn
assert line["int32"] > 4 * line["float32"], line
EOF
