# %% [markdown]
# # Convolution versus correlation (D2L, sections 6.1.3 and 6.2.5)
#
# In mathematics the convolution of two functions reverses one of them:
#
# (f * g)(x) = integral of f(z) g(x - z) dz, and for sequences (f * g)(i) = sum over a of
# f(a) g(i - a), for images (f * g)(i, j) = sum over a, b of f(a, b) g(i - a, j - b).
#
# A convolution *layer* does not reverse: it correlates, y[i] = sum over a of x[i + a] k[a].

# %%
import jax
import jax.numpy as jnp
import numpy as np
import optax
from _figures import save
from skimage import data

from jaxconv import convolve, corr2d, correlate, filters, plots

# %% [markdown]
# ## The integral as a limit of sums
#
# For f(x) = g(x) = exp(-x), x >= 0, (f * g)(x) = x exp(-x). Sums converge to it with smaller steps.

# %%
errors = []
for step in (0.1, 0.01, 0.001):
    x = jnp.arange(0, 5, step)
    decay = jnp.exp(-x)
    sums = convolve(decay, decay, mode="full")[: x.size] * step
    errors.append(float(abs(sums - x * decay).max()))
    print(f"step {step}: the sum differs from the integral by {errors[-1]:.1e}")
assert errors[1] < 0.11 * errors[0]
assert errors[2] < 0.11 * errors[1]

# %% [markdown]
# ## The sums as loops
#
# Finite sequences are zero outside. In one and two dimensions:

# %%
rng = np.random.default_rng(0)
f, g = rng.integers(-5, 6, 6), rng.integers(-5, 6, 4)
line = [sum(f[a] * g[i - a] for a in range(6) if 0 <= i - a < 4) for i in range(6 + 4 - 1)]
assert convolve(jnp.asarray(f), jnp.asarray(g), mode="full").tolist() == line
print("f * g =", [int(value) for value in line])

F, G = rng.integers(-5, 6, (3, 4)), rng.integers(-5, 6, (2, 3))
plane = np.zeros((3 + 2 - 1, 4 + 3 - 1), int)
for (i, j), _ in np.ndenumerate(plane):
    for (a, b), value in np.ndenumerate(F):
        if 0 <= i - a < 2 and 0 <= j - b < 3:
            plane[i, j] += value * G[i - a, j - b]
F, G = jnp.asarray(F), jnp.asarray(G)
assert (convolve(F, G, mode="full") == plane).all()

# %% [markdown]
# Convolution is correlation with the kernel reversed along every dimension. Convolution is
# commutative; correlation is not.

# %%
assert (convolve(F, G, mode="full") == correlate(F, G[::-1, ::-1], mode="full")).all()
assert (convolve(F, G, mode="full") == convolve(G, F, mode="full")).all()
swapped = correlate(G, F, mode="full")
assert not (correlate(F, G, mode="full") == swapped).all()
assert (correlate(F, G, mode="full") == swapped[::-1, ::-1]).all()
print("convolution is commutative; exchanging the inputs of a correlation reverses the result")

# %% [markdown]
# ## A layer that convolves learns the reversed kernel
#
# Two layers are trained on the same photograph and target: one correlates, one convolves in the
# strict sense, and their initial kernels are the reverse of each other. The target is a correlation
# with a kernel without symmetry.

# %%
photograph = jnp.asarray(data.camera()[::8, ::8], jnp.float32) / 255 - 0.5
hidden = jnp.array([[1.0, 0.5, 0.0], [-0.5, 2.0, 0.25], [0.0, -1.0, -0.75]])
target = corr2d(photograph, hidden)
layers = {"correlates": correlate, "convolves": convolve}
optimizer = optax.adam(5e-2)


def train(layer, k, steps=1500):
    def loss(k):
        return ((layer(photograph, k) - target) ** 2).mean()

    def step(carry, _):
        k, state = carry
        value, gradient = jax.value_and_grad(loss)(k)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(k, updates), state), value

    (k, _), losses = jax.lax.scan(step, (k, optimizer.init(k)), None, length=steps)
    return k, losses


start = jax.random.uniform(jax.random.key(0), (3, 3))
starts = {"correlates": start, "convolves": start[::-1, ::-1]}
learned, losses = {}, {}
for name, layer in layers.items():
    learned[name], losses[name] = jax.jit(train, static_argnums=0)(layer, starts[name])
    print(f"the layer that {name} learned, to a loss of {losses[name][-1]:.1e}:")
    print(np.asarray(learned[name]).round(3) + 0.0)  # no minus before zero

K, K_strict = learned["correlates"], learned["convolves"]
outputs = correlate(photograph, K), convolve(photograph, K_strict)
print(f"kernels differ by {abs(K - K_strict).max():.2f}, ", end="")
print(f"reversed ones by {abs(K - K_strict[::-1, ::-1]).max():.1e}, ", end="")
print(f"outputs by {abs(outputs[0] - outputs[1]).max():.1e}")
assert abs(K - hidden).max() < 1e-2
assert abs(K - K_strict).max() > 0.5
assert jnp.allclose(K, K_strict[::-1, ::-1], atol=1e-3)
assert jnp.allclose(*outputs, atol=1e-3)

pair = jnp.stack([K, K_strict], axis=-1)[:, :, None]
labels = [f"layer that {name}" for name in layers]
title = "Learned kernels: one is the reverse of the other"
save(plots.kernels(pair, labels=labels, title=title), "04_kernels")
maps = jnp.stack(outputs, axis=-1)
names = ["correlates with its kernel", "convolves with its own"]
save(plots.feature_maps(maps, labels=names, title="Both layers have the same output"), "04_outputs")
title = "Both layers have the same losses"
figure = plots.losses(
    list(losses.values()), labels, title=title, unit="mean squared error (intensity²)"
)
save(figure, "04_losses")

# %% [markdown]
# For kernels that equal their reverse both are the same: Gaussians, boxes, the Laplacian.

# %%
for name, kernel in {"gaussian": filters.gaussian(1.0), "laplacian": filters.laplacian()}.items():
    kernel = jnp.asarray(kernel)
    same = jnp.allclose(convolve(photograph, kernel), correlate(photograph, kernel), atol=1e-5)
    print(f"{name}: convolution equals correlation: {bool(same)}")
    assert same
