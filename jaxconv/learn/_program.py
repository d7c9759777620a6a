"""The program of a run: its options, its state, one step and the result, as pure functions."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxconv import parallel
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._functional.convolution import conv
from jaxconv.learn import _checks as checks
from jaxconv.learn._crops import random_crops
from jaxconv.learn._gram import embedded
from jaxconv.learn._outcome import Fit
from jaxconv.learn._places import Place, cut
from jaxconv.learn._state import LearnState, Loss, descend
from jaxconv.learn._state import init as initial

Batch = tuple[list[jax.Array], list[jax.Array]]


class Options(NamedTuple):
    """What is fixed before a run is compiled; hashable.

    Attributes:
        caller: the public function's name, for messages.
        channels: whether kernel, bias and the loss's arrays have axes of channels.
        specs: the geometry of each pair of images.
        padding_mode: as in `jaxconv.conv`.
        precision: as in `jaxconv.conv`.
        optimizer: an optax gradient transformation.
        loss: `(prediction, target) -> scalar`, or with weights as third argument.
        steps: number of steps.
        bias: whether a bias is learned.
        crop: the size of the crops, or None for whole images.
        crops: crops a step.
        weighted: whether the last channel of the targets holds the weights.
        place: the mesh of the images.
    """

    caller: str
    channels: bool
    specs: tuple[ConvSpec, ...]
    padding_mode: str
    precision: str | None
    optimizer: optax.GradientTransformation
    loss: Loss
    steps: int
    bias: bool
    crop: tuple[int, ...] | None
    crops: int
    weighted: bool
    place: Place

    def as_given(self, array: jax.Array) -> jax.Array:
        """Remove the last axis, of one channel, if the caller's arrays have no channels."""
        return array if self.channels else array[..., 0]


class State(NamedTuple):
    """The values that change from step to step; the key draws crops, None without them."""

    learned: LearnState
    key: jax.Array | None


def begin(
    start: jax.Array, key: jax.Array | None, xs: Any, ys: Any, *, options: Options
) -> tuple[State, Batch]:
    """The state before the first step, and the images with their margins.

    Images on a mesh stay as they are: each device adds the margins of its own part.
    """
    bias = None
    if options.bias:
        bias = jnp.zeros(start.shape[-1:] if options.channels else (), start.dtype)
    state = State(initial(start, bias, optimizer=options.optimizer), key)
    if options.place.mesh is not None:
        return state, (list(xs), list(ys))
    pairs = zip(xs, options.specs, strict=True)
    return state, ([embedded(x, spec, options.padding_mode)[0] for x, spec in pairs], list(ys))


def step(state: State, batch: Batch, *, options: Options) -> tuple[State, jax.Array]:
    """Take one step, on the images or on crops of them; return the loss before it, too."""
    key = state.key
    if key is not None:
        key, own = jax.random.split(key)
        assert options.crop is not None
        x, y = random_crops(
            own, *batch, specs=options.specs, size=options.crop, count=options.crops
        )
        batch = [x], [y]
    learned, loss = descend(
        state.learned, lambda p: _value(p, batch, options), optimizer=options.optimizer
    )
    return State(learned, key), loss


def _value(parameters: Any, batch: Batch, options: Options) -> jax.Array:
    kernel, bias = parameters
    if not options.channels:  # one channel in, one channel out
        kernel, bias = kernel[..., None, None], None if bias is None else bias[None]
    spec, place = options.specs[0], options.place
    how: dict[str, Any] = {
        "stride": spec.stride,
        "dilation": spec.dilation,
        "groups": spec.groups,
        "precision": options.precision,
    }
    if place.mesh is None:
        predictions = [conv(x, kernel, bias, **how) for x in batch[0]]
    else:
        margins = {"padding": spec.padding, "padding_mode": options.padding_mode}
        predictions = [
            parallel.conv(batch[0][0], kernel, bias, **how, **margins, **place.arguments)
        ]
    targets = _targets(batch, options)
    predictions = [
        p.reshape(*y.shape[:-1], p.shape[-1]) for p, y in zip(predictions, targets, strict=True)
    ]
    prediction = options.as_given(_as_one(predictions))
    return checks.one_number(
        options.caller, options.loss, prediction, *_loss_targets(targets, options)
    )


def _loss_targets(targets: list[jax.Array], options: Options) -> tuple[jax.Array, ...]:
    """The loss's arguments after the prediction: the target, and the weights if there are any."""
    whole = _as_one(targets)
    if not options.weighted:
        return (options.as_given(whole),)
    return options.as_given(whole[..., :-1]), options.as_given(whole[..., -1:])


def _targets(batch: Batch, options: Options) -> list[jax.Array]:
    """(*batch, *space', out) of each image, and its weights, without what the mesh added."""
    if options.place.mesh is None:
        return batch[1]
    (x,), (y,), (spec,) = *batch, options.specs
    return [cut(y, (*x.shape[: -spec.rank - 1], *spec.output_size))]


def _as_one(arrays: list[jax.Array]) -> jax.Array:
    """All images as one array for the loss: a single one as it is, several as (positions, out)."""
    if len(arrays) == 1:
        return arrays[0]
    return jnp.concatenate([a.reshape(-1, a.shape[-1]) for a in arrays])


def finish(state: State, losses: jax.Array, batch: Batch, *, options: Options) -> Fit:
    """The result of a run, with the losses of the whole images."""
    learned, (target, *weights) = state.learned, _loss_targets(_targets(batch, options), options)
    return Fit(
        kernel=learned.kernel,
        bias=learned.bias,
        losses=losses,
        final_loss=_value((learned.kernel, learned.bias), batch, options),
        zero_loss=options.loss(jnp.zeros_like(target), target, *weights),
    )


def whole(start: jax.Array, key: jax.Array | None, xs: Any, ys: Any, *, options: Options) -> Fit:
    """A whole run."""
    state, batch = begin(start, key, xs, ys, options=options)
    state, losses = lax.scan(
        lambda state, _: step(state, batch, options=options), state, length=options.steps
    )
    return finish(state, losses, batch, options=options)
