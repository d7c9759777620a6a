"""Recover kernels from photographs, on whose raw pixels plain gradient descent diverges.

Neighbouring pixels of a photograph are nearly equal, so that the squared error is a long narrow
valley: steep if all weights grow together, flat if one grows and another shrinks. The remedies:
subtract the means, divide by the standard deviations, and whiten the gradients.

Measured from zeros on `camera` (512 x 512), filtered with Sobel's 3x3 kernel and rounded to 8 bits,
as the largest error of a weight; that of exact least squares is 0.0012, from the rounding:

| optimiser, on standardised images | steps | error |
|---|---|---|
| SGD 0.1 | 300 | 0.36 |
| SGD 0.05, Nesterov momentum 0.95 | 200 | 0.0055 |
| Adam 0.1 | 300 | 0.0080 |
| L-BFGS, memory 30 | 40 | 0.0012 |
| SGD 0.25 on whitened gradients | 20 | 0.0012 |

SGD at 3e-2 with the summed error on the raw pixels diverges at its second step. L-BFGS is as good
as whitening if it starts at zeros, but depends on the start: for a 9x9 Gaussian on the red plane of
`astronaut` its error is 0.0003 after 60 steps from zeros and 0.05 from a random kernel. That of
whitened SGD is 0.0003 after 40 steps, each of one gradient; a line search takes several.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from jaxconv._core.geometry.dtypes import as_array, refuse_masked
from jaxconv._core.geometry.messages import shown
from jaxconv._core.geometry.scalars import check_flag
from jaxconv._functional.convolution import conv_transpose
from jaxconv.learn import _checks as checks
from jaxconv.learn._checkpoints import Checkpoints
from jaxconv.learn._fit_kernel import fit_kernel
from jaxconv.learn._outcome import Fit
from jaxconv.learn._pairs import Images, read_pairs, size_tuple
from jaxconv.learn._solve import solve_kernel
from jaxconv.learn._weights import weighed
from jaxconv.learn._whitening import whiten, window_moments
from jaxconv.learn.constraints import Projection, projected
from jaxconv.learn.losses import mean_squared_error


def interior(
    y: jax.Array, x_size: tuple[int, int], kernel_size: int | tuple[int, int]
) -> jax.Array:
    """Cut y to the positions at which a centred kernel is wholly inside x.

    `y[..., (h - 1) // 2 : H - (h - 1) // 2, (w - 1) // 2 : W - (w - 1) // 2]`

    Args:
        y: planes (*batch, H, W) of x's size, or (*batch, H - h + 1, W - w + 1), returned unchanged.
        x_size: (H, W), the size of x's planes.
        kernel_size: (h, w), or h for a square.

    Returns:
        Planes (*batch, H - h + 1, W - w + 1).

    Raises:
        ValueError: the kernel is larger than x; y has another size; or y has x's size and a size
            of the kernel is even, so that it has no centre.

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
            f"a {shape[0]}x{shape[1]} kernel has no centre, so the position of two images of one "
            f"size is ambiguous: use odd sizes, or cut the second to {valid[0]}x{valid[1]}"
        )
    top, left = shape[0] // 2, shape[1] // 2
    return y[..., top : top + valid[0], left : left + valid[1]]


def recover_kernel(
    x: Images,
    y: Images,
    kernel_size: int | tuple[int, int],
    *,
    weights: Images | None = None,
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
    """Learn the kernel that turned one photograph into another, or several into others.

    `kernel, bias = argmin of mean((bias + correlate(x, kernel) - y) ** 2)`, with weights
    `sum(weights e ** 2) / sum(weights)`

    The images are standardised to `(x - mean(x)) / std(x)` and `(y - mean(y)) / std(y)` (without a
    bias they are only divided, by root mean squares), and the learned kernel is converted back
    exactly.

    With constraints, learning starts at the exact answer, does not whiten the gradients (projected
    steps along them need not end at the best kernel), and divides both images by std(x), so that
    kernels keep their units.

    Args:
        x: planes (*batch, H, W), floating point, any units; or a list of them, of any sizes.
        y: planes (*batch, H - h + 1, W - w + 1), floating point, any units, one for each x.
        kernel_size: (h, w), or h for a square.
        weights: as in `solve_kernel`; means, deviations and whitening are weighted too.
        optimizer: any optax gradient transformation, for the standardised images. If None, plain
            SGD at 0.25, which on whitened gradients halves the error of all weights a step; with
            constraints, SGD at 1 over the largest curvature with Nesterov's momentum 0.9.
        whitened: whether the optimiser gets whitened gradients, from `whiten`; turn it off for
            optimisers that search along a line (`optax.lbfgs`), which scale their steps themselves.
        constraints: projections of `jaxconv.learn.constraints`, applied to the kernel after every
            step, one after another as in `projected`.
        steps: how many steps to take, 1 or more.
        key: for a random start, uniform in [0, 1) in the standardised units; if None zeros, with
            constraints the kernel of `solve_kernel`, projected. Directions that the image does not
            determine keep their start values.
        bias: whether to learn a constant that is added to y, such as a saved image's offset.
        on_progress: as in `fit_kernel`; losses in squared units of y.
        on_losses: likewise.
        checkpoints: as in `fit_kernel`.

    Returns:
        A `Fit` in the units of x and y; losses are mean squared errors in squared units of y.

    Raises:
        TypeError: as `fit_kernel`; or under jit, vmap or grad: it needs values.
        ValueError: as `fit_kernel`; or x has one value everywhere, x or y has no pixels, or, in
            what is used, pixels that are NaN or infinite, or whose squares overflow or vanish.

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
    several = isinstance(x, tuple | list) and isinstance(y, tuple | list)
    given = {"x": list(x) if several else [x], "y": list(y) if several else [y]}
    given = {name: [as_array(caller, name, a) for a in arrays] for name, arrays in given.items()}
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((given, weights))):
        raise TypeError(
            "recover_kernel: needs the images' values, which are unknown under jit, vmap and grad; "
            "there use fit_kernel, with whiten for its optimizer"
        )
    for name, arrays in given.items():
        for array in arrays:
            if array.ndim < 2 or array.size == 0:
                raise ValueError(
                    f"recover_kernel: {name} must be planes (*batch, H, W) with pixels, got "
                    f"{name}.shape={array.shape}"
                )
            if weights is None and not jnp.isfinite(array).all():
                raise ValueError(
                    f"recover_kernel: {name} has pixels that are NaN or infinite; leave them out "
                    f"by weights={checks.LEFT_OUT[name]}"
                )
    shape = size_tuple(caller, kernel_size, rank=2)
    pairs = read_pairs(caller, given["x"], given["y"], shape, channels=False)
    pairs, counted = weighed(caller, weights, pairs, channels=False, padding_mode="zeros")
    xs, ys = ([a[..., 0] for a in arrays] for arrays in (pairs.xs, pairs.ys))
    ws = None if counted is None else [w[..., 0] for w in counted]
    for name, flag in (("whitened", whitened), ("bias", bias)):
        check_flag(caller, name, flag)
    if optimizer is not None:
        checks.check_optimizer(caller, optimizer)
    if not isinstance(constraints, tuple | list):
        raise TypeError(
            f"recover_kernel: constraints={shown(constraints)} must be a list of projections, as "
            "in [constraints.simplex]"
        )
    project = projected(*constraints) if constraints else None
    reads = None if ws is None else [_reads(w, shape) for w in ws]
    x_mean, x_scale, x_range = _statistics(xs, reads, centred=bias)
    y_mean, y_scale, _ = _statistics(ys, ws, centred=bias)
    if x_range[1] - x_range[0] <= 1e-6 * jnp.max(jnp.abs(jnp.stack(x_range))):  # float32's digits
        raise ValueError("recover_kernel: x has one value everywhere, which determines no kernel")
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
        on_losses(before, losses * np.asarray(y_scale) ** 2)  # the same bits as Fit.losses

    x_unit: Any = [(x - x_mean) / x_scale for x in xs]
    y_unit: Any = [(y - y_mean) / y_scale for y in ys]
    if not several:
        x_unit, y_unit, ws = x_unit[0], y_unit[0], None if ws is None else ws[0]
    start = jnp.zeros(shape) if key is None else None
    if project is not None:
        if optimizer is None:
            steepest = 2 * np.linalg.eigvalsh(window_moments(x_unit, shape, weights=ws)[1])[-1]
            # an array, not a number: one compiled program for all images of a size
            rate = jnp.asarray(1 / steepest, xs[0].dtype)
            optimizer = optax.sgd(rate, momentum=0.9, nesterov=True)
        optimizer = optax.chain(optimizer, project)
        if key is None:
            solved = solve_kernel(x_unit, y_unit, shape, weights=ws, bias=bias)
            least: Any = (solved.kernel, None)
            still: Any = (jnp.zeros_like(least[0]), None)
            update: Any = project.update(still, project.init(least), least)[0]
            start = least[0] + update[0]
    else:
        optimizer = optax.sgd(0.25) if optimizer is None else optimizer
        if whitened:
            means, covariance = window_moments(x_unit, shape, weights=ws)
            optimizer = optax.chain(whiten(covariance, means if bias else None), optimizer)
    if checkpoints is not None:
        # the images as given: standardising them may round differently on another machine
        own = {"x": xs, "y": ys, "whitened": whitened, "bias": bias}
        checkpoints = checkpoints.including(own)
    fit = fit_kernel(
        x_unit,
        y_unit,
        shape,
        weights=ws,
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


def _reads(weights: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """(*batch, H, W): the sum of the weights of the windows that read each pixel of x."""
    box = jnp.ones((*shape, 1, 1), weights.dtype)
    return conv_transpose(weights[..., None], box, precision="highest")[..., 0]


def _statistics(
    images: list[jax.Array], weights: list[jax.Array] | None, *, centred: bool
) -> tuple[jax.Array, jax.Array, tuple[jax.Array, jax.Array]]:
    """The mean (or 0), the root mean square of the deviations, and the least and largest value."""
    values = jnp.concatenate([image.reshape(-1) for image in images])
    if weights is not None:
        share = jnp.concatenate([weight.reshape(-1) for weight in weights])
        # transposed sums of zeros may round to less than the smallest weight
        used = share > 1e-6 * jnp.max(share)
        values, share = values[used], share[used] / jnp.sum(share[used])
        average = functools.partial(jnp.dot, share, precision="highest")
    else:
        average = jnp.mean
    mean = average(values) if centred else jnp.zeros((), values.dtype)
    scale = jnp.sqrt(average(jnp.square(values - mean)))
    return mean, scale, (jnp.min(values), jnp.max(values))
