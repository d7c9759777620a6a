"""Correlation by XLA's own convolution, `lax.conv_general_dilated`."""

import jax
from jax import lax


def corr2d(x: jax.Array, k: jax.Array) -> jax.Array:
    """Correlate (H, W) with (h, w) as one image of one channel."""
    # (H, W) -> (1, H, W, 1) and (h, w) -> (h, w, 1, 1): lax wants batch and channels
    y = lax.conv_general_dilated(
        x[None, :, :, None],
        k[:, :, None, None],
        window_strides=(1, 1),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )
    return y[0, :, :, 0]
