# %% [markdown]
# # One form, three contractions
#
# T(x, w, y) = sum over n, t, k of x[n, t stride + k dilation - lo] w[k] y[n, t]
#
# is linear in each of its three arrays. Its derivatives with respect to them are bilinear maps: the
# convolution layer (by y), its transpose (by x) and the kernel gradient (by w).

# %%
import jax
import jax.numpy as jnp
import numpy as np

import jaxconv
from jaxconv import reference

key_x, key_w, key_y = jax.random.split(jax.random.key(0), 3)
arguments = {"stride": (2, 2), "padding": ((1, 0), (2, 1)), "dilation": (1, 2), "groups": 2}
x = jax.random.normal(key_x, (3, 9, 8, 4))  # (batch, height, width, in)
w = jax.random.normal(key_w, (3, 2, 2, 6))  # (height, width, in // groups, out)
spec = jaxconv.ConvSpec(**arguments, input_size=x.shape[1:3], kernel_size=w.shape[:2])
y = jax.random.normal(key_y, (3, *spec.output_size, 6))
print(spec)

# %% [markdown]
# The three contractions, compared with the definition as loops.


# %%
def layer(x, w):
    return jaxconv.conv(x, w, **arguments)


def transpose(y, w):
    # heights 8 and 9 have the same output height; output_padding selects the larger
    return jaxconv.conv_transpose(y, w, output_padding=(1, 0), **arguments)


def kernel_gradient(x, y):
    return jax.vjp(lambda w: layer(x, w), w)[1](y)[0]


results = {"output": layer(x, w), "input": transpose(y, w), "kernel": kernel_gradient(x, y)}
operands = {"output": (x, w), "input": (y, w), "kernel": (x, y)}
for name, array in results.items():
    loops = reference.CONTRACTIONS[name](*map(np.asarray, operands[name]), spec)
    error = abs(array - loops).max()
    print(f"{name:7} {array.shape!s:14} largest difference from the loops {error:.1e}")
    assert array.shape == loops.shape
    assert error < 1e-4

# %% [markdown]
# The inner product of each result with the remaining array is the same number.

# %%
remaining = {"output": y, "input": x, "kernel": w}
forms = [jnp.vdot(results[name], array) for name, array in remaining.items()]
print("<conv(x, w), y>           =", f"{forms[0]:.4f}")
print("<x, conv_transpose(y, w)> =", f"{forms[1]:.4f}")
print("<kernel gradient, w>      =", f"{forms[2]:.4f}")
assert jnp.ptp(jnp.array(forms)) < 1e-3

# %% [markdown]
# Derivatives are contractions too: the program of a gradient has three `conv` operations.

# %%
program = jax.make_jaxpr(jax.grad(lambda x, w: (layer(x, w) ** 2).sum(), (0, 1)))(x, w)
contractions = [e.params["contraction"] for e in program.eqns if e.primitive.name == "conv"]
print("contractions in the gradient's program:", ", ".join(sorted(contractions)))
assert sorted(contractions) == ["input", "kernel", "output"]

# %% [markdown]
# With vmap an axis of x and y becomes a batch axis, one of x and w or of w and y joins the
# channels, and one of all three joins the groups.

# %%
for axes, joins in {(0, None): "batch", (None, 0): "output channels", (0, 0): "groups"}.items():
    xs = jnp.stack([x, 2 * x]) if axes[0] == 0 else x
    ws = jnp.stack([w, -w]) if axes[1] == 0 else w
    mapped = jax.make_jaxpr(jax.vmap(layer, axes))(xs, ws)
    (equation,) = [e for e in mapped.eqns if e.primitive.name == "conv"]
    operand_shapes = [v.aval.shape for v in equation.invars]
    print(
        f"vmap {axes!s:10} joins the {joins:15}: conv of {operand_shapes[0]} and "
        f"{operand_shapes[1]}, groups={equation.params['spec'].groups}"
    )
    assert len([e for e in mapped.eqns if e.primitive.name.startswith("conv")]) == 1
