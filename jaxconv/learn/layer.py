"""Learn the kernel of any convolution layer by descent: `fit_conv`."""

import functools
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from jaxconv import parallel
from jaxconv.functional import conv
from jaxconv.learn.fit import Fit
from jaxconv.learn.gram import embedded
from jaxconv.learn.losses import mean_squared_error
from jaxconv.learn.pairs import Images, read_pairs
from jaxconv.learn.places import Place, cut, find_place
from jaxconv.learn.state import LearnState, Loss, descend
from jaxconv.learn.state import init as begin
from jaxconv.shapes import extent
from jaxconv.spec import ConvSpec, Padding

Batch = tuple[list[jax.Array], list[jax.Array]]


class _Task(NamedTuple):
    """What the compiled run is fixed to; hashable."""

    specs: tuple[ConvSpec, ...]
    padding_mode: str
    optimizer: optax.GradientTransformation
    loss: Loss
    steps: int
    crop: tuple[int, ...] | None
    crops: int
    place: Place


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
    crop: int | Sequence[int] | None = None,
    crops: int = 1,
    mesh: Mesh | AbstractMesh | None = None,
    x_spec: PartitionSpec | None = None,
) -> Fit:
    """Learn the kernel of a convolution layer, of any rank, with channels, stride and groups.

    `kernel, bias = argmin of loss(conv(x, kernel, bias, ...), y)`, by `steps` steps

    For the squared error alone `solve_kernel(..., channels=True)` has the answer at once; this is
    for robust losses, constraints (`jaxconv.learn.constraints`) and images too large for one step.
    One compiled scan; under jit, and vmap over images, init and key.

    Images that are sharded over a mesh stay where they are, as in `fit_kernel`: the traffic of a
    step is that of `jaxconv.parallel.conv` and its gradient in the kernel, and the loss.

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
        optimizer: any optax gradient transformation, which sees `(kernel, bias)`. Reuse one object.
        steps: how many steps to take, 1 or more.
        init: (*kernel, in // groups, out), where to start; random of variance 1 / fan-in if None.
        key: for the random start and the crops; `jax.random.key(0)` if None.
        bias: whether to learn one constant an output channel; they start at 0.
        loss: `(prediction, target) -> scalar`.
        crop: positions of y, one integer or one a dimension, in the pieces that a step looks at;
            None for the whole of all images. Memory and time of a step follow it. Not of images
            that are sharded.
        crops: how many pieces a step draws; all from one image, images taken by their size.
        mesh: as in `fit_kernel`.
        x_spec: as in `fit_kernel`.

    Returns:
        A `Fit`: kernel (*kernel, in // groups, out), bias (out,) or None. With crops, losses are
        those of the pieces; final_loss and zero_loss are of the whole images.

    Raises:
        TypeError: x or y is not floating point, a number is not an integer, or mesh or x_spec is
            none.
        ValueError: shapes and numbers do not make a convolution from x to y, a crop does not
            fit into y, mesh and x_spec do not fit x, or a list or crops are of sharded images.

    Example:
        >>> import jax
        >>> from jaxconv import conv
        >>> from jaxconv.learn import fit_conv
        >>> x = jax.random.normal(jax.random.key(1), (40, 2))
        >>> truth = jax.random.normal(jax.random.key(2), (3, 2, 4))
        >>> fit = fit_conv(x, conv(x, truth, stride=2), (3,), stride=2, steps=1000)
        >>> print(fit.kernel.shape, abs(fit.kernel - truth).max() < 1e-2)
        (3, 2, 4) True

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
    for name, value in (("steps", steps), ("crops", crops)):
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"fit_conv: {name} must be an integer of 1 or more, got {value!r}")
    shape, dtype = pairs.kernel_shape, pairs.xs[0].dtype
    if init is not None and jnp.shape(init) != shape:
        raise ValueError(f"fit_conv: init.shape={jnp.shape(init)}, but the kernel is {shape}")
    start_key, crop_key = jax.random.split(jax.random.key(0) if key is None else key)
    if init is None:
        fan_in = functools.reduce(lambda a, b: a * b, shape[:-1])
        start = jax.random.normal(start_key, shape, dtype) / jnp.sqrt(fan_in).astype(dtype)
    else:
        start = jnp.asarray(init, dtype)
    place = find_place("fit_conv", pairs.xs, pairs.ys, mesh, x_spec)
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
        _crop_size(crop, pairs.specs),
        int(crops),
        place,
    )
    with place.learning():
        start, crop_key = place.put_whole((start, crop_key))
        xs, ys = map(place.put_x, pairs.xs), map(place.put_y, pairs.ys)
        fit = _whole(start, tuple(xs), tuple(ys), crop_key, task=task, bias=bool(bias))
        return place.put_back(fit)


def _crop_size(crop: Any, specs: tuple[ConvSpec, ...]) -> tuple[int, ...] | None:
    if crop is None:
        return None
    given = [crop] * specs[0].rank if isinstance(crop, Integral) else list(crop)
    size = [int(c) if isinstance(c, Integral) else 0 for c in given]
    if len(size) != specs[0].rank or min(size) < 1:
        raise ValueError(
            f"fit_conv: crop={crop!r} must be an integer of 1 or more, or one for each of the "
            f"{specs[0].rank} spatial dimensions"
        )
    for spec in specs:
        if any(c > m for c, m in zip(size, spec.output_size, strict=True)):
            raise ValueError(f"fit_conv: crop={crop!r} is larger than y's size {spec.output_size}")
    return tuple(size)


@functools.partial(jax.jit, static_argnames=("task", "bias"))
def _whole(start: jax.Array, xs: Any, ys: Any, key: jax.Array, *, task: _Task, bias: bool) -> Fit:
    images, targets, specs = [], [], []
    for x, y, spec in zip(xs, ys, task.specs, strict=True):
        if task.place.mesh is None:
            x, left = embedded(x, spec, task.padding_mode)
        else:
            left = spec  # each device pads its own part
            y = cut(y, (*x.shape[: -spec.rank - 1], *spec.output_size))
        images.append(x)
        targets.append(y.reshape(-1, *y.shape[-spec.rank - 1 :]))
        specs.append(left)

    def value(parameters: Any, batch: Batch) -> jax.Array:
        kernel, shift = parameters
        geometry: dict[str, Any] = {
            "stride": specs[0].stride,
            "dilation": specs[0].dilation,
            "groups": specs[0].groups,
        }
        if task.place.mesh is None:
            predictions = [conv(image, kernel, shift, **geometry) for image in batch[0]]
        else:
            geometry |= {"padding": specs[0].padding, "padding_mode": task.padding_mode}
            y = parallel.conv(batch[0][0], kernel, shift, **geometry, **task.place.arguments)
            predictions = [y.reshape(batch[1][0].shape)]
        return task.loss(_one(predictions), _one(batch[1]))

    def body(state: LearnState, key: jax.Array) -> tuple[LearnState, jax.Array]:
        batch = (images, targets)
        if task.crop is not None:
            batch = _pieces(key, images, targets, specs, task)
        return descend(state, lambda p: value(p, batch), optimizer=task.optimizer)

    state = begin(
        start,
        jnp.zeros(start.shape[-1], start.dtype) if bias else None,
        optimizer=task.optimizer,
    )
    state, losses = lax.scan(body, state, jax.random.split(key, task.steps))
    every = _one(targets)
    return Fit(
        kernel=state.kernel,
        bias=state.bias,
        losses=losses,
        final_loss=value((state.kernel, state.bias), (images, targets)),
        zero_loss=task.loss(jnp.zeros_like(every), every),
    )


def _one(arrays: list[jax.Array]) -> jax.Array:
    """All images as one array for the loss; a single one as it is."""
    if len(arrays) == 1:
        return arrays[0]
    return jnp.concatenate([a.reshape(-1, a.shape[-1]) for a in arrays])


def _pieces(
    key: jax.Array,
    images: list[jax.Array],
    targets: list[jax.Array],
    specs: list[ConvSpec],
    task: _Task,
) -> Batch:
    """Random crops of one image and what they reach in its input."""
    which, where = jax.random.split(key)
    sizes = jnp.asarray([y.size for y in targets], jnp.float32)
    number = jax.random.categorical(which, jnp.log(sizes))
    branches = [
        functools.partial(_crops, image=image, target=target, spec=spec, task=task)
        for image, target, spec in zip(images, targets, specs, strict=True)
    ]
    x, y = lax.switch(number, branches, where)
    return [x], [y]


def _crops(
    key: jax.Array, *, image: jax.Array, target: jax.Array, spec: ConvSpec, task: _Task
) -> tuple[jax.Array, jax.Array]:
    assert task.crop is not None
    reach = [
        (c - 1) * s + extent(k, d)
        for c, s, k, d in zip(task.crop, spec.stride, spec.kernel_size, spec.dilation, strict=True)
    ]
    room = [m - c + 1 for m, c in zip(spec.output_size, task.crop, strict=True)]
    first = jax.random.randint(
        key, (task.crops, 1 + spec.rank), 0, jnp.asarray([len(target), *room], jnp.int32)
    )
    size, steps = task.crop, jnp.asarray([1, *spec.stride], jnp.int32)
    cut: Callable[..., Any] = lax.dynamic_slice

    def piece(at: jax.Array) -> tuple[jax.Array, jax.Array]:
        zero = jnp.zeros((), at.dtype)
        x = cut(image, (*(at * steps), zero), (1, *reach, image.shape[-1]))
        y = cut(target, (*at, zero), (1, *size, target.shape[-1]))
        return x[0], y[0]

    return jax.vmap(piece)(first)
