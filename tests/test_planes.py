"""Planes, lines and volumes: the chapter's edge, and the same answers as NumPy and SciPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
from jax.test_util import check_grads

from jaxconv import convolve, corr2d, correlate, reference

MODES = ("valid", "same", "same_lower", "full")
# ours -> scipy.ndimage's name
NDIMAGE = {
    "zeros": "constant",
    "constant": "constant",
    "reflect": "mirror",
    "symmetric": "reflect",
    "replicate": "nearest",
    "circular": "wrap",
}
NUMPY = {
    "zeros": "constant",
    "constant": "constant",
    "reflect": "reflect",
    "symmetric": "symmetric",
    "replicate": "edge",
    "circular": "wrap",
}

EDGE = np.ones((6, 8), "float32")
EDGE[:, 2:6] = 0
ANSWER = np.tile(np.float32([0, 1, 0, 0, 0, -1, 0]), (6, 1))


def integers(*shape, seed=0, dtype="float32"):
    """Small integers, so that every sum is exact and comparisons can be too."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(dtype)


def same(ours, theirs):
    assert ours.shape == theirs.shape
    np.testing.assert_array_equal(ours, theirs)


# --- the chapter's function


@pytest.mark.parametrize("method", ["auto", "lax", "loops"])
def test_the_edge_of_the_chapter(method):
    k = np.float32([[1, -1]])
    same(corr2d(EDGE, k, method=method), ANSWER)
    same(corr2d(EDGE.T, k, method=method), np.zeros((8, 5), "float32"))
    same(corr2d(EDGE.T, k.T, method=method), ANSWER.T)


@pytest.mark.parametrize("method", ["lax", "loops"])
@pytest.mark.parametrize("shapes", [((6, 8), (1, 2)), ((5, 5), (5, 5)), ((7, 4), (2, 3))], ids=str)
def test_corr2d_is_the_definition(shapes, method):
    x, k = integers(*shapes[0]), integers(*shapes[1], seed=1)
    same(corr2d(x, k, method=method), reference.corr2d(x, k))


@pytest.mark.parametrize("method", ["lax", "loops"])
def test_corr2d_under_jit_grad_and_vmap(method):
    f = functools.partial(corr2d, method=method)
    x, k = integers(3, 5, 6), integers(3, 2, 3, seed=1)
    want = np.stack([[reference.corr2d(a, b) for b in k] for a in x])
    each = jax.jit(jax.vmap(jax.vmap(f, (None, 0)), (0, None)))
    same(each(x, k), want)
    same(jax.vmap(f)(x, k), want[np.arange(3), np.arange(3)])
    check_grads(f, (x[0], k[0]), order=1, modes=("fwd", "rev"), eps=1.0, rtol=1e-3)
    # learning: the gradient in k of <y, corr2d(x, k)> is the correlation of x with y
    dk = jax.grad(lambda k: (want[0, 0] * f(x[0], k)).sum())(k[0])
    same(dk, reference.corr2d(x[0], want[0, 0]))


def test_loops_compile_to_the_same_program_for_any_image():
    """Its length does not grow with the image: one compiled loop, never unrolled."""

    def lines(method, size):
        x, k = np.zeros((size, size), "float32"), np.zeros((3, 3), "float32")
        f = jax.jit(functools.partial(corr2d, method=method))
        return len(f.lower(x, k).as_text().splitlines())

    assert lines("loops", 512) == lines("loops", 16)
    assert (
        "while"
        in jax.jit(functools.partial(corr2d, method="loops")).lower(EDGE, EDGE[:1, :2]).as_text()
    )


# --- any rank, mode, boundary and axes


def extended(x, k, mode, boundary, fill):
    """x with the margin of the mode, made by NumPy."""
    spans = [n - 1 for n in k.shape]
    pads = {
        "valid": [(0, 0) for _ in spans],
        "same": [(s // 2, s - s // 2) for s in spans],
        "same_lower": [(s - s // 2, s // 2) for s in spans],
        "full": [(s, s) for s in spans],
    }[mode]
    more = {"constant_values": fill} if boundary == "constant" else {}
    return np.pad(x, pads, mode=NUMPY[boundary], **more)


@pytest.mark.cover
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("boundary", NUMPY)
def test_every_mode_and_boundary(boundary, mode):
    """The even kernel tells the modes apart, the fill value the boundaries."""
    x, k = integers(6, 5), integers(3, 4, seed=1)
    fill = {"fill_value": 7} if boundary == "constant" else {}
    want = reference.corr2d(extended(x, k, mode, boundary, 7), k)
    same(jax.jit(functools.partial(correlate, mode=mode, boundary=boundary, **fill))(x, k), want)
    flipped = np.ascontiguousarray(k[::-1, ::-1])
    got = jax.jit(functools.partial(convolve, mode=mode, boundary=boundary, **fill))(x, flipped)
    same(got, want)


@pytest.mark.parametrize(("n", "k"), [(7, 3), (7, 4), (5, 5), (4, 1)])
def test_numpy_convolve(n, k):
    """numpy's "same" puts an even kernel's odd element after: of the true convolution's margin."""
    x, kernel = integers(n), integers(k, seed=1)
    for ours, theirs in (("valid", "valid"), ("full", "full"), ("same_lower", "same")):
        same(convolve(x, kernel, mode=ours), np.convolve(x, kernel, theirs))
        same(correlate(x, kernel, mode=ours), np.correlate(x, kernel, theirs))


@pytest.mark.parametrize("kernel", [(3, 3), (2, 4)], ids=str)
def test_scipy_signal(kernel):
    """boundary "symm" is our "symmetric"; "same" is centred as numpy's is."""
    x, k = integers(6, 7), integers(*kernel, seed=1)
    names = {"zeros": "fill", "circular": "wrap", "symmetric": "symm"}
    for boundary, theirs in names.items():
        for ours, mode in (("valid", "valid"), ("full", "full"), ("same_lower", "same")):
            arguments = {"mode": mode, "boundary": theirs}
            same(
                convolve(x, k, mode=ours, boundary=boundary),
                scipy.signal.convolve2d(x, k, **arguments),
            )
    same(
        correlate(x, k, mode="full", boundary="constant", fill_value=3),
        scipy.signal.correlate2d(x, k, mode="full", boundary="fill", fillvalue=3),
    )


def test_scipy_signal_conjugates_and_we_do_not():
    x = integers(6) + 1j * integers(6, seed=1)
    k = integers(3, seed=2) + 1j * integers(3, seed=3)
    x, k = x.astype("complex64"), k.astype("complex64")
    same(correlate(x, k.conj()), scipy.signal.correlate(x, k, mode="valid", method="direct"))
    same(convolve(x, k), scipy.signal.convolve(x, k, mode="valid", method="direct"))


@pytest.mark.parametrize("boundary", NDIMAGE)
@pytest.mark.parametrize("kernel", [(3, 3), (2, 4)], ids=str)
def test_scipy_ndimage(kernel, boundary):
    """An even kernel's odd element goes before in ndimage.correlate, after in its convolve."""
    x, k = integers(6, 7), integers(*kernel, seed=1)
    fill = {"fill_value": 7} if boundary == "constant" else {}
    theirs = {"mode": NDIMAGE[boundary], "cval": 7 if boundary == "constant" else 0}
    same(
        correlate(x, k, mode="same_lower", boundary=boundary, **fill),
        scipy.ndimage.correlate(x, k, **theirs),
    )
    same(
        convolve(x, k, mode="same", boundary=boundary, **fill),
        scipy.ndimage.convolve(x, k, **theirs),
    )


@pytest.mark.parametrize("mode", MODES)
def test_any_rank(mode):
    """Lines, volumes and beyond, beside scipy.signal's direct sums."""
    theirs = {"same_lower": "same"}.get(mode, mode)
    for shape, kernel in (((9,), (4,)), ((4, 5, 6), (3, 2, 4)), ((3, 4, 3, 5), (2, 3, 1, 2))):
        x, k = integers(*shape), integers(*kernel, seed=1)
        if mode == "same":  # the odd element on the other side: everything seen in a mirror
            want = np.flip(scipy.signal.convolve(np.flip(x), np.flip(k), theirs, "direct"))
        else:
            want = scipy.signal.convolve(x, k, theirs, "direct")
        same(convolve(x, k, mode=mode), want)


@pytest.mark.parametrize(
    "axes", [(1,), (-1,), (0, 2), (2, 0), (1, 0), (-2, -1), (2, 0, 1)], ids=str
)
def test_axes(axes):
    """The kernel's dimensions run over the axes named, in the kernel's order."""
    x, k = integers(5, 4, 6), integers(*(3, 2, 4)[: len(axes)], seed=1)
    order = np.argsort([axis % 3 for axis in axes])
    shape = [1, 1, 1]
    for axis, n in zip(axes, k.shape, strict=True):
        shape[axis] = n
    whole = k.transpose(order).reshape(shape)
    for mode, boundary in (("valid", "zeros"), ("same_lower", "symmetric")):
        want = scipy.ndimage.correlate(x, whole, mode="reflect")
        if mode == "valid":
            # the part of the answer that reads no margin
            cut = tuple(
                slice(n // 2, m - (n - 1) // 2) for n, m in zip(shape, x.shape, strict=True)
            )
            want = want[cut]
        same(correlate(x, k, axes=axes, mode=mode, boundary=boundary), want)


def test_every_other_axis_is_a_batch_axis():
    x, k = integers(0, 6), integers(3, seed=1)
    assert correlate(x, k, axes=(1,)).shape == (0, 4)
    x = integers(2, 6)
    same(convolve(x, k, axes=(1,)), np.stack([np.convolve(row, k, "valid") for row in x]))


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint8", "float16", "bfloat16", "complex64"])
def test_dtypes_are_kept(dtype):
    x, k = integers(7, seed=3), integers(3, seed=4)
    if dtype == "uint8":
        x, k = np.abs(x), np.abs(k)
    want = np.correlate(x, k, "full")
    x, k = x.astype(jnp.dtype(dtype)), k.astype(jnp.dtype(dtype))
    # integers of few bits must be asked for
    how = {"preferred_element_type": dtype} if "int8" in dtype else {}
    y = correlate(x, k, mode="full", **how)
    assert y.dtype == dtype
    # wrapping around, as NumPy's integers do; sums below 2^8 are exact in every float
    want = want.astype("int64").astype(dtype) if "int" in dtype else want
    same(y, want.astype(y.dtype))


@pytest.mark.parametrize("call", [correlate, convolve])
def test_sums_in_the_dtype_asked_for(call):
    for dtype, wanted in (("int8", "int32"), ("uint8", "int32"), ("int8", "float32")):
        x, k = np.full(8, 127, dtype), np.full(8, 127, dtype)
        y = call(x, k, preferred_element_type=wanted)
        assert y.dtype == wanted
        assert y.tolist() == [8 * 127 * 127]
    assert call(x, np.ones(8, "int8"), preferred_element_type="int8").tolist() == [-8]
    y = call(x.astype("float16"), k.astype("float16"), preferred_element_type=jnp.float32)
    assert y.tolist() == [8 * 127 * 127]  # beyond float16


def test_gradients_reach_kernel_image_and_fill_value():
    x, k = integers(5, 6), integers(3, 3, seed=1)
    f = functools.partial(correlate, mode="same", boundary="constant")
    check_grads(
        lambda x, k, v: f(x, k, fill_value=v),
        (x, k, np.float32(2)),
        order=1,
        modes=("fwd", "rev"),
        eps=1.0,
        rtol=1e-3,
    )
    for boundary in ("reflect", "symmetric", "replicate", "circular"):
        g = functools.partial(convolve, mode="full", boundary=boundary)
        check_grads(jax.jit(g), (x, k), order=1, modes=("rev",), eps=1.0, rtol=1e-3)


def test_the_fill_value_may_be_traced():
    x, k = integers(5), integers(3, seed=1)
    f = jax.jit(lambda v: correlate(x, k, mode="full", boundary="constant", fill_value=v))
    same(f(4.0), correlate(x, k, mode="full", boundary="constant", fill_value=4))


def test_a_shift_by_a_kernel_with_one_entry():
    """Which way is which: y[t] = x[t + 1] for the last of three entries under "same"."""
    x, k = np.float32([1, 2, 3, 4]), np.float32([0, 0, 1])
    assert correlate(x, k, mode="same").tolist() == [2, 3, 4, 0]
    assert convolve(x, k, mode="same").tolist() == [0, 1, 2, 3]
    even = np.float32([1, 0])
    assert correlate(x, even, mode="same").tolist() == [1, 2, 3, 4]
    assert correlate(x, even, mode="same_lower").tolist() == [0, 1, 2, 3]
