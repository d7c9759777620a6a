# %% [markdown]
# # From a dense layer to a convolution (D2L, section 6.1)
#
# A dense layer from an image to an image becomes a convolution under two assumptions about images.

# %%
import jax
import jax.numpy as jnp
from _figures import save

import jaxconv
from jaxconv import plots
from jaxconv.analysis import (
    as_matrix,
    dense,
    equivariance_error,
    equivariance_map,
    parameter_counts,
)

key_w, key_x, key_v = jax.random.split(jax.random.key(0), 3)

# %% [markdown]
# ## Four indices (6.1.2)
#
# h[i, j] = sum over k, l of W[i, j, k, l] x[k, l]: every output has a weight for every input.
# Counting the input position from the output position, k = i + a and l = j + b, changes no value.

# %%
H, W_ = 6, 8
W = jax.random.normal(key_w, (H, W_, H, W_))
x = jax.random.normal(key_x, (H, W_))
V = dense.reindex(W)
print(f"W {W.shape} has {W.size} weights; V {V.shape} counts them by offset")
print("offsets run over", (-(H - 1), H - 1), "and", (-(W_ - 1), W_ - 1))
assert (dense.restore(V) == W).all()  # one to one
i, j, a, b = 2, 3, -1, 4
assert V[i, j, a + H - 1, b + W_ - 1] == W[i, j, i + a, j + b]

# %% [markdown]
# ## Translation invariance (6.1.1, 6.1.2.1)
#
# A shift of the image should only shift the output: V must not depend on (i, j). The nearest layer
# with that property has the mean of V over the positions.

# %%
v = dense.share(V)
shared = dense.spread(v, (H, W_))
print("shift-invariant before:", bool(dense.is_shift_invariant(V, tolerance=1e-6)))
print("shift-invariant after: ", bool(dense.is_shift_invariant(shared, tolerance=1e-6)))
assert not dense.is_shift_invariant(V, tolerance=1e-6)
assert dense.is_shift_invariant(shared, tolerance=1e-6)
lost = float(jnp.linalg.norm(V - shared) / jnp.linalg.norm(V))
print(f"random weights lose {lost:.0%} of their norm")
assert lost > 0.9
assert v.shape == (2 * H - 1, 2 * W_ - 1)

# %% [markdown]
# ## Locality (6.1.2.2)
#
# Weights beyond an offset of delta are zero. The remaining weights are a kernel, and the dense
# layer is a convolution layer.

# %%
delta = 1
local = dense.truncate(shared, delta)
k = dense.kernel(shared, delta)
by_matrix = dense.dense(x, dense.restore(local))
by_kernel = jaxconv.correlate(x, k, mode="same")
print(f"kernel {k.shape}; largest difference {abs(by_matrix - by_kernel).max():.1e}")
assert k.shape == (2 * delta + 1, 2 * delta + 1)
assert jnp.allclose(by_matrix, by_kernel, atol=1e-5)

# %% [markdown]
# Conversely, every convolution is a matrix with mostly zeros, and its transpose is conv_transpose.

# %%
A = as_matrix(k[..., None, None], (H, W_), padding=delta)
print(f"as a matrix {A.shape}: {int((A != 0).sum())} of {A.size} entries are not zero")
assert jnp.allclose((A @ x.ravel()).reshape(H, W_), by_kernel, atol=1e-5)
transposed = jaxconv.conv_transpose(x[..., None], k[..., None, None], padding=delta)[..., 0]
assert jnp.allclose((A.T @ x.ravel()).reshape(H, W_), transposed, atol=1e-5)

# %% [markdown]
# ## Number of weights
#
# From a megapixel image to an output of its size there are 10^12 dense weights, 4 terabytes in
# float32; shared four million; local (2 delta + 1)^2.

# %%
images = {
    "digit 8x8": (8, 8),
    "photograph\n1000x1000": (1000, 1000),
    "photograph\n1024x1024x3": (1024, 1024),
}
counts = []
for name, size in images.items():
    channels = 3 if name.endswith("x3") else 1
    counts.append(parameter_counts(size, delta, in_channels=channels))
    one_line = name.replace("\n", " ")
    dense_, shared_, local_ = counts[-1]
    print(f"{one_line:23} dense {dense_:,}, shared {shared_:,}, local {local_}")
assert counts[1] == (10**12, 3_996_001, 9)
assert counts[2].local == 27
assert 1024 * 1024 * 3 == 3_145_728  # numbers in D2L's colour photograph
title = "A layer from an image to one of its size (one output channel, delta = 1)"
save(plots.parameter_counts(counts, labels=list(images), title=title), "01_parameter_counts")

# %% [markdown]
# ## Equivariance, measured
#
# With circular padding a shift of the input shifts the output exactly. With zero padding outputs
# differ where their window covers padding; with a stride of two they differ for every odd shift.

# %%
image = jnp.round(8 * jax.random.normal(key_v, (24, 24)))  # whole numbers: sums are exact
kernel = jnp.array([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])[..., None, None]
shift = (5, 9)


def layer(**arguments):
    return lambda x: jaxconv.conv(x[..., None], kernel, **arguments)[..., 0]


circular = layer(padding=1, padding_mode="circular")
zeros = layer(padding=1)
strided = layer(padding=1, padding_mode="circular", stride=2)
errors = equivariance_error(strided, image, [(0, 0), (1, 0), (2, 0), (3, 0), (4, 6)], stride=2)
print("circular padding:", float(equivariance_error(circular, image, [shift])[0]))
print("zero padding:    ", float(equivariance_error(zeros, image, [shift])[0]))
print("no padding:      ", float(equivariance_error(layer(), image, [shift], wrap=False)[0]))
print("stride 2, shifts by 0, 1, 2, 3 and (4, 6):", errors)
assert equivariance_error(circular, image, [shift])[0] == 0
assert equivariance_error(layer(), image, [shift], wrap=False)[0] == 0
border = equivariance_map(zeros, image, shift)
seen = jnp.zeros((24, 24), bool).at[jnp.array([0, 4, 5, 23]), :].set(True)
seen = seen.at[:, jnp.array([0, 8, 9, 23])].set(True)
assert (border > 0).any()
assert not (border > 0)[~seen].any()
assert [bool(e == 0) for e in errors] == [True, False, True, False, True]
maps = [equivariance_map(circular, image, shift), border]
odd = abs(strided(jnp.roll(image, 1, 0)) - strided(image))
save(
    plots.errors(
        [*maps, odd],
        labels=["circular padding", "zero padding", "stride 2, shifted by one row"],
        title="How far f(shifted image) is from shifted f(image)",
    ),
    "01_equivariance",
)

# %% [markdown]
# ## Channels (6.1.4)
#
# H[i, j, d] = sum over a, b, c of V[a, b, c, d] X[i + a, j + b, c], with offsets from -delta to
# delta: a kernel of shape (2 delta + 1, 2 delta + 1, in, out).

# %%
X = jax.random.normal(key_x, (5, 6, 3))
V4 = jax.random.normal(key_v, (3, 3, 3, 2))
X_margin = jnp.pad(X, ((1, 1), (1, 1), (0, 0)))
by_definition = sum(
    jnp.einsum("ijc,cd->ijd", X_margin[1 + a : 6 + a, 1 + b : 7 + b], V4[a + 1, b + 1])
    for a in (-1, 0, 1)
    for b in (-1, 0, 1)
)
feature_maps = jaxconv.conv(X, V4, padding=1)
print(f"{X.shape[-1]} channels in, {feature_maps.shape[-1]} feature maps out, {V4.size} weights")
assert jnp.allclose(feature_maps, by_definition, atol=1e-5)
