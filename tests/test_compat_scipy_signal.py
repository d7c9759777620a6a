"""Filters of finite length of `jaxconv.compat.scipy.signal`, compared with SciPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal as theirs
from jax.test_util import check_grads

from jaxconv.compat.scipy import signal as ours
from jaxconv.compat.scipy._resampling import MODES

X = np.random.default_rng(0).normal(size=(3, 40)).astype(np.float32)
H = np.random.default_rng(1).normal(size=7).astype(np.float32)


def assert_near(found, want, tolerance=2e-6):
    """Compare values relative to the largest, and kinds of dtype: float64 is float32 here."""
    assert found.shape == want.shape
    assert found.dtype.kind == want.dtype.kind
    scale = np.abs(want).max() * tolerance
    np.testing.assert_allclose(found, want, rtol=0, atol=scale)


@pytest.mark.parametrize(
    ("up", "down"), [(1, 1), (1, 4), (3, 1), (3, 2), (2, 3), (4, 6), (9, 2), (2, 19)]
)
def test_upfirdn(up, down):
    for h in (H, H[:1], H[:2]):
        assert_near(ours.upfirdn(h, X, up, down), theirs.upfirdn(h, X, up, down))
    assert_near(ours.upfirdn(H, X.T, up, down, axis=0), theirs.upfirdn(H, X.T, up, down, axis=0))
    assert_near(ours.upfirdn(H, X + 1j * X, up, down), theirs.upfirdn(H, X + 1j * X, up, down))


@pytest.mark.cover
@pytest.mark.parametrize("size", [2, 3, 9])
@pytest.mark.parametrize("mode", MODES)
def test_what_lies_outside(mode, size):
    """Filters reach several times beyond short lines."""
    x = X[0, :size]
    for up, down in ((1, 1), (3, 2), (2, 5)):
        for h in (H, np.tile(H, 3)):
            how = {"mode": mode, "cval": 1.5 if mode == "constant" else 0}
            assert_near(
                ours.upfirdn(h, x, up, down, **how), theirs.upfirdn(h, x, up, down, **how), 4e-6
            )


@pytest.mark.parametrize("mode", MODES)
def test_what_lies_outside_of_one_element(mode):
    """The same on and on, but for zeros and for what changes its sign."""
    x, h = X[0, :1], np.array([1.0, 2.0, 5.0, 3.0], np.float32)
    around = {"constant": [0, 0, 0, 1, 0, 0, 0], "antisymmetric": [-1, 1, -1, 1, -1, 1, -1]}
    outside = np.array(around.get(mode, [1] * 7)) * x
    assert_near(ours.upfirdn(h, x, mode=mode), np.convolve(outside, h)[3:7].astype(np.float32))


def test_only_what_is_kept_is_computed():
    found = jax.jit(lambda x: ours.upfirdn(H, x, 1, 4)).lower(X[:, :400]).cost_analysis()
    every = jax.jit(lambda x: ours.upfirdn(H, x)).lower(X[:, :400]).cost_analysis()
    assert found["flops"] < every["flops"] / 3


@pytest.mark.parametrize("padtype", ["constant", "edge", "mean", "median", "minimum", "maximum"])
@pytest.mark.parametrize(("up", "down"), [(1, 2), (3, 2), (4, 6), (5, 5)])
def test_resample_poly(up, down, padtype):
    how = {"axis": 1, "padtype": padtype}
    assert_near(
        ours.resample_poly(X, up, down, **how), theirs.resample_poly(X, up, down, **how), 4e-6
    )


@pytest.mark.parametrize("window", ["hamming", ("kaiser", 2.0), [0.5, 1.0, 0.5], H], ids=str)
def test_resample_poly_by_window(window):
    found = ours.resample_poly(X, 2, 3, axis=1, window=window, cval=2.0)
    assert_near(found, theirs.resample_poly(X, 2, 3, axis=1, window=window, cval=2.0), 4e-6)
    whole = np.arange(30)
    assert_near(ours.resample_poly(whole, 2, 3), theirs.resample_poly(whole, 2, 3), 4e-6)


@pytest.mark.parametrize("zero_phase", [True, False])
def test_decimate(zero_phase):
    how = {"zero_phase": zero_phase}
    for x in (X, (100 * X).astype(np.int16)):
        for more in ({"ftype": "fir"}, {"ftype": "fir", "n": 6}):
            assert_near(
                ours.decimate(x, 3, **more, **how), theirs.decimate(x, 3, **more, **how), 4e-6
            )
    system = theirs.dlti([0.25, 0.5, 0.25], [1.0])
    how["ftype"] = system
    assert_near(ours.decimate(X, 3, **how), theirs.decimate(X, 3, **how), 4e-6)


@pytest.mark.parametrize("axis", [0, -1])
def test_lfilter(axis):
    assert_near(ours.lfilter(H, 2.0, X, axis), theirs.lfilter(H, 2.0, X, axis))
    assert_near(ours.lfilter(H[:1], [4.0], X, axis), theirs.lfilter(H[:1], [4.0], X, axis))
    shape = [1, 1]
    shape[axis] = 6
    zi = np.arange(6, dtype=np.float32).reshape(shape)
    for found, want in zip(
        ours.lfilter(H, 2.0, X, axis, zi), theirs.lfilter(H, 2.0, X, axis, zi), strict=True
    ):
        assert_near(found, want)


def test_a_line_in_pieces_is_filtered_as_the_whole():
    zi, pieces = jnp.zeros((3, 6)), []
    for piece in (X[:, :11], X[:, 11:12], X[:, 12:]):
        y, zi = ours.lfilter(H, 1.0, piece, zi=zi)
        pieces.append(y)
    assert_near(jnp.concatenate(pieces, 1), np.asarray(ours.lfilter(H, 1.0, X)))


@pytest.mark.parametrize("padtype", ["odd", "even", "constant", None])
def test_filtfilt(padtype):
    for axis, x in ((-1, X), (0, X.T)):
        for how in ({}, {"padlen": 5}):
            how = how | {"axis": axis, "padtype": padtype}
            assert_near(ours.filtfilt(H, 2.0, x, **how), theirs.filtfilt(H, 2.0, x, **how), 4e-6)


@pytest.mark.cover
@pytest.mark.parametrize("mode", ["interp", "mirror", "constant", "nearest", "wrap"])
@pytest.mark.parametrize("numbers", [(5, 2), (7, 3, 1, 0.5), (6, 2), (1, 0), (4, 3, 2)], ids=str)
def test_savgol_filter(mode, numbers):
    for x in (X, (9 * X).astype(np.int16)):
        found = ours.savgol_filter(x, *numbers, mode=mode, cval=0.5)
        assert_near(found, theirs.savgol_filter(x, *numbers, mode=mode, cval=0.5), 2e-5)
    found = ours.savgol_filter(X.T, *numbers, axis=0, mode=mode)
    assert_near(found, theirs.savgol_filter(X.T, *numbers, axis=0, mode=mode), 2e-5)


@pytest.mark.parametrize("size", [None, 3, (3, 5), (2, 4)], ids=str)
@pytest.mark.parametrize("noise", [None, 0.5])
def test_wiener(size, noise):
    assert_near(ours.wiener(X, size, noise), theirs.wiener(X, size, noise), 4e-6)
    far = X.astype(np.float64) + 1000  # digits that float32's squares do not have
    assert_near(ours.wiener(far, size, noise), theirs.wiener(far, size, noise), 1e-6)


def test_wiener_of_few_values():
    assert jnp.isfinite(ours.wiener(jnp.ones((6, 6)), 3, 0.0)).all()
    x = np.arange(30, dtype=np.uint8) * 8
    assert_near(ours.wiener(x), theirs.wiener(x.astype(float)), 4e-6)


@pytest.mark.parametrize("size", [None, 1, 4, 7, 50])
def test_hilbert(size):
    assert_near(ours.hilbert(X, size), theirs.hilbert(X, size))
    assert_near(ours.hilbert(X, size, axis=0), theirs.hilbert(X, size, axis=0))
    whole = np.arange(9)
    assert_near(ours.hilbert(whole, size), theirs.hilbert(whole, size))


def test_design():
    for name, arguments, named in (
        ("get_window", ("hamming", 9), {}),
        ("get_window", (("gaussian", 2.0), 8), {"fftbins": False}),
        ("firwin", (9, [0.2, 0.5]), {"pass_zero": "bandpass"}),
        ("firwin", (9, 100.0), {"fs": 1000, "window": ("kaiser", 3.0), "scale": False}),
        ("savgol_coeffs", (7, 3), {"deriv": 1, "delta": 0.5, "pos": 2, "use": "dot"}),
    ):
        found = getattr(ours, name)(*arguments, **named)
        assert isinstance(found, jax.Array)
        assert_near(found, getattr(theirs, name)(*arguments, **named))


CALLS = {
    "upfirdn": lambda x, h: ours.upfirdn(h, x, 3, 2),
    "upfirdn, line": lambda x, h: ours.upfirdn(h, x, 2, 3, mode="line"),
    "upfirdn, antireflect": lambda x, h: ours.upfirdn(h, x, mode="antireflect"),
    "resample_poly": lambda x, h: ours.resample_poly(x, 2, 3, axis=-1, window=h),
    "lfilter": lambda x, h: ours.lfilter(h, 2.0, x),
    "filtfilt": lambda x, h: ours.filtfilt(h, 2.0, x),
    "savgol_filter": lambda x, h: ours.savgol_filter(x, 5, 2) * h[0],
    "hilbert": lambda x, h: jnp.abs(ours.hilbert(x)) * h[0],
    "wiener": lambda x, h: ours.wiener(x, 3, 0.1) * h[0],
}


@pytest.mark.parametrize("name", CALLS)
def test_transforms(name):
    call = CALLS[name]
    x, h = jnp.asarray(X[:, :24]), jnp.asarray(H)
    plain = call(x, h)
    np.testing.assert_allclose(jax.jit(call)(x, h), plain, atol=2e-5)
    if name != "wiener":  # it takes all axes at once
        mapped = jax.vmap(call, (0, None))(x, h)
        np.testing.assert_allclose(mapped, plain, atol=2e-5)
    check_grads(call, (x, h), order=1, modes=["fwd", "rev"], eps=1e-2, atol=3e-2, rtol=3e-2)
