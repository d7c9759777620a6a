# %% [markdown]
# # Learning a kernel (D2L, section 6.2.4)
#
# The edge kernel is learned from the image and its edges: ten steps of gradient descent on the
# summed squared error, with a learning rate of 3e-2.

# %%
import jax.numpy as jnp
import numpy as np
from _figures import save

from jaxconv import corr2d, plots
from jaxconv.learn import fit_kernel

image = jnp.ones((6, 8)).at[:, 2:6].set(0)
true = jnp.array([[1.0, -1.0]])
edges = corr2d(image, true)

# %% [markdown]
# ## The losses
#
# D2L does not print its initial kernel. Four initial kernels give its losses; this is one of them.

# %%
start = jnp.array([[0.0166553, 0.6072187]])
fit = fit_kernel(image, edges, (1, 2), init=start)
table = [f"{loss:.3f}" for loss in fit.losses[1::2]]
for step, loss in zip(range(2, 11, 2), table, strict=True):
    print(f"epoch {step}, loss {loss}")
print("learned kernel", np.asarray(fit.kernel).round(4), "after ten steps")
assert table == ["11.983", "2.914", "0.859", "0.296", "0.112"]
assert jnp.allclose(fit.kernel, jnp.array([[1.0186, -0.9516]]), atol=1e-3)

# %% [markdown]
# ## The other three initial kernels
#
# The loss is a quadratic with the axes (1, 1) and (1, -1) through the true kernel. Each step
# multiplies the error along them by -0.8 and 0.64, so a start and its mirror images in these
# axes have the same losses.

# %%
axes = jnp.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2)
error = axes @ (start - true)[0]
ends = []
for signs in [(1, 1), (-1, 1), (1, -1), (-1, -1)]:
    mirrored = true + (jnp.array(signs) * error) @ axes
    other = fit_kernel(image, edges, (1, 2), init=mirrored)
    ends.append(other.kernel[0])
    print("from", np.asarray(mirrored[0]).round(4), "to", np.asarray(other.kernel[0]).round(4))
    assert jnp.allclose(other.losses, fit.losses, rtol=1e-3)
one_step = fit_kernel(image, edges, (1, 2), init=start, steps=1)
factors = axes @ (one_step.kernel - true)[0] / error
told = "error along (1, 1) and (1, -1) after a step, relative to before:"
print(told, np.asarray(factors).round(3))
assert jnp.allclose(factors, jnp.array([-0.8, 0.64]), atol=1e-4)
predicted = true[0] + (factors**10 * error) @ axes
assert jnp.allclose(fit.kernel[0], predicted, atol=1e-4)

# %% [markdown]
# None of the four ends at the kernel that D2L prints, (0.9726, -0.9929): it belongs to another run.
# Their distance from (1, -1) agrees with the last loss.

# %%
printed = jnp.array([0.9726, -0.9929])
nearest = min(float(abs(end - printed).max()) for end in ends)
print(f"nearest of the four ends to the printed kernel: {nearest:.3f} away")
assert nearest > 0.02
assert max(float(abs(end - true[0]).max()) for end in ends) < 0.06

# %% [markdown]
# After forty more steps the kernel is close to exact.

# %%
longer = fit_kernel(image, edges, (1, 2), init=start, steps=50)
print("after 50 steps", np.asarray(longer.kernel).round(5))
assert jnp.allclose(longer.kernel, true, atol=1e-4)
title = "Learning an edge kernel: ten steps as in D2L, and forty more"
curves = [longer.losses, fit.losses]
save(plots.losses(curves, ["50 steps", "the 10 steps of D2L"], title=title), "03_losses")
after = corr2d(image, fit.kernel)
title = "Output of the learned kernel after ten steps"
save(plots.before_after(image, fit.kernel, after, title=title), "03_learned_edge")
