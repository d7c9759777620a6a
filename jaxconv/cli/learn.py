"""`jaxconv learn`: learn a kernel from two images, or a hidden one from a photograph."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

from jaxconv.cli import constrained, exact, report, residuals
from jaxconv.cli.checkpoints import CheckpointOptions
from jaxconv.cli.errors import CommandError, as_command_error
from jaxconv.cli.metrics import Metrics, metrics
from jaxconv.cli.options import Learn
from jaxconv.cli.pairs import Pair, colours, demonstration, from_files, parse_pair, planes
from jaxconv.cli.progress import Reporter, reporting
from jaxconv.cli.results import check_writable, write_results
from jaxconv.cli.usable import parse_limits
from jaxconv.learn import (
    Fit,
    constraints,
    fit_kernel,
    predict,
    recover_kernel,
    seen_directions,
    window_covariance,
)

# name -> (steps, learning rate) that suffice for a 3x3 kernel on a photograph
OPTIMIZERS: dict[str, tuple[int, float | None]] = {
    "sgd": (40, 0.25),  # on whitened gradients
    "lbfgs": (60, None),
    "adam": (500, 0.1),
}


def run(request: Learn) -> None:
    """Check the options, learn, write the folder, print."""
    request = _with_defaults(request)
    check_writable(request.out)
    pair = _pair(request)
    rules = constrained.projections(request.constraints or (), pair.kernel_size)
    checkpoints = _checkpoints(pair, request)
    console = Console(quiet=request.json, highlight=False)
    edge = None
    if request.before is None:
        edge = edge_detection()
        report.print_edge(console, edge)
    report.print_task(console, pair)
    began = time.perf_counter()
    with metrics(request.metrics, request.tensorboard) as files:
        fits = _fit(pair, request, checkpoints, files, rules)
    seconds = time.perf_counter() - began
    _refuse_divergence(fits, pair, request)
    prediction = residuals.prediction(pair, fits)
    files = write_results(request.out, report.writers(pair, fits, prediction))
    found = exact.distances(pair, fits) if request.exact else []
    outside = exact.window_remarks(pair, fits, thorough=request.exact)
    left = residuals.reports(pair, fits)
    told = [*pair.remarks, *_unseen(pair), *outside, *residuals.remarks(pair, fits, left)]
    for remark in told:
        print(f"jaxconv learn: {remark}", file=sys.stderr)
    report.print_fits(console, pair, fits, seconds, files)
    exact.print_distances(console, pair, found)
    if request.json:
        result = report.as_json(pair, fits, left, seconds, files, edge)
        print(json.dumps({**result, "exact": exact.as_json(pair, found)} if found else result))


def edge_detection() -> Fit:
    """Learn the (1, 2) edge detector from the 6x8 image of Dive into Deep Learning, 7.2.4."""
    x = np.ones((6, 8), np.float32)
    x[:, 2:6] = 0
    y = np.asarray(predict(x, np.array([[1, -1]], np.float32)))  # pyright: ignore
    return fit_kernel(x, y, (1, 2), init=np.array([[0.0166553, 0.6072187]]))  # pyright: ignore


def _with_defaults(request: Learn) -> Learn:
    if request.optimizer not in OPTIMIZERS:
        raise CommandError(
            f"no optimizer is called {request.optimizer!r}; known: {', '.join(OPTIMIZERS)}"
        )
    steps, rate = OPTIMIZERS[request.optimizer]
    if request.steps is not None and request.steps < 1:
        raise CommandError(f"--steps must be 1 or more, got {request.steps}")
    if request.learning_rate is not None:
        if rate is None:
            raise CommandError(
                f"{request.optimizer} has no learning rate; --learning-rate needs --optimizer sgd "
                f"or adam"
            )
        if not 0 < request.learning_rate < float("inf"):
            raise CommandError(f"--learning-rate must be above 0, got {request.learning_rate}")
        rate = request.learning_rate
    if request.constraints:
        if request.optimizer != "sgd" or request.learning_rate is not None:
            name = "--learning-rate" if request.learning_rate is not None else "--optimizer"
            raise CommandError(f"--constraint has an optimizer of its own; leave {name} out")
        steps, rate = constrained.STEPS, None
    if request.seed is not None and not 0 <= request.seed < 2**32:
        raise CommandError(f"--seed must be from 0 to 2**32 - 1, got {request.seed}")
    return replace(request, steps=request.steps or steps, learning_rate=rate)


def _pair(request: Learn) -> Pair:
    if (request.before is None) != (request.after is None):
        raise CommandError("give two images, BEFORE and AFTER, or none for the demonstration")
    images = {
        "--pair": request.pairs,
        "--mask": request.masks,
        "--mask-before": request.masks_before,
        "--saturated": request.saturated,
    }
    with as_command_error():
        if request.before is not None and request.after is not None:
            for name, value in (("--target", request.target), ("--photo", request.photo)):
                if value is not None:
                    raise CommandError(
                        f"{name} is for the demonstration; leave it out with two images"
                    )
            return _from_files(request, (request.before, request.after))
        for name, value in images.items():
            if value:
                raise CommandError(f"{name} is for images; give them too: BEFORE AFTER")
        return demonstration(request.photo or "camera", request.target or "sobel_x", request.kernel)


def _from_files(request: Learn, first: tuple[Path, Path]) -> Pair:
    files = [first, *map(parse_pair, request.pairs or [])]
    limits, masks = parse_limits(request.saturated), []
    for name, given in (("--mask", request.masks), ("--mask-before", request.masks_before)):
        if given and len(given) != len(files):
            raise CommandError(
                f"{name} is given {len(given)} times for {len(files)} pairs; give it once for each"
            )
        masks.append(given or [None] * len(files))
    found, kernel = [], request.kernel
    for (before, after), mask, mask_before in zip(files, *masks, strict=True):
        masked = {"mask": mask, "mask_before": mask_before}
        pair = from_files(
            before, after, kernel, **masked, limits=limits, one_kernel=request.one_kernel
        )
        kernel = "x".join(map(str, pair.kernel_size))  # of all pairs
        if found and pair.before.ndim != found[0].before.ndim:
            raise CommandError(
                f"{before} and {first[0]} are grey and colour; give pairs of one kind"
            )
        found.append(pair)
    remarks = [remark for pair in found for remark in pair.remarks]
    whole = replace(found[0], others=tuple(found[1:]), remarks=remarks)
    names = _planes(whole, request)
    for name, plane in zip(names, planes(whole, len(names)), strict=True):
        if plane.ws is not None and not any(w.any() for w in plane.ws):
            raise CommandError(
                f"no output of {name} is left to learn its kernel from: every value is missing, "
                "masked or beyond a limit, or needs one that is; --one-kernel learns one kernel "
                "from all colours"
            )
    return whole


def _unseen(pair: Pair) -> list[str]:
    (whole,) = planes(pair, 1)
    mean = np.concatenate([x.ravel() for x in whole.xs]).mean()
    weights = pair.kernel_size[0] * pair.kernel_size[1]
    xs: Any = [x - mean for x in whole.xs]
    ws: Any = whole.ws
    seen = seen_directions(window_covariance(xs, pair.kernel_size, weights=ws))
    if seen == weights:
        return []
    return [
        f"{pair.name} determines only {seen} of {weights} independent weights: other kernels fit "
        f"as well as the learned one"
    ]


def _optimizer(request: Learn) -> optax.GradientTransformation | None:
    if request.constraints:
        return None  # recover_kernel has its own
    if request.optimizer == "lbfgs":
        return optax.lbfgs(memory_size=30)
    assert request.learning_rate is not None  # checked by _with_defaults
    if request.optimizer == "adam":
        return optax.adam(request.learning_rate)
    return optax.sgd(request.learning_rate)


def _checkpoints(pair: Pair, request: Learn) -> CheckpointOptions:
    images: dict[str, Any]
    if request.before is None:
        images = {"--photo": request.photo or "camera", "--target": pair.target}
    else:
        images = {"BEFORE": pair.before, "AFTER": pair.after}
        if pair.others:
            images["--pair"] = [a for own in pair.others for a in (own.before, own.after)]
        (whole,) = planes(pair, 1)
        images["the outputs in use"] = "all" if whole.ws is None else whole.ws
    checkpoints = CheckpointOptions(
        folder=request.checkpoint,
        every=request.checkpoint_every,
        resume=request.resume,
        settings={
            **images,
            "--kernel": "x".join(map(str, pair.kernel_size)),
            "--optimizer": request.optimizer,
            "--learning-rate": request.learning_rate,
            "--constraint": " ".join(sorted(request.constraints or ())) or "none",
            "--one-kernel": request.one_kernel,
            "--bias": request.bias,
            "--seed": request.seed,
        },
    )
    checkpoints.check(_planes(pair, request))
    return checkpoints


def _planes(pair: Pair, request: Learn) -> list[str]:
    return colours(pair, 3 if pair.before.ndim == 3 and not request.one_kernel else 1)


def _fit(
    pair: Pair,
    request: Learn,
    checkpoints: CheckpointOptions,
    files: Metrics,
    rules: tuple[constraints.Projection, ...],
) -> list[Fit]:
    parts = planes(pair, len(_planes(pair, request)))
    assert request.steps is not None
    for plane, part in zip(_planes(pair, request), parts, strict=True):
        if not any(np.ptp(x) for x in part.xs) and len(part.xs) == 1:
            where = "" if len(parts) == 1 else f"the {plane} plane of "
            raise CommandError(
                f"{where}{request.before or pair.name} has one value everywhere, which determines "
                f"no kernel"
            )
    fits = []
    with reporting(request.steps * len(parts)) as reporter, as_command_error():
        for plane, part in zip(_planes(pair, request), parts, strict=True):
            fits.append(
                recover_kernel(
                    [*map(jnp.asarray, part.xs)],
                    [*map(jnp.asarray, part.ys)],
                    pair.kernel_size,
                    weights=part.ws,  # pyright: ignore
                    optimizer=_optimizer(request),
                    whitened=request.optimizer == "sgd",
                    constraints=rules,
                    steps=request.steps,
                    key=None if request.seed is None else jax.random.key(request.seed),
                    bias=request.bias,
                    on_losses=_on_losses(plane, reporter, files, checkpoints.restored(plane)),
                    checkpoints=checkpoints.of(plane),
                )
            )
    return [jax.tree.map(np.asarray, fit) for fit in fits]


def _on_losses(
    plane: str, reporter: Reporter, files: Metrics, restored: int
) -> Callable[[int, np.ndarray], None]:
    def on_losses(before: int, losses: np.ndarray) -> None:
        reporter.add(len(losses), losses[-1], restored=before < restored)
        files.add(plane, before, losses)

    return on_losses


def _refuse_divergence(fits: list[Fit], pair: Pair, request: Learn) -> None:
    for fit, colour in zip(fits, colours(pair, len(fits)), strict=True):
        if (step := fit.diverged_at) is not None:
            where = "" if len(fits) == 1 else f" on the {colour} plane"
            advice = (
                f"try --learning-rate {request.learning_rate / 10:g}, or leave it out"
                if request.learning_rate
                else "try --optimizer sgd"
            )
            raise CommandError(
                f"learning diverged{where} at step {step} of {request.steps}: {advice}"
            )
