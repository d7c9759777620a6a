# %% [markdown]
# # Correlation and edges (D2L, sections 6.2.1 to 6.2.3)
#
# y[i, j] = sum over a, b of x[i + a, j + b] k[a, b]

# %%
import jax
import jax.numpy as jnp
import numpy as np
from _figures import save
from skimage import data

import jaxconv
from jaxconv import corr2d, filters, output_size, plots, reference
from jaxconv.linen import Conv2D

# %% [markdown]
# ## The operation (6.2.1)
#
# The window starts at the top left and moves right, then down. D2L's figure: a 3x3 input, a 2x2
# kernel, and `19 = 0*0 + 1*1 + 3*2 + 4*3` at the top left of a 2x2 output.

# %%
x, k = jnp.arange(9.0).reshape(3, 3), jnp.arange(4.0).reshape(2, 2)
y = corr2d(x, k)
print(y)
assert y.tolist() == [[19, 25], [37, 43]]
assert y.shape == (3 - 2 + 1, 3 - 2 + 1) == output_size((3, 3), (2, 2))

# %% [markdown]
# The definition by loops gives the same, and so does D2L's sum over slices.

# %%
assert (reference.corr2d(np.asarray(x), np.asarray(k)) == y).all()
assert (corr2d(x, k, method="loops") == y).all()
h, w = k.shape
for i in range(y.shape[0]):
    for j in range(y.shape[1]):
        assert (x[i : i + h, j : j + w] * k).sum() == y[i, j]

# %% [markdown]
# ## A layer (6.2.2)
#
# Correlate and add a scalar bias; both are learned. The kernel starts uniform in [0, 1), the bias
# at zero. An h x w layer has h w + 1 parameters.

# %%
layer = Conv2D((1, 2))
variables = layer.init(jax.random.key(0), x)
weight, bias = variables["params"]["kernel"], variables["params"]["bias"]
print("parameters of a 1x2 layer:", weight.size + bias.size)
assert weight.size + bias.size == 1 * 2 + 1
assert bias == 0
assert 0 <= weight.min() <= weight.max() < 1
moved = {"params": {"kernel": weight, "bias": bias + 5}}
assert (layer.apply(moved, x) == corr2d(x, weight) + 5).all()

# %% [markdown]
# ## An edge (6.2.3)
#
# A white image with four black columns. The output of the kernel [1, -1] is 1 where white turns
# black, -1 where black turns white, and 0 elsewhere.

# %%
image = jnp.ones((6, 8)).at[:, 2:6].set(0)
edge = jnp.array([[1.0, -1.0]])
edges = corr2d(image, edge)
print(edges)
assert edges.tolist() == [[0, 1, 0, 0, 0, -1, 0]] * 6
save(
    plots.before_after(image, edge, edges, title="Edges of an image (D2L, section 6.2.3)"),
    "02_edge",
)

# %% [markdown]
# On the transposed image the output is zero everywhere: the kernel compares neighbours in a row.
# The transposed kernel detects the edges.

# %%
print("transposed image, same kernel: sum of |output|", int(abs(corr2d(image.T, edge)).sum()))
print("transposed kernel: sum of |output|", int(abs(corr2d(image.T, edge.T)).sum()))
assert corr2d(image.T, edge).shape == (8, 5)
assert not corr2d(image.T, edge).any()
assert (corr2d(image.T, edge.T) == edges.T).all()

# %% [markdown]
# ## On a photograph
#
# Edges along x and along y, and a second derivative, in the levels of the file, 0 to 255.

# %%
photograph = jnp.asarray(data.camera()[::2, ::2], jnp.float32)
outputs = {
    "sobel along x": corr2d(photograph, jnp.asarray(filters.sobel(1))),
    "sobel along y": corr2d(photograph, jnp.asarray(filters.sobel(0))),
    "laplacian": corr2d(photograph, jnp.asarray(filters.laplacian())),
}
flat = corr2d(jnp.full((5, 5), 128.0), jnp.asarray(filters.sobel(1)))
print("largest |output| on a constant image:", float(abs(flat).max()))
assert not flat.any()
title = "Feature maps of a photograph"
maps = jnp.stack(list(outputs.values()), axis=-1)
figure = plots.feature_maps(
    maps, labels=list(outputs), title=title, unit="weighted sum of levels", image=photograph
)
save(figure, "02_feature_maps")
sobel = jnp.stack([jnp.asarray(filters.sobel(axis)) for axis in (1, 0)], axis=-1)[:, :, None]
labels = ["along x", "along y"]
save(plots.kernels(sobel, labels=labels, title="Sobel's kernels"), "02_kernels")
# one layer with two output channels is the two correlations
both = jaxconv.conv(photograph[..., None], sobel)
assert jnp.allclose(both, maps[..., :2], atol=1e-3)
