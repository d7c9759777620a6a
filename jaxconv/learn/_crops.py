"""Random crops of images that are too large to be used whole in every step."""

import functools
from collections.abc import Callable
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv._core.geometry.shapes import extent
from jaxconv._core.geometry.spec import ConvSpec


def crop_size(crop: Any, specs: tuple[ConvSpec, ...]) -> tuple[int, ...] | None:
    """Read the size of crops as one integer a spatial dimension; None means no crops.

    Raises:
        ValueError: the size is not made of integers of 1 or more, or is larger than an output.
    """
    if crop is None:
        return None
    given = crop if isinstance(crop, tuple | list) else [crop] * specs[0].rank
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


def random_crops(
    key: jax.Array,
    images: list[jax.Array],
    targets: list[jax.Array],
    *,
    specs: tuple[ConvSpec, ...],
    size: tuple[int, ...],
    count: int,
) -> tuple[jax.Array, jax.Array]:
    """Draw crops of one image's target, and the parts of the image that their windows read.

    Args:
        key: decides which image (with a probability proportional to its target's size) and where.
        images: (n, *padded space, in) each.
        targets: (*batch, *space', out) each, n images in the batch.
        specs: the convolution of each image.
        size: the crop's size in the target.
        count: number of crops.

    Returns:
        (count, *read size, in) and (count, *size, out).
    """
    which, where = jax.random.split(key)
    sizes = jnp.asarray([y.size for y in targets], jnp.float32)
    number = jax.random.categorical(which, jnp.log(sizes))
    branches = [
        functools.partial(_crops, image=image, target=target, spec=spec, size=size, count=count)
        for image, target, spec in zip(images, targets, specs, strict=True)
    ]
    return lax.switch(number, branches, where)


def _crops(
    key: jax.Array,
    *,
    image: jax.Array,
    target: jax.Array,
    spec: ConvSpec,
    size: tuple[int, ...],
    count: int,
) -> tuple[jax.Array, jax.Array]:
    # (*batch, *space', out) -> (n, *space', out)
    target = target.reshape(-1, *target.shape[-spec.rank - 1 :])
    reach = [
        (c - 1) * s + extent(k, d)
        for c, s, k, d in zip(size, spec.stride, spec.kernel_size, spec.dilation, strict=True)
    ]
    room = [m - c + 1 for m, c in zip(spec.output_size, size, strict=True)]
    first = jax.random.randint(
        key, (count, 1 + spec.rank), 0, jnp.asarray([len(target), *room], jnp.int32)
    )
    steps = jnp.asarray([1, *spec.stride], jnp.int32)
    cut: Callable[..., Any] = lax.dynamic_slice

    def crop(at: jax.Array) -> tuple[jax.Array, jax.Array]:
        zero = jnp.zeros((), at.dtype)
        x = cut(image, (*(at * steps), zero), (1, *reach, image.shape[-1]))
        y = cut(target, (*at, zero), (1, *size, target.shape[-1]))
        return x[0], y[0]

    return jax.vmap(crop)(first)
