"""Windows as columns and back, beside torch's unfold and fold."""

import functools

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES
from jax.test_util import check_grads

from jaxconv import conv, fold, unfold

UNGROUPED = [case for case in CASES if case.arguments.get("groups", 1) == 1]


def window_arguments(case):
    return {name: value for name, value in case.arguments.items() if name != "groups"}


def integers(*shape, seed=0):
    """Small integers in float32, so that sums are exact and comparisons can be too."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype("float32")


@pytest.mark.parametrize("case", UNGROUPED, ids=str)
def test_a_convolution_is_a_matrix_product_of_windows(case):
    x, w = integers(*case.x), integers(*case.w, seed=1)
    f = jax.jit(
        functools.partial(unfold, kernel_size=case.spec.kernel_size, **window_arguments(case))
    )
    cols = f(x)
    assert cols.shape == (*case.y[:-1], np.prod(case.w[:-1]))
    want = cases.expected("output", x, w, case.spec)
    np.testing.assert_array_equal(np.asarray(cols) @ w.reshape(-1, w.shape[-1]), want)
    if case.name in ("2d uneven pads", "1d no batch"):
        np.testing.assert_array_equal(conv(x, w, **case.arguments), want)


@pytest.mark.cover(case=cases.traits)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_fold_is_the_adjoint(case):
    """<unfold(x), c> = <x, fold(c)>, and fold is what JAX's transpose of unfold gives."""
    more = {"kernel_size": case.spec.kernel_size, **window_arguments(case)}
    x = integers(*case.x)

    @jax.jit
    def run(x, c):
        cols, pull = jax.vjp(functools.partial(unfold, **more), x)
        back, push = jax.vjp(functools.partial(fold, output_size=case.spec.input_size, **more), c)
        return cols, pull(c)[0], back, push(x)[0]

    c = integers(*(*case.y[:-1], int(np.prod(case.spec.kernel_size)) * case.x[-1]), seed=1)
    cols, transposed, back, gradient = run(x, c)
    np.testing.assert_array_equal(back, transposed)
    np.testing.assert_array_equal(gradient, cols)  # fold's own adjoint is unfold again
    assert np.vdot(cols, c) == np.vdot(x, back)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"stride": 2, "padding": 1},
        {"dilation": (2, 1), "padding": (2, 0)},
        {"stride": (3, 2), "dilation": 2, "padding": 2},
    ],
    ids=str,
)
def test_torch(arguments, torch):
    """torch has (n, channels * taps, positions), we have (n, *positions, taps * channels)."""
    x, kernel = integers(2, 7, 8, 3), (3, 2)
    theirs = torch.nn.functional.unfold(torch.tensor(np.moveaxis(x, -1, 1)), kernel, **arguments)
    cols = jax.jit(lambda x: unfold(x, kernel, **arguments))(x)
    np.testing.assert_array_equal(ours_from_torch(theirs.numpy(), cols.shape, kernel), cols)
    dy = integers(*theirs.shape, seed=1)
    summed = torch.nn.functional.fold(torch.tensor(dy), (7, 8), kernel, **arguments)
    dy = ours_from_torch(dy, cols.shape, kernel)
    back = jax.jit(lambda c: fold(c, (7, 8), kernel, **arguments))(dy)
    np.testing.assert_array_equal(back, np.moveaxis(summed.numpy(), 1, -1))


def ours_from_torch(cols, shape, kernel):
    """(n, c * taps, positions) -> (n, *positions, taps * c)."""
    n, taps = shape[0], int(np.prod(kernel))
    cols = cols.reshape(n, -1, taps, *shape[1:-1])
    return np.moveaxis(cols, (1, 2), (-1, -2)).reshape(shape)


def test_fold_after_unfold_counts_the_windows():
    x = integers(5, 6, 2)
    more = {"kernel_size": (3, 2), "stride": (2, 1), "padding": 1}
    counts = fold(unfold(jnp.ones((5, 6, 1)), **more), (5, 6), **more)
    np.testing.assert_array_equal(fold(unfold(x, **more), (5, 6), **more), x * counts)


def test_windows_without_overlap_are_only_rearranged():
    x = integers(2, 6, 4, 3)
    cols = unfold(x, (3, 2), stride=(3, 2))
    np.testing.assert_array_equal(cols[1, 1, 0], x[1, 3:6, 0:2].reshape(-1))
    np.testing.assert_array_equal(fold(cols, (6, 4), (3, 2), stride=(3, 2)), x)


def test_what_the_stride_skips_comes_back_as_zeros():
    x = jnp.ones((8, 1))
    cols = unfold(x, (3,), stride=2)
    assert fold(cols, (8,), (3,), stride=2)[:, 0].tolist() == [1, 1, 2, 1, 2, 1, 1, 0]


@pytest.mark.parametrize("dtype", ["bool", "int8", "bfloat16", "complex64"])
def test_dtypes_are_kept(dtype):
    x = np.asarray(integers(5, 2)).astype(jnp.dtype(dtype))
    cols = unfold(x, (3,), padding="same")
    assert cols.dtype == dtype
    np.testing.assert_array_equal(
        np.asarray(cols)[1:-1], np.stack([x[n : n + 3].ravel() for n in range(3)])
    )
    if dtype != "bool":
        assert fold(cols, (5,), (3,), padding="same").dtype == dtype


def test_gradients_and_vmap():
    x = integers(3, 6, 5, 2)
    f = lambda x: unfold(x, (2, 3), stride=(1, 2), padding=((1, 0), (-1, 0)))
    check_grads(jax.jit(f), (x,), order=1, modes=("fwd", "rev"), eps=1.0)
    np.testing.assert_array_equal(jax.vmap(f)(x), f(x))


def test_the_translation_from_torch_can_fail(torch):
    """Taps and channels in the wrong order are another array."""
    x = integers(1, 4, 4, 2)
    cols = np.asarray(unfold(x, (2, 2)))
    theirs = torch.nn.functional.unfold(torch.tensor(np.moveaxis(x, -1, 1)), (2, 2)).numpy()
    assert not np.array_equal(np.moveaxis(theirs, 1, -1).reshape(cols.shape), cols)
