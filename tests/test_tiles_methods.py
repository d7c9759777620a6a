"""The method for tiles, and that its rounding does not depend on the position of a tile."""

import functools
import json

import jax
import numpy as np
import pytest
import tifffile

from jaxconv import conv
from jaxconv._core.dispatch import seamless
from jaxconv._core.dispatch.choose import refusal, select
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.geometry.spec import normalise
from jaxconv.tiles import apply_tiled

RNG = np.random.default_rng(0)
MODES = ("zeros", "reflect", "symmetric", "replicate", "circular")


def problem(x, w, mode="zeros", **geometry):
    spec = normalise("test", x, w, **geometry)
    return seamless.problem_of(spec, mode, w)._replace(platform="cpu")


# x, w, geometry: last rows shorter than a vector or not; full and partial blocks of channels; few
# and many products, which oneDNN computes with one thread and with several
SEAMLESS = [
    ((150, 170, 1), (9, 9, 1, 1), {}),
    ((61, 97, 3), (3, 5, 3, 2), {"stride": (2, 1)}),
    ((70, 83, 16), (3, 3, 16, 40), {}),
    ((70, 83, 48), (1, 1, 48, 16), {}),
    ((66, 71, 6), (7, 4, 2, 9), {"groups": 3, "dilation": (1, 2)}),
    ((66, 71, 16), (5, 5, 1, 16), {"groups": 16}),
    ((900, 5), (31, 5, 4), {}),
    ((25, 26, 31, 2), (3, 3, 3, 2, 8), {}),
]


@pytest.mark.as_shipped  # without optimisation a single output is summed in other instructions
@pytest.mark.parametrize("method", seamless.SEAMLESS)
@pytest.mark.parametrize(("x", "w", "geometry"), SEAMLESS, ids=str)
def test_bits_do_not_depend_on_where_a_tile_begins(method, x, w, geometry):
    """Windows of several sizes at random positions, down to a single output."""
    if why := refusal(problem(x, w, **geometry), method):
        pytest.skip(why)
    spec = normalise("test", x, w, **geometry)
    x, w = (RNG.normal(size=shape).astype(np.float32) for shape in (x, w))
    call = jax.jit(functools.partial(conv, method=method, precision="highest", **geometry))
    whole = np.asarray(call(x, w))
    spans = [(k - 1) * d + 1 for k, d in zip(spec.kernel_size, spec.dilation, strict=True)]
    for size in (1, 6, min(17, *spec.output_size)):
        at = [int(RNG.integers(m - size + 1)) for m in spec.output_size]
        window = tuple(
            slice(a * s, (a + size - 1) * s + span)
            for a, s, span in zip(at, spec.stride, spans, strict=True)
        )
        want = whole[tuple(slice(a, a + size) for a in at)]
        np.testing.assert_array_equal(call(x[window], w), want)


@pytest.mark.cover
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("k", [3, 9, 23])
def test_tiles_are_the_whole(tmp_path, mode, k):
    """Bit for bit; with "fft", to rounding."""
    x = RNG.normal(size=(60, 75)).astype(np.float32)
    w = RNG.normal(size=(k, k)).astype(np.float32)
    tifffile.imwrite(tmp_path / "x.tif", x)
    target = tmp_path / "y.tif"
    asked = {"tile": (32, 41), "padding_mode": mode, "method": "fft" if k == 23 else "auto"}
    done = apply_tiled(tmp_path / "x.tif", w, target, **asked)
    assert done.method == ("fft" if k == 23 else "taps")
    arguments = {"padding": "same", "padding_mode": mode, "method": done.method}
    whole = np.asarray(conv(x[..., None], w[..., None, None], **arguments))[..., 0]
    if k < 23:
        np.testing.assert_array_equal(tifffile.imread(target), whole)
        return
    # spectra round on the scale of the array: 4 u log2(N) |x| |w| in norms (`methods.fft`)
    error = np.linalg.norm(tifffile.imread(target) - whole) / np.linalg.norm(whole)
    assert 0 < error < 4 * np.finfo(np.float32).eps * np.log2(x.size)


def test_integers_by_spectra_differ_by_one_at_most(tmp_path):
    x = RNG.integers(0, 65536, (60, 75), np.uint16)
    w = np.full((9, 9), 1 / 81)
    tifffile.imwrite(tmp_path / "x.tif", x)
    found = []
    for name, method in (("direct", "auto"), ("spectra", "fft")):
        target = tmp_path / f"{name}.tif"
        done = apply_tiled(tmp_path / "x.tif", w, target, tile=32, method=method)
        assert (done.method == "fft") == (method == "fft")
        found.append(tifffile.imread(target).astype(int))
    assert abs(found[0] - found[1]).max() == 1


def test_the_choice_is_that_of_the_whole():
    whole = problem((4000, 4000, 1), (9, 9, 1, 1), padding=4)
    assert seamless.choose(whole) == ("taps", "the fastest on planes of those that leave no seam")
    colours = problem((4000, 4000, 3), (3, 3, 3, 2))
    assert seamless.choose(colours).method in seamless.SEAMLESS
    assert seamless.choose(whole, "fft") == ("fft", "asked for")
    assert seamless.choose(whole, "lax", Policy({whole: "fft"})) == ("lax", "asked for")
    assert seamless.choose(whole, policy=Policy({whole: "fft"})) == ("fft", "chosen by the policy")
    assert seamless.choose(whole._replace(platform="gpu")).method == "lax"
    large = problem((4000, 4000, 1), (51, 51, 1, 1))
    assert seamless.choose(large) == seamless.choose(whole)
    assert seamless.choose(large, "fastest") == select(large, "fastest")
    assert seamless.choose(large, "fastest").method == "fft"
    # all modes but zeros extend the image before the convolution; channels become planes
    assert problem((40, 50, 3), (3, 3, 1, 3), "reflect", padding=1, groups=3) == problem(
        (42, 52, 1), (3, 3, 1, 1)
    )


@pytest.fixture
def begun(tmp_path):
    """A run killed after the first line of its journal, with a method that auto does not take."""
    x = RNG.integers(0, 256, (20, 30), np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", x)
    apply_tiled(tmp_path / "x.tif", np.ones((3, 3)), tmp_path / "z.tif", tile=16, method="lax")
    header = json.loads((tmp_path / "z.tif.finished").read_text().splitlines()[0])

    def write(method):
        text = json.dumps(header | {"method": method}) + "\n"
        (tmp_path / "y.tif.unfinished").write_text(text)

    write("lax")
    again = {"source": tmp_path / "x.tif", "kernel": np.ones((3, 3)), "tile": 16, "resume": True}
    return again | {"target": tmp_path / "y.tif"}, write


def test_a_resumed_run_keeps_its_method(begun):
    arguments, _ = begun
    with pytest.raises(ValueError, match=r"was begun with method='lax' \(now 'taps'\); use the"):
        apply_tiled(**arguments, method="taps")
    done = apply_tiled(**arguments)
    assert (done.method, done.resumed) == ("lax", 0)
    assert apply_tiled(**arguments).method == "lax"  # which had finished
    assert apply_tiled(**arguments, method="lax").resumed == done.tiles


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            "phases",
            "apply_tiled: {} was begun with method='phases', which cannot be used here: phases "
            "does not offer this contraction; name another target",
        ),
        (
            "magic",
            "apply_tiled: method='magic' must be one of 'auto', 'fastest', 'lax', 'loops', "
            "'onednn', 'taps', 'fft', 'columns', 'covered', 'floats', 'integers', 'pallas', "
            "'phases', 'products', 'shifts', 'slabs', 'widened'",
        ),
    ],
)
def test_a_method_that_is_gone_is_refused(begun, method, message):
    arguments, write = begun
    write(method)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is below
        apply_tiled(**arguments)
    assert str(caught.value) == message.format(arguments["target"])
    assert not arguments["target"].exists()
