# %% [markdown]
# # Receptive fields (D2L, section 6.2.6)
#
# The receptive field of an output is the set of all inputs that may influence it.

# %%
import jax
import jax.numpy as jnp
from _figures import save
from flax import linen

from jaxconv import corr2d, plots
from jaxconv.analysis import Layer, influence, reach, receptive_field

# %% [markdown]
# ## Two layers of 2x2
#
# An output of the first layer depends on four elements of the image; one of the second layer on
# four of the first layer's outputs and on all nine elements of the image.

# %%
layers = [Layer((2, 2)), Layer((2, 2))]
one = receptive_field(layers[:1], input_size=(3, 3))
two = receptive_field(layers, input_size=(3, 3))
print("first layer: an output depends on", int(one.mask((0, 0)).sum()), "elements of the image")
print("second layer: on", int(two.mask((0, 0)).sum()), "elements of the image")
assert one.mask((0, 0)).sum() == 4
assert receptive_field(layers[1:], input_size=(2, 2)).mask((0, 0)).sum() == 4
assert two.mask((0, 0)).all()

# %% [markdown]
# The same follows from the functions, by their operations and by their gradients.

# %%
x, k = jnp.arange(9.0).reshape(3, 3), jnp.arange(4.0).reshape(2, 2)
deep = lambda x: corr2d(corr2d(x, k), k)
assert reach(deep, x, (0, 0)).all()
assert reach(lambda x: corr2d(x, k), x, (0, 0)).sum() == 4
# the kernel's first entry is 0: elements that are only multiplied by zero have no influence
print("with a zero in the kernel,", int(influence(deep, x, (0, 0)).reached.sum()), "have influence")
assert influence(deep, x, (0, 0)).reached.sum() == 6

# %% [markdown]
# ## How it grows
#
# size = 1 + sum over layers of (kernel - 1) dilation (product of earlier strides). It grows slowly
# with depth and fast with dilation and stride, and may exceed the image.

# %%
chains = {
    "one 3x3": [Layer(3)],
    "ten 3x3": [Layer(3)] * 10,
    "five 3x3, dilated 1 to 16": [Layer(3, dilation=2**n) for n in range(5)],
    "five 3x3, stride 2": [Layer(3, stride=2)] * 5,
    "VGG-16": [
        layer
        for convolutions in (2, 2, 3, 3, 3)
        for layer in [*[Layer(3, padding=1)] * convolutions, Layer(2, stride=2)]
    ],
}
sizes = {}
for name, chain in chains.items():
    field = receptive_field(chain)
    sizes[name] = field.size[0]
    print(f"{name:26} size {field.size[0]:3}, jump {field.jump[0]:2}")
assert list(sizes.values()) == [3, 21, 63, 63, 212]
small = receptive_field(chains["VGG-16"], input_size=32)
share = small.padding_share(0)[0]
print(f"on a 32x32 image {share:.0%} of VGG-16's field is padding, along each dimension")
assert small.size[0] > 32
assert share > 0.8

# %% [markdown]
# ## A model: theoretical and effective receptive field
#
# Layers of 3x3 with ReLU, random weights and no padding: the field has 2 depth + 1 elements a side,
# but the gradient concentrates in its middle, more so in deeper models (Luo et al. 2016).


# %%
class Model(linen.Module):
    depth: int

    @linen.compact
    def __call__(self, x):
        for _ in range(self.depth - 1):
            x = linen.relu(linen.Conv(16, (3, 3), padding="VALID")(x))
        return linen.Conv(1, (3, 3), padding="VALID")(x)


masks, magnitudes, labels, parts = [], [], [], []
for depth in (2, 6, 14):
    model, image = Model(depth), jnp.zeros((1, 33, 33, 1))
    parameters = model.init(jax.random.key(depth), image)
    f = lambda x: model.apply(parameters, x)
    middle = 16 - depth
    index = (0, middle, middle, 0)
    mask = receptive_field([Layer((3, 3))] * depth, input_size=(33, 33)).mask((middle, middle))
    seen = influence(f, image, index, probes=32)
    assert (reach(f, image, index)[0, ..., 0] == mask).all()
    assert not seen.reached[0, ..., 0][~mask].any()
    magnitude = seen.magnitude[0, ..., 0]
    half = int(seen.effective_count(0.5))
    parts.append(half / mask.sum())
    print(f"depth {depth:2}: field {mask.sum():3}, above half the peak {half:3} ({parts[-1]:.0%})")
    assert mask.sum() == (2 * depth + 1) ** 2
    masks.append(mask)
    magnitudes.append(magnitude)
    labels.append(f"{depth} layers of 3x3")
assert parts[0] > parts[1] > parts[2]
title = "Receptive field of one output, and its gradient"
figure = plots.receptive_fields(masks, magnitudes, labels=labels, title=title)
save(figure, "05_receptive_fields")
