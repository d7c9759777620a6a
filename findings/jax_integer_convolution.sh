#!/usr/bin/env bash
# jax 0.10.2 beside numpy 2.4.6.
#
# Expected: jnp.convolve of integers sums integers, wraps in int8 and keeps bool, as numpy.convolve
# does, and as jnp.dot of the same arrays does.
# Seen: it converts every integer to float32, by default. Sums above 2^24 lose their last bit, int8
# does not wrap, booleans are counted. preferred_element_type gives integers back. jnp.polymul, which
# is built on it, inherits it.
#   numpy [16777217 16777218        1], jax [16777216. 16777216.        1.] float32
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/bin/python" - <<'EOF'
import jax.numpy as jnp
import numpy as np

large, pair = np.array([2**24 + 1, 1], np.int32), np.array([1, 1], np.int32)
exact, rounded = np.convolve(large, pair), jnp.convolve(large, pair)
print(f"numpy {exact}, jax {np.asarray(rounded)} {rounded.dtype}")
assert rounded.dtype == jnp.float32
assert exact.tolist() == [16777217, 16777218, 1]
assert rounded.tolist() == jnp.polymul(large, pair).tolist() == [16777216.0, 16777216.0, 1.0]
asked = jnp.convolve(large, pair, preferred_element_type=jnp.int32)
assert asked.dtype == jnp.int32 and asked.tolist() == exact.tolist()

bytes_ = np.full(2, 100, np.int8)
print(f"int8: numpy {np.convolve(bytes_, bytes_)}, jax {jnp.convolve(bytes_, bytes_)}")
assert np.convolve(bytes_, bytes_).tolist() == [16, 32, 16]
assert jnp.convolve(bytes_, bytes_).tolist() == [10000.0, 20000.0, 10000.0]
assert int(jnp.dot(bytes_, bytes_)) == 32  # wraps

yes = np.ones(2, bool)
print(f"bool: numpy {np.convolve(yes, yes)}, jax {jnp.convolve(yes, yes)}")
assert np.convolve(yes, yes).tolist() == [True, True, True]
assert jnp.convolve(yes, yes).tolist() == [1.0, 2.0, 1.0]
EOF
