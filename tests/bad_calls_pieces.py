"""Wrong calls of causal_conv1d and causal_conv_transpose1d."""

import jax.numpy as jnp
import numpy as np
from bad_calls import PIECES, A, row

MOVE_W = "jnp.moveaxis(w, (0, 1), (-1, -2))"
TORCHS = f"w.shape looks like torch's (out, in // groups, K): use {MOVE_W}"


def moved(w):
    return jnp.moveaxis(w, (0, 1), (-1, -2))


# --- shapes, groups, layouts
row(
    "causal_conv1d",
    {"w": A((3, 5))},
    "x must be (*batch, time, in) and w (K, in // groups, out), got x.shape=(2, 9, 4), "
    "w.shape=(3, 5)",
)
row(
    "causal_conv1d",
    {"w": A((3, 4))},
    "x must be (*batch, time, in) and w (K, in // groups, out), got x.shape=(2, 9, 4), "
    "w.shape=(3, 4); w.shape looks like (K, channels): use w[:, None]",
    w=lambda w: w[:, None],
)
row(
    "causal_conv1d",
    {"w": A((4, 3))},
    "x must be (*batch, time, in) and w (K, in // groups, out), got x.shape=(2, 9, 4), "
    "w.shape=(4, 3); w.shape looks like Mamba's (channels, K): use w.T[:, None]",
    w=lambda w: w.T[:, None],
)
row(
    "causal_conv1d",
    {"x": A((2, 4, 9)), "w": A((4, 3))},
    "x must be (*batch, time, in) and w (K, in // groups, out), got x.shape=(2, 4, 9), "
    "w.shape=(4, 3); x.shape looks channels-first: use jnp.moveaxis(x, -2, -1); w.shape looks "
    "like Mamba's (channels, K): use w.T[:, None]",
    x=lambda x: jnp.moveaxis(x, -2, -1),
    w=lambda w: w.T[:, None],
)
row(
    "causal_conv1d",
    {"x": A((4,))},
    "x must be (*batch, time, in) and w (K, in // groups, out), got x.shape=(4,), "
    "w.shape=(3, 1, 4)",
)
row(
    "causal_conv_transpose1d",
    {"w": A((3, 4))},
    "y must be (*batch, time, out) and w (K, in // groups, out), got y.shape=(2, 9, 4), "
    "w.shape=(3, 4)",
)
row(
    "causal_conv1d",
    {"w": A((3, 5, 4))},
    "x has 4 channels, no multiple of the 5 that w takes (x.shape=(2, 9, 4), w.shape=(3, 5, 4))",
)
row(
    "causal_conv1d",
    {"x": A((2, 4, 9)), "w": A((6, 2, 3))},
    "x has 9 channels, no multiple of the 2 that w takes (x.shape=(2, 4, 9), w.shape=(6, 2, 3)); "
    f"x.shape looks channels-first: use jnp.moveaxis(x, -2, -1); {TORCHS}",
    x=lambda x: jnp.moveaxis(x, -2, -1),
    w=moved,
)
row(
    "causal_conv1d",
    {"x": A((2, 4, 9)), "w": A((3, 2, 6))},
    "x has 9 channels, no multiple of the 2 that w takes (x.shape=(2, 4, 9), w.shape=(3, 2, 6)); "
    "x.shape looks channels-first: use jnp.moveaxis(x, -2, -1)",
    x=lambda x: jnp.moveaxis(x, -2, -1),
)
row(
    "causal_conv1d",
    {"w": A((3, 1, 6))},
    "w.shape=(3, 1, 6) takes 1 of the 4 channels of x, which makes groups=4; that does not divide "
    "the 6 output channels of w",
)
row(
    "causal_conv1d",
    {"w": A((4, 1, 3))},
    "w.shape=(4, 1, 3) takes 1 of the 4 channels of x, which makes groups=4; that does not divide "
    f"the 3 output channels of w; {TORCHS}",
    w=moved,
)
row(
    "causal_conv1d",
    {"w": A((6, 4, 3)), "b": A((6,))},
    f"b.shape=(6,) must be (3,), one a channel of the result; w.shape=(6, 4, 3) looks like "
    f"torch's (out, in // groups, K): use {MOVE_W}",
    w=moved,
)
row(
    "causal_conv1d",
    {"w": A((0, 1, 4))},
    "x.shape=(2, 9, 4) and w.shape=(0, 1, 4) must have channels, and w a length",
)
row(
    "causal_conv_transpose1d",
    {"w": A((4, 6, 3))},
    "y has 4 channels, w makes 3 (w.shape=(4, 6, 3)); y.shape=(2, 9, 4); w.shape looks like "
    f"torch's (in, out // groups, *kernel): use {MOVE_W}",
    w=moved,
)
row(
    "causal_conv_transpose1d",
    {"groups": 3},
    "groups=3 does not divide the 4 output channels of w (w.shape=(3, 6, 4))",
    groups=2,
)

# --- the state
row(
    "causal_conv1d",
    {"state": A((2, 3, 4)), "dilation": 2},
    "state.shape=(2, 3, 4) must be (2, 4, 4), the (K - 1) dilation = 4 inputs before x "
    "(x.shape=(2, 9, 4))",
    state=None,
)
row(
    "causal_conv1d",
    {"state": A((2, 5, 4)), "stride": 3},
    "state.shape=(2, 5, 4) must be (2, 2, 4), the (K - 1) dilation = 2 inputs before x, and up to "
    "2 after the last multiple of the stride (x.shape=(2, 9, 4))",
    state=A((2, 4, 4)),
)
row(
    "causal_conv_transpose1d",
    {"state": A((2, 2, 4)), "stride": 2},
    "state.shape=(2, 2, 4) must be (2, 1, 4), the (K - 1) dilation // stride = 1 inputs before y "
    "(y.shape=(2, 9, 4))",
    state=A((2, 1, 4)),
)
row(
    "causal_conv1d",
    {"state": A((2, 2, 4), "bfloat16")},
    "state is bfloat16 but x is float32; cast it: state.astype(jnp.float32)",
    TypeError,
    state=lambda a: a.astype(jnp.float32),
)
row(
    "causal_conv_transpose1d",
    {"state": A((2, 2, 4), "bfloat16")},
    "state is bfloat16 but y is float32; cast it: state.astype(jnp.float32)",
    TypeError,
    state=lambda a: a.astype(jnp.float32),
)

# --- segments and lengths
row(
    PIECES,
    {"segment_ids": A((2, 9))},
    "segment_ids is float32, but must be integers; cast it: segment_ids.astype(jnp.int32)",
    TypeError,
    segment_ids=lambda ids: ids.astype(jnp.int32),
)
row(
    PIECES,
    {"segment_ids": A((9,), "int32")},
    "segment_ids.shape=(9,) must be (2, 9), one integer a time step of {1} ({1}.shape=(2, 9, 4))",
    segment_ids=A((2, 9), "int32"),
)
row(
    PIECES,
    {"lengths": np.array([True, False])},
    "lengths is bool, but must be integers; cast it: lengths.astype(jnp.int32)",
    TypeError,
    lengths=np.array([1, 0]),
)
row(
    PIECES,
    {"lengths": 9},
    "lengths.shape=() must be (2,), one integer a row of {1} ({1}.shape=(2, 9, 4))",
    lengths=A((2,), "int32"),
)
row(
    "causal_conv1d",
    {"lengths": A((2,), "int32"), "stride": 2},
    "lengths needs stride=1, not stride=2: the state's shape holds the inputs since the last "
    "multiple of the stride, and rows of several lengths have several; call it for rows of one "
    "length at a time",
    lengths=None,
)
