# %% [markdown]
# # Padding and stride (D2L, section 6.3)
#
# outputs = floor((n - k + p + s) / s) along each dimension, with n inputs, a kernel of k elements,
# p elements of padding *in total* (before plus after) and stride s. The argument `padding` is *per
# side*: p = 2 padding.

# %%
import math

import jax
import jax.numpy as jnp
import numpy as np
from _figures import save
from skimage import data

import jaxconv
from jaxconv import explicit_padding, filters, input_size, output_size, plots
from jaxconv.analysis import Layer, reach, receptive_field

# %% [markdown]
# ## Without padding
#
# Every layer removes k - 1 rows and columns. Ten layers of 5x5 turn 240x240 into 200x200.

# %%
size = (240, 240)
for _ in range(10):
    size = output_size(size, 5)
lost = 1 - math.prod(size) / 240**2
print(f"after ten layers of 5x5: {size}, {lost:.0%} of the pixels are lost")
assert size == (200, 200)
assert round(100 * lost) == 31

# %% [markdown]
# ## Padding (6.3.1)
#
# D2L's figure: a 3x3 input padded to 5x5 and a 2x2 kernel give 4x4. Each element of padding adds an
# output: (n - k + p + 1).

# %%
x, k = jnp.arange(9.0).reshape(3, 3), jnp.arange(4.0).reshape(2, 2)
y = jaxconv.corr2d(jnp.pad(x, 1), k)
print(y)
assert y.shape == output_size((3, 3), 2, padding=1) == (4, 4)
assert y[0, 0] == 0 * 0 + 0 * 1 + 0 * 2 + 0 * 3
assert (y == jaxconv.conv(x[..., None], k[..., None, None], padding=1)[..., 0]).all()
for before in range(4):
    for after in range(4):
        assert output_size(9, 4, padding=((before, after),)) == 9 - 4 + (before + after) + 1

# %% [markdown]
# p = k - 1 in total keeps the size. For odd k that is (k - 1) / 2 per side. For even k one side
# gets one element more: in D2L ceil(p / 2) go before ("same_lower", as lax's SAME_LOWER), in torch
# and lax's SAME after.

# %%
print("k   p  D2L             torch")
for width in range(1, 8):
    p = width - 1
    (lower,) = explicit_padding(20, width, padding="same_lower")
    (upper,) = explicit_padding(20, width, padding="same")
    print(f"{width}   {p}  {lower!s:14}  {upper}")
    assert lower == (math.ceil(p / 2), p // 2)
    assert upper == (p // 2, math.ceil(p / 2))
    assert (
        output_size(20, width, padding=(lower,)) == output_size(20, width, padding=(upper,)) == 20
    )
    assert (lower == upper) == (width % 2 == 1)

# %% [markdown]
# D2L's two layers keep 8x8: a 3x3 kernel with one element on every side, and a 5x3 kernel
# with (2, 1) per side, which is p = (4, 2) in total.

# %%
image = jax.random.uniform(jax.random.key(0), (8, 8, 1))
for kernel, padding in [((3, 3), 1), ((5, 3), (2, 1))]:
    y = jaxconv.conv(image, jnp.ones((*kernel, 1, 1)), padding=padding)
    print(f"kernel {kernel}, padding={padding}: {y.shape[:2]}")
    assert y.shape[:2] == output_size((8, 8), kernel, padding=padding) == (8, 8)
total = tuple(sum(pair) for pair in explicit_padding((8, 8), (5, 3), padding=(2, 1)))
assert total == (4, 2) == (5 - 1, 3 - 1)

# %% [markdown]
# ## Odd kernels are centred
#
# Odd kernel, the same padding on all sides, output as large as the input: then y[i, j] is computed
# from the window whose centre is x[i, j]. An even kernel has no centre.

# %%
i, j = 3, 5
for kernel in [(3, 3), (5, 3), (7, 1)]:
    w = jnp.ones((*kernel, 1, 1))
    seen = reach(lambda x: jaxconv.conv(x, w, padding="same"), image, (i, j, 0))[..., 0]
    rows, columns = np.nonzero(np.asarray(seen))
    inner = receptive_field([Layer(kernel, padding="same")]).span((i, j))
    centre = tuple((first + last) / 2 for first, last in inner)
    print(f"kernel {kernel}: y[{i}, {j}] reads rows {rows.min()} to {rows.max()}, centre {centre}")
    assert centre == (i, j)
    assert all(i - h // 2 >= 0 and i + h // 2 < 8 for h in kernel[:1]) == (seen.sum() == w.size)
even = receptive_field([Layer((4, 4), padding="same_lower")]).span((i, j))
print("kernel (4, 4): rows", even[0], "centre", sum(even[0]) / 2)
assert sum(even[0]) / 2 == i - 0.5

# %% [markdown]
# ## Padding modes
#
# Zeros darken the border of a photograph: a blur of 31x31 with four padding modes.

# %%
photograph = jnp.asarray(data.camera()[::4, ::4], jnp.float32)  # levels, 0 to 255
blur = jnp.asarray(filters.box(31))[..., None, None]
modes = ["zeros", "reflect", "replicate", "circular"]
blurred = [
    jaxconv.conv(photograph[..., None], blur, padding=15, padding_mode=mode)[..., 0]
    for mode in modes
]
corner = {mode: float(map_[0, 0]) for mode, map_ in zip(modes, blurred, strict=True)}
print("the corner after blurring:", {mode: round(value) for mode, value in corner.items()})
assert corner["zeros"] < 0.5 * corner["replicate"]
assert all(jnp.allclose(map_[15:-15, 15:-15], blurred[0][15:-15, 15:-15]) for map_ in blurred)
title = "A blur of 31x31 with four padding modes"
maps = jnp.stack(blurred, -1)
figure = plots.feature_maps(maps, labels=modes, title=title, unit="level")
save(figure, "06_padding_modes")

# %% [markdown]
# ## Stride
#
# The window moves s elements at a time: floor((n - k + p + s) / s) outputs. With p = k - 1 that is
# floor((n + s - 1) / s), and n / s if s divides n. A strided layer returns every s-th output of the
# layer with stride 1.

# %%
for n, width, p, s in [(8, 3, 2, 2), (8, 5, 2, 4), (8, 3, 0, 3), (7, 3, 2, 2), (224, 7, 6, 2)]:
    outputs = output_size(n, width, padding=p // 2, stride=s)
    print(f"n={n:3} k={width} p={p} s={s}: {outputs}")
    assert outputs == math.floor((n - width + p + s) / s)
    if p == width - 1:
        assert outputs == math.floor((n + s - 1) / s)
        assert n % s or outputs == n // s
assert output_size((8, 8), 3, padding=1, stride=2) == (4, 4)
assert output_size((8, 8), (3, 5), padding=(0, 1), stride=(3, 4)) == (2, 2)
w = jax.random.normal(jax.random.key(1), (3, 3, 1, 1))
every = jaxconv.conv(image, w, padding=1)
strided = jaxconv.conv(image, w, padding=1, stride=2)
assert jnp.allclose(strided, every[::2, ::2], atol=1e-6)

# %% [markdown]
# Conversely, s input sizes have the same output size; `output_padding` selects one of them in a
# transposed convolution.

# %%
inputs = [input_size(4, 3, padding=1, stride=2, output_padding=extra) for extra in range(2)]
print("four outputs of k=3, padding=1, stride=2 come from", inputs, "inputs")
assert [output_size(n, 3, padding=1, stride=2) for n in (6, *inputs, 9)] == [3, 4, 4, 5]
pyramid = {}
for s in (2, 4, 8):
    w = jnp.asarray(filters.gaussian(0.5 * s))[..., None, None]
    p = w.shape[0] - 1
    small = jaxconv.conv(
        photograph[..., None], w, stride=s, padding=p // 2, padding_mode="replicate"
    )[..., 0]
    pyramid[f"stride {s}: {small.shape[0]}x{small.shape[1]}"] = small
    assert small.shape == (128 // s, 128 // s)
# enlarged to the size of the photograph
large = [jnp.repeat(jnp.repeat(m, 128 // len(m), 0), 128 // len(m), 1) for m in pyramid.values()]
title = "A photograph of 128x128, blurred and strided"
maps = jnp.stack(large, -1)
figure = plots.feature_maps(maps, labels=list(pyramid), title=title, unit="level")
save(figure, "06_stride")
