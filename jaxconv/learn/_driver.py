"""The one driver of learning by descent, for layers and for arrays without channels."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from jaxconv._core.geometry.dtypes import constant
from jaxconv._core.geometry.scalars import check_count, check_flag
from jaxconv._core.programs import compiled_once
from jaxconv.learn import _checks as checks
from jaxconv.learn._checkpoints import Checkpoints
from jaxconv.learn._crops import crop_size
from jaxconv.learn._optimum import distance_to_optimum
from jaxconv.learn._outcome import Fit
from jaxconv.learn._pairs import Pairs, read_pairs
from jaxconv.learn._places import Place, find_place
from jaxconv.learn._program import Options, begin, finish, step, whole
from jaxconv.learn._segments import program_digest, run_segments
from jaxconv.learn._state import Loss
from jaxconv.learn._weights import weighed

REPORTS = 20  # calls of on_progress in a run of at least so many steps

OnLosses = Callable[[int, np.ndarray], None]
OnProgress = Callable[[int, float], None]


def learn(
    caller: str,
    x: Any,
    y: Any,
    kernel_size: Any,
    *,
    channels: bool,
    weights: Any,
    geometry: dict[str, Any],
    random_start: Callable[[jax.Array, tuple[int, ...], Any], jax.Array],
    precision: str | None,
    optimizer: optax.GradientTransformation,
    steps: int,
    init: Any,
    key: Any,
    bias: bool,
    loss: Loss,
    exact: bool,
    crop: Any = None,
    crops: int = 1,
    on_progress: OnProgress | None,
    on_losses: OnLosses | None,
    checkpoints: Checkpoints | None,
    mesh: Mesh | AbstractMesh | None,
    x_spec: PartitionSpec | None,
) -> Fit:
    """Check the arguments of `fit_kernel` or `fit_conv`, and learn.

    Most arguments are as in `fit_conv`. The others: caller is the public function's name, for
    messages; channels says whether x, y, the kernel and the bias have axes of channels; geometry
    holds stride, padding, dilation, groups and padding_mode; random_start makes a kernel from
    `(key, shape, dtype)` if init is None; precision is that of `jaxconv.conv`.
    """
    least = jnp.float32 if channels else None  # fit_kernel returns images' own half precision
    pairs = read_pairs(caller, x, y, kernel_size, channels=channels, least=least, **geometry)
    for name, value in (("steps", steps), ("crops", crops)):
        check_count(caller, name, value)
    for name, flag in (("bias", bias), ("exact", exact)):
        check_flag(caller, name, flag)
    host = {"checkpoints": checkpoints, "on_losses": on_losses, "on_progress": on_progress}
    checks.check_host(caller, (pairs.xs, pairs.ys, init, key), host)
    checks.check_optimizer(caller, optimizer)
    checks.check_loss(caller, loss, weighted=weights is not None)
    if key is not None:
        checks.check_key(caller, key)
    padding_mode = geometry.get("padding_mode", "zeros")
    pairs, ws = weighed(caller, weights, pairs, channels=channels, padding_mode=padding_mode)
    shape = pairs.kernel_shape if channels else pairs.kernel_shape[:-2]
    dtype = pairs.xs[0].dtype
    if init is not None:
        init = checks.start_kernel(caller, init, shape, dtype)
    crop_key = None
    if init is None or crop is not None:
        key = jax.random.key(constant(0, "uint32")) if key is None else key
        init = random_start(key, shape, dtype) if init is None else init
        crop_key = None if crop is None else jax.random.split(key)[1]
    place = find_place(caller, pairs.xs, pairs.ys, mesh, x_spec)
    if place.mesh is not None and crop is not None:
        raise ValueError(
            f"{caller}: crop={crop!r} is for images on one device, but these are sharded; leave "
            "it out: a device uses its own part of the images"
        )
    options = Options(
        caller=caller,
        channels=channels,
        specs=pairs.specs,
        padding_mode=padding_mode,
        precision=precision,
        optimizer=optimizer,
        loss=loss,
        steps=int(steps),
        bias=bool(bias),
        crop=crop_size(crop, pairs.specs),
        crops=int(crops),
        weighted=ws is not None,
        place=place,
    )
    listeners = [] if on_losses is None else [on_losses]
    if on_progress is not None:
        listeners.append(_progress(on_progress, options.steps))
    if ws is not None:  # as a last channel of y, so that crops and shards of both agree
        both = zip(pairs.ys, ws, strict=True)
        pairs = pairs._replace(ys=tuple(jnp.concatenate(pair, -1) for pair in both))
    fit = _run(pairs, init, crop_key, options, listeners, checkpoints)
    if not exact:
        return fit
    found = distance_to_optimum(
        fit, x, y, channels=channels, weights=weights, **geometry, mesh=mesh, x_spec=x_spec
    )
    return replace(fit, distance=found)


def _run(
    pairs: Pairs,
    start: jax.Array,
    key: jax.Array | None,
    options: Options,
    listeners: list[OnLosses],
    checkpoints: Checkpoints | None,
) -> Fit:
    """Take all steps: in one program, or in segments if the host has to do something on the way."""
    place, program = options.place, None
    if checkpoints is not None:
        checkpoints = checkpoints.including(_settings(pairs, start, key, options))
        on_one = options._replace(place=Place())
        program = program_digest(
            functools.partial(step, options=on_one),
            *jax.eval_shape(
                functools.partial(begin, options=on_one), start, key, pairs.xs, pairs.ys
            ),
        )
    with place.learning():
        start, key = place.put_whole((start, key))
        xs, ys = tuple(map(place.put_x, pairs.xs)), tuple(map(place.put_y, pairs.ys))
        if checkpoints is None and not listeners:
            # one program: on small images several calls would take longer than the steps
            run = functools.partial(whole, options=options)
            return place.put_back(compiled_once(run, start, key, xs, ys))
        state, batch = compiled_once(functools.partial(begin, options=options), start, key, xs, ys)

        def on_losses(before: int, losses: np.ndarray) -> None:
            for listener in listeners:
                listener(before, losses)

        state, losses = run_segments(
            functools.partial(step, options=options),
            place.put_whole(state),
            batch,
            steps=options.steps,
            checkpoints=checkpoints,
            on_losses=on_losses if listeners else None,
            program=program,
        )
        result = functools.partial(finish, options=options)
        return place.put_back(compiled_once(result, state, place.put_whole(losses), batch))


def _progress(on_progress: OnProgress, steps: int) -> OnLosses:
    """Call on_progress after every twentieth of the steps, from what on_losses gets."""
    every = -(-steps // REPORTS)

    def on_losses(before: int, losses: np.ndarray) -> None:
        for done, loss in enumerate(losses.tolist(), before + 1):
            if done % every == 0 or done == steps:
                on_progress(done, loss)

    return on_losses


def _settings(
    pairs: Pairs, start: jax.Array, key: jax.Array | None, options: Options
) -> dict[str, Any]:
    """What identifies a run for its checkpoints, beside its program."""
    spec = options.specs[0]
    return {
        "kernel_size": str(spec.kernel_size),
        "stride": str(spec.stride),
        "padding": ", ".join(sorted({str(each.padding) for each in options.specs})),
        "dilation": str(spec.dilation),
        "groups": spec.groups,
        "padding_mode": options.padding_mode,
        "crop": str(options.crop or "none"),
        "crops": options.crops,
        "bias": options.bias,
        "key": key,
        "x": [*map(options.as_given, pairs.xs)],
        "y": [*map(options.as_given, pairs.ys)] if not options.weighted else [*pairs.ys],
        "weighted": options.weighted,
        "start": start,
    }
