"""Errors of `jaxconv.compat.scipy`, with the whole message."""

import re

import jax
import numpy as np
import pytest

from jaxconv.compat import scipy
from jaxconv.compat.scipy import ndimage, signal


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: signal.convolve([1], [[2]]),
            ValueError,
            "convolve: volume and kernel should have the same dimensionality, got shapes (1,) and "
            "(1, 1)",
        ),
        (
            lambda: signal.correlate([1], [2], mode="spam"),
            ValueError,
            "correlate: mode='spam'. Acceptable mode flags are 'valid', 'same', or 'full'.",
        ),
        (
            lambda: signal.convolve([1], [2], method="bacon"),
            ValueError,
            "convolve: method='bacon'. Acceptable method flags are 'auto', 'direct', or 'fft'.",
        ),
        (
            lambda: signal.convolve([], [2]),
            ValueError,
            "convolve: in1 cannot be empty, got shape (0,)",
        ),
        (
            lambda: signal.fftconvolve(np.ones((2, 3)), np.ones((3, 2)), mode="valid"),
            ValueError,
            "fftconvolve: For 'valid' mode, one must be at least as large as the other in every "
            "dimension; got shapes (2, 3) and (3, 2)",
        ),
        (
            lambda: signal.oaconvolve([1, 2], [2, 3], axes=[1]),
            ValueError,
            "oaconvolve: axes=[1]: axes exceeds dimensionality of input, which is 1",
        ),
        (
            lambda: signal.fftconvolve(np.ones((2, 3)), np.ones((3, 3)), axes=1),
            ValueError,
            "fftconvolve: incompatible shapes for in1 and in2: (2, 3) and (3, 3); axis 0 is not "
            "convolved and does not broadcast",
        ),
        (
            lambda: signal.convolve2d([1], [2]),
            ValueError,
            "convolve2d inputs must both be 2-D arrays, got shapes (1,) and (1,)",
        ),
        (
            lambda: signal.correlate2d([[1]], [[2]], boundary="reflect"),
            ValueError,
            "correlate2d: boundary='reflect'. Acceptable boundary flags are 'fill', 'circular' (or "
            "'wrap'), and 'symmetric' (or 'symm').",
        ),
        (
            lambda: signal.convolve2d([[1]], [[2]], fillvalue=1j),
            ValueError,
            "convolve2d: could not cast `fillvalue` directly to the output type int32: it is "
            "complex",
        ),
        (
            lambda: signal.sepfir2d(np.ones((3, 3)), [1, 2], [1]),
            ValueError,
            "sepfir2d: hrow has 2 elements; hrow and hcol must be odd length",
        ),
        (
            lambda: ndimage.correlate(np.ones(3), [1], output=np.zeros(3)),
            TypeError,
            "correlate: output is an array of shape (3,), but JAX's arrays are immutable; pass "
            "output=float64 and use the array that is returned",
        ),
        (
            lambda: ndimage.convolve(np.ones(3), [1], mode="zeros"),
            RuntimeError,
            "convolve: mode='zeros': boundary mode not supported; use 'reflect', 'grid-mirror', "
            "'mirror', 'nearest', 'wrap', 'grid-wrap', 'constant', 'grid-constant'",
        ),
        (
            lambda: ndimage.correlate(np.ones((3, 3)), [1, 2]),
            RuntimeError,
            "correlate: weights.ndim (1) must match len(axes) (2), and no axis may be empty; "
            "weights.shape=(2,)",
        ),
        (
            lambda: ndimage.correlate1d(np.ones(3), [1, 2], origin=1),
            ValueError,
            "correlate1d: Invalid origin 1 for 2 weights; origin must satisfy -(size // 2) <= "
            "origin <= (size - 1) // 2",
        ),
        (
            lambda: ndimage.uniform_filter(np.ones((3, 3)), (3, 3, 3)),
            RuntimeError,
            "uniform_filter: size=(3, 3, 3): sequence argument must have length equal to input "
            "rank or to len(axes), which is 2",
        ),
        (
            lambda: ndimage.sobel(np.ones((3, 3)), axis=2),
            ValueError,
            "sobel: axis 2 is out of bounds for array of dimension 2",
        ),
        (
            lambda: ndimage.gaussian_filter(np.ones(3), 1.0, radius=1.5),
            ValueError,
            "gaussian_filter: radius=1.5: Radius must be a nonnegative integer.",
        ),
        (
            lambda: ndimage.gaussian_laplace(np.ones((3, 3)), (1.0, 2.0, 3.0)),
            RuntimeError,
            "gaussian_laplace: sigma=(1.0, 2.0, 3.0): sequence argument must have length equal to "
            "input rank or to len(axes), which is 2",
        ),
        (
            lambda: ndimage.gaussian_gradient_magnitude(np.ones(3), 1.0, mode="edge"),
            RuntimeError,
            "gaussian_gradient_magnitude: mode='edge': boundary mode not supported; use 'reflect', "
            "'grid-mirror', 'mirror', 'nearest', 'wrap', 'grid-wrap', 'constant', 'grid-constant'",
        ),
        (
            lambda: ndimage.generic_laplace(np.ones((2, 3)), lambda x, *rest: x[0]),
            ValueError,
            "generic_laplace: the derivative must return an array of the input's shape (2, 3), "
            "got (3,)",
        ),
        (
            lambda: ndimage.maximum_filter(np.ones(3)),
            RuntimeError,
            "maximum_filter: no footprint provided; give size or footprint",
        ),
        (
            lambda: ndimage.minimum_filter(np.ones(3), footprint=[0, 0]),
            ValueError,
            "minimum_filter: All-zero footprint is not supported.",
        ),
        (
            lambda: ndimage.minimum_filter(np.ones((3, 3)), footprint=[0, 1]),
            RuntimeError,
            "minimum_filter: footprint.ndim (1) must match len(axes) (2)",
        ),
        (
            lambda: ndimage.maximum_filter1d(np.ones(3), 0),
            RuntimeError,
            "maximum_filter1d: size=0: incorrect filter size, it must be at least 1",
        ),
        (
            lambda: ndimage.maximum_filter1d(np.ones(3), 2, origin=1),
            ValueError,
            "maximum_filter1d: Invalid origin 1 for 2 elements; origin must satisfy -(size // 2) "
            "<= origin <= (size - 1) // 2",
        ),
        (
            lambda: ndimage.maximum_filter(np.ones(3, complex), 3),
            TypeError,
            "maximum_filter: Complex type not supported: input is complex64",
        ),
        (
            lambda: ndimage.maximum_filter(
                np.ones((3, 3)), footprint=[[0, 1]], mode=["wrap", "mirror"]
            ),
            RuntimeError,
            "maximum_filter: mode=['wrap', 'mirror']: A sequence of modes is not supported for "
            "non-separable footprints",
        ),
        (
            lambda: signal.lfilter([1.0], [1.0, -0.5], np.ones(3)),
            ValueError,
            "lfilter: a has 2 coefficients: the filter is recursive, and there are none here; a "
            "must be one number",
        ),
        (
            lambda: signal.lfilter([1.0, 2.0, 3.0], 1.0, np.ones((2, 4)), zi=np.ones((2, 3))),
            ValueError,
            "lfilter: Unexpected shape for parameter zi: expected (2, 2), found (2, 3)",
        ),
        (
            lambda: signal.lfilter([1, 2], 1, [1, 2, 3]),
            NotImplementedError,
            "lfilter: b, a and x are of common dtype int32, which is not supported; give floats",
        ),
        (
            lambda: signal.filtfilt([1.0, 1.0], 1.0, np.ones(6)),
            ValueError,
            "filtfilt: The length of the input vector x must be greater than padlen, which is 6; "
            "x.shape=(6,)",
        ),
        (
            lambda: signal.filtfilt([1.0], 1.0, np.ones(6), method="gust"),
            ValueError,
            "filtfilt: method='gust': method must be 'pad'; there is no other",
        ),
        (
            lambda: signal.filtfilt([1.0], 1.0, np.ones(6), padtype="line"),
            ValueError,
            "filtfilt: Unknown value 'line' given to padtype; it must be 'even', 'odd', "
            "'constant', or None",
        ),
        (
            lambda: signal.upfirdn([[1.0]], np.ones(3)),
            ValueError,
            "upfirdn: h must be 1-D with non-zero length, got shape (1, 1)",
        ),
        (
            lambda: signal.upfirdn([1.0], np.ones(3), down=0),
            ValueError,
            "upfirdn: Both up and down must be >= 1, got 1 and 0",
        ),
        (
            lambda: signal.upfirdn([1.0], np.ones(3), mode="nearest"),
            ValueError,
            "upfirdn: mode='nearest': Unknown mode; use 'constant', 'wrap', 'edge', 'symmetric', "
            "'reflect', 'smooth', 'antisymmetric', 'antireflect', 'line'",
        ),
        (
            lambda: signal.resample_poly(np.ones(9), 1.5, 2),
            ValueError,
            "resample_poly: up=1.5: up must be an integer",
        ),
        (
            lambda: signal.resample_poly(np.ones(9), 1, 2, padtype="edge", cval=1.0),
            ValueError,
            "resample_poly: cval has no effect when padtype is 'edge'",
        ),
        (
            lambda: signal.decimate(np.ones(99), 2),
            ValueError,
            "decimate: ftype='iir' is a recursive filter, and there are none here; use ftype='fir'",
        ),
        (
            lambda: signal.savgol_filter(np.ones(4), 5, 2),
            ValueError,
            "savgol_filter: If mode is 'interp', window_length must be less than or equal to the "
            "size of x, 4, got 5",
        ),
        (
            lambda: signal.savgol_filter(np.ones(9), 5, 2, mode="reflect"),
            ValueError,
            "savgol_filter: mode='reflect': mode must be 'mirror', 'constant', 'nearest', 'wrap' "
            "or 'interp'",
        ),
        (
            lambda: signal.hilbert(np.ones(4, complex)),
            ValueError,
            "hilbert: x must be real, got complex64",
        ),
        (
            lambda: signal.hilbert(np.ones(4), 0),
            ValueError,
            "hilbert: N=0: N must be positive",
        ),
        (
            lambda: signal.wiener(np.ones((4, 4)), (3, 0)),
            ValueError,
            "wiener: mysize=(3, 0): sizes must be at least 1",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()


def test_a_traced_width_needs_a_radius():
    with pytest.raises(TypeError) as caught:
        jax.grad(lambda sigma: ndimage.gaussian_filter(np.ones(3), sigma).sum())(1.0)
    assert str(caught.value) == (
        "gaussian_filter: sigma is traced here, so the filter's size is unknown; give radius"
    )


SAYS = "module 'jaxconv.compat.scipy.{}' has no attribute {!r}"


@pytest.mark.parametrize(
    ("module", "name", "where"),
    [
        (signal, "butter", "scipy.signal.butter is SciPy's, for NumPy's arrays"),
        (ndimage, "label", "scipy.ndimage.label is SciPy's, for NumPy's arrays"),
        (signal, "gaussian_filter", "it is in jaxconv.compat.scipy.ndimage"),
        (ndimage, "sepfir2d", "it is in jaxconv.compat.scipy.signal"),
        (signal, "convole", None),
    ],
)
def test_a_missing_name(module, name, where):
    with pytest.raises(AttributeError) as caught:
        getattr(module, name)
    said = SAYS.format(module.__name__.rpartition(".")[2], name) + (f"; {where}" if where else "")
    assert str(caught.value) == f"{said}. There are here: {', '.join(module.__all__)}"


def test_a_missing_module():
    with pytest.raises(AttributeError) as caught:
        scipy.fft  # noqa: B018 - looking it up is what raises
    assert str(caught.value) == (
        "module 'jaxconv.compat.scipy' has no attribute 'fft'; scipy.fft is SciPy's, for NumPy's "
        "arrays. There are here: ndimage, signal"
    )


def test_names_that_python_asks_for_are_not_looked_up_in_scipy():
    with pytest.raises(AttributeError) as caught:
        signal.__wrapped__  # noqa: B018 - looking it up is what raises
    assert str(caught.value) == SAYS.format("signal", "__wrapped__")


def test_filters_are_designed_from_known_numbers():
    with pytest.raises(TypeError) as caught:
        jax.jit(lambda cutoff: signal.firwin(5, cutoff))(0.3)
    assert str(caught.value) == (
        "firwin: cutoff is traced here, and filters are designed on the host from known numbers; "
        "design the filter outside of jit and hand it over"
    )


def test_a_traced_footprint():
    with pytest.raises(TypeError) as caught:
        jax.jit(lambda window: ndimage.maximum_filter(np.ones(3), footprint=window))(np.ones(2))
    assert str(caught.value) == (
        "maximum_filter: footprint is traced here, and its values must be known; give a NumPy array"
    )
