#!/usr/bin/env bash
# jax and jaxlib 0.10.2, on Linux with pages of 4 KiB.
#
# Expected: a compiled program that runs again and again uses the memory of its last run.
# Seen: on CPUs every run takes the program's temporary memory from the system and gives it back, so
# that each page is filled with zeros again: one page fault for each page, in every run.
#   64 MiB: 1.00 faults a page, 128 MiB: 1.00 faults a page
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2
JAX_PLATFORMS=cpu "$folder/bin/python" - <<'EOF'
import resource

import jax
import jax.numpy as jnp


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


seen = {}
for mebibytes in (64, 128):
    size = mebibytes << 18

    @jax.jit
    def f(x):
        y = jnp.sin(x)  # temporary: it is read twice
        return jnp.dot(y, y[::-1])

    x = jnp.arange(size, dtype=jnp.float32)
    compiled = f.lower(x).compile()
    temporary = compiled.memory_analysis().temp_size_in_bytes
    assert temporary >= mebibytes << 20, temporary
    for _ in range(5):
        jax.block_until_ready(compiled(x))
    before = faults()
    for _ in range(10):
        jax.block_until_ready(compiled(x))
    seen[mebibytes] = (faults() - before) / 10 / (temporary / 4096)
print(", ".join(f"{size} MiB: {ratio:.2f} faults a page" for size, ratio in seen.items()))
assert all(0.9 < ratio < 1.1 for ratio in seen.values())
EOF
