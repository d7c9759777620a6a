"""A call of every public function that computes with arrays: `public_names` has the others."""

import math

import jax
import numpy as np
import optax
from flax import nnx as flax_nnx
from sharded_cases import P, mesh_of

import jaxconv
from jaxconv import learn, linen, nnx, parallel, restore, varying
from jaxconv.analysis import _equivariance as equivariance
from jaxconv.analysis import _influence as influence
from jaxconv.analysis import _matrix as matrix
from jaxconv.analysis import _reach as reaching
from jaxconv.analysis import dense
from jaxconv.compat import cv2, onnx, scipy, torch
from jaxconv.compat.lax import conv_general_dilated
from jaxconv.learn import constraints, losses
from jaxconv.restore import penalties

MESH = mesh_of()
ON_MESH = {"mesh": MESH, "x_spec": P("b", "a")}
SGD = optax.sgd(1e-3)


def numbers(*shape):
    """From above 0 to 1; NumPy's, so that nothing is compiled where tests are collected."""
    size = math.prod(shape)
    return np.linspace(1 / size, 1, size, dtype=np.float32).reshape(shape)


X, W, Y, PLANE = numbers(2, 8, 8, 4), numbers(3, 3, 4, 8), numbers(2, 6, 6, 8), numbers(6, 8)
BYTES = [
    (255 * part).astype(np.uint8)
    for part in (numbers(2, 4, 6, 5), numbers(8, 4, 3, 2), np.array(0.3))
]
EDGE, EDGES, LINE = numbers(1, 2), numbers(6, 7), numbers(5)


def linen_layer(layer, x):
    """Without the random numbers that it would begin with, which take seconds to compile."""
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
    return layer.apply, jax.tree.map(lambda leaf: numbers(*leaf.shape), shapes), x


def nnx_layer(layer, x):
    graph, state = flax_nnx.split(flax_nnx.eval_shape(layer))
    state = jax.tree.map(lambda leaf: numbers(*leaf.shape), state)
    return lambda state, x: flax_nnx.merge(graph, state)(x), state, x


def whiten(gradient):
    transform = learn.whiten(np.diag([4.0, 0.5]))
    return transform.update((gradient, None), transform.init((gradient, None)))[0]


def projected(update):
    ends = constraints.projected(constraints.simplex)
    return ends.update((update, None), ends.init(None), (EDGE, None))[0]


def distance(x, y):
    return learn.distance_to_optimum(learn.fit_kernel(x, y, (1, 2), optimizer=SGD), x, y)


def first(x):
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def ending(function, *rest):
    return lambda x: function(x, *rest)


def torch_conv(rank, function):
    x, w = numbers(2, 4, *(5, 6, 3)[:rank]), numbers(8, 2, *(3, 2, 2)[:rank])
    return lambda x, w: function(x, w, stride=2, padding=1, groups=2), x, w


def torch_transposed(rank, function):
    y, w = numbers(2, 4, *(5, 6, 3)[:rank]), numbers(4, 2, *(3, 2, 2)[:rank])
    return lambda y, w: function(y, w, stride=2, groups=2), y, w


rngs = flax_nnx.Rngs
signal, ndimage = scipy.signal, scipy.ndimage

# name -> a function of the arrays that follow; those of layers are made when they are asked for
CALLS = {
    "accelerate": (jaxconv.accelerate(lambda x, w: jaxconv.conv(x, w)), X, W),
    "causal_conv1d": (jaxconv.causal_conv1d, X[0], W[0]),
    "causal_conv_transpose1d": (
        lambda y, w: jaxconv.causal_conv_transpose1d(y, w, stride=2),
        Y[0],
        W[0],
    ),
    "conv": (jaxconv.conv, X, W),
    "conv_transpose": (jaxconv.conv_transpose, Y, W),
    "convolve": (jaxconv.convolve, PLANE, EDGE),
    "corr2d": (jaxconv.corr2d, PLANE, EDGE),
    "correlate": (jaxconv.correlate, PLANE, EDGE),
    "fold": (lambda c: jaxconv.fold(c, (8, 8), (3, 3)), numbers(2, 6, 6, 36)),
    "pad": (lambda x: jaxconv.pad(x, [(1, 2), (2, 1)], mode="reflect"), PLANE),
    "unfold": (lambda x: jaxconv.unfold(x, (3, 3)), X),
    "unpad": (lambda x: jaxconv.unpad(x, [(1, 2), (2, 1)], mode="reflect"), PLANE),
    "parallel.conv": (lambda x, w: parallel.conv(x, w, padding=1, **ON_MESH), X, W),
    "parallel.conv_transpose": (
        lambda y, w: parallel.conv_transpose(y, w, padding=1, mesh=MESH, y_spec=P("b", "a")),
        numbers(2, 8, 8, 8),
        W,
    ),
    "compat.lax.conv_general_dilated": (
        lambda x, w: conv_general_dilated(x, w, (2, 1), "SAME", feature_group_count=2),
        first(X),
        numbers(6, 2, 3, 3),
    ),
    **{f"compat.torch.conv{n}d": torch_conv(n, getattr(torch, f"conv{n}d")) for n in (1, 2, 3)},
    **{
        f"compat.torch.conv_transpose{n}d": torch_transposed(
            n, getattr(torch, f"conv_transpose{n}d")
        )
        for n in (1, 2, 3)
    },
    "compat.torch.fold": (lambda c: torch.fold(c, (4, 4), 2), numbers(1, 8, 9)),
    "compat.torch.pad": (lambda x: torch.pad(x, (1, 2), "reflect"), PLANE),
    "compat.torch.unfold": (lambda x: torch.unfold(x, 3), first(X)),
    **{
        f"compat.scipy.signal.{name}": (getattr(signal, name), PLANE, PLANE[:2, :3])
        for name in ("convolve", "convolve2d", "correlate", "correlate2d", "fftconvolve")
    },
    "compat.scipy.signal.correlation_lags": (lambda: signal.correlation_lags(5, 3),),
    "compat.scipy.signal.firwin": (lambda: signal.firwin(5, 0.3),),
    "compat.scipy.signal.get_window": (lambda: signal.get_window("hann", 5),),
    "compat.scipy.signal.savgol_coeffs": (lambda: signal.savgol_coeffs(5, 2),),
    **{
        f"compat.scipy.signal.{name}": (ending(getattr(signal, name), *rest), PLANE)
        for name, rest in (
            *(("resample_poly", (3, 2)), ("savgol_filter", (5, 2)), ("hilbert", ())),
            *(("wiener", ()), ("decimate", (2, 4, "fir"))),
        )
    },
    "compat.scipy.signal.upfirdn": (lambda h, x: signal.upfirdn(h, x, 2, 3), LINE, PLANE),
    "compat.scipy.signal.upfirdn beyond its ends": (
        lambda h, x: signal.upfirdn(h, x, mode="line"),
        LINE,
        PLANE,
    ),
    "compat.scipy.signal.lfilter": (lambda b, x: signal.lfilter(b, 2.0, x), LINE, PLANE),
    "compat.scipy.signal.filtfilt": (
        lambda b, x: signal.filtfilt(b, 2.0, x, padlen=3),
        LINE,
        PLANE,
    ),
    "compat.scipy.signal.oaconvolve": (signal.oaconvolve, PLANE, PLANE[:2, :3]),
    "compat.scipy.signal.sepfir2d": (signal.sepfir2d, PLANE, LINE[:3], LINE[:3]),
    **{
        f"compat.scipy.ndimage.{name}": (getattr(ndimage, name), PLANE, weights)
        for names, weights in (
            (("convolve", "correlate"), PLANE[:2, :3]),
            (("convolve1d", "correlate1d"), LINE),
        )
        for name in names
    },
    **{
        f"compat.scipy.ndimage.{name}": (ending(getattr(ndimage, name), *rest), PLANE)
        for names, rest in (
            (("gaussian_filter", "gaussian_filter1d"), (1.0,)),
            (("gaussian_laplace", "gaussian_gradient_magnitude"), (1.0,)),
            (("generic_laplace", "generic_gradient_magnitude"), (ndimage.sobel,)),
            (("maximum_filter", "maximum_filter1d", "minimum_filter", "minimum_filter1d"), (3,)),
            (("laplace", "prewitt", "sobel", "uniform_filter"), ()),
            (("uniform_filter1d",), (3,)),
        )
        for name in names
    },
    "compat.cv2.filter2D": (lambda x, k: cv2.filter2D(x, -1, k, delta=0.5), PLANE, PLANE[:2, :3]),
    "compat.cv2.sepFilter2D": (
        lambda x, row, column: cv2.sepFilter2D(x, -1, row, column),
        PLANE,
        LINE,
        LINE[:3],
    ),
    **{
        f"compat.cv2.{name}": (ending(getattr(cv2, name), *rest), PLANE)
        for names, rest in (
            (("GaussianBlur",), ((5, 3), 0)),
            (("Laplacian",), (-1,)),
            (("Scharr", "Sobel"), (-1, 1, 0)),
            (("blur",), ((3, 2),)),
            (("boxFilter",), (-1, (3, 2))),
        )
        for name in names
    },
    "compat.onnx.ConvInteger": (onnx.ConvInteger, *BYTES),
    "compat.onnx.QLinearConv": (
        lambda x, w, zero, s: onnx.QLinearConv(x, s, zero, w, s, zero, s, zero),
        *BYTES,
        np.float32(0.3),
    ),
    "analysis.dense.dense": (dense.dense, PLANE, numbers(2, 3, 6, 8)),
    "analysis.dense.is_shift_invariant": (dense.is_shift_invariant, numbers(3, 5)),
    "analysis.dense.kernel": (lambda V: dense.kernel(V, 1), numbers(3, 5)),
    "analysis.dense.reindex": (dense.reindex, numbers(3, 3)),
    "analysis.dense.restore": (dense.restore, numbers(3, 5)),
    "analysis.dense.share": (dense.share, numbers(3, 5)),
    "analysis.dense.spread": (lambda v: dense.spread(v, (3,)), LINE),
    "analysis.dense.truncate": (lambda V: dense.truncate(V, 1), numbers(3, 5)),
    "analysis.equivariance_error": (
        lambda x: equivariance.equivariance_error(lambda x: x[::2], x, [0, 1], stride=2, axes=(0,)),
        numbers(6),
    ),
    "analysis.equivariance_map": (
        lambda x: equivariance.equivariance_map(jax.numpy.sin, x, 2, axes=(0,)),
        LINE,
    ),
    "analysis.influence": (
        lambda x: influence.influence(lambda x: x[1:] * x[:-1], x, 2, probes=2),
        LINE,
    ),
    "analysis.as_matrix": (lambda w: matrix.as_matrix(w, 5), numbers(3, 1, 1)),
    "analysis.reach": (lambda x: reaching.reach(lambda x: x[1:] * x[:-1], x, 2), LINE),
    "learn.distance_to_optimum": (distance, PLANE, EDGES),
    "learn.fit_conv": (lambda x, y: learn.fit_conv(x, y, 3, steps=2), X, Y),
    "learn.fit_kernel": (lambda x, y: learn.fit_kernel(x, y, (1, 2), optimizer=SGD), PLANE, EDGES),
    "learn.fit_conv on a mesh": (
        lambda x, y: learn.fit_conv(x, y, 3, steps=2, **ON_MESH),
        X,
        Y,
    ),
    "learn.solve_kernel on a mesh": (
        lambda x, y: learn.solve_kernel(x, y, 3, channels=True, **ON_MESH),
        X,
        Y,
    ),
    "learn.init": (lambda k: learn.init(k, optimizer=SGD), EDGE),
    "learn.interior": (lambda y: learn.interior(y, (6, 8), (3, 3)), PLANE),
    "learn.predict": (learn.predict, PLANE, EDGE),
    "learn.solve_kernel": (lambda x, y: learn.solve_kernel(x, y, (1, 2)), PLANE, EDGES),
    "learn.solve_kernel with weights": (
        lambda x, y, w: learn.solve_kernel(x, y, (1, 2), weights=w),
        PLANE,
        EDGES,
        EDGES,
    ),
    "learn.solve_kernel of complex images": (
        lambda x, y: learn.solve_kernel(jax.lax.complex(x, x[::-1]), y, (1, 2)),
        PLANE,
        EDGES,
    ),
    "learn.usable_outputs": (lambda x: learn.usable_outputs(x > 0.5, (1, 2)), PLANE),
    "learn.step": (
        lambda k, x, y: learn.step(learn.init(k, optimizer=SGD), x, y, optimizer=SGD),
        EDGE,
        PLANE,
        EDGES,
    ),
    "learn.whiten": (whiten, EDGE),
    "learn.constraints.non_negative": (constraints.non_negative, PLANE),
    "learn.constraints.projected": (projected, EDGE),
    "learn.constraints.separable": (constraints.separable(1), PLANE),
    "learn.constraints.simplex": (constraints.simplex, PLANE),
    "learn.constraints.sum_to_one": (constraints.sum_to_one, PLANE),
    "learn.constraints.symmetric": (constraints.symmetric, PLANE),
    **{
        f"learn.losses.{name}": (getattr(losses, name), EDGES, EDGES - 1)
        for name in (
            *("mean_absolute_error", "mean_huber_error", "mean_squared_error"),
            "sum_squared_error",
        )
    },
    **{
        f"varying.{name}": (getattr(varying, name), PLANE, numbers(2, 3, 1, 2))
        for name in ("convolve", "correlate")
    },
    "varying.fit": (
        lambda x, y: varying.fit(x, y, (1, 2), grid=(2, 1), ridge=1e-3, bias=True, steps=4),
        PLANE,
        EDGES,
    ),
    "varying.kernel_at": (
        lambda k, place: varying.kernel_at(k, place, (6, 8)),
        numbers(2, 3, 1, 2),
        numbers(4, 2),
    ),
    "varying.point_sources": (
        lambda place, flux: varying.point_sources(place, flux, (6, 8)),
        numbers(4, 2),
        numbers(4),
    ),
    "restore.blind": (lambda y, k: restore.blind(y, k, rounds=2), PLANE, EDGE),
    "restore.descend": (
        lambda y, k: restore.descend(y, k, optimizer=SGD, penalty=penalties.roughness, steps=2),
        PLANE,
        EDGE,
    ),
    "restore.estimate_balance": (restore.estimate_balance, PLANE, EDGE),
    "restore.noise_level": (restore.noise_level, PLANE),
    "restore.richardson_lucy": (
        lambda y, k: restore.richardson_lucy(y, k, steps=2, total_variation=0.01),
        PLANE,
        EDGE,
    ),
    "restore.tikhonov": (lambda y, k: restore.tikhonov(y, k, balance=0.1, steps=4), PLANE, EDGE),
    "restore.wiener": (lambda y, k: restore.wiener(y, k, balance=0.1), PLANE, EDGE),
    "restore.penalties.roughness": (penalties.roughness, PLANE),
    "restore.penalties.total_variation": (penalties.total_variation, PLANE),
    "linen.CausalConv1D": lambda: linen_layer(linen.CausalConv1D(8, 3, strides=2), X[0]),
    "linen.CausalConvTranspose1D": lambda: linen_layer(
        linen.CausalConvTranspose1D(8, 4, strides=2), X[0]
    ),
    "linen.Conv": lambda: linen_layer(linen.Conv(8, (3, 3), padding_mode="reflect"), X),
    "linen.ConvLocal": lambda: linen_layer(linen.ConvLocal(6, (3, 3), padding_mode="reflect"), X),
    "linen.Conv2D": lambda: linen_layer(linen.Conv2D((1, 2)), PLANE),
    "linen.ConvTranspose": lambda: linen_layer(linen.ConvTranspose(8, (3, 3), strides=2), X),
    "linen.DepthwiseConv": lambda: linen_layer(linen.DepthwiseConv((3, 3), strides=2), X),
    "linen.SeparableConv": lambda: linen_layer(linen.SeparableConv(8, (3, 3)), X),
    # what is done with the inputs' arrays is up to the model's own layers: here ours
    "nnx.accelerate": lambda: nnx_layer(
        lambda: nnx.accelerate(nnx.Conv(4, 8, (3, 3), 2, rngs=rngs(0)), method="taps"), X
    ),
    "nnx.CausalConv1D": lambda: nnx_layer(lambda: nnx.CausalConv1D(4, 8, 3, rngs=rngs(0)), X[0]),
    "nnx.CausalConvTranspose1D": lambda: nnx_layer(
        lambda: nnx.CausalConvTranspose1D(4, 8, 4, 2, rngs=rngs(0)), X[0]
    ),
    "nnx.Conv": lambda: nnx_layer(lambda: nnx.Conv(4, 8, (3, 3), rngs=rngs(0)), X),
    "nnx.ConvLocal": lambda: nnx_layer(
        lambda: nnx.ConvLocal(4, 6, 3, 2, input_size=8, rngs=rngs(0)), X[0]
    ),
    "nnx.Conv2D": lambda: nnx_layer(lambda: nnx.Conv2D((1, 2), rngs=rngs(0)), PLANE),
    "nnx.ConvTranspose": lambda: nnx_layer(
        lambda: nnx.ConvTranspose(4, 8, (3, 3), 2, rngs=rngs(0)), X
    ),
    "nnx.DepthwiseConv": lambda: nnx_layer(
        lambda: nnx.DepthwiseConv(4, (3, 3), features_multiplier=2, rngs=rngs(0)), X
    ),
    "nnx.SeparableConv": lambda: nnx_layer(
        lambda: nnx.SeparableConv(4, 8, (3, 3), padding="CIRCULAR", rngs=rngs(0)), X
    ),
}
