#!/usr/bin/env bash
# jax 0.12.0.1 (Python 3.12 or newer), lowering for CUDA without a GPU.
#
# Expected: what is traced under `jax.enable_x64(True)` keeps its float64 where it is lowered later,
# outside of the block, as jax 0.10.2 does and as `jax.vjp` and `jax.export` of a part of a program
# need it.
# Seen: for CUDA, `irfft2` of float64 raises there: its lowering rule makes the spectrum symmetric by
# Python numbers and `jnp` operations of its own, which know complex64 alone once the block is left.
# For CPUs and TPUs, of one dimension, of float32 and inside the block it lowers; `ifft2` does always.
#   cpu: lowered; cuda: TypeError, complex64 and complex128; cuda, ifft2: lowered
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q jax==0.12.0.1 jaxlib==0.12.0.1 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/bin/python" - <<'EOF'
import warnings

import jax
import jax.numpy as jnp
import numpy as np

warnings.simplefilter("ignore")


def traced(function, shape=(8, 8), dtype=np.float64):
    with jax.enable_x64(True):
        return jax.jit(function).trace(jax.ShapeDtypeStruct(shape, dtype))


def outcome(program, platform):
    try:
        text = program.lower(lowering_platforms=(platform,)).as_text()
    except TypeError as error:
        assert "complex64, complex128" in str(error)
        return "TypeError, complex64 and complex128"
    assert "complex<f32>" not in text or "xf32>" in text
    return "lowered"


real = traced(lambda x: jnp.fft.irfft2(jnp.fft.rfft2(x)))
whole = traced(lambda x: jnp.fft.ifft2(jnp.fft.fft2(x)).real)
found = [outcome(real, "cpu"), outcome(real, "cuda"), outcome(whole, "cuda")]
print("cpu: {}; cuda: {}; cuda, ifft2: {}".format(*found))
assert found == ["lowered", "TypeError, complex64 and complex128", "lowered"]
assert outcome(real, "tpu") == "lowered"
assert outcome(traced(lambda x: jnp.fft.irfft(jnp.fft.rfft(x)), (8,)), "cuda") == "lowered"
single = traced(lambda x: jnp.fft.irfft2(jnp.fft.rfft2(x)), dtype=np.float32)
assert outcome(single, "cuda") == "lowered"
with jax.enable_x64(True):
    assert outcome(real, "cuda") == "lowered"
EOF
