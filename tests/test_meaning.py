"""What `auto` promises: sums stay sums, whatever is fast.

The table of docs/methods.md names these tests.
"""

import functools

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tifffile
from cases import CONTRACTIONS, OPERANDS
from jax import lax

import jaxconv
import jaxconv.compat.lax
import jaxconv.compat.torch
import jaxconv.linen
import jaxconv.nnx
from jaxconv import accelerate, causal_conv1d, conv, explain, tune
from jaxconv._core.dispatch.choose import candidates, select
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import normalise
from jaxconv._core.methods import METHODS, onednn
from jaxconv.compat import cv2
from jaxconv.compat.scipy import ndimage, signal
from jaxconv.tiles import apply_tiled

pytestmark = pytest.mark.as_shipped
F = jaxconv.compat.torch
RNG = np.random.default_rng(0)


@pytest.fixture(params=["as it is", "without the plugin"])
def everywhere(request, monkeypatch):
    """Run a test with the plugin, if it is installed, and without.

    Returns (image, kernel) of a plane, and of a line, for which FFT is the fastest there.
    """
    if request.param == "without the plugin":
        monkeypatch.setattr(onednn, "plugin", lambda: "not for this test")
        return ((128, 128), (11, 11)), ((4096,), (101,))
    return ((256, 256), (63, 63)), ((20_000,), (1001,))


def anew(f, *args):
    """Compile f for this call: what was compiled with the plugin must not serve without."""
    return np.asarray(jax.jit(lambda *arrays: f(*arrays))(*args))


def poisoned(shape, value, *at):
    x = np.ones(shape, np.float32)
    x[at] = value
    return x


def around(shape, at, reach):
    """Where outputs of "same" see element `at`: `reach` (before, after) elements a dimension."""
    seen = np.zeros(shape, bool)
    seen[
        tuple(slice(max(a - lo, 0), a + hi + 1) for a, (lo, hi) in zip(at, reach, strict=True))
    ] = 1
    return seen


# One NaN, and who sees it, in sizes for which FFT is the fastest, with the plugin and without.


FACES = {
    "correlate": lambda x, k: jaxconv.correlate(x, k, mode="same"),
    "convolve": lambda x, k: jaxconv.convolve(x, k, mode="same"),
    "conv": lambda x, k: conv(x[..., None], k[..., None, None], padding="same")[..., 0],
    "conv_transpose": lambda x, k: jaxconv.conv_transpose(
        x[..., None], k[..., None, None], padding=tuple((n - 1) // 2 for n in k.shape)
    )[..., 0],
    "accelerate": accelerate(
        lambda x, k: lax.conv_general_dilated(x[None, None], k[None, None], (1,) * x.ndim, "SAME")[
            0, 0
        ]
    ),
    "lax": lambda x, k: jaxconv.compat.lax.conv_general_dilated(
        x[None, None], k[None, None], (1,) * x.ndim, "SAME"
    )[0, 0],
    "torch": lambda x, k: {1: F.conv1d, 2: F.conv2d}[x.ndim](
        x[None, None], k[None, None], padding="same"
    )[0, 0],
    "signal.convolve": lambda x, k: signal.convolve(x, k, "same"),
    "signal.correlate": lambda x, k: signal.correlate(x, k, "same"),
    "signal.direct": lambda x, k: signal.convolve(x, k, "same", "direct"),
    "ndimage": lambda x, k: ndimage.correlate(x, k, mode="constant"),
    "cv2": lambda x, k: cv2.filter2D(
        jnp.atleast_2d(x), -1, k, borderType=cv2.BORDER_CONSTANT
    ).reshape(x.shape),
    "gradient": lambda x, k: jax.grad(lambda a: (jaxconv.correlate(a, k, mode="same") * x).sum())(
        jnp.ones_like(x)
    ),
}


@pytest.mark.cover
@pytest.mark.parametrize("face", FACES)
def test_a_nan_reaches_what_sees_it(face, everywhere):
    """The outputs whose window has it, and none more: spectra spread it over the image."""
    for shape, kernel in everywhere:
        at = tuple(n // 3 for n in shape)
        x, k = poisoned(shape, np.nan, *at), np.ones(kernel, np.float32)
        seen = around(shape, at, [((n - 1) // 2,) * 2 for n in kernel])
        np.testing.assert_array_equal(np.isnan(anew(FACES[face], x, k)), seen)


@pytest.mark.usefixtures("everywhere")
def test_a_nan_under_a_gaussian():
    """Of sigma 16: 129 entries a line, row by row, then column by column."""
    x = poisoned((300, 280), np.nan, 150, 100)
    found = anew(lambda x: ndimage.gaussian_filter(x, 16), x)
    np.testing.assert_array_equal(np.isnan(found), around(x.shape, (150, 100), [(64, 64)] * 2))


def test_a_nan_in_a_kernels_gradient(everywhere):
    """A corner of x is seen by the kernel's first entry alone."""
    shape, kernel = everywhere[0]
    x = poisoned(shape, np.nan, 0, 0)
    y = np.ones([n - k + 1 for n, k in zip(shape, kernel, strict=True)], np.float32)

    def gradient(x, y):
        return jax.grad(lambda k: (jaxconv.correlate(x, k) * y).sum())(jnp.ones(kernel))

    np.testing.assert_array_equal(
        np.isnan(anew(gradient, x, y)), around(kernel, (0, 0), [(0, 0)] * 2)
    )


def test_a_nan_in_tiles(tmp_path):
    """The tiled filter of a large kernel sums too, bit for bit the whole's."""
    x = RNG.normal(size=(200, 180)).astype(np.float32)
    x[90, 50] = np.nan
    w = np.ones((25, 25), np.float32)
    tifffile.imwrite(tmp_path / "x.tif", x)
    done = apply_tiled(tmp_path / "x.tif", w, tmp_path / "y.tif", tile=128)
    assert done.method != "fft"
    found = tifffile.imread(tmp_path / "y.tif")
    np.testing.assert_array_equal(np.isnan(found), around(x.shape, (90, 50), [(12, 12)] * 2))
    whole = conv(x[..., None], w[..., None, None], padding="same", method=done.method)
    np.testing.assert_array_equal(found, whole[..., 0])


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("channels", [1, 4])
def test_the_past_does_not_know_the_future(channels):
    """Not by a bit, whatever comes: a thousand taps, alone and depthwise."""
    x = RNG.normal(size=(20_000, channels)).astype(np.float32)
    w = RNG.normal(size=(1000, 1, channels)).astype(np.float32)
    f = jax.jit(lambda x: causal_conv1d(x, w)[0])
    past = np.asarray(f(x))[:15_000]
    loud, broken = x.copy(), x.copy()
    loud[15_000:] *= 1e6
    broken[15_000] = np.inf
    np.testing.assert_array_equal(np.asarray(f(loud))[:15_000], past)
    np.testing.assert_array_equal(np.asarray(f(broken))[:15_000], past)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize(("image", "size"), [(128, 11), (512, 31)])
def test_a_star_over_the_sky(image, size):
    """Errors are on the scale of what an output sees: 2e-6 of it (docs/methods.md), or one
    unit of float32 times the root of the entries, where that is more."""
    rng = np.random.default_rng(image)  # its own, whatever tests ran before
    x = rng.uniform(0.5, 1.5, (image, image)).astype(np.float32)
    x[20, 30] = 1e6
    k = rng.uniform(size=(size, size)).astype(np.float32)
    found = anew(FACES["correlate"], x, k)
    # the exact sums, one row of the kernel at a time
    wide = np.pad(x.astype(np.float64), (size - 1) // 2)
    rows = np.lib.stride_tricks.sliding_window_view(wide, (1, size))[..., 0, :]
    exact = sum(rows[a : a + image] @ k[a].astype(np.float64) for a in range(size))
    promised = max(cases.TOLERANCE["float32"], np.finfo(np.float32).eps * size)
    assert np.max(np.abs(found - exact) / exact) < promised


def test_what_is_nowhere_negative_stays_so_and_zeros_stay_zeros(everywhere):
    shape, kernel = everywhere[0]
    x = np.maximum(RNG.normal(size=shape), 0).astype(np.float32)
    edge = 60
    x[:, :edge] = 0
    found = anew(FACES["correlate"], x, np.ones(kernel, np.float32))
    assert (found >= 0).all()
    assert (found[:, : edge - (kernel[1] - 1) // 2] == 0).all()


# FFT by name, and under "fastest".

LARGE = {"x": (1, 600, 600, 1), "w": (63, 63, 1, 1)}
LARGE_SPEC = normalise("conv", LARGE["x"], LARGE["w"], padding="same")


def large(contraction, **changed):
    return Problem(contraction, LARGE_SPEC, 1, 1, 1, "float32", "cpu")._replace(**changed)


@pytest.mark.parametrize("contraction", CONTRACTIONS)
def test_auto_takes_no_spectra_and_fastest_may(contraction):
    assert set(candidates("auto", "gpu")) == set(METHODS) - {"fft", "loops"}
    assert set(candidates("fastest", "gpu")) == set(METHODS) - {"loops"}
    assert set(candidates("fastest")) - set(candidates("auto")) == {"fft"}
    assert select(large(contraction), "fastest").method == "fft"
    assert select(large(contraction), "fft").method == "fft"
    for platform in ("cpu", "gpu", "tpu"):
        assert select(large(contraction, platform=platform)).method != "fft"


def test_fastest_everywhere():
    """Every call that takes a method takes it, gradients keep it, and `explain` tells."""
    from flax import nnx

    x, w = (jax.ShapeDtypeStruct(LARGE[name], "float32") for name in "xw")
    plane, kernel = (jax.ShapeDtypeStruct((n, n), "float32") for n in (600, 63))

    def linen(x, w, **numerics):
        module = jaxconv.linen.Conv(1, (63, 63), use_bias=False, **numerics)
        return module.apply({"params": {"kernel": w}}, x)

    def network(x, **numerics):
        return jaxconv.nnx.Conv(1, 1, (63, 63), rngs=nnx.Rngs(0), **numerics)(x)

    def theirs(x, w):
        return lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    calls = {
        "conv": (lambda x, w, **m: conv(x, w, padding="same", **m), x, w),
        "conv_transpose": (lambda x, w, **m: jaxconv.conv_transpose(x, w, padding=31, **m), x, w),
        "corr2d": (jaxconv.corr2d, plane, kernel),
        "correlate": (jaxconv.correlate, plane, kernel),
        "convolve": (jaxconv.convolve, plane, kernel),
        "linen": (linen, x, w),
        "nnx": (network, x),
        "accelerate": (lambda x, w, **m: accelerate(theirs, **m)(x, w), x, w),
        "inside": (lambda x, w, **m: accelerate(lambda *a: conv(*a), **m)(x, w), x, w),
        "causal": (
            lambda x, w, **m: causal_conv1d(x, w, **m)[0],
            jax.ShapeDtypeStruct((200_000, 1), "float32"),
            jax.ShapeDtypeStruct((4000, 1, 1), "float32"),
        ),
        "torch": (
            lambda x, w, **m: F.conv2d(x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1), **m),
            x,
            w,
        ),
    }
    for name, (f, *args) in calls.items():
        for method, found in (("fastest", "fft"), ("fft", "fft"), ("auto", None)):
            rows = explain(functools.partial(f, method=method), *args, platform="cpu")
            assert len(rows) == 1, name
            assert (rows[0].method == "fft") == (found == "fft"), (name, method, rows)

    def loss(x, w):
        return (conv(x, w, padding="same", method="fastest") ** 2).sum()

    rows = explain(jax.grad(loss, (0, 1)), x, w, platform="cpu")
    assert {(row.contraction, row.method) for row in rows} == {(c, "fft") for c in CONTRACTIONS}


def test_fastest_computes():
    """By the method that is said, with the right values."""
    x, k = RNG.normal(size=(512, 512)).astype(np.float32), np.ones((63, 63), np.float32)

    def f(x, k, method):
        return jaxconv.correlate(x, k, method=method)

    lowered = jax.jit(f, static_argnums=2).lower(x, k, "fastest")
    assert "fft" in lowered.as_text()
    assert "fft" not in jax.jit(f, static_argnums=2).lower(x, k, "auto").as_text()
    np.testing.assert_allclose(lowered.compile()(x, k), f(x, k, "auto"), atol=1e-2)


def test_tune_times_spectra_under_fastest_only(monkeypatch):
    timed = set()
    call = jaxconv.tune.__globals__["_call"]

    def noted(problem, method):
        timed.add(method)
        return call(problem, method)

    monkeypatch.setitem(jaxconv.tune.__globals__, "_call", noted)
    x, w = jnp.ones((1, 16, 1)), jnp.ones((3, 1, 1))
    tune(conv, x, w, seconds=0.001)
    assert timed
    assert "fft" not in timed
    tune(conv, x, w, seconds=0.001, method="fastest")
    assert "fft" in timed
    with pytest.raises(ValueError, match=r"^tune: method='fft' must be one of 'auto', 'fastest'$"):
        tune(conv, x, w, method="fft")


def test_a_policy_that_names_spectra_is_obeyed():
    """It is handed in, and says so by name."""
    policy = Policy({large("output"): "fft"})
    assert select(large("output"), policy=policy) == ("fft", "chosen by the policy")
    assert select(large("output"), "fastest", policy) == ("fft", "chosen by the policy")


def test_owners_who_promise_spectra_keep_them():
    x, k = np.ones(300, np.float32), np.ones(40, np.float32)
    with_spectra = {
        "fftconvolve": signal.fftconvolve,
        "oaconvolve": signal.oaconvolve,
        "convolve": functools.partial(signal.convolve, method="fft"),
        "correlate": functools.partial(signal.correlate, method="fft"),
    }
    for name, f in with_spectra.items():
        assert "fft" in jax.jit(f).lower(x, k).as_text(), name
    long = np.ones(20_000, np.float32)
    assert signal.choose_conv_method(long, long[:4000]) == "fft"
    for f in (signal.convolve, signal.correlate):
        assert "fft" not in jax.jit(f).lower(long, long[:4000]).as_text()


# One name for a platform.

X, W = np.ones((2, 8, 8, 3), np.float32), np.ones((3, 3, 3, 4), np.float32)
NAMES = {"cpu": "cpu", "cuda": "gpu", "rocm": "gpu", "tpu": "tpu"}
# which methods can be told apart in a program, by what
TRACES = {
    "lax": "stablehlo.convolution",
    "fft": "stablehlo.fft",
    "products": "stablehlo.dot_general",
}


def policy_for(contraction, methods):
    x, w = jnp.asarray(X), jnp.asarray(W)
    spec = normalise("conv", X.shape, W.shape)
    y = jnp.ones((2, 6, 6, 4))
    a, b = ({"x": x, "w": w, "y": y}[name] for name in OPERANDS[contraction])
    return Policy(
        {
            Problem.of(contraction, a, b, spec, dtype=a.dtype, platform=platform): method
            for platform, method in methods.items()
        }
    )


def traces(text):
    return {method for method, trace in TRACES.items() if trace in text}


@pytest.mark.parametrize("platform", NAMES)
def test_a_policy_takes_effect_on_its_platform(platform):
    """In the program that is lowered for it, and in what `explain` says."""
    mine = NAMES[platform]
    for method in ("lax", "fft"):
        other = "lax" if method == "fft" else "fft"
        methods = dict.fromkeys(("cpu", "gpu", "tpu"), other) | {mine: method}
        policy = policy_for("output", methods)

        def f(x, w, policy=policy):
            return conv(x, w, policy=policy)

        exported = jax.export.export(jax.jit(f), platforms=[platform])(X, W)
        assert traces(exported.mlir_module()) == {method}
        [row] = explain(f, X, W, platform=mine)
        assert (row.method, row.reason) == (method, "chosen by the policy")


def test_a_policy_takes_effect_on_gradients_elsewhere():
    policy = policy_for("kernel", {"tpu": "products"})

    def f(x, w):
        return jax.grad(lambda w: (conv(x, w, policy=policy) * 2).sum())(w)

    exported = jax.export.export(jax.jit(f), platforms=["tpu"])(X, W)
    assert traces(exported.mlir_module()) == {"products"}
    # without an entry for it: lax's
    exported = jax.export.export(jax.jit(f), platforms=["cuda"])(X, W)
    assert traces(exported.mlir_module()) == {"lax"}


def test_several_platforms_in_one_program():
    policy = policy_for("output", {"gpu": "fft", "tpu": "lax"})
    f = jax.jit(lambda x, w: conv(x, w, policy=policy))
    exported = jax.export.export(f, platforms=["cuda", "rocm", "tpu"])(X, W)
    assert traces(exported.mlir_module()) == {"fft", "lax"}


def test_here_is_called_what_jax_calls_it():
    policy = policy_for("output", {jax.default_backend(): "loops"})
    lowered = jax.jit(lambda x, w: conv(x, w, policy=policy)).lower(X, W)
    assert "while" in lowered.as_text()
    [row] = explain(lambda x, w: conv(x, w, policy=policy), X, W)
    assert row.method == "loops"
