"""From a dense layer to a kernel, and a convolution as a matrix."""

import re
from itertools import product

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES
from jax.experimental.sparse import BCOO

import jaxconv
from jaxconv._core.dispatch.primitive import contract
from jaxconv.analysis import as_matrix, parameter_counts
from jaxconv.analysis import dense as d

SIZES = [((2,), (5,)), ((5, 4), (5, 4)), ((2, 3, 2), (2, 2, 3))]


def layer(out, size, dtype="float32"):
    rng = np.random.default_rng(0)
    return cases.random(rng, (*out, *size), dtype), cases.random(rng, size, dtype)


@pytest.mark.parametrize(("out", "size"), SIZES)
def test_reindex_is_the_definition_and_loses_nothing(out, size):
    W, x = layer(out, size)
    V = np.asarray(d.reindex(W))
    assert V.shape == (*out, *(m + n - 1 for m, n in zip(out, size, strict=True)))
    h = np.zeros(out)
    for i in product(*map(range, out)):
        for stored in product(*map(range, V.shape[len(out) :])):
            a = [s - (m - 1) for s, m in zip(stored, out, strict=True)]
            k = tuple(i_ + a_ for i_, a_ in zip(i, a, strict=True))
            inside = all(0 <= k_ < n for k_, n in zip(k, size, strict=True))
            assert V[i + stored] == (W[i + k] if inside else 0)
            h[i] += V[i + stored] * x[k] if inside else 0
    np.testing.assert_array_equal(d.restore(V), W)
    np.testing.assert_allclose(d.dense(x, W), h, rtol=2e-5, atol=1e-6)


def test_reindex_reaches_both_ways():
    """The last output's weight on the first input is at the smallest offset, and the reverse."""
    W, _ = layer((3, 4), (3, 4))
    V = d.reindex(W)
    assert V[2, 3, 0, 0] == W[2, 3, 0, 0]
    assert V[0, 0, -1, -1] == W[0, 0, 2, 3]
    assert V[1, 1, 2, 3] == W[1, 1, 1, 1]


@pytest.mark.parametrize("dtype", ["int32", "complex64"])
def test_reindex_keeps_the_dtype(dtype):
    W, _ = layer((2, 2), (3, 2), dtype)
    V = d.reindex(W)
    assert V.dtype == dtype
    np.testing.assert_array_equal(d.restore(V), W)


@pytest.mark.parametrize(("out", "size"), SIZES)
def test_share_is_the_nearest_shift_invariant_layer(out, size):
    """The mean equals the least-squares solution over a basis of shift-invariant layers."""
    W, _ = layer(out, size)
    offsets = [m + n - 1 for m, n in zip(out, size, strict=True)]
    basis = np.eye(int(np.prod(offsets)), dtype=np.float32).reshape(-1, *offsets)
    columns = np.stack([np.asarray(d.restore(d.spread(v, out))).ravel() for v in basis], -1)
    want, *_ = np.linalg.lstsq(columns, W.ravel(), rcond=None)
    np.testing.assert_allclose(d.share(d.reindex(W)).ravel(), want, atol=2e-6)


def test_shift_invariance_is_seen_and_its_loss_too():
    v = np.random.default_rng(1).normal(size=(9, 7)).astype("float32")
    V = d.spread(v, (5, 4))
    assert d.is_shift_invariant(V)
    np.testing.assert_array_equal(d.share(V).shape, v.shape)
    np.testing.assert_allclose(d.share(V), v, rtol=1e-6)
    # weights outside the image multiply nothing and are ignored
    assert d.is_shift_invariant(V.at[0, 0, 0, 0].set(7))
    bent = V.at[2, 2, 4, 3].add(1e-3)
    assert not d.is_shift_invariant(bent)
    assert d.is_shift_invariant(bent, tolerance=2e-3)
    assert not d.is_shift_invariant(d.reindex(layer((5, 4), (5, 4))[0]))
    assert d.is_shift_invariant(d.spread(jnp.arange(5), (3,)))


@pytest.mark.parametrize("delta", [0, 1, (1, 2)])
def test_a_shared_truncated_layer_is_a_convolution(delta):
    """The three equations of D2L, section 6.1.2, give the same output."""
    W, x = layer((5, 6), (5, 6))
    V = d.truncate(d.spread(d.share(d.reindex(W)), (5, 6)), delta)
    k = d.kernel(V, delta)
    reach = (delta, delta) if isinstance(delta, int) else delta
    assert k.shape == tuple(2 * r + 1 for r in reach)
    h = d.dense(x, d.restore(V))
    np.testing.assert_allclose(jaxconv.correlate(x, k, mode="same"), h, atol=1e-5)
    y = jaxconv.conv(x[..., None], k[..., None, None], padding=reach)
    np.testing.assert_allclose(y[..., 0], h, atol=1e-5)


def test_truncate_keeps_what_is_near_and_nothing_else():
    V = d.truncate(d.reindex(np.ones((4, 5, 4, 5), np.float32)), (1, 2))
    W = np.asarray(d.restore(V))
    for i, j, a, b in np.ndindex(*W.shape):
        assert W[i, j, a, b] == (abs(a - i) <= 1 and abs(b - j) <= 2)
    np.testing.assert_array_equal(d.truncate(V, 9), V)


def test_a_kernel_wider_than_the_image_ends_in_zeros():
    W, x = layer((3,), (3,))
    k = d.kernel(d.reindex(W), 4)
    assert k.shape == (9,)
    assert not k[:2].any()
    assert not k[-2:].any()
    want = d.dense(x, d.restore(d.spread(d.share(d.reindex(W)), (3,))))
    np.testing.assert_allclose(jaxconv.correlate(x, k, mode="same"), want, atol=1e-6)


def test_the_steps_are_linear_and_differentiable():
    W, _ = layer((4,), (4,))
    project = jax.jit(lambda W: d.kernel(d.truncate(d.reindex(W), 1), 1))
    by_hand = jax.jacobian(project)(W)
    np.testing.assert_allclose(jnp.tensordot(by_hand, W, axes=2), project(W), atol=1e-6)
    assert jax.vmap(d.reindex)(jnp.stack([W, W])).shape == (2, 4, 7)


def test_parameter_counts():
    assert parameter_counts((1000, 1000), 3) == (10**12, 1999**2, 49)
    assert parameter_counts(8, 1, in_channels=3, out_channels=2) == (384, 90, 18)
    for size, delta in [((4, 3), 1), ((5, 5), 2)]:
        V = d.reindex(np.zeros((*size, *size)))
        counts = parameter_counts(size, delta)
        v = d.share(V)
        assert counts == (d.restore(V).size, v.size, d.kernel(V, delta).size)


@pytest.mark.cover(case=cases.traits)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_convolution_is_a_matrix(case):
    size, rank = case.spec.input_size, case.spec.rank
    x, w = case.operands("output")
    A = np.asarray(as_matrix(w, size, **case.arguments))
    # products in NumPy: nothing but the matrix itself is compiled
    y = cases.one_batch_axis(x, rank).reshape(-1, A.shape[1]) @ A.T
    cases.assert_matches(y.reshape(case.y), "output", x, w, case.spec)
    y, w = case.operands("input")
    back = cases.one_batch_axis(y, rank).reshape(-1, A.shape[0]) @ A
    cases.assert_matches(back.reshape(case.x), "input", y, w, case.spec)
    B = as_matrix(w, size, sparse=True, **case.arguments)
    entries = np.zeros(B.shape, B.dtype)
    np.add.at(entries, tuple(np.asarray(B.indices).T), np.asarray(B.data))
    np.testing.assert_array_equal(entries, A)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular", "symmetric"])
def test_a_matrix_of_every_padding_mode(mode):
    rng = np.random.default_rng(0)
    x, w = (cases.random(rng, shape, "float32") for shape in ((6, 5, 2), (3, 2, 2, 3)))
    arguments = {"stride": (2, 1), "padding": ((2, 1), (-1, 2)), "padding_mode": mode, "flip": True}
    y = jaxconv.conv(x, w, **arguments)
    A = np.asarray(as_matrix(w, (6, 5), **arguments))
    np.testing.assert_allclose(A @ x.ravel(), np.ravel(y), atol=2e-6)
    back = jaxconv.conv_transpose(y, w, **arguments)
    np.testing.assert_allclose(A.T @ np.ravel(y), np.ravel(back), atol=1e-5)


def test_the_transposed_matrix_is_conv_transpose():
    case = cases.by_name("2d multiplier")
    x, w = case.operands("output")
    y = jaxconv.conv(x, w, **case.arguments)[0]
    # (6, 5) is one more each way than the smallest input with as many outputs under stride 2
    back = jaxconv.conv_transpose(y, w, output_padding=1, **case.arguments)
    A = as_matrix(w, case.spec.input_size, sparse=True, **case.arguments)
    assert isinstance(A, BCOO)
    np.testing.assert_allclose(A @ x[0].ravel(), y.ravel(), atol=1e-5)
    np.testing.assert_allclose(A.T @ y.ravel(), back.ravel(), atol=1e-5)


def test_the_matrix_is_linear_in_w_under_jit():
    case = cases.by_name("2d grouped")
    x, w = case.operands("output")
    y = cases.random(np.random.default_rng(3), (6 * 6 * 4,), "float32")

    @jax.jit
    def form(w, x):
        return y @ (as_matrix(w, (6, 6), **case.arguments) @ x.ravel())

    @jax.jit
    def sparse_form(w, x):
        return y @ (as_matrix(w, (6, 6), sparse=True, **case.arguments) @ x.ravel())

    gradient = contract("kernel", x[0], y.reshape(6, 6, 4), case.spec, dtype="float32")
    for f in (form, sparse_form):
        np.testing.assert_allclose(jax.grad(f)(w, x[0]), gradient, atol=1e-5)
        np.testing.assert_allclose(f(2 * w, x[0]), 2 * f(w, x[0]), rtol=1e-5)


def test_the_sparse_matrix_is_what_it_says():
    case = cases.by_name("2d everything")
    _, w = case.operands("output")
    A = as_matrix(w, case.spec.input_size, sparse=True, **case.arguments)
    assert A.indices_sorted
    assert A.unique_indices
    indices = [tuple(index) for index in np.asarray(A.indices)]
    assert indices == sorted(set(indices))
    dense = as_matrix(w, case.spec.input_size, **case.arguments)
    np.testing.assert_array_equal(A.todense(), dense)
    folded = as_matrix(w[:, :, :2], (9, 8), padding=1, padding_mode="replicate", sparse=True)
    assert not folded.unique_indices


def assert_refused(error, message, f, *args, **kwargs):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        f(*args, **kwargs)


def test_bad_input():
    odd, thin = jnp.ones((2, 3, 4)), jnp.ones((5, 3))
    assert_refused(
        ValueError,
        "reindex: W.shape=(2, 3, 4) must have an even number of dimensions, the output's "
        "first and then as many of the input",
        d.reindex,
        odd,
    )
    assert_refused(
        ValueError, "reindex: W.shape=(0, 2) has a dimension of size zero", d.reindex, thin[:0, :2]
    )
    assert_refused(
        ValueError,
        "share: V.shape=(5, 3) has (3,) offsets for (5,) outputs, but m outputs and n inputs have "
        "m + n - 1 offsets, at least m; jaxconv.analysis.dense.reindex makes such an array",
        d.share,
        thin,
    )
    assert_refused(
        TypeError,
        "share: V is int32, but means need floats: use V.astype(jnp.float32)",
        d.share,
        jnp.ones((2, 3), int),
    )
    assert_refused(
        ValueError,
        "dense: x.shape=(5,) must be (3,), the end of W.shape=(5, 3)",
        d.dense,
        jnp.ones(5),
        thin,
    )
    assert_refused(
        ValueError, "truncate: delta=-1 must be at least 0", d.truncate, jnp.ones((2, 3)), -1
    )
    assert_refused(
        ValueError,
        "kernel: delta=(1, 1) has 2 entries for 1 spatial dimension; give one integer",
        d.kernel,
        jnp.ones((2, 3)),
        (1, 1),
    )
    assert_refused(
        ValueError,
        "as_matrix: the kernel spans (3,) elements (kernel_size=(3,), dilation=(1,)), but the "
        "padded input has (2,) (size (2,), padding=((0, 0),)); use a smaller kernel, or (1,) more "
        "elements of padding",
        as_matrix,
        jnp.ones((3, 1, 1)),
        2,
    )
    assert_refused(
        ValueError,
        "as_matrix: w.shape=(3,) must be (*kernel, in // groups, out) with at least one kernel "
        "dimension; jaxconv.correlate takes kernels without channels",
        as_matrix,
        jnp.ones(3),
        2,
    )
    assert_refused(
        ValueError,
        "as_matrix: padding_mode='wrap' must be one of 'zeros', 'reflect', 'symmetric', "
        "'replicate', 'circular'; 'wrap' is 'circular' here",
        as_matrix,
        jnp.ones((3, 1, 1)),
        4,
        padding_mode="wrap",
    )
    assert_refused(
        ValueError,
        "parameter_counts: image_size=(0, 4) must be at least 1 in every dimension",
        parameter_counts,
        (0, 4),
        1,
    )
