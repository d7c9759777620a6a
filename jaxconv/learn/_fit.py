"""A whole run of learning in one call: `fit_kernel`."""

import functools
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from jaxconv._core.geometry.dtypes import constant
from jaxconv._core.geometry.messages import shown
from jaxconv._core.programs import compiled_once
from jaxconv.learn import _checks as checks
from jaxconv.learn._checkpoints import Checkpoints, digest, named_first
from jaxconv.learn._optimum import distance_to_optimum
from jaxconv.learn._outcome import Fit
from jaxconv.learn._places import Place, cut, find_place
from jaxconv.learn._segments import describe, run_segments
from jaxconv.learn._state import LearnState, Loss, predict, step
from jaxconv.learn._state import init as begin
from jaxconv.learn.losses import sum_squared_error

REPORTS = 20  # calls of on_progress in a run that is long enough


def _run(
    state: LearnState,
    x: jax.Array,
    y: jax.Array,
    *,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    place: Place,
    length: int,
) -> tuple[LearnState, jax.Array]:
    def body(state: LearnState, _: None) -> tuple[LearnState, jax.Array]:
        return _step(state, x, y, optimizer=optimizer, loss=loss, place=place)

    return lax.scan(body, state, None, length=length)


def _step(
    state: LearnState,
    x: jax.Array,
    y: jax.Array,
    *,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    place: Place,
) -> tuple[LearnState, jax.Array]:
    y = cut(y, _output_shape(x, state.kernel.shape))
    loss = functools.partial(checks.one_number, "fit_kernel", loss)
    return step(state, x, y, optimizer=optimizer, loss=loss, **place.arguments)


def _begin(start: jax.Array, *, optimizer: optax.GradientTransformation, bias: bool) -> LearnState:
    return begin(start, jnp.zeros((), start.dtype) if bias else None, optimizer=optimizer)


def _finish(
    state: LearnState,
    losses: jax.Array,
    x: jax.Array,
    y: jax.Array,
    *,
    loss: Loss,
    place: Place,
) -> Fit:
    y = cut(y, _output_shape(x, state.kernel.shape))
    return Fit(
        kernel=state.kernel,
        bias=state.bias,
        losses=losses,
        final_loss=loss(predict(x, state.kernel, state.bias, **place.arguments), y),
        zero_loss=loss(jnp.zeros_like(y), y),
    )


def _whole(
    start: jax.Array,
    x: jax.Array,
    y: jax.Array,
    *,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    place: Place,
    length: int,
    bias: bool,
) -> Fit:
    # one program: on small images calling several would cost more than the steps
    state = _begin(start, optimizer=optimizer, bias=bias)
    state, losses = _run(state, x, y, optimizer=optimizer, loss=loss, place=place, length=length)
    return _finish(state, losses, x, y, loss=loss, place=place)


def kernel_shape(kernel_size: int | tuple[int, int], *, function: str) -> tuple[int, int]:
    """Read a kernel size as (h, w)."""
    given: Any = kernel_size
    pair = (given, given) if isinstance(given, Integral) else given
    if (
        not isinstance(pair, tuple | list)
        or len(pair) != 2
        or not all(isinstance(n, Integral) and int(n) >= 1 for n in pair)
    ):
        raise ValueError(
            f"{function}: kernel_size must be one or two integers of 1 or more, got "
            f"{shown(kernel_size)}"
        )
    return int(pair[0]), int(pair[1])


def _output_shape(x: jax.Array, kernel: tuple[int, ...]) -> tuple[int, ...]:
    return (*x.shape[:-2], x.shape[-2] - kernel[0] + 1, x.shape[-1] - kernel[1] + 1)


def check_planes(caller: str, x: jax.Array, y: jax.Array, shape: tuple[int, int]) -> None:
    """Refuse planes (*batch, H, W) and (*batch, H', W') that no kernel (h, w) lies between.

    Raises:
        ValueError: they do not fit, or hold nothing.
    """
    for name, array in (("x", x), ("y", y)):
        if array.ndim < 2:
            raise ValueError(
                f"{caller}: {name} must be planes (*batch, H, W), got {name}.shape={array.shape}"
            )
    if shape[0] > x.shape[-2] or shape[1] > x.shape[-1]:
        raise ValueError(
            f"{caller}: kernel_size {shape} is larger than the planes of x.shape={x.shape}"
        )
    expected = _output_shape(x, shape)
    if y.shape != expected:
        raise ValueError(
            f"{caller}: y.shape={y.shape}, but x.shape={x.shape} and kernel_size {shape} "
            f"give {expected}"
        )
    if not y.size:
        raise ValueError(f"{caller}: x and y hold no images: x.shape={x.shape}")


def _start(init: Any, key: Any, shape: tuple[int, int], dtype: jnp.dtype) -> jax.Array:
    if init is None:
        if key is not None:
            checks.check_key("fit_kernel", key)
        key = jax.random.key(constant(0, "uint32")) if key is None else key
        return jax.random.uniform(key, shape, dtype)
    if key is not None:
        raise ValueError("fit_kernel: init and key both say where to start; give one of them")
    return checks.start_kernel("fit_kernel", init, shape, dtype)


def fit_kernel(
    x: jax.Array,
    y: jax.Array,
    kernel_size: int | tuple[int, int],
    *,
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
    """Learn the kernel that turns x into y.

    `kernel, bias = argmin of loss(predict(x, kernel, bias), y)`, by `steps` steps of the optimiser

    The run is one compiled scan. With on_progress it is cut into at most 20 equal scans and a
    rest, so that at most two programs are compiled.

    Planes that are sharded over a mesh stay where they are: halos are exchanged, and in each step
    the kernel's gradient and the loss are summed over the devices; nothing else is sent, if the
    loss is a sum or a mean over positions. These sums are rounded in another order than on one
    device, and in another again on another number of devices: results agree to a few roundings,
    not bit for bit.

    Args:
        x: planes (*batch, H, W), floating point; sharded in any of these dimensions or not.
        y: planes (*batch, H - h + 1, W - w + 1), floating point; one kernel serves all planes. It
            is sharded as x is.
        kernel_size: (h, w), or h for a square.
        optimizer: any optax gradient transformation, schedules and line searches included. One that
            is made anew, by the same functions of the same numbers, needs no new compilation.
        steps: how many steps to take, 1 or more.
        init: (h, w), the kernel to start from; random if None.
        key: for the random start, uniform in [0, 1); `jax.random.key(0)` if None.
        bias: whether to learn a scalar bias too; it starts at 0.
        loss: `(prediction, target) -> scalar`.
        exact: whether to report the distance to the kernel of least squared error, which
            `solve_kernel` finds afterwards; the descent knows nothing of it.
        on_progress: called on the host as `on_progress(steps_done, last_loss)` between the scans;
            leave it out under jit or vmap.
        on_losses: called on the host as `on_losses(steps_before, losses)` with the losses of all
            steps in turn, every half second or as often as a step ends.
        checkpoints: where to keep a long run, so that it can be resumed to the same kernel, bit
            for bit on as many devices; see `jaxconv.learn.Checkpoints`. Not with on_progress.
        mesh: as in `jaxconv.parallel.conv`; by default that of x, else of y.
        x_spec: how x is sharded; by default what x says, else y. It must be given under jit, which
            does not say on auto axes, and for sizes that the mesh does not divide: those it pads.

    Returns:
        A `Fit`; ask its `diverged_at` whether to believe it, and with exact its `distance` how far
        it is from the exact answer.

    Raises:
        TypeError: x or y is not floating point, an argument is none of its kind, or one that works
            on the host (on_progress, on_losses, checkpoints) is given under jit or vmap.
        ValueError: shapes do not fit, the kernel is larger than x, there are no images, steps is
            below 1, the loss is not one number, mesh and x_spec do not fit x, or the checkpoints
            are another run's.
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
    caller = "fit_kernel"
    x, y = checks.floating(caller, "x", x), checks.floating(caller, "y", y)
    shape = kernel_shape(kernel_size, function=caller)
    check_planes(caller, x, y, shape)
    checks.check_count(caller, "steps", steps)
    for name, flag in (("bias", bias), ("exact", exact)):
        checks.check_flag(caller, name, flag)
    host = {"checkpoints": checkpoints, "on_losses": on_losses, "on_progress": on_progress}
    checks.check_host(caller, (x, y, init, key), host)
    if on_progress is not None and not (on_losses is None and checkpoints is None):
        raise ValueError(
            "fit_kernel: on_progress is for runs in one piece; on_losses and checkpoints say "
            "more, give those alone"
        )
    dtype = jnp.result_type(x, y)
    x, y = x.astype(dtype), y.astype(dtype)
    checks.check_optimizer(caller, optimizer)
    checks.check_loss(caller, loss)
    start = _start(init, key, shape, dtype)
    place = find_place(caller, (x,), (y,), mesh, x_spec, channels=False)
    how: Any = {"optimizer": optimizer, "loss": loss, "place": place}
    program = None
    if checkpoints is not None:
        checkpoints = _named(checkpoints, shape, x, y, start)
        alone = functools.partial(_step, **how | {"place": Place()})
        program = describe(alone, _begin(start, optimizer=optimizer, bias=bias), x, y)
    with place.learning():
        images, start = (place.put_x(x), place.put_y(y)), place.put_whole(start)
        if checkpoints is None and on_losses is None and on_progress is None:
            whole = functools.partial(_whole, length=int(steps), bias=bool(bias), **how)
            fit = place.put_back(compiled_once(whole, start, *images))
        else:
            state = place.put_whole(_begin(start, optimizer=optimizer, bias=bias))
            if on_progress is not None:
                state, losses = _reported(state, *images, on_progress, steps=steps, **how)
            else:
                state, losses = run_segments(
                    functools.partial(_step, **how),
                    state,
                    *images,
                    steps=steps,
                    checkpoints=checkpoints,
                    on_losses=on_losses,
                    program=program,
                )
            losses = place.put_whole(losses)
            finish = functools.partial(_finish, loss=loss, place=place)
            fit = place.put_back(compiled_once(finish, state, losses, *images))
    if not exact:
        return fit
    return fit.replace(distance=distance_to_optimum(fit, x, y, mesh=mesh, x_spec=x_spec))


def _named(
    checkpoints: Checkpoints, shape: tuple[int, int], x: jax.Array, y: jax.Array, start: jax.Array
) -> Checkpoints:
    """What a run has to be resumed with, but for what its program tells."""
    own = {"kernel_size": list(shape), "x": digest(x), "y": digest(y), "start": digest(start)}
    return replace(checkpoints, settings=named_first(checkpoints, own))


def _reported(
    state: LearnState,
    x: jax.Array,
    y: jax.Array,
    on_progress: Callable[[int, float], None],
    *,
    steps: int,
    **how: Any,
) -> tuple[LearnState, jax.Array]:
    """Take the steps in equal scans and a rest, and report after each."""
    parts, size, done = [], -(-steps // REPORTS), 0
    while done < steps:
        length = min(size, steps - done)
        run = functools.partial(_run, length=length, **how)
        state, part = compiled_once(run, state, x, y)
        parts.append(part)
        done += length
        on_progress(done, float(part[-1]))
    return state, jnp.concatenate(parts)
