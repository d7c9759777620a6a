#!/usr/bin/env bash
# jax and jaxlib 0.10.2 (8 forced CPU devices, mesh 2x4).
#
# Expected: sharding changes where a convolution is computed, never its values.
# Seen: with the rows of x along one mesh axis and the output channels of w along the other, under
# plain jit, lax.conv_general_dilated returns the right values times the size of the second axis:
#   alone 1.0, rows 1.0, channels 1.0, both 4.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2
XLA_FLAGS=--xla_force_host_platform_device_count=8 JAX_PLATFORMS=cpu "$folder/bin/python" - <<'EOF'
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

draw = np.random.default_rng(0)
x = draw.normal(size=(1, 32, 32, 64)).astype(np.float32)
w = draw.normal(size=(3, 3, 64, 64)).astype(np.float32)
mesh = Mesh(np.array(jax.devices()).reshape(2, 4), ("a", "b"))


@jax.jit
def f(x, w):
    return jax.lax.conv_general_dilated(
        x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
    )


alone = np.asarray(f(x, w))
large = abs(alone) > 1
seen = {}
for name, rows, channels in (
    ("alone", P(), P()),
    ("rows", P(None, "a"), P()),
    ("channels", P(), P(None, None, None, "b")),
    ("both", P(None, "a"), P(None, None, None, "b")),
):
    put = lambda array, spec: jax.device_put(array, NamedSharding(mesh, spec))
    ratio = np.asarray(f(put(x, rows), put(w, channels)))[large] / alone[large]
    assert np.ptp(ratio) < 1e-2, (name, ratio.min(), ratio.max())
    seen[name] = round(float(ratio.mean()), 2)
print(", ".join(f"{name} {ratio}" for name, ratio in seen.items()))
assert seen == {"alone": 1.0, "rows": 1.0, "channels": 1.0, "both": 4.0}
EOF
