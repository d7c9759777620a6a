"""`jaxconv learn`: learn a kernel from two images, or a hidden one from a photograph."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

from jaxconv.cli import constrained, exact, report
from jaxconv.cli.checkpoints import CheckpointOptions
from jaxconv.cli.errors import CommandError, as_command_error
from jaxconv.cli.metrics import Metrics, metrics
from jaxconv.cli.options import Learn
from jaxconv.cli.pairs import Pair, colours, demonstration, from_files
from jaxconv.cli.progress import Reporter, reporting
from jaxconv.cli.results import check_writable, write_results
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
    prediction = _prediction(pair, fits)
    files = write_results(request.out, report.writers(pair, fits, prediction))
    found = exact.distances(pair, fits) if request.exact else []
    outside = exact.window_remarks(pair, fits, thorough=request.exact)
    for remark in [*pair.remarks, *_unseen(pair), *outside]:
        print(f"jaxconv learn: {remark}", file=sys.stderr)
    report.print_fits(console, pair, fits, seconds, files)
    exact.print_distances(console, pair, found)
    if request.json:
        result = report.as_json(pair, fits, seconds, files, edge)
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
    with as_command_error():
        if request.before is not None and request.after is not None:
            for name, value in (("--target", request.target), ("--photo", request.photo)):
                if value is not None:
                    raise CommandError(
                        f"{name} is for the demonstration; leave it out with two images"
                    )
            return from_files(request.before, request.after, request.kernel)
        return demonstration(request.photo or "camera", request.target or "sobel_x", request.kernel)


def _unseen(pair: Pair) -> list[str]:
    x = pair.before if pair.before.ndim == 2 else np.moveaxis(pair.before, -1, 0)
    weights = pair.kernel_size[0] * pair.kernel_size[1]
    seen = seen_directions(window_covariance(x - x.mean(), pair.kernel_size))  # pyright: ignore
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
    if request.before is None:
        images = {"--photo": request.photo or "camera", "--target": pair.target}
    else:
        images = {"BEFORE": pair.before, "AFTER": pair.after}
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
    # (H, W, 3) -> (3, H, W), one plane a kernel; one kernel for all takes them as a batch
    x, y = (np.moveaxis(a, -1, 0) if a.ndim == 3 else a[None] for a in (pair.before, pair.after))
    parts = [(x, y)] if request.one_kernel else list(zip(x, y, strict=True))
    assert request.steps is not None
    for plane, (x_part, _) in zip(_planes(pair, request), parts, strict=True):
        if not np.ptp(x_part):
            where = "" if len(parts) == 1 else f"the {plane} plane of "
            raise CommandError(
                f"{where}{request.before or pair.name} has one value everywhere, which determines "
                f"no kernel"
            )
    fits = []
    with reporting(request.steps * len(parts)) as reporter, as_command_error():
        for plane, (x_part, y_part) in zip(_planes(pair, request), parts, strict=True):
            fits.append(
                recover_kernel(
                    jnp.asarray(x_part),
                    jnp.asarray(y_part),
                    pair.kernel_size,
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


def _prediction(pair: Pair, fits: list[Fit]) -> np.ndarray:
    if pair.before.ndim == 2:
        return np.asarray(predict(pair.before, fits[0].kernel, fits[0].bias))  # pyright: ignore
    each = fits * 3 if len(fits) == 1 else fits
    planes = [
        predict(pair.before[..., plane], fit.kernel, fit.bias)  # pyright: ignore
        for plane, fit in enumerate(each)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)
