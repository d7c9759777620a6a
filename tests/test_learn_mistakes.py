"""What the learning functions say of a bad call: whole messages, before anything is learned."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxconv.learn import (
    Checkpoints,
    distance_to_optimum,
    fit_conv,
    fit_kernel,
    losses,
    recover_kernel,
    solve_kernel,
)

X, Y = jnp.ones((6, 8)).at[:, 2:6].set(0.0), jnp.zeros((6, 7)).at[0].set(1.0)
SGD = optax.sgd(1e-2)


def _layers(function):
    """The same call on arrays with channels."""
    return functools.partial(_with_channels, function)


def _with_channels(function, x, y, size, **options):
    return function(x[..., None], y[..., None], size, **options)


CALLS = {
    "solve_kernel": solve_kernel,
    "fit_kernel": fit_kernel,
    "fit_conv": _layers(fit_conv),
    "recover_kernel": recover_kernel,
}


def _two_arguments(prediction, target):
    return jnp.sum(jnp.square(prediction - target))


FITS = ("fit_kernel", "fit_conv")
DESCENTS = (*FITS, "recover_kernel")
LOSS = "such as jaxconv.learn.losses.mean_squared_error"

# who, what is changed, the error, the message without the function's name
ROWS = [
    (
        ("solve_kernel", *FITS),
        {"x": X.astype(jnp.uint8)},
        TypeError,
        "x must hold floating-point numbers, got x.dtype=uint8: convert it, as in "
        "x.astype('float32') / 255",
    ),
    (
        ("solve_kernel", *FITS),
        {"y": Y.astype(jnp.uint16)},
        TypeError,
        "y must hold floating-point numbers, got y.dtype=uint16: convert it, as in "
        "y.astype('float32') / 65535",
    ),
    (
        ("solve_kernel", *FITS),
        {"x": X.astype(jnp.int32)},
        TypeError,
        "x must hold floating-point numbers, got x.dtype=int32: convert it, as in "
        "x.astype('float32')",
    ),
    (
        ("solve_kernel", *FITS),
        {"y": Y > 0},
        TypeError,
        "y must hold floating-point numbers, got y.dtype=bool: convert it, as in "
        "y.astype('float32')",
    ),
    (
        FITS,
        {"x": X.astype(jnp.complex64)},
        TypeError,
        "x must hold floating-point numbers, got x.dtype=complex64: use solve_kernel, which finds "
        "complex kernels",
    ),
    (
        (*CALLS,),
        {"weights": Y.astype(jnp.complex64)},
        TypeError,
        "weights must hold real numbers, got weights.dtype=complex64",
    ),
    ((*CALLS,), {"weights": "all"}, TypeError, "weights must be an array of numbers, not str"),
    (
        ("solve_kernel", "fit_kernel", "recover_kernel"),
        {"weights": X},
        ValueError,
        "weights.shape=(6, 8), but y is (6, 7); give one weight for each output",
    ),
    (
        ("fit_conv",),
        {"weights": Y[..., None]},
        ValueError,
        "weights.shape=(6, 7, 1), but y without its channels is (6, 7); give one weight for each "
        "output, which all its channels share",
    ),
    ((*CALLS,), {"weights": -Y}, ValueError, "weights must be 0 or more, and finite"),
    ((*CALLS,), {"weights": Y / 0}, ValueError, "weights must be 0 or more, and finite"),
    (
        (*CALLS,),
        {"weights": 0 * Y},
        ValueError,
        "weights are 0 everywhere, so that no output is used",
    ),
    (
        (*CALLS,),
        {"weights": [Y, Y]},
        ValueError,
        "y has 1 images and weights 2; give one array of weights for each y",
    ),
    (
        (*CALLS,),
        {"weights": Y, "y": Y.at[0, 3].set(jnp.nan)},
        ValueError,
        "y has values that are NaN or infinite where weights are above 0; leave them out by "
        "weights=jnp.isfinite(y)",
    ),
    (
        (*CALLS,),
        {"weights": Y, "x": X.at[0, 3].set(jnp.inf)},
        ValueError,
        "x has values that are NaN or infinite in windows of weight above 0; leave these out by "
        "weights=usable_outputs(jnp.isfinite(x), kernel_size)",
    ),
    (
        FITS,
        {"weights": Y, "loss": _two_arguments},
        TypeError,
        f"loss={_two_arguments} must take weights as its third argument when weights are given, as "
        "those of jaxconv.learn.losses do",
    ),
    (("solve_kernel",), {"x": "image"}, TypeError, "x must be an array of numbers, not str"),
    (
        ("fit_kernel", "solve_kernel"),
        {"x": X[None][:0], "y": Y[None][:0]},
        ValueError,
        "x and y hold no images: x.shape=(0, 6, 8)",
    ),
    (
        ("fit_conv",),
        {"x": X[None][:0], "y": Y[None][:0]},
        ValueError,
        "x and y hold no images: x.shape=(0, 6, 8, 1)",
    ),
    (
        ("fit_kernel", "recover_kernel"),
        {"y": X},
        ValueError,
        "y.shape=(6, 8), but x.shape=(6, 8) and kernel_size=(1, 2) give (6, 7)",
    ),
    (
        ("solve_kernel",),
        {"x": X.at[1, 1].set(jnp.nan)},
        ValueError,
        "x has values that are NaN or infinite; leave them out by "
        "weights=usable_outputs(jnp.isfinite(x), kernel_size)",
    ),
    (
        ("solve_kernel",),
        {"y": Y.at[1, 1].set(-jnp.inf)},
        ValueError,
        "y has values that are NaN or infinite; leave them out by weights=jnp.isfinite(y)",
    ),
    (("solve_kernel",), {"ridge": np.inf}, ValueError, "ridge=inf must be 0 or more, and finite"),
    (("solve_kernel",), {"ridge": np.nan}, ValueError, "ridge=nan must be 0 or more, and finite"),
    (("solve_kernel",), {"ridge": "a"}, TypeError, "ridge='a' must be a number"),
    (("solve_kernel",), {"ridge": 1j}, TypeError, "ridge=1j must be a number"),
    (
        ("solve_kernel",),
        {"tolerance": np.zeros(1)},
        ValueError,
        "tolerance must be one number, got shape (1,)",
    ),
    (("solve_kernel",), {"channels": 1}, TypeError, "channels=1 must be True or False"),
    (
        ("solve_kernel", *DESCENTS),
        {"bias": "no"},
        TypeError,
        "bias='no' must be True or False",
    ),
    (FITS, {"exact": None}, TypeError, "exact=None must be True or False"),
    (("recover_kernel",), {"whitened": 0}, TypeError, "whitened=0 must be True or False"),
    (
        FITS,
        {"steps": True},
        ValueError,
        "steps must be an integer of 1 or more, got True",
    ),
    (
        ("fit_conv",),
        {"crop": 4.0},
        ValueError,
        "crop=4.0 must be an integer of 1 or more, or one for each of the 2 spatial dimensions",
    ),
    (
        DESCENTS,
        {"optimizer": 0.03},
        TypeError,
        "optimizer=0.03 must be an optax gradient transformation, such as optax.sgd(0.03)",
    ),
    (
        DESCENTS,
        {"optimizer": optax.adam},
        TypeError,
        "optimizer is the function adam, which has to be called first, as in adam(0.03)",
    ),
    (
        FITS,
        {"loss": "huber"},
        TypeError,
        f"loss='huber' must be a function (prediction, target) -> scalar, {LOSS}",
    ),
    (
        FITS,
        {"loss": lambda p, t: None},
        TypeError,
        f"loss must return one floating-point number, {LOSS}; got NoneType",
    ),
    (
        FITS,
        {"loss": lambda p, t: jnp.sum(p > t)},
        TypeError,
        f"loss must return one floating-point number, {LOSS}; got int32",
    ),
    (
        ("fit_kernel",),
        {"loss": lambda p, t: (p - t) ** 2},
        ValueError,
        "loss must return one number, got shape (6, 7); take its sum or mean",
    ),
    (
        ("fit_conv",),
        {"loss": lambda p, t: (p - t) ** 2},
        ValueError,
        "loss must return one number, got shape (6, 7, 1); take its sum or mean",
    ),
    (
        FITS,
        {"key": 0},
        TypeError,
        "key=0 must be a key of jax.random, such as jax.random.key(0)",
    ),
    (
        FITS,
        {"key": jax.random.split(jax.random.key(0), 3)},
        ValueError,
        "key must be one key, got shape (3,); for several use jax.vmap",
    ),
    (
        FITS,
        {"init": "zeros"},
        TypeError,
        "init must be an array of numbers, not str",
    ),
    (
        FITS,
        {"init": np.zeros((1, 2), complex)},
        TypeError,
        "init must hold real numbers, got init.dtype=complex64",
    ),
    (
        FITS,
        {"checkpoints": "here"},
        TypeError,
        "checkpoints='here' must be a jaxconv.learn.Checkpoints, as in "
        "Checkpoints(directory='here')",
    ),
    (FITS, {"on_losses": 3}, TypeError, "on_losses=3 must be a function"),
]
CASES = [(who, *row[1:]) for row in ROWS for who in row[0]]


def assert_refused(error, message, call, *arguments, **options):
    with pytest.raises(error) as caught:
        call(*arguments, **options)
    assert type(caught.value) is error
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("who", "change", "error", "message"),
    CASES,
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_mistakes_are_told(who, change, error, message):
    options = {"x": X, "y": Y} | change
    x, y = options.pop("x"), options.pop("y")
    assert_refused(error, f"{who}: {message}", CALLS[who], x, y, (1, 2), **options)


def test_the_good_call_is_good():
    for call in CALLS.values():
        assert call(X, Y, (1, 2)).kernel.size == 2


TRACED = [
    (
        lambda n: fit_kernel(X, Y, (1, 2), steps=n),
        "fit_kernel: steps must be a fixed integer, but is traced here; under jax.jit name it in "
        "static_argnames",
    ),
    (
        lambda n: solve_kernel(X, Y, (1, 2), tolerance=n),
        "solve_kernel: tolerance must be a fixed number, but is traced here; under jax.jit name it "
        "in static_argnames",
    ),
    (
        lambda n: solve_kernel(X, Y, (1, 2), bias=n),
        "solve_kernel: bias must be True or False, but is traced here; under jax.jit name it in "
        "static_argnames",
    ),
    (
        lambda n: fit_kernel(n * X, Y, (1, 2), on_losses=print),
        "fit_kernel: leave on_losses out under jit, vmap and grad, where values are unknown",
    ),
    (
        lambda n: _layers(fit_conv)(
            n * X, Y, (1, 2), checkpoints=Checkpoints(directory="none"), on_losses=print
        ),
        "fit_conv: leave checkpoints and on_losses out under jit, vmap and grad, where values are "
        "unknown",
    ),
    (
        lambda n: recover_kernel(n * X, Y, (1, 2)),
        "recover_kernel: needs the images' values, which are unknown under jit, vmap and grad; "
        "there use fit_kernel, with whiten for its optimizer",
    ),
]


@pytest.mark.parametrize(("call", "message"), TRACED)
def test_what_must_be_known_is_told(call, message):
    with pytest.raises(TypeError) as caught:
        jax.jit(call)(1)
    assert str(caught.value).startswith(message)
    assert str(caught.value).removeprefix(message)[:1] in ("", "\n")  # jax's own note may follow


def test_lists_that_do_not_match_areassert_refused():
    message = "solve_kernel: x has 2 images and y 1; give one y for each x"
    assert_refused(ValueError, message, solve_kernel, [X, X], [Y], (1, 2))


def test_values_unknown_under_jit_are_not_looked_at():
    """NaN stays NaN, for the image that has it and for no other."""
    ys = jnp.stack([Y, Y.at[0, 0].set(jnp.nan)])
    found = jax.jit(jax.vmap(lambda y: solve_kernel(X, y, (1, 2)).kernel))(ys)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


def test_a_fit_of_several_runs_has_no_one_step_of_divergence():
    fits = jax.vmap(lambda r: fit_kernel(X, Y, (1, 2), optimizer=optax.sgd(r)))(jnp.ones(2))
    message = (
        "Fit.diverged_at: must be one run, but this fit holds (2,); take one, as in "
        "jax.tree.map(lambda leaf: leaf[0], fit)"
    )
    assert_refused(ValueError, message, lambda: fits.diverged_at)
    assert jax.tree.map(lambda leaf: leaf[0], fits).diverged_at == 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_learns_and_is_compared_in_single(dtype):
    truth = jnp.array([[1.0, -1.0]])
    y = X[:, :-1] * truth[0, 0] + X[:, 1:] * truth[0, 1]
    fit = fit_kernel(
        X.astype(dtype),
        y.astype(dtype),
        (1, 2),
        optimizer=SGD,
        steps=300,
        bias=True,
        exact=True,
    )
    assert (fit.kernel.dtype, fit.distance.kernel.dtype) == (dtype, jnp.float32)
    assert fit.diverged_at is None
    np.testing.assert_allclose(fit.distance.solution.kernel, truth, atol=1e-6)
    assert fit.distance.kernel < 0.05


def test_the_distance_of_another_loss_is_to_the_least_squares():
    fit = fit_kernel(X, Y, (1, 2), loss=losses.mean_absolute_error, optimizer=SGD, exact=True)
    found = distance_to_optimum(fit, X, Y)
    np.testing.assert_array_equal(fit.distance.kernel, found.kernel)
