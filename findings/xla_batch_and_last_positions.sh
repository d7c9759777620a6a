#!/usr/bin/env bash
# jax and jaxlib 0.10.2, on x86-64, XLA limited to AVX2 (as it is where there is no AVX-512).
#
# Expected: one image's convolution is the same, bit for bit, in whatever batch it is computed, since
# every output is a sum of the same products.
# Seen: with 16 channels or fewer on both sides the outputs at the end of the array, and where one
# thread's part ends, are added in another order; from 17 channels on, read or made, they are not.
#   channels 8 -> 8: 2, 16 -> 16: 3, 17 -> 16: 0, 16 -> 17: 0 positions of 867 differ
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2
JAX_PLATFORMS=cpu XLA_FLAGS=--xla_cpu_max_isa=AVX2 "$folder/bin/python" - <<'EOF'
import jax
import numpy as np


@jax.jit
def f(x, w):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=numbers)


draw = np.random.default_rng(0)
seen = {}
for read, made in ((8, 8), (16, 16), (17, 16), (16, 17)):
    x = draw.normal(size=(8, 19, 19, read)).astype(np.float32)
    w = draw.normal(size=(3, 3, read, made)).astype(np.float32)
    # the last three of eight images, alone and with the others
    differs = np.asarray(f(x[-3:], w)) != np.asarray(f(x, w))[-3:]
    seen[f"{read} -> {made}"] = int(differs.any(-1).sum())
print(seen)
assert 0 < seen["8 -> 8"] < 20, seen
assert 0 < seen["16 -> 16"] < 20, seen
assert seen["17 -> 16"] == seen["16 -> 17"] == 0, seen
EOF
