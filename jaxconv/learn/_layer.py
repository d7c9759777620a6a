"""Learn the kernel of any convolution layer by descent: `fit_conv`."""

import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from jaxconv import parallel
from jaxconv._core.geometry.dtypes import constant
from jaxconv._core.geometry.spec import ConvSpec, Padding
from jaxconv._core.programs import compiled_once
from jaxconv._functional.layers import conv
from jaxconv.learn import _checks as checks
from jaxconv.learn._checkpoints import Checkpoints, digest, named_first
from jaxconv.learn._crops import Batch, crop_size, pieces
from jaxconv.learn._gram import embedded
from jaxconv.learn._optimum import distance_to_optimum
from jaxconv.learn._outcome import Fit
from jaxconv.learn._pairs import Images, Pairs, read_pairs
from jaxconv.learn._places import Place, cut, find_place
from jaxconv.learn._segments import describe, run_segments
from jaxconv.learn._state import LearnState, Loss, descend
from jaxconv.learn._state import init as begin
from jaxconv.learn.losses import mean_squared_error


class _Task(NamedTuple):
    """What the compiled run is fixed to; hashable."""

    specs: tuple[ConvSpec, ...]
    padding_mode: str
    optimizer: optax.GradientTransformation
    loss: Loss
    steps: int
    crop: tuple[int, ...] | None
    crops: int
    bias: bool
    place: Place


class _State(NamedTuple):
    """What a step hands to the next: the keys of the crops do not hang on how many steps follow."""

    learned: LearnState
    key: jax.Array


def fit_conv(
    x: Images,
    y: Images,
    kernel_size: int | Sequence[int],
    *,
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
    on_losses: Callable[[int, np.ndarray], None] | None = None,
    checkpoints: Checkpoints | None = None,
    mesh: Mesh | AbstractMesh | None = None,
    x_spec: PartitionSpec | None = None,
) -> Fit:
    """Learn the kernel of a convolution layer, of any rank, with channels, stride and groups.

    `kernel, bias = argmin of loss(conv(x, kernel, bias, ...), y)`, by `steps` steps

    For the squared error alone `solve_kernel(..., channels=True)` has the answer at once; this is
    for robust losses, constraints (`jaxconv.learn.constraints`) and images too large for one step.
    One compiled scan; under jit, and vmap over images, init and key.

    Images that are sharded over a mesh stay where they are, as in `fit_kernel`: what is sent are
    halos, and in each step the sums of the kernel's gradient and of the loss.

    Args:
        x: (*batch, *space, in), floating point; or a list of such images of any sizes. One image,
            or one batch, may be sharded, except in its channels.
        y: (*batch, *space', out), one for each x; the loss sees all images in one. It is sharded
            as x is.
        kernel_size: one integer a spatial dimension; a bare one is the side of a square.
        stride: as in `jaxconv.conv`.
        padding: as in `jaxconv.conv`.
        dilation: as in `jaxconv.conv`.
        groups: as in `jaxconv.conv`.
        padding_mode: as in `jaxconv.conv`.
        optimizer: any optax gradient transformation, which sees `(kernel, bias)`; see
            `fit_kernel`.
        steps: how many steps to take, 1 or more.
        init: (*kernel, in // groups, out), where to start; random of variance 1 / fan-in if None.
        key: for the random start and the crops; `jax.random.key(0)` if None.
        bias: whether to learn one constant an output channel; they start at 0.
        loss: `(prediction, target) -> scalar`.
        exact: as in `fit_kernel`, of the whole images where the steps see crops.
        crop: positions of y, one integer or one a dimension, in the pieces that a step looks at;
            None for the whole of all images. Memory and time of a step follow it. Not of images
            that are sharded.
        crops: how many pieces a step draws; all from one image, images taken by their size.
        on_losses: as in `fit_kernel`; leave it and checkpoints out under jit or vmap.
        checkpoints: as in `fit_kernel`: a run that was killed draws the same crops and ends at the
            same kernel, bit for bit.
        mesh: as in `fit_kernel`.
        x_spec: as in `fit_kernel`.

    Returns:
        A `Fit`: kernel (*kernel, in // groups, out), bias (out,) or None. With crops, losses are
        those of the pieces; final_loss and zero_loss are of the whole images. With exact its
        `distance` tells how far it is from the least squared error.

    Raises:
        TypeError: x or y is not floating point, an argument is none of its kind, or one that works
            on the host (on_losses, checkpoints) is given under jit or vmap.
        ValueError: shapes and numbers do not make a convolution from x to y, a crop does not fit
            into y, the loss is not one number, mesh and x_spec do not fit x, a list or crops are of
            sharded images, or the checkpoints are another run's.
        OSError: a checkpoint cannot be written.

    Example:
        >>> import jax
        >>> from jaxconv import conv
        >>> from jaxconv.learn import fit_conv
        >>> x = jax.random.normal(jax.random.key(1), (40, 2))
        >>> truth = jax.random.normal(jax.random.key(2), (3, 2, 4))
        >>> fit = fit_conv(x, conv(x, truth, stride=2), (3,), stride=2, steps=1000)
        >>> print(fit.kernel.shape, abs(fit.kernel - truth).max() < 1e-2)
        (3, 2, 4) True
        >>> fit = fit_conv(x, conv(x, truth, stride=2), (3,), stride=2, steps=1000, exact=True)
        >>> print(fit.distance.kernel < 1e-2, fit.distance.solution.rank)
        True 6

    Source: LeCun et al., Gradient-based learning applied to document recognition, 1998.
    """
    pairs = read_pairs(
        "fit_conv",
        x,
        y,
        kernel_size,
        channels=True,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
    )
    caller = "fit_conv"
    for name, value in (("steps", steps), ("crops", crops)):
        checks.check_count(caller, name, value)
    for name, flag in (("bias", bias), ("exact", exact)):
        checks.check_flag(caller, name, flag)
    host = {"checkpoints": checkpoints, "on_losses": on_losses}
    checks.check_host(caller, (pairs.xs, pairs.ys, init, key), host)
    checks.check_optimizer(caller, optimizer)
    shape, dtype = pairs.kernel_shape, pairs.xs[0].dtype
    checks.check_loss(caller, loss)
    if key is not None:
        checks.check_key(caller, key)
    key = jax.random.key(constant(0, "uint32")) if key is None else key
    start_key, crop_key = jax.random.split(key)
    if init is None:
        start = jax.random.normal(start_key, shape, dtype)
        start = start / jnp.sqrt(math.prod(shape[:-1])).astype(dtype)
    else:
        start = checks.start_kernel(caller, init, shape, dtype)
    place = find_place(caller, pairs.xs, pairs.ys, mesh, x_spec)
    if place.mesh is not None and crop is not None:
        raise ValueError(
            f"fit_conv: crop={crop!r} is for images on one device; these are sharded, so leave it "
            "out: a device looks at its own part"
        )
    task = _Task(
        pairs.specs,
        padding_mode,
        optimizer,
        loss,
        int(steps),
        crop_size(crop, pairs.specs),
        int(crops),
        bool(bias),
        place,
    )
    program = None
    if checkpoints is not None:
        own = _settings(start, pairs, crop_key, task)
        checkpoints = replace(checkpoints, settings=named_first(checkpoints, own))
        alone = task._replace(place=Place())
        batch = jax.eval_shape(functools.partial(_laid_out, task=alone), pairs.xs, pairs.ys)
        program = describe(
            functools.partial(_step, task=alone), _begin(start, crop_key, alone), batch
        )
    with place.learning():
        start, crop_key = place.put_whole((start, crop_key))
        xs, ys = tuple(map(place.put_x, pairs.xs)), tuple(map(place.put_y, pairs.ys))
        if checkpoints is None and on_losses is None:
            whole = functools.partial(_whole, task=task)
            fit = place.put_back(compiled_once(whole, start, xs, ys, crop_key))
        else:
            batch = compiled_once(functools.partial(_laid_out, task=task), xs, ys)
            state, losses = run_segments(
                functools.partial(_step, task=task),
                place.put_whole(_begin(start, crop_key, task)),
                batch,
                steps=task.steps,
                checkpoints=checkpoints,
                on_losses=on_losses,
                program=program,
            )
            finish = functools.partial(_finish, task=task)
            fit = place.put_back(compiled_once(finish, state, place.put_whole(losses), batch))
    if not exact:
        return fit
    distance = distance_to_optimum(
        fit,
        x,
        y,
        channels=True,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
        mesh=mesh,
        x_spec=x_spec,
    )
    return fit.replace(distance=distance)


def _settings(start: jax.Array, pairs: Pairs, key: jax.Array, task: _Task) -> dict[str, Any]:
    """What a checkpoint has to be resumed with, but for what its program tells."""
    spec = task.specs[0]
    settings = {
        "kernel_size": spec.kernel_size,
        "stride": spec.stride,
        "padding": ", ".join(sorted({str(each.padding) for each in task.specs})),
        "dilation": spec.dilation,
        "groups": spec.groups,
        "padding_mode": task.padding_mode,
        "crop": task.crop or "none",
        "crops": task.crops,
        "bias": task.bias,
        "key": digest(key),
        "x": _told(pairs.xs),
        "y": _told(pairs.ys),
        "start": digest(start),
    }
    return {name: str(value) for name, value in settings.items()}


def _told(images: tuple[jax.Array, ...]) -> str:
    each = [digest(image) for image in images]
    if len(each) == 1:
        return each[0]
    return f"{len(each)} images {hashlib.sha256(' '.join(each).encode()).hexdigest()[:16]}"


def _laid_out(xs: Any, ys: Any, *, task: _Task) -> Batch:
    """Every image with its margins, cut to what the windows reach, and its target.

    Those on a mesh stay as they are: each device adds the margins of its own part.
    """
    if task.place.mesh is not None:
        return list(xs), list(ys)
    images = [
        embedded(x, spec, task.padding_mode)[0] for x, spec in zip(xs, task.specs, strict=True)
    ]
    # (*batch, *space', out) -> (n, *space', out)
    targets = [
        y.reshape(-1, *y.shape[-spec.rank - 1 :]) for y, spec in zip(ys, task.specs, strict=True)
    ]
    return images, targets


def _begin(start: jax.Array, key: jax.Array, task: _Task) -> _State:
    bias = jnp.zeros(start.shape[-1], start.dtype) if task.bias else None
    return _State(begin(start, bias, optimizer=task.optimizer), key)


def _step(state: _State, batch: Batch, *, task: _Task) -> tuple[_State, jax.Array]:
    key, own = jax.random.split(state.key)
    if task.crop is not None:
        batch = pieces(own, *batch, specs=task.specs, size=task.crop, count=task.crops)
    learned, loss = descend(
        state.learned, lambda p: _value(p, batch, task), optimizer=task.optimizer
    )
    return _State(learned, key), loss


def _value(parameters: Any, batch: Batch, task: _Task) -> jax.Array:
    kernel, shift = parameters
    spec, place = task.specs[0], task.place
    steps: dict[str, Any] = {
        "stride": spec.stride,
        "dilation": spec.dilation,
        "groups": spec.groups,
    }
    if place.mesh is None:
        predictions = [conv(image, kernel, shift, **steps) for image in batch[0]]
    else:
        margins = {"padding": spec.padding, "padding_mode": task.padding_mode}
        y = parallel.conv(batch[0][0], kernel, shift, **steps, **margins, **place.arguments)
        predictions = [y.reshape(-1, *y.shape[-spec.rank - 1 :])]
    images = _one(predictions), _one(_targets(batch, task))
    return checks.one_number("fit_conv", task.loss, *images)


def _targets(batch: Batch, task: _Task) -> list[jax.Array]:
    """(n, *space', out) of each image, without what the mesh added."""
    if task.place.mesh is None:
        return batch[1]
    (x,), (y,), (spec,) = *batch, task.specs
    y = cut(y, (*x.shape[: -spec.rank - 1], *spec.output_size))
    return [y.reshape(-1, *y.shape[-spec.rank - 1 :])]


def _finish(state: _State, losses: jax.Array, batch: Batch, *, task: _Task) -> Fit:
    learned, every = state.learned, _one(_targets(batch, task))
    return Fit(
        kernel=learned.kernel,
        bias=learned.bias,
        losses=losses,
        final_loss=_value((learned.kernel, learned.bias), batch, task),
        zero_loss=task.loss(jnp.zeros_like(every), every),
    )


def _whole(start: jax.Array, xs: Any, ys: Any, key: jax.Array, *, task: _Task) -> Fit:
    batch = _laid_out(xs, ys, task=task)
    state, losses = lax.scan(
        lambda state, _: _step(state, batch, task=task),
        _begin(start, key, task),
        None,
        length=task.steps,
    )
    return _finish(state, losses, batch, task=task)


def _one(arrays: list[jax.Array]) -> jax.Array:
    """All images as one array for the loss; a single one as it is."""
    if len(arrays) == 1:
        return arrays[0]
    return jnp.concatenate([a.reshape(-1, a.shape[-1]) for a in arrays])
