"""`tiles.apply_tiled` on the device: every method, padding modes, integers and policies."""

import functools
from collections.abc import Iterator
from typing import Any
from unittest import mock

import cases
import numpy as np

from accelerator import tolerances
from accelerator.running import Check, Outcome, Refused, Scope
from jaxconv import Policy
from jaxconv._core.dispatch import seamless
from jaxconv._core.dispatch.choose import refusal
from jaxconv._core.geometry.spec import ConvSpec, normalise
from jaxconv._core.methods import METHODS
from jaxconv.tiles import _program as program
from jaxconv.tiles import apply_tiled

SHAPE, KERNEL, TILE = (37, 41), (5, 4), (16, 11)
PRECISIONS = tolerances.PRECISIONS
MODES = ("reflect", "symmetric", "replicate", "circular")
# NumPy's name for a mode where it has another.
NUMPY = {"replicate": "edge", "circular": "wrap"}


class Plane:
    """An image in memory, as a source and as a target."""

    stamp = ""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype.name

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        return self.values[box]

    def write(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        self.values[box] = values


def checks(scope: Scope) -> Iterator[Check]:
    """Yield a check for each method, padding mode and dtype."""
    methods = [name for name, method in METHODS.items() if "output" in method.contractions]
    for method in ("auto", *([] if scope.small else methods)):
        for precision in PRECISIONS if method == "auto" and not scope.small else PRECISIONS[:1]:
            run = functools.partial(_values, scope, method=method, precision=precision)
            yield Check(f"tiles/{method}/{precision}", run, method, "output", "float32")
    for mode in () if scope.small else MODES:
        run = functools.partial(_values, scope, mode=mode)
        yield Check(f"tiles/{mode}", run, "auto", "output", "float32")
    yield Check("tiles/uint8", functools.partial(_integers, scope), "auto", "output", "uint8")
    yield Check("tiles/policy", functools.partial(_policy, scope), "fft", "output", "float32")


def _image() -> tuple[np.ndarray, np.ndarray, ConvSpec]:
    draw = np.random.default_rng(0)
    x, w = (cases.random(draw, shape, "float32") for shape in (SHAPE, KERNEL))
    return x, w, normalise("conv", (1, *SHAPE, 1), (*KERNEL, 1, 1), padding="same")


def _applied(scope: Scope, x: np.ndarray, w: np.ndarray, **how: Any) -> tuple[np.ndarray, str]:
    """Return the image filtered in tiles, each on the device, and the method."""
    target = Plane(np.zeros_like(x))
    used, run = [], program.run

    def seen(*arrays, **rule):
        results = run(*arrays, **rule)
        used.extend(device.platform for device in results[0].devices())
        return results

    with mock.patch.object(program, "run", seen):
        done = apply_tiled(Plane(x), w, target, tile=TILE, **how)
    assert done.tiles == len(used) == 12, (done.tiles, len(used))
    assert set(used) == {scope.platform}, set(used)
    return target.values, done.method


def _values(
    scope: Scope, *, method: str = "auto", precision: str = "highest", mode: str = "zeros"
) -> Outcome:
    x, w, spec = _image()
    whole = seamless.problem_of(spec, mode, (*KERNEL, 1, 1))
    if method != "auto" and (why_not := refusal(whole, method)):
        raise Refused(why_not)
    asked = None if precision == "default" else precision
    how = {"method": method, "padding_mode": mode, "precision": asked}
    found, used = _applied(scope, x, w, **how)
    assert used == seamless.choose(whole, method).method, used
    assert method in ("auto", used), used
    if mode != "zeros":
        padded = np.pad(x, spec.padding, NUMPY.get(mode, mode))
        x, spec = padded, normalise("conv", (1, *padded.shape, 1), (*KERNEL, 1, 1))
    given = found[None, ..., None], "output", x[None, ..., None], w[..., None, None], spec
    device = {"platform": scope.platform, "precision": precision}
    return Outcome(tolerances.share(used, *given, **device), used)


def _integers(scope: Scope) -> Outcome:
    """Stored values are half a unit off by their one rounding, besides the sum's own error."""
    _, w, spec = _image()
    x = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    w = np.abs(w) / np.abs(w).sum()
    found, used = _applied(scope, x, w, precision="highest")
    terms = cases.expected(
        "output", cases.wide(x)[None, ..., None], cases.wide(w)[..., None, None], spec
    )[0, ..., 0]
    bound = 0.5 + tolerances.sums(scope.platform, "float32") * terms
    return Outcome(cases.share(np.abs(cases.wide(found) - terms), bound), used)


def _policy(scope: Scope) -> Outcome:
    """An entry for the whole image, with its kind of device, names the method of all tiles."""
    x, w, spec = _image()
    whole = seamless.problem_of(spec, "zeros", (*KERNEL, 1, 1))
    assert whole.device_kind == scope.device_kind, whole
    assert seamless.choose(whole).method != "fft"
    found, used = _applied(scope, x, w, policy=Policy({whole: "fft"}), precision="highest")
    assert used == "fft", used
    given = found[None, ..., None], "output", x[None, ..., None], w[..., None, None], spec
    return Outcome(tolerances.share("fft", *given, platform=scope.platform))
