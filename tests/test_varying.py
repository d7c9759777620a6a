"""Kernels that vary from place to place, against explicit loops over nodes, outputs and entries."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import some

import jaxconv
from jaxconv import varying

# shape, kernel, grid: nodes that are elements and others, one node, cells of one element
CASES = [
    ((12,), (3,), (4,)),
    ((11,), (4,), (11,)),
    ((9,), (2,), (1,)),
    ((9, 7), (3, 2), (3, 2)),
    ((6, 9), (1, 4), (1, 4)),
    ((5, 6, 4), (2, 1, 3), (2, 3, 1)),
]
ATS, MODES = ("output", "input"), ("valid", "same", "same_lower", "full")


def draw(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def hat(position, node, size, nodes):
    """The product over axes of the straight lines from 1 at the node to 0 at its neighbours."""
    found = 1.0
    for p, j, n, g in zip(position, node, size, nodes, strict=True):
        found *= max(0.0, 1 - abs(p * (g - 1) / (n - 1) - j)) if g > 1 else 1.0
    return found


def before(mode, kernel):
    """Elements of padding before x along each axis."""
    of = {"valid": lambda k: 0, "same": lambda k: (k - 1) // 2, "full": lambda k: k - 1}
    return [of.get(mode, lambda k: k // 2)(k) for k in kernel]


def by_loops(x, kernels, *, at, mode, flip=False):
    """The definition, in float64."""
    rank = x.ndim
    grid, kernel = kernels.shape[:rank], kernels.shape[rank:]
    more = {"valid": -1, "full": 1}.get(mode, 0)
    out = [n + more * (k - 1) for n, k in zip(x.shape, kernel, strict=True)]
    y = np.zeros(out)
    for t, a in itertools.product(np.ndindex(*out), np.ndindex(*kernel)):
        s = tuple(np.add(t, a) - before(mode, kernel))
        if not all(0 <= p < n for p, n in zip(s, x.shape, strict=True)):
            continue
        entry = tuple(np.subtract(kernel, 1) - a) if flip else a
        place, size = (t, out) if at == "output" else (s, x.shape)
        for j in np.ndindex(*grid):
            y[t] += hat(place, j, size, grid) * float(kernels[j][entry]) * float(x[s])
    return y


@pytest.mark.cover
@pytest.mark.parametrize("at", ATS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_explicit_loops(case, at):
    shape, kernel, grid = case
    x, kernels = draw(*shape), draw(*grid, *kernel, seed=1)
    for mode in MODES:
        if any(
            g > n + (k - 1) * {"valid": -1, "full": 1}.get(mode, 0)
            for n, k, g in zip(shape, kernel, grid, strict=True)
        ):
            continue
        for call, flip in ((varying.correlate, False), (varying.convolve, True)):
            want = by_loops(x, kernels, at=at, mode=mode, flip=flip)
            found = call(x, kernels, at=at, mode=mode)
            assert found.dtype == jnp.float32
            np.testing.assert_allclose(found, want, atol=2e-6 * np.prod(kernel) ** 0.5)
    with jax.enable_x64(True):
        wide = varying.correlate(x.astype(float), kernels.astype(float), at=at, mode="same")
        want = by_loops(x, kernels, at=at, mode="same")
        np.testing.assert_allclose(wide, want, atol=1e-14)


@pytest.mark.parametrize("boundary", ["reflect", "symmetric", "replicate", "circular"])
def test_a_boundary_is_that_of_the_extended_array(boundary):
    x, kernels = draw(8, 6), draw(3, 2, 3, 4, seed=1)
    found = varying.correlate(x, kernels, mode="same", boundary=boundary)
    wide = jaxconv.pad(x, [(1, 1), (1, 2)], mode=boundary)
    np.testing.assert_allclose(found, varying.correlate(wide, kernels), rtol=1e-6, atol=1e-6)
    assert abs(found - varying.correlate(x, kernels, mode="same")).max() > 0.1


@pytest.mark.parametrize("at", ATS)
def test_equal_kernels_are_one_kernel(at):
    x, k = draw(20, 15), draw(3, 5, seed=1)
    kernels = np.broadcast_to(k, (4, 3, 3, 5))
    for mode in MODES:
        want = jaxconv.correlate(x, k, mode=mode)
        np.testing.assert_allclose(varying.correlate(x, kernels, at=at, mode=mode), want, atol=5e-6)


@pytest.mark.parametrize("method", ["taps", "fft", "lax"])
def test_methods_agree(method):
    x, kernels = draw(18, 15), draw(3, 3, 5, 4, seed=1)
    for at in ATS:
        want = by_loops(x, kernels, at=at, mode="same")
        found = varying.correlate(x, kernels, at=at, mode="same", method=method)
        np.testing.assert_allclose(found, want, atol=2e-5)


@pytest.mark.parametrize("case", some(CASES[3:], CASES[3]), ids=str)
def test_the_transpose_is_the_other_way(case):
    """Of outputs' kernels the adjoint is the convolution by inputs' kernels, and the reverse."""
    shape, kernel, grid = case
    kernels = draw(*grid, *kernel, seed=1)
    x = draw(*(n + k - 1 for n, k in zip(shape, kernel, strict=True)))
    y = draw(*shape, seed=2)
    forward = lambda x: varying.correlate(x, kernels)
    (back,) = jax.linear_transpose(forward, x)(y)
    want = varying.convolve(y, kernels, at="input", mode="full")
    np.testing.assert_allclose(back, want, atol=1e-5)
    np.testing.assert_allclose(jnp.vdot(forward(x), y), jnp.vdot(x, back), rtol=1e-4)
    spreading = lambda y: varying.convolve(y, kernels, at="input", mode="full")
    (gathered,) = jax.linear_transpose(spreading, y)(x)
    np.testing.assert_allclose(gathered, forward(x), atol=1e-5)


@pytest.mark.cover
@pytest.mark.parametrize("at", ATS)
@pytest.mark.parametrize("case", [CASES[0], CASES[3], CASES[5]], ids=str)
def test_gradients_are_those_of_a_bilinear_map(case, at):
    """Central differences of any step are exact up to rounding; eps=1 keeps that small."""
    shape, kernel, grid = case
    with jax.enable_x64(True):
        x, kernels = draw(*shape, dtype=float), draw(*grid, *kernel, seed=1, dtype=float)
        dx, dk = draw(*shape, seed=2, dtype=float), draw(*grid, *kernel, seed=3, dtype=float)
        f = lambda x, k: varying.correlate(x, k, at=at, mode="same")
        y = draw(*shape, seed=4, dtype=float)
        pulled = jax.vjp(f, x, kernels)[1](jnp.asarray(y))
        pushed = jax.jvp(f, (x, kernels), (dx, dk))[1]
        want = (f(x + dx, kernels + dk) - f(x - dx, kernels - dk)) / 2
        np.testing.assert_allclose(pushed, want, atol=1e-12)
        both = jnp.vdot(pulled[0], dx) + jnp.vdot(pulled[1], dk)
        np.testing.assert_allclose(both, jnp.vdot(y, pushed), rtol=1e-12)
        squares = lambda k: jnp.sum(jnp.square(f(x, k)))
        second = jax.jvp(jax.grad(squares), (kernels,), (dk,))[1]
        np.testing.assert_allclose(jnp.vdot(second, dk), 2 * jnp.sum(jnp.square(f(x, dk))))


@pytest.mark.parametrize("at", ATS)
def test_vmap_over_either_and_both(at):
    xs, kernels = draw(3, 9, 7), draw(3, 3, 2, 2, 3, seed=1)
    f = lambda x, k: varying.correlate(x, k, at=at, mode="same")
    for axes in ((0, 0), (0, None), (None, 0)):
        first, second = axes
        found = jax.vmap(f, axes)(
            xs if first == 0 else xs[0], kernels if second == 0 else kernels[0]
        )
        for n in range(3):
            want = f(xs[n * (first == 0)], kernels[n * (second == 0)])
            np.testing.assert_allclose(found[n], want, atol=1e-5)


@pytest.mark.parametrize("at", ATS)
def test_nan_reaches_what_sees_it(at):
    """Cells have patches that overlap; no more outputs see an element than by the definition."""
    x, kernels = draw(13, 11), draw(4, 3, 3, 3, seed=1)
    x[4, 7] = np.nan
    found = np.isnan(varying.correlate(x, kernels, at=at, mode="same"))
    want = np.zeros((13, 11), bool)
    want[3:6, 6:9] = True
    np.testing.assert_array_equal(found, want)


def test_the_kernel_of_a_place():
    kernels = draw(3, 4, 2, 3)
    shape = (21, 31)
    places = np.array([[0, 0], [10, 20], [20, 30], [5, 25], [3.3, 7.9], [-4, 90]], np.float32)
    found = varying.kernel_at(kernels, places, shape)
    for place, kernel in zip(np.clip(places, 0, [20, 30]), found, strict=True):
        want = sum(hat(place, j, shape, (3, 4)) * kernels[j] for j in np.ndindex(3, 4))
        np.testing.assert_allclose(kernel, want, atol=2e-6)
    one = varying.kernel_at(kernels, places[3], shape)
    np.testing.assert_array_equal(one, found[3])
    # a point at a place becomes the kernel of that place
    x = np.zeros(shape, np.float32)
    x[5, 25] = 1
    y = varying.convolve(x, kernels, at="input", mode="full")
    np.testing.assert_allclose(y[5:7, 25:28], found[3], atol=1e-6)
    middle = varying.kernel_at(kernels[:1], places, shape)
    np.testing.assert_allclose(middle[1], kernels[0, 2], atol=1e-6)


@pytest.mark.parametrize("interpolation", ["linear", "sinc"])
def test_points_are_where_they_are(interpolation):
    places = np.array([[4.0, 5.0], [10.25, 6.5], [-0.5, 3.0], [40.0, 3.0]], np.float32)
    fluxes = np.array([1.0, 2.0, 4.0, 8.0], np.float32)
    each = [
        np.asarray(
            varying.point_sources(
                places[n : n + 1], fluxes[n : n + 1], (16, 12), interpolation=interpolation
            )
        )
        for n in range(4)
    ]
    together = varying.point_sources(places, fluxes, (16, 12), interpolation=interpolation)
    np.testing.assert_allclose(together, sum(each), atol=1e-6)
    want = np.zeros((16, 12))
    want[4, 5] = 1
    np.testing.assert_allclose(each[0], want, atol=1e-6)
    assert each[1].sum() == pytest.approx(2, abs=1e-5)
    centre = np.einsum("ab,abc->c", each[1] / 2, np.moveaxis(np.indices((16, 12)), 0, -1))
    np.testing.assert_allclose(centre, places[1], atol=0.01 if interpolation == "sinc" else 1e-5)
    assert 0 < each[2].sum() < 4  # half of it lies outside
    assert not each[3].any()
    total = lambda places: jnp.sum(
        varying.point_sources(places, fluxes, (16, 12), interpolation=interpolation)
        * np.arange(16, dtype=np.float32)[:, None]
    )
    np.testing.assert_allclose(jax.grad(total)(places)[1], [2, 0], atol=0.1)
    assert np.isfinite(jax.grad(total)(places)).all()


def test_a_smooth_image_of_a_point_is_moved_between_elements():
    """What the weights by sinc are for: an error of per mille where linear ones have per cent."""
    t = np.arange(41.0)
    bell = lambda centre: np.exp(-((t - centre) ** 2) / (2 * 1.2**2)).astype(np.float32)
    kernel = bell(20)[12:29]
    worst = {}
    for interpolation in ("linear", "sinc"):
        points = varying.point_sources(
            np.array([[20.4]], np.float32),
            np.ones(1, np.float32),
            (41,),
            interpolation=interpolation,
        )
        made = jaxconv.convolve(points, kernel, mode="same")
        worst[interpolation] = float(abs(made - bell(20.4)).max())
    assert worst["sinc"] < 0.005 < 0.05 < worst["linear"]


def test_errors_name_the_rule():
    x, kernels = draw(9, 7), draw(3, 2, 3, 3)
    refused = [
        (
            ValueError,
            "correlate: kernels.shape=(2, 3, 3) must be (*grid, *kernel), 4 axes for the 2 of x",
            lambda: varying.correlate(x, kernels[0]),
        ),
        (
            ValueError,
            "convolve: at='place' must be one of 'output', 'input'",
            lambda: varying.convolve(x, kernels, at="place"),
        ),
        (
            ValueError,
            "correlate: mode='wide' must be one of 'valid', 'same', 'same_lower', 'full'",
            lambda: varying.correlate(x, kernels, mode="wide"),
        ),
        (
            ValueError,
            "correlate: boundary='reflect' needs at='output': with at='input' what lies outside x "
            "has no place on the grid; extend x itself, jaxconv.pad(x, ..., mode='reflect')",
            lambda: varying.correlate(x, kernels, at="input", boundary="reflect"),
        ),
        (
            ValueError,
            "correlate: grid=(9, 1) must have from 1 to 7 nodes along axis 0 of the output (the "
            "output.shape=(7, 5))",
            lambda: varying.correlate(x, draw(9, 1, 3, 3)),
        ),
        (
            ValueError,
            "correlate: kernels of (10, 1) are larger than x.shape=(9, 7); use mode='same' or "
            "mode='full', which pad x",
            lambda: varying.correlate(x, draw(1, 1, 10, 1)),
        ),
        (
            TypeError,
            "correlate: x must be floating point or complex, got x.dtype=int32: convert it, as in "
            "x.astype('float32')",
            lambda: varying.correlate(x.astype(np.int32), kernels),
        ),
        (
            TypeError,
            "correlate: x is float32 but kernels is float16; make them one: "
            "kernels.astype(jnp.float32)",
            lambda: varying.correlate(x, kernels.astype(np.float16)),
        ),
        (
            ValueError,
            "kernel_at: position.shape=(3,) must end with 2, one coordinate an axis of "
            "shape=(9, 7)",
            lambda: varying.kernel_at(kernels, np.zeros(3), (9, 7)),
        ),
        (
            ValueError,
            "point_sources: fluxes.shape=(2,) must be (3,), one for each of positions",
            lambda: varying.point_sources(draw(3, 2), draw(2), (9, 7)),
        ),
        (
            ValueError,
            "point_sources: positions.shape=(3, 1) must be (stars, 2), one coordinate for each "
            "axis of shape=(9, 7)",
            lambda: varying.point_sources(draw(3, 1), draw(3), (9, 7)),
        ),
        (
            ValueError,
            "point_sources: interpolation='cubic' must be one of 'linear', 'sinc'",
            lambda: varying.point_sources(draw(3, 2), draw(3), (9, 7), interpolation="cubic"),
        ),
    ]
    for kind, message, call in refused:
        with pytest.raises(kind) as caught:
            call()
        assert str(caught.value) == message
