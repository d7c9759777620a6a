"""Recover kernels from photographs, whose raw pixels make plain gradient descent diverge.

Neighbouring pixels of a photograph are nearly equal, so that the squared error is a long narrow
valley: steep where all weights grow together, flat where they trade off against each other. Two
remedies, both exact: subtract the means and divide by the deviations, which shortens the valley,
and follow it with L-BFGS, which learns the valley's shape from its own steps.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxconv.learn.fit import Fit, fit_kernel, kernel_shape
from jaxconv.learn.losses import mean_squared_error


def interior(y: jax.Array, x_size: tuple[int, int], kernel_size: int | tuple[int, int]):
    """Cut y down to the positions at which a centred kernel lies wholly inside x.

    `y[..., (h - 1) // 2 : H - (h - 1) // 2, (w - 1) // 2 : W - (w - 1) // 2]`

    Args:
        y: planes (*batch, H, W) of x's size, or (*batch, H - h + 1, W - w + 1), kept as they are.
        x_size: (H, W), the size of x's planes.
        kernel_size: (h, w), or h for a square.

    Returns:
        Planes (*batch, H - h + 1, W - w + 1).

    Raises:
        ValueError: the kernel is larger than x; y has another size; or y has x's size and the
            kernel is even, so that it has no centre.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv import learn
        >>> learn.interior(jnp.zeros((6, 8)), (6, 8), (3, 5)).shape
        (4, 4)

    Source: Dive into Deep Learning, section 7.3.1 (Padding).
    """
    shape = kernel_shape(kernel_size, function="interior")
    if shape[0] > x_size[0] or shape[1] > x_size[1]:
        raise ValueError(
            f"a {shape[0]}x{shape[1]} kernel is larger than the {x_size[0]}x{x_size[1]} image"
        )
    size = tuple(y.shape[-2:])
    valid = (x_size[0] - shape[0] + 1, x_size[1] - shape[1] + 1)
    if size == valid:
        return y
    if size != tuple(x_size):
        raise ValueError(
            f"the sizes do not fit: with a {shape[0]}x{shape[1]} kernel a {x_size[0]}x{x_size[1]} "
            f"image becomes {valid[0]}x{valid[1]}, or {x_size[0]}x{x_size[1]} if it was padded; "
            f"got {size[0]}x{size[1]}"
        )
    if shape[0] % 2 == 0 or shape[1] % 2 == 0:
        raise ValueError(
            f"a {shape[0]}x{shape[1]} kernel has no centre, so two images of one size do not say "
            f"how they lie on each other: use odd sizes, or cut the second to {valid[0]}x{valid[1]}"
        )
    top, left = shape[0] // 2, shape[1] // 2
    return y[..., top : top + valid[0], left : left + valid[1]]


def recover_kernel(
    x: jax.Array,
    y: jax.Array,
    kernel_size: int | tuple[int, int],
    *,
    optimizer: optax.GradientTransformation = optax.lbfgs(memory_size=30),  # noqa: B008 - pure functions
    steps: int = 60,
    key: jax.Array | None = None,
    bias: bool = True,
    on_progress: Callable[[int, float], None] | None = None,
) -> Fit:
    """Learn the kernel that turned one photograph into another.

    `kernel, bias = argmin of mean((bias + correlate(x, kernel) - y) ** 2)`

    The descent works on `(x - mean(x)) / std(x)` and `(y - mean(y)) / std(y)` (without a bias it
    only divides, by root mean squares), and what it finds is converted back exactly.

    Args:
        x: planes (*batch, H, W), floating point, any units.
        y: planes (*batch, H - h + 1, W - w + 1), floating point, any units.
        kernel_size: (h, w), or h for a square.
        optimizer: any optax gradient transformation; it sees unit-variance images.
        steps: how many steps to take, 1 or more.
        key: for the random start, uniform in [0, 1) in the converted units.
        bias: whether y may be shifted by a constant, as by a saved image's offset.
        on_progress: as in `fit_kernel`; losses in squared units of y.

    Returns:
        A `Fit` in the units of x and y; losses are mean squared errors in squared units of y.

    Raises:
        TypeError, ValueError: as `fit_kernel` does; or x has one value everywhere.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv import corr2d
        >>> from jaxconv.learn import recover_kernel
        >>> x = 200 + 30 * jax.random.normal(jax.random.key(1), (16, 16))
        >>> fit = recover_kernel(x, 7 + corr2d(x, jnp.array([[-1.0, 1.0]])), (1, 2), steps=8)
        >>> print(fit.kernel.round(3), fit.bias.round(2))
        [[-1.  1.]] 7.0

    Source: Liu and Nocedal, On the limited memory BFGS method for large scale optimization, 1989.
    """
    x, y = jnp.asarray(x), jnp.asarray(y)
    x_mean, y_mean = (jnp.mean(x), jnp.mean(y)) if bias else (jnp.zeros(()), jnp.zeros(()))
    x_scale = jnp.sqrt(jnp.mean(jnp.square(x - x_mean)))
    y_scale = jnp.sqrt(jnp.mean(jnp.square(y - y_mean)))
    if not isinstance(x_scale, jax.core.Tracer) and not x_scale > 1e-6 * jnp.abs(x_mean):
        raise ValueError("recover_kernel: x has one value everywhere: it shows nothing of a kernel")
    y_scale = jnp.where(y_scale > 0, y_scale, 1.0)
    report = None
    if on_progress is not None:

        def report(done: int, loss: float) -> None:
            on_progress(done, loss * float(y_scale) ** 2)

    fit = fit_kernel(
        (x - x_mean) / x_scale,
        (y - y_mean) / y_scale,
        kernel_size,
        optimizer=optimizer,
        steps=steps,
        key=key,
        bias=bias,
        loss=mean_squared_error,
        on_progress=report,
    )
    kernel = fit.kernel * y_scale / x_scale
    offset = None
    if fit.bias is not None:
        offset = y_mean + y_scale * fit.bias - jnp.sum(kernel) * x_mean
    return Fit(
        kernel=kernel,
        bias=offset,
        losses=fit.losses * y_scale**2,
        final_loss=fit.final_loss * y_scale**2,
        zero_loss=fit.zero_loss * y_scale**2,
    )
