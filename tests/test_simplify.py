"""The smaller convolution has the same answer, and is as small as it can be."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv.simplify import simplify
from jaxconv.spec import ConvSpec
from jaxconv.trilinear import contract

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
    "padded, one entry": ConvSpec((2, 1), (1, 3), ((1, 0), (0, 0)), 1, (5, 4), (1, 1)),
    "strided to flat": ConvSpec(
        (2, 3, 1), (1,) * 3, ((0, 0), (0, 0), (1, 1)), 1, (5, 4, 5), (1, 2, 3)
    ),
}


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
    spec = simplify(SPECS[name]).spec
    assert (spec.kernel_size, spec.rank) == (kernel, rank)


@pytest.mark.parametrize(
    ("name", "read", "stride", "dilation", "padding"),
    [
        ("one entry", (range(4), range(3)), (1, 1), (1, 1), ((0, 0), (0, 0))),
        ("one entry, strided", (range(0, 5, 2), range(1, 8, 3)), (1, 1), (1, 1), ((0, 0), (0, 0))),
        # a padded position is an output too
        ("padded, one entry", (range(5), range(4)), (2, 1), (1, 1), ((1, 0), (0, 0))),
    ],
)
def test_only_what_is_read_is_kept(name, read, stride, dilation, padding):
    simple = simplify(SPECS[name])
    assert simple.read == read
    assert (simple.spec.stride, simple.spec.dilation) == (stride, dilation)
    assert simple.spec.padding == padding
    assert simple.spec.input_size == tuple(map(len, read))
    assert simple.spec.output_size == SPECS[name].output_size


def test_what_nothing_can_go_from_stays_as_it_is():
    for case in cases.CASES:
        smaller = simplify(case.spec)
        if smaller.spec.kernel_size == case.spec.kernel_size and min(case.spec.kernel_size) > 1:
            assert smaller.spec == case.spec, case


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
