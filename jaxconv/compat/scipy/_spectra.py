"""Convolution by products of spectra: fast lengths, real transforms, overlap-add."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxconv._core.geometry.shapes import fast_length


class Blocks(NamedTuple):
    """How an axis is divided: FFT length, and (number, size) of the blocks of both inputs."""

    length: int
    first: tuple[int, int]
    second: tuple[int, int]


def whole(first: int, second: int) -> Blocks:
    """Transform an axis as one block."""
    return Blocks(fast_length(first + second - 1), (1, first), (1, second))


def overlap_add(first: int, second: int) -> Blocks:
    """Divide the longer of two axes into blocks if that needs fewer operations than one long FFT.

    A block of `length` gives `length - short + 1` new elements for `length log(length)` operations.
    Their ratio first falls and then rises with the length; its minimum is used.
    """
    long, short = max(first, second), min(first, second)
    if short == 1 or 2 * short >= long:
        return whole(first, second)

    def cost(length: int) -> float:
        return length * math.log2(length) / (length - short + 1)

    length = fast_length(2 * short)
    while cost(longer := fast_length(length + 1)) < cost(length):
        length = longer
    if length >= long:
        return whole(first, second)
    step = length - short + 1
    blocks = (-(-long // step), step)
    return Blocks(length, *((blocks, (1, short)) if first > second else ((1, short), blocks)))


@partial(jax.jit, static_argnames=("axes", "blocks"))
def convolve_full(
    a: jax.Array, b: jax.Array, axes: tuple[int, ...], blocks: tuple[Blocks, ...]
) -> jax.Array:
    """Convolve two inexact arrays of one dtype and rank along `axes`; the others are broadcast.

    Args:
        a: any shape.
        b: as many dimensions.
        axes: in increasing order.
        blocks: one for each of `axes`.
    """
    sizes = [a.shape[axis] + b.shape[axis] - 1 for axis in axes]
    # along each axis: (size) -> (blocks, elements)
    a = _divide(a, axes, [block.first for block in blocks])
    b = _divide(b, axes, [block.second for block in blocks])
    transformed = [axis + n + 1 for n, axis in enumerate(axes)]
    y = _product(a, b, transformed, [block.length for block in blocks])
    for axis, block, size in zip(axes, blocks, sizes, strict=True):
        y = _overlap_add(y, axis, max(block.first, block.second), size)
    return y


def _divide(x: jax.Array, axes: Sequence[int], blocks: Sequence[tuple[int, int]]) -> jax.Array:
    for n, (axis, (count, step)) in enumerate(zip(axes, blocks, strict=True)):
        at = axis + n  # each earlier axis has become two
        widths = [(0, 0)] * x.ndim
        widths[at] = (0, count * step - x.shape[at])
        x = jnp.pad(x, widths).reshape(*x.shape[:at], count, step, *x.shape[at + 1 :])
    return x


def _product(a: jax.Array, b: jax.Array, axes: Sequence[int], lengths: Sequence[int]) -> jax.Array:
    """Multiply the spectra along `axes` and apply the inverse transform."""
    *others, last = zip(axes, lengths, strict=True)
    real = not jnp.iscomplexobj(a)
    forward, backward = (jnp.fft.rfft, jnp.fft.irfft) if real else (jnp.fft.fft, jnp.fft.ifft)
    spectra = []
    for x in (a, b):
        x = forward(x, n=last[1], axis=last[0])
        for axis, length in others:
            x = jnp.fft.fft(x, n=length, axis=axis)
        spectra.append(x)
    y = spectra[0] * spectra[1]
    for axis, length in others:
        y = jnp.fft.ifft(y, n=length, axis=axis)
    return backward(y, n=last[1], axis=last[0])


def _overlap_add(y: jax.Array, axis: int, blocks: tuple[int, int], size: int) -> jax.Array:
    """Add overlapping blocks: (count, length) at `axis` -> (size), with a block every `step`."""
    count, step = blocks
    if count == 1:
        return jax.lax.slice_in_dim(jnp.squeeze(y, axis), 0, size, axis=axis)
    # (count, length) -> (count, chunks, step): chunk c of block n is added at position n + c
    length = y.shape[axis + 1]
    chunks = -(-length // step)
    widths = [(0, 0)] * y.ndim
    widths[axis + 1] = (0, chunks * step - length)
    y = jnp.pad(y, widths)
    total = None
    for c in range(chunks):
        chunk = jax.lax.slice_in_dim(y, c * step, (c + 1) * step, axis=axis + 1)
        widths = [(0, 0)] * y.ndim
        widths[axis] = (c, chunks - 1 - c)
        chunk = jnp.pad(chunk, widths)
        total = chunk if total is None else total + chunk
    assert total is not None
    shape = total.shape
    flat = total.reshape(*shape[:axis], shape[axis] * step, *shape[axis + 2 :])
    return jax.lax.slice_in_dim(flat, 0, size, axis=axis)
