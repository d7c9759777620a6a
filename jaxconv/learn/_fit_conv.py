"""Learn the kernel of any convolution layer by descent: `fit_conv`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from jaxconv._core.geometry.spec import Padding
from jaxconv.learn._checkpoints import Checkpoints
from jaxconv.learn._driver import learn
from jaxconv.learn._outcome import Fit
from jaxconv.learn._pairs import Images
from jaxconv.learn._state import Loss
from jaxconv.learn.losses import mean_squared_error


def fit_conv(
    x: Images,
    y: Images,
    kernel_size: int | Sequence[int],
    *,
    weights: Images | None = None,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    optimizer: optax.GradientTransformation = optax.adam(3e-2),  # noqa: B008 - two pure functions
    steps: int = 300,
    init: jax.Array | None = None,
    key: jax.Array | None = None,
    bias: bool = False,
    loss: Loss = mean_squared_error,
    exact: bool = False,
    crop: int | Sequence[int] | None = None,
    crops: int = 1,
    on_progress: Callable[[int, float], None] | None = None,
    on_losses: Callable[[int, np.ndarray], None] | None = None,
    checkpoints: Checkpoints | None = None,
    mesh: Mesh | AbstractMesh | None = None,
    x_spec: PartitionSpec | None = None,
) -> Fit:
    """Learn the kernel of a convolution layer, of any rank, with channels, stride and groups.

    `kernel, bias = argmin of loss(conv(x, kernel, bias, ...), y)`, by `steps` steps

    For the squared error alone `solve_kernel(..., channels=True)` returns the minimum at once. Use
    `fit_conv` for robust losses, constraints (`jaxconv.learn.constraints`) and images too large
    for one step. The run is one compiled scan, which works under jit, and under vmap over images,
    init and key.

    Sharded images stay where they are, as in `fit_kernel`: only halos are sent, and in each step
    the sums of the kernel's gradient and of the loss.

    Args:
        x: (*batch, *space, in), floating point; or a list of such images of any sizes. One image,
            or one batch, may be sharded, but not along its channels.
        y: (*batch, *space', out), one for each x. It is sharded as x is.
        kernel_size: one integer a spatial dimension; one integer alone is the side of a square.
        weights: (*batch, *space'), one for each y, as in `solve_kernel`; all channels share them.
        stride: as in `jaxconv.conv`.
        padding: as in `jaxconv.conv`.
        dilation: as in `jaxconv.conv`.
        groups: as in `jaxconv.conv`.
        padding_mode: as in `jaxconv.conv`.
        optimizer: any optax gradient transformation of `(kernel, bias)`; see `fit_kernel`.
        steps: number of steps, 1 or more.
        init: (*kernel, in // groups, out), where to start; if None normally distributed, with
            variance 1 / fan-in.
        key: for the random start and the crops; `jax.random.key(0)` if None.
        bias: whether to learn one constant an output channel; they start at 0.
        loss: `(prediction, target) -> scalar`, of arrays like y; for a list of images, of all
            their positions as (positions, out). With weights `(prediction, target, weights)` as in
            `fit_kernel`; these have one channel.
        exact: as in `fit_kernel`; also with crops the distance is for the whole images.
        crop: size in y of the crops that a step uses, one integer or one a dimension; None for
            the whole of all images. A step's memory and time are in proportion to it. Not for
            sharded images.
        crops: number of crops a step, all from one image, which is drawn in proportion to its size.
        on_progress: as in `fit_kernel`; leave it, on_losses and checkpoints out under jit or vmap.
        on_losses: as in `fit_kernel`.
        checkpoints: as in `fit_kernel`; a resumed run draws the same crops as an uninterrupted one.
        mesh: as in `fit_kernel`.
        x_spec: as in `fit_kernel`.

    Returns:
        A `Fit` in the images' dtype, at least float32: kernel (*kernel, in // groups, out), bias
        (out,) or None. With crops, `losses` are those of the crops; final_loss and zero_loss are
        those of the whole images. With exact, `distance` is the one to the least squared error.

    Raises:
        TypeError: x or y is not floating point, an argument has the wrong type, or on_progress,
            on_losses or checkpoints is given under jit or vmap.
        ValueError: shapes and numbers do not make a convolution from x to y, a crop does not fit
            into y, weights do not fit y, the loss is not one number, mesh and x_spec do not fit x,
            sharded images come in a list or with crops, or the checkpoints belong to another run.
        OSError: a checkpoint cannot be written.

    Example:
        >>> import jax
        >>> from jaxconv import conv
        >>> from jaxconv.learn import fit_conv
        >>> x = jax.random.normal(jax.random.key(1), (40, 2))
        >>> truth = jax.random.normal(jax.random.key(2), (3, 2, 4))
        >>> fit = fit_conv(x, conv(x, truth, stride=2), (3,), stride=2, steps=1000, exact=True)
        >>> print(fit.kernel.shape, abs(fit.kernel - truth).max() < 1e-2)
        (3, 2, 4) True
        >>> print(fit.distance.kernel < 1e-2, fit.distance.solution.rank)
        True 6

    Source: LeCun et al., Gradient-based learning applied to document recognition, 1998.
    """
    return learn(
        "fit_conv",
        x,
        y,
        kernel_size,
        channels=True,
        weights=weights,
        geometry={
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
            "padding_mode": padding_mode,
        },
        random_start=_normal,
        precision=None,
        optimizer=optimizer,
        steps=steps,
        init=init,
        key=key,
        bias=bias,
        loss=loss,
        exact=exact,
        crop=crop,
        crops=crops,
        on_progress=on_progress,
        on_losses=on_losses,
        checkpoints=checkpoints,
        mesh=mesh,
        x_spec=x_spec,
    )


def _normal(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    fan_in, key = math.prod(shape[:-1]), jax.random.split(key)[0]  # the other one draws crops
    return jax.random.normal(key, shape, dtype) / jnp.sqrt(fan_in).astype(dtype)
