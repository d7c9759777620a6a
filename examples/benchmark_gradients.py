# %% [markdown]
# # Kernel gradients of grouped layers, compared with lax
#
# Milliseconds of one compiled kernel gradient by jaxconv and by `lax.conv_general_dilated` in one
# process: values are compared first, then calls alternate; medians of three.

# %%
import statistics
import time

import jax
import jax.numpy as jnp
from jax import lax

import jaxconv

# (batch, height, width, channels), kernel size, groups
LAYERS = [
    ((8, 56, 56, 128), 3, 32),
    ((8, 28, 28, 512), 3, 32),
    ((8, 112, 112, 64), 3, 64),
    ((4, 28, 28, 192), 7, 192),
]


def milliseconds(f, *arguments):
    start = time.perf_counter()
    jax.block_until_ready(f(*arguments))
    return 1e3 * (time.perf_counter() - start)


for shape, size, groups in LAYERS:
    channels = shape[-1]
    key_x, key_w = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, shape)
    w = jax.random.normal(key_w, (size, size, channels // groups, channels))

    def theirs(w, x, groups=groups):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=groups
        )

    def ours(w, x, groups=groups):
        return jaxconv.conv(x, w, padding="same", groups=groups)

    y = jax.random.normal(key_w, shape)
    gradients = [jax.jit(lambda w, x, y, f=f: jax.vjp(f, w, x)[1](y)[0]) for f in (theirs, ours)]
    a, b = (gradient(w, x, y) for gradient in gradients)
    assert jnp.allclose(a, b, atol=1e-4 * jnp.abs(a).max())
    times = [[milliseconds(gradient, w, x, y) for gradient in gradients] for _ in range(3)]
    lax_time, our_time = (statistics.median(column) for column in zip(*times, strict=True))
    print(
        f"{'x'.join(map(str, shape)):14} {size}x{size}, {groups:3} groups: "
        f"lax {lax_time:8.1f} ms, jaxconv {our_time:7.1f} ms, ratio {our_time / lax_time:.4f}"
    )
