"""The smaller convolution has the same answer, and is as small as it can be."""

import dataclasses

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry.problem import reduce
from jaxconv._core.geometry.shapes import outputs_inside
from jaxconv._core.geometry.spec import ConvSpec

# kernels far larger than their images, flat volumes, both, dilation and stride over the edge
SPECS = {
    "too large": ConvSpec((1, 1), (1, 1), ((9, 9), (8, 9)), 2, (4, 3), (19, 18)),
    "strided": ConvSpec((2, 3), (1, 2), ((12, 11), (9, 9)), 1, (5, 4), (17, 9)),
    "flat volume": ConvSpec(
        (1, 1, 2), (1, 1, 1), ((0, 0), (1, 0), (1, 1)), 1, (3, 4, 5), (1, 2, 3)
    ),
    "twice flat": ConvSpec((1,) * 4, (1,) * 4, ((0, 0),) * 4, 2, (2, 3, 4, 5), (1, 1, 2, 2)),
    "flat when cut": ConvSpec(
        (1,) * 3, (1,) * 3, ((0, 4), (0, 0), (1, 1)), 1, (1, 4, 4), (5, 2, 3)
    ),
    "padding only": ConvSpec((3,), (1,), ((7, 0),), 1, (1,), (2,)),
    "one entry": ConvSpec((1, 1), (1, 1), ((0, 0), (0, 0)), 1, (4, 3), (1, 1)),
    "one entry, strided": ConvSpec((2, 3), (2, 1), ((0, 0), (-1, 0)), 2, (5, 9), (1, 1)),
    "padded, one entry": ConvSpec(
        (2, 1, 1), (1,) * 3, ((1, 0), (0, 0), (0, 0)), 1, (5, 4, 4), (1, 2, 1)
    ),
    "strided to flat": ConvSpec(
        (2, 3, 1), (4, 1, 1), ((-1, 0), (0, 0), (1, 1)), 1, (7, 4, 5), (1, 2, 3)
    ),
}


@pytest.mark.cover
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("contraction", cases.CONTRACTIONS)
def test_the_answer_is_the_references(contraction, spec):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *spec.input_size, 2 * spec.groups), np.float32)
    w = rng.standard_normal((*spec.kernel_size, 2, 3 * spec.groups), np.float32)
    y = rng.standard_normal((2, *spec.output_size, 3 * spec.groups), np.float32)
    arrays = {"x": x, "w": w, "y": y}
    a, b = (arrays[name] for name in cases.OPERANDS[contraction])
    found = contract(contraction, jnp.asarray(a), jnp.asarray(b), spec, dtype="float32")
    cases.assert_matches(found, contraction, a, b, spec)


@pytest.mark.parametrize(
    ("name", "kernel", "rank"),
    [
        ("too large", (7, 5), 2),
        ("strided", (15, 4), 2),
        ("flat volume", (2, 3), 2),
        ("twice flat", (2, 2), 2),
        ("flat when cut", (2, 3), 2),
        ("padding only", (1,), 1),
        ("one entry", (1, 1), 2),
        ("one entry, strided", (1, 1), 2),
        ("strided to flat", (2, 3), 2),
    ],
)
def test_nothing_more_can_go(name, kernel, rank):
    spec = reduce(SPECS[name]).spec
    assert (spec.kernel_size, spec.rank) == (kernel, rank)


@pytest.mark.parametrize(
    ("name", "read", "stride"),
    [
        # what a plane's kernel of one entry skips is left to the methods
        ("one entry, strided", (range(5), range(9)), (2, 3)),
        # a padded position is an output too
        ("padded, one entry", (range(5), range(4), range(4)), (2, 1, 1)),
        ("strided to flat", (range(1, 7, 2), range(4), range(5)), (3, 1)),
    ],
)
def test_only_what_is_read_is_kept(name, read, stride):
    simple = reduce(SPECS[name])
    assert [list(positions) for positions in simple.read] == [list(r) for r in read]
    assert simple.spec.stride == stride
    assert simple.spec.output_size == SPECS[name].output_size[simple.folded :]


@pytest.mark.parametrize("stride", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [1, 2, 9])
def test_outputs_inside_are_those_of_the_definition(size, stride):
    for outputs in range(7):
        for offset in range(-30, 30):
            inside = [t for t in range(outputs) if 0 <= t * stride + offset < size]
            assert list(outputs_inside(size, outputs, stride, offset)) == inside


def test_what_nothing_can_go_from_stays_as_it_is():
    for case in cases.CASES:
        smaller = reduce(case.spec)
        if smaller.spec.kernel_size == case.spec.kernel_size and not smaller.folded:
            kept = dataclasses.replace(smaller.spec, dilation=case.spec.dilation)
            assert kept == case.spec, case


def test_cut_entries_get_no_gradient_and_mapped_axes_join_as_ever():
    x, w = jnp.ones((3, 4, 4, 2)), jnp.ones((19, 19, 2, 2))

    def loss(x, w):
        return (jaxconv.conv(x, w, padding="same") ** 2).sum()

    gradient = jax.jit(jax.grad(loss, 1))(x, w)
    assert gradient.shape == w.shape
    assert not gradient[:6].any()
    assert gradient[6:13, 6:13].all()
    each = jax.vmap(jax.grad(loss, 1), (0, None))(x, w)
    np.testing.assert_allclose(each.sum(0), gradient, rtol=1e-5)


def test_an_empty_line_has_its_padding_only():
    x, w = jnp.ones((2, 0, 3)), jnp.ones((3, 3, 4))

    def loss(x, w):
        return (jaxconv.conv(x, w, padding=2) + 1).sum()

    assert jax.jit(loss)(x, w) == 2 * 2 * 4
    for_x, for_w = jax.grad(loss, (0, 1))(x, w)
    assert for_x.shape == x.shape
    assert not for_w.any()
