# %% [markdown]
# # Learning rates, and many kernels at once (D2L, section 6.2.4, continued)
#
# D2L learns its kernel with a learning rate of 3e-2. The largest stable rate can be computed before
# the first step: the squared error is a quadratic whose curvature depends only on the image.

# %%
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _figures import save
from matplotlib.figure import Figure

from jaxconv import corr2d
from jaxconv.learn import fit_kernel, init, losses, solve_kernel, step

image = jnp.ones((6, 8)).at[:, 2:6].set(0)
true = jnp.array([[1.0, -1.0]])
edges = corr2d(image, true)
start = jnp.array([[0.0166553, 0.6072187]])

# %% [markdown]
# ## The bound, computed
#
# `solve_kernel` computes the kernel without descent, and the eigenvalues of the Gram matrix of the
# image's windows (`energies`), which are half those of the loss's Hessian. A step of size r
# multiplies the error along an eigenvector by 1 - 2 r energy, so the error shrinks if r is below 2
# divided by the largest eigenvalue of the Hessian.

# %%
exact = solve_kernel(image, edges, (1, 2))
curvatures = 2 * exact.energies
bound = float(2 / curvatures.max())
fastest = float(2 / curvatures.sum())
print("exact kernel", exact.kernel.round(6), "condition", exact.condition.round(3))
print(f"curvatures {curvatures}, so rates below {bound:.6f} are stable; the best is {fastest:.4f}")
hessian = jax.hessian(lambda k: losses.sum_squared_error(corr2d(image, k.reshape(1, 2)), edges))
assert jnp.allclose(jnp.linalg.eigvalsh(hessian(jnp.zeros(2))), curvatures, rtol=1e-5)
assert jnp.allclose(bound, 1 / 30, rtol=1e-6)
assert jnp.allclose(exact.kernel, true, atol=1e-6)

# %% [markdown]
# ## The bound, measured
#
# 401 rates around the bound, 400 steps each, in one call: `vmap` over the learning rate.

# %%
rates = jnp.linspace(0.5 * bound, 1.1 * bound, 401)
sweep = jax.jit(
    jax.vmap(
        lambda r: fit_kernel(image, edges, (1, 2), init=start, steps=400, optimizer=optax.sgd(r))
    )
)
fits = sweep(rates)
converged = np.asarray(fits.final_loss) < fits.losses[:, 0]
largest = float(rates[converged].max())
smallest = float(rates[~converged].min())
print(f"largest rate that converged: {largest:.6f}, smallest that did not: {smallest:.6f}")
assert converged[rates < 0.999 * bound].all()
assert not converged[rates > 1.001 * bound].any()
assert abs(largest - bound) <= 0.001 * bound + float(rates[1] - rates[0])

# %% [markdown]
# The losses agree with the prediction too: they are sums of two powers.

# %%
axes = np.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2)  # curvatures 12 and 60
error = axes @ np.asarray(start - true)[0].astype(float)
wide = np.geomspace(1e-3, 0.1, 300)
factors = 1 - wide[:, None] * np.asarray(curvatures, float)


def predicted(steps):
    return np.sum(np.asarray(exact.energies) * (factors**steps * error) ** 2, axis=1)


after = sweep(jnp.asarray(wide, jnp.float32)).losses
for steps in (10, 50):
    shown = (predicted(steps) > 1e-9) & (predicted(steps) < 1e9)
    assert np.allclose(after[shown, steps], predicted(steps)[shown], rtol=0.02)

figure = Figure(figsize=(7, 4.5), layout="constrained", dpi=150)
panel = figure.subplots()
for steps, colour in ((10, "#d55e00"), (50, "#0072b2")):
    panel.plot(wide, predicted(steps), color=colour, lw=1, label=f"predicted, {steps} steps")
    panel.plot(wide[::6], after[::6, steps], ".", color=colour, label=f"learned, {steps} steps")
panel.axhline(float(fits.losses[0, 0]), color="black", lw=0.8, ls=":")
panel.text(1.1e-3, 1.5 * float(fits.losses[0, 0]), "before the first step", fontsize=9)
panel.axvline(bound, color="black", lw=0.8)
panel.text(1.03 * bound, 2e-11, f"2 / {curvatures.max():.0f} = {bound:.4f}", fontsize=9)
panel.axvline(0.03, color="gray", lw=0.8, ls="--")
panel.text(0.0291, 3e7, "0.03, as in D2L", fontsize=9, ha="right", color="gray")
panel.set(
    xscale="log",
    yscale="log",
    ylim=(1e-11, 1e9),
    xlabel="learning rate",
    ylabel="summed squared error",
    title="Above 2 / largest curvature the loss grows with every step",
)
panel.legend(loc="upper left", fontsize=9)
save(figure, "07_learning_rates")

# %% [markdown]
# ## Ten thousand kernels in one call
#
# Kernels, initial values and rates all differ; one compiled program learns all of them.

# %%
keys = jax.random.split(jax.random.key(0), 3)
truths = jax.random.normal(keys[0], (10_000, 1, 2))
starts = jax.random.uniform(keys[1], (10_000, 1, 2))
each_rate = jax.random.uniform(keys[2], (10_000,), minval=0.015, maxval=0.03)


@jax.jit
@jax.vmap
def learn_one(truth, start, rate):
    optimizer = optax.sgd(rate)
    state = init(start, optimizer=optimizer)
    target = corr2d(image, truth)
    return jax.lax.scan(
        lambda state, _: step(state, image, target, optimizer=optimizer), state, None, length=100
    )[0].kernel


began = time.perf_counter()
learned = learn_one(truths, starts, each_rate).block_until_ready()
print(f"10,000 kernels, 100 steps each: {time.perf_counter() - began:.1f} s, compilation included")
assert learned.shape == (10_000, 1, 2)
assert float(jnp.abs(learned - truths).max()) < 1e-3
solved = jax.vmap(lambda truth: solve_kernel(image, corr2d(image, truth), (1, 2)).kernel)(truths)
print(f"largest difference from the exact kernels: {float(jnp.abs(learned - solved).max()):.1e}")
assert jnp.allclose(solved, truths, atol=1e-5)
