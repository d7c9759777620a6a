"""Recover kernels from photographs, whose raw pixels make plain gradient descent diverge.

Neighbouring pixels of a photograph are nearly equal, so that the squared error is a long narrow
valley: steep where all weights grow together, flat where they trade off against each other. The
remedies: subtract the means and divide by the deviations, then whiten the gradients.

Measured from zeros on `camera` (512 x 512), filtered with Sobel's 3x3 kernel and rounded to 8 bits,
as the largest error of an entry; exact least squares leaves 0.0012, the effect of the rounding:

| optimiser, on converted images | steps | error |
|---|---|---|
| SGD 0.1 | 300 | 0.36 |
| SGD 0.05, Nesterov momentum 0.95 | 200 | 0.0055 |
| Adam 0.1 | 300 | 0.0080 |
| L-BFGS, memory 30 | 40 | 0.0012 |
| SGD 0.25 on whitened gradients | 20 | 0.0012 |

SGD at 3e-2 with the summed error on the raw pixels diverges at its second step. L-BFGS is as good
as whitening from zeros, but depends on the start: of a 9x9 Gaussian on the red plane of `astronaut`
it leaves 0.0003 after 60 steps from zeros and 0.05 from a random kernel. Whitened SGD leaves 0.0003
after 40, each of one gradient where a line search takes several.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from jaxconv._core.geometry.dtypes import as_array, refuse_masked
from jaxconv._core.geometry.messages import shown
from jaxconv.learn import _checks as checks
from jaxconv.learn._checkpoints import Checkpoints
from jaxconv.learn._fit_kernel import fit_kernel
from jaxconv.learn._outcome import Fit
from jaxconv.learn._pairs import read_pairs, size_tuple
from jaxconv.learn._solve import solve_kernel
from jaxconv.learn._whitening import whiten, window_covariance
from jaxconv.learn.constraints import Projection, projected
from jaxconv.learn.losses import mean_squared_error


def interior(
    y: jax.Array, x_size: tuple[int, int], kernel_size: int | tuple[int, int]
) -> jax.Array:
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
    refuse_masked("interior", "y", y)
    shape = size_tuple("interior", kernel_size, rank=2)
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
    optimizer: optax.GradientTransformation | None = None,
    whitened: bool = True,
    constraints: Sequence[Projection] = (),
    steps: int = 40,
    key: jax.Array | None = None,
    bias: bool = True,
    on_progress: Callable[[int, float], None] | None = None,
    on_losses: Callable[[int, np.ndarray], None] | None = None,
    checkpoints: Checkpoints | None = None,
) -> Fit:
    """Learn the kernel that turned one photograph into another.

    `kernel, bias = argmin of mean((bias + correlate(x, kernel) - y) ** 2)`

    The descent works on `(x - mean(x)) / std(x)` and `(y - mean(y)) / std(y)` (without a bias it
    only divides, by root mean squares), and what it finds is converted back exactly.

    Within constraints it starts at the exact answer, takes no whitened gradients, which would lead
    the projections astray, and divides both images by std(x), so that kernels keep their units.

    Args:
        x: planes (*batch, H, W), floating point, any units.
        y: planes (*batch, H - h + 1, W - w + 1), floating point, any units.
        kernel_size: (h, w), or h for a square.
        optimizer: any optax gradient transformation, which sees the converted images. If None,
            plain SGD at 0.25, which on whitened gradients halves the error of all weights a step;
            within constraints, SGD at 1 over the largest curvature with Nesterov's momentum 0.9.
        whitened: whether the optimiser gets its gradients from `whiten`; turn it off for those
            that search along a line (`optax.lbfgs`), which scale their steps themselves.
        constraints: projections of `jaxconv.learn.constraints`, which the kernel obeys after every
            step, one after another as in `projected`.
        steps: how many steps to take, 1 or more.
        key: for a random start, uniform in [0, 1) in the converted units; if None zeros, within
            constraints the kernel of `solve_kernel`, projected. What the image does not show of
            the kernel stays where it started.
        bias: whether y may be shifted by a constant, as by a saved image's offset.
        on_progress: as in `fit_kernel`; losses in squared units of y.
        on_losses: likewise.
        checkpoints: as in `fit_kernel`.

    Returns:
        A `Fit` in the units of x and y; losses are mean squared errors in squared units of y.

    Raises:
        TypeError: as `fit_kernel` does; or under jit, vmap or grad: it looks at values.
        ValueError: likewise; or x has one value everywhere, x or y has no pixels, or some that are
            NaN or infinite, or so large or small that squares are.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv import corr2d
        >>> from jaxconv.learn import recover_kernel
        >>> x = 200 + 30 * jax.random.normal(jax.random.key(1), (16, 16))
        >>> fit = recover_kernel(x, 7 + corr2d(x, jnp.array([[-1.0, 1.0]])), (1, 2))
        >>> print(fit.kernel.round(3), fit.bias.round(2))
        [[-1.  1.]] 7.0
        >>> from jaxconv.learn.constraints import simplex
        >>> y = corr2d(x, jnp.array([[-1.0, 1.0]]))
        >>> print(recover_kernel(x, y, (1, 2), constraints=[simplex]).kernel.round(3))
        [[0. 1.]]

    Source: LeCun, Bottou, Orr and Müller, Efficient BackProp, 1998, section 4.3.
    """
    caller = "recover_kernel"
    x, y = as_array(caller, "x", x), as_array(caller, "y", y)
    if any(isinstance(array, Tracer) for array in (x, y)):
        raise TypeError(
            "recover_kernel: looks at the images' values, which are unknown under jit, vmap and "
            "grad; there use fit_kernel, with whiten for its optimizer"
        )
    for name, array in (("x", x), ("y", y)):
        if array.ndim < 2 or array.size == 0:
            raise ValueError(
                f"recover_kernel: {name} must be planes (*batch, H, W) with pixels, got "
                f"{name}.shape={array.shape}"
            )
        if not jnp.isfinite(array).all():
            raise ValueError(f"recover_kernel: {name} has pixels that are NaN or infinite")
    shape = size_tuple(caller, kernel_size, rank=2)
    read_pairs(caller, x, y, shape, channels=False)
    for name, flag in (("whitened", whitened), ("bias", bias)):
        checks.check_flag(caller, name, flag)
    if optimizer is not None:
        checks.check_optimizer(caller, optimizer)
    if not isinstance(constraints, tuple | list):
        raise TypeError(
            f"recover_kernel: constraints={shown(constraints)} must be a list of projections, as "
            "in [constraints.simplex]"
        )
    project = projected(*constraints) if constraints else None
    x_mean, y_mean = (jnp.mean(x), jnp.mean(y)) if bias else (jnp.zeros(()), jnp.zeros(()))
    x_scale = jnp.sqrt(jnp.mean(jnp.square(x - x_mean)))
    y_scale = jnp.sqrt(jnp.mean(jnp.square(y - y_mean)))
    if jnp.ptp(x) <= 1e-6 * jnp.max(jnp.abs(x)):  # float32 tells no finer differences
        raise ValueError("recover_kernel: x has one value everywhere: it shows nothing of a kernel")
    for name, scale in (("x", x_scale), ("y", y_scale)):
        if not (jnp.isfinite(scale) and (scale > 0 or name == "y")):
            raise ValueError(
                f"recover_kernel: the squares of {name}'s deviations leave the range of "
                f"{scale.dtype}; scale {name} closer to 1"
            )
    y_scale = x_scale if constraints else jnp.where(y_scale > 0, y_scale, 1.0)

    def report(done: int, loss: float) -> None:
        assert on_progress is not None
        on_progress(done, loss * float(y_scale) ** 2)

    def report_losses(before: int, losses: np.ndarray) -> None:
        assert on_losses is not None
        on_losses(before, losses * np.asarray(y_scale) ** 2)  # to the bit what Fit.losses holds

    x_unit, y_unit = (x - x_mean) / x_scale, (y - y_mean) / y_scale
    start = jnp.zeros(shape) if key is None else None
    if project is not None:
        if optimizer is None:
            steepest = 2 * np.linalg.eigvalsh(window_covariance(x_unit, shape))[-1]
            # an array, not a number: one program for all images of a size
            rate = jnp.asarray(1 / steepest, jnp.result_type(x_unit, y_unit))
            optimizer = optax.sgd(rate, momentum=0.9, nesterov=True)
        optimizer = optax.chain(optimizer, project)
        if key is None:
            least: Any = (solve_kernel(x_unit, y_unit, shape, bias=bias).kernel, None)
            still: Any = (jnp.zeros_like(least[0]), None)
            update: Any = project.update(still, project.init(least), least)[0]
            start = least[0] + update[0]
    else:
        optimizer = optax.sgd(0.25) if optimizer is None else optimizer
        if whitened:
            optimizer = optax.chain(whiten(window_covariance(x_unit, shape)), optimizer)
    if checkpoints is not None:
        # the images as given: how they are converted may round otherwise on another machine
        own = {"x": x, "y": y, "whitened": whitened, "bias": bias}
        checkpoints = checkpoints.including(own)
    fit = fit_kernel(
        x_unit,
        y_unit,
        shape,
        optimizer=optimizer,
        steps=steps,
        init=start,
        key=key,
        bias=bias,
        loss=mean_squared_error,
        on_progress=None if on_progress is None else report,
        on_losses=None if on_losses is None else report_losses,
        checkpoints=checkpoints,
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
