"""Learn the kernel that turns one image into another: `fit_kernel`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np
import optax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from jaxconv.learn._checkpoints import Checkpoints
from jaxconv.learn._driver import learn
from jaxconv.learn._outcome import Fit
from jaxconv.learn._pairs import Images
from jaxconv.learn._state import Loss
from jaxconv.learn.losses import sum_squared_error


def fit_kernel(
    x: Images,
    y: Images,
    kernel_size: int | Sequence[int],
    *,
    weights: Images | None = None,
    optimizer: optax.GradientTransformation = optax.sgd(3e-2),  # noqa: B008 - two pure functions
    steps: int = 10,
    init: jax.Array | None = None,
    key: jax.Array | None = None,
    bias: bool = False,
    loss: Loss = sum_squared_error,
    exact: bool = False,
    on_progress: Callable[[int, float], None] | None = None,
    on_losses: Callable[[int, np.ndarray], None] | None = None,
    checkpoints: Checkpoints | None = None,
    mesh: Mesh | AbstractMesh | None = None,
    x_spec: PartitionSpec | None = None,
) -> Fit:
    """Learn the kernel that turns x into y: `fit_conv` for arrays without channels.

    `kernel, bias = argmin of loss(correlate(x, kernel) + bias, y)`, by `steps` steps

    The run is one compiled scan, which works under jit, vmap and grad. With on_progress, on_losses
    or checkpoints, which combine freely, it is a loop in segments.

    Sharded images stay where they are: halos are exchanged, and in each step the kernel's gradient
    and the loss are summed over the devices. Nothing else is sent, if the loss is a sum or a mean
    over positions. The order of these sums depends on the number of devices: results agree up to
    rounding, not bit for bit.

    Args:
        x: planes (*batch, H, W), or (*batch, *space) of any rank, floating point; or a list of such
            images of any sizes. One image, or one batch, may be sharded in any dimension.
        y: planes (*batch, H - h + 1, W - w + 1), one for each x; one kernel serves all. It is
            sharded as x is.
        kernel_size: one integer a spatial dimension; one integer alone is the side of a square.
        weights: as in `solve_kernel`: how much each output counts, or which outputs to use. The
            loss gets them, as its third argument.
        optimizer: any optax gradient transformation of `(kernel, bias)`, schedules and line
            searches included. An equal one, made again by the same functions of the same numbers,
            needs no new compilation.
        steps: number of steps, 1 or more.
        init: (*kernel), where to start; uniformly distributed in [0, 1) if None.
        key: for the random start; `jax.random.key(0)` if None.
        bias: whether to learn a scalar bias too; it starts at 0.
        loss: `(prediction, target) -> scalar`, of arrays like y; for a list of images, of all
            their positions as (positions,). With weights `(prediction, target, weights)`, where
            target is 0 at weights of 0; the losses of `jaxconv.learn.losses` take both.
        exact: whether to report the distance to the kernel of least squared error, which
            `solve_kernel` finds after the run; it does not change the run.
        on_progress: called on the host as `on_progress(steps_done, last_loss)` after each twentieth
            of the steps, restored ones included.
        on_losses: called on the host as `on_losses(steps_before, losses)` with the losses of all
            steps in turn, every half second or after each step if steps take longer.
        checkpoints: where to keep a long run, so that it can be resumed to the same kernel, bit
            for bit on as many devices; see `jaxconv.learn.Checkpoints`.
        mesh: as in `jaxconv.parallel.conv`; by default that of x, else of y.
        x_spec: how x is sharded; by default as x is, else as y. It must be given under jit, where
            the sharding along auto axes is unknown, and for sizes that the mesh does not divide,
            which are padded.

    Returns:
        A `Fit` in the images' dtype. Its `diverged_at` says whether learning failed; with exact,
        `distance` says how far it is from the exact answer.

    Raises:
        TypeError: x or y is not floating point, an argument has the wrong type, or on_progress,
            on_losses or checkpoints is given under jit or vmap.
        ValueError: shapes do not fit, the kernel is larger than x, there are no images, steps is
            below 1, weights do not fit y, the loss is not one number, mesh and x_spec do not fit x,
            or the checkpoints belong to another run.
        OSError: a checkpoint cannot be written.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv import corr2d
        >>> from jaxconv.learn import fit_kernel
        >>> x = jnp.ones((6, 8)).at[:, 2:6].set(0.0)
        >>> y = corr2d(x, jnp.array([[1.0, -1.0]]))
        >>> fit = fit_kernel(x, y, (1, 2), init=jnp.array([[0.0166553, 0.6072187]]))
        >>> print(*(f"{loss:.3f}" for loss in fit.losses[1::2]))
        11.983 2.914 0.859 0.296 0.112
        >>> print(fit.kernel.round(3))
        [[ 1.019 -0.952]]
        >>> fit = fit_kernel(x, y, (1, 2), steps=60, exact=True)
        >>> print(fit.distance.kernel < 1e-4, fit.distance.solution.kernel.round(3))
        True [[ 1. -1.]]

    Source: Dive into Deep Learning, section 7.2.4 (Learning a Kernel).
    """
    if init is not None and key is not None:
        raise ValueError("fit_kernel: init and key both give a start; leave one of them out")
    return learn(
        "fit_kernel",
        x,
        y,
        kernel_size,
        channels=False,
        weights=weights,
        geometry={},
        random_start=jax.random.uniform,
        precision="highest",  # as `jaxconv.correlate`
        optimizer=optimizer,
        steps=steps,
        init=init,
        key=key,
        bias=bias,
        loss=loss,
        exact=exact,
        on_progress=on_progress,
        on_losses=on_losses,
        checkpoints=checkpoints,
        mesh=mesh,
        x_spec=x_spec,
    )
