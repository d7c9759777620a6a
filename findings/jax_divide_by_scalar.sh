#!/usr/bin/env bash
# jax and jaxlib 0.10.2, on CPUs of x86-64.
#
# Expected: x / n is the quotient of IEEE 754, rounded once, whatever the shape of n: as in NumPy.
# Seen: where n is one number for all of x, XLA multiplies by 1 / n, which rounds twice, eagerly and
# under jit. Means of whole numbers are hit: the 255 halves of sums of 16380 bytes come out beside
# the halves (40950 / 16380 is 2.5000002), but the first, so that rounding half to even gives 3 for 2;
# and 49 / 49 in float64 (41 / 41 in float32) is below 1, so that an integer cast gives 0. With n as
# an array, or both as single numbers, all quotients are right, so that `vmap` over single numbers
# changes them.
# (The same with jax 0.12.0.1, which needs Python 3.12.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2
JAX_PLATFORMS=cpu JAX_ENABLE_X64=1 "$folder/bin/python" - <<'EOF'
import jax
import jax.numpy as jnp
import numpy as np

count = np.float32(16380)
sums = (2 * np.arange(255) + 1).astype(np.float32) * (count / 2)
exact = sums / count
assert (exact % 1 == 0.5).all()
divide = jax.jit(jnp.divide)
found = {
    "eager": jnp.asarray(sums) / count,
    "jit": divide(sums, count),
    "jit, n as an array": divide(sums, np.full_like(sums, count)),
    "one by one": np.array([divide(total, count) for total in sums]),
    "vmap of one by one": jax.vmap(divide, (0, None))(sums, count),
}
others = {name: int((np.asarray(y) != exact).sum()) for name, y in found.items()}
print("quotients of 255 that are others than NumPy's:", others)
assert others == {
    **{"eager": 254, "jit": 254, "jit, n as an array": 0, "one by one": 0},
    "vmap of one by one": 254,
}, others
print("40950 / 16380:", found["jit"][2], "rounded", jnp.round(found["jit"][2]), "in NumPy", exact[2])
assert float(jnp.round(found["jit"][2])) == 3 and np.round(exact[2]) == 2
for dtype, n in (("float32", 41), ("float64", 49)):
    y = divide(np.full(4, n, dtype), np.asarray(n, dtype))
    print(f"{n} / {n} in {dtype}: {y[0]!r}, as an integer {int(y[0])}")
    assert y.dtype == dtype and int(y[0]) == 0
EOF
