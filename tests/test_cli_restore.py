"""The restore command: files of every kind, in memory and in tiles, and how it refuses."""

import numpy as np
import pytest
import tensorstore
import tifffile
from PIL import Image
from typer.testing import CliRunner

from jaxconv import correlate, psf, restore
from jaxconv._files import images, stored
from jaxconv.cli.app import app
from jaxconv.cli.restore import BOUNDARIES
from jaxconv.restore._blur import BOUNDARIES as OF_FUNCTIONS

pytestmark = pytest.mark.usefixtures("undrawn")

BLUR = psf.defocus(2.0)
VOLUME = np.full((3, 3, 3), 1 / 27, np.float32)


def run(*arguments):
    return CliRunner().invoke(app, ["restore", *map(str, arguments)])


def done(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def kernel(tmp_path):
    np.save(tmp_path / "blur.npy", BLUR)
    return tmp_path / "blur.npy"


@pytest.fixture
def levels():
    """A photograph, blurred, with a little noise, in levels of 8 bits."""
    sharp = 255 * images.sample("camera")[200:296, 200:310]
    y = np.asarray(correlate(sharp, BLUR, mode="same", boundary="reflect"))
    noisy = y + np.random.default_rng(0).standard_normal(y.shape, np.float32)
    return sharp, np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)


def rms(a, b):
    return float(np.sqrt(np.mean((a.astype(float) - b.astype(float)) ** 2)))


@pytest.mark.parametrize("method", ["wiener", "tikhonov", "richardson-lucy"])
def test_it_is_the_functions_result_in_levels(tmp_path, kernel, levels, method):
    sharp, y = levels
    Image.fromarray(y).save(tmp_path / "b.png")
    out = tmp_path / "sharp.png"
    line = done(tmp_path / "b.png", out, "--kernel", kernel, "--method", method)
    values = np.float32(y)
    way = "tikhonov" if method == "tikhonov" else "wiener"
    balance = float(restore.estimate_balance(values, BLUR, restoration=way))
    expected = {
        "wiener": lambda: restore.wiener(values, BLUR),
        "tikhonov": lambda: restore.tikhonov(values, BLUR).image,
        "richardson-lucy": lambda: restore.richardson_lucy(values, BLUR).image,
    }[method]()
    found = np.asarray(Image.open(out))
    assert found.dtype == np.uint8
    # FFTs of one value may differ in the last digit under jit: a level of rounding
    assert np.abs(found - np.clip(np.asarray(expected), 0, 255)).max() <= 0.51
    # wiener guesses at the ends
    assert rms(found, sharp) < (0.9 if method == "wiener" else 0.75) * rms(y, sharp)
    figure = tmp_path / "sharp-before-after.png"
    assert figure.exists()
    assert line.startswith(f"wrote {out} and {figure}: 96x110 grey uint8; blur (5x5) undone by")
    how = f"balance {balance:.3g}, estimated for noise of at least 0.29, which rounding to whole"
    if method == "richardson-lucy":
        how = "30 steps, misfit"
    assert f"undone by {method}; {how}" in line


@pytest.mark.parametrize("method", ["wiener", "tikhonov"])
def test_an_image_of_16_bits_without_noise_does_not_ring(tmp_path, kernel, method):
    """Its ends show a larger scene; all of its bits are used, or the upper 12."""
    wide = images.sample("camera")[150:294, 150:304]
    sharp, y = 65535 * wide[2:-2, 2:-2], 65535 * np.asarray(correlate(wide, BLUR))
    for shift, levels in ((0, "whole levels"), (4, "steps of 16 levels")):
        stored_levels = np.uint16(np.rint(y)) >> shift << shift
        tifffile.imwrite(tmp_path / "b.tif", stored_levels)
        out = tmp_path / f"{shift}.tif"
        line = done(tmp_path / "b.tif", out, "--kernel", kernel, "--method", method)
        part = 0.7 if method == "wiener" else 0.5
        assert rms(tifffile.imread(out), sharp) < part * rms(stored_levels, sharp)
        least = 2**shift * 12**-0.5
        assert (
            f"estimated for noise of at least {least:.2g}, which rounding to {levels} makes" in line
        )
    # a noise that is given, and floating point, have none
    done(tmp_path / "b.tif", out, "--kernel", kernel, "--noise", 1000, "--overwrite")
    tifffile.imwrite(tmp_path / "b.tif", y)
    for options in ((), ("--noise", 1000)):
        line = done(tmp_path / "b.tif", out, "--kernel", kernel, "--overwrite", *options)
        assert ("; large because" in line) == (not options)
        assert ", estimated;" in line


def test_the_output_is_beside_the_image_and_never_replaced_unasked(tmp_path, kernel, levels):
    tifffile.imwrite(tmp_path / "b.tif", levels[1])
    arguments = (tmp_path / "b.tif", "--kernel", kernel, "--figure", tmp_path / "f.png")
    done(*arguments)
    out = tmp_path / "b-restored.tif"
    assert out.exists()
    assert (tmp_path / "f.png").exists()
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr == (
        f"jaxconv restore: {out} exists; --overwrite replaces it, or name another file\n"
    )
    before = out.read_bytes()
    done(*arguments, "--overwrite", "--balance", 1.0)
    assert out.read_bytes() != before
    result = run(tmp_path / "b.tif", tmp_path / "b.tif", "--kernel", kernel, "--overwrite")
    assert "is the image itself; name another file" in result.stderr


def test_colours_are_restored_one_by_one_and_alpha_is_kept(tmp_path, kernel, levels):
    colours = np.dstack([levels[1], levels[1][::-1], levels[1].T[:96, :96].repeat(2, 1)[:, :110]])
    alpha = np.full(colours.shape[:2], 255, np.uint8)
    alpha[3, 4] = 7
    stored.save(tmp_path / "b.png", stored.Stored(colours=colours, alpha=alpha))
    line = done(tmp_path / "b.png", tmp_path / "o.png", "--kernel", kernel, "--balance", 0.01)
    assert "alpha kept as it was" in line
    found = np.asarray(Image.open(tmp_path / "o.png"))
    np.testing.assert_array_equal(found[..., 3], alpha)
    for c in range(3):
        expected = restore.wiener(np.float32(colours[..., c]), BLUR, balance=0.01)
        assert np.abs(found[..., c] - np.clip(np.asarray(expected), 0, 255)).max() <= 0.51


def beads():
    rng = np.random.default_rng(0)
    x = np.zeros((10, 40, 44), np.float32)
    x[rng.integers(1, 9, 5), rng.integers(2, 38, 5), rng.integers(2, 40, 5)] = 4000
    y = np.asarray(correlate(x, VOLUME, mode="same"))
    return rng.poisson(np.maximum(y, 0) + 3).astype(np.uint16)


def test_volumes_of_counts_stop_at_their_noise(tmp_path):
    y = beads()
    np.save(tmp_path / "k.npy", VOLUME)
    tifffile.imwrite(tmp_path / "v.tif", y, imagej=True, metadata={"axes": "ZYX"})
    options = ("--method", "richardson-lucy", "--stop", 1, "--background", 3)
    out = tmp_path / "o.tif"
    line = done(tmp_path / "v.tif", out, "--kernel", tmp_path / "k.npy", *options)
    expected = restore.richardson_lucy(np.float32(y), VOLUME, background=3.0, stop=1.0, steps=500)
    assert f"undone by richardson-lucy; {int(expected.steps)} steps, misfit " in line
    found = tifffile.imread(out)
    assert found.dtype == np.uint16
    np.testing.assert_allclose(found, expected.image, rtol=1e-3, atol=0.6)
    short = done(
        *(tmp_path / "v.tif", out, "--kernel", tmp_path / "k.npy", *options),
        *("--steps", 2, "--overwrite"),
    )
    assert "2 steps" in short
    assert "not down to 1 yet: more --steps" in short


def test_planes_of_a_stack_are_restored_one_by_one(tmp_path, kernel):
    y = (beads() * 10).astype(np.uint16)
    tifffile.imwrite(tmp_path / "t.tif", y, imagej=True, metadata={"axes": "TYX"})
    out = tmp_path / "o.tif"
    done(tmp_path / "t.tif", out, "--kernel", kernel, "--balance", 0.1)
    found = tifffile.imread(out)
    for plane, restored in zip(y, found, strict=True):
        expected = np.asarray(restore.wiener(np.float32(plane), BLUR, balance=0.1))
        assert np.abs(restored - np.clip(expected, 0, None)).max() <= 0.55
    one = tmp_path / "one.tif"
    done(tmp_path / "t.tif", one, "--kernel", kernel, "--balance", 0.1, "--page", 4)
    np.testing.assert_array_equal(tifffile.imread(one), found[4])


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_tiles_are_near_the_whole(tmp_path, kernel, levels, suffix):
    y = np.tile(np.float32(levels[1]), (2, 2))
    tifffile.imwrite(tmp_path / "b.tif", y)
    options = ("--kernel", kernel, "--method", "tikhonov", "--balance", 0.1)
    whole, tiled = tmp_path / "whole.tif", tmp_path / f"tiled{suffix}"
    done(tmp_path / "b.tif", whole, *options)
    line = done(tmp_path / "b.tif", tiled, *options, "--tile", 64)
    assert "12 tiles" in line
    if suffix == ".tif":
        found = tifffile.imread(tiled)
    else:
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(tiled)}}
        found = tensorstore.open(spec).result().read().result()
    expected = tifffile.imread(whole)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 0.02 * np.ptp(expected)


def test_a_learned_bias_is_taken_away_first(tmp_path, levels):
    y = levels[1]
    Image.fromarray(y).save(tmp_path / "b.png")
    rows = "\n".join(",".join(map(str, row)) for row in BLUR)
    for name, head in (("plain", "# grey"), ("shifted", "# grey, bias 0.1")):
        (tmp_path / f"{name}.csv").write_text(f"{head}\n{rows}\n")
    images_of = {}
    for name in ("plain", "shifted"):
        out = tmp_path / f"{name}.png"
        done(tmp_path / "b.png", out, "--kernel", tmp_path / f"{name}.csv", "--balance", 0.1)
        images_of[name] = np.asarray(Image.open(out)).astype(int)
    change = np.median(images_of["plain"] - images_of["shifted"])
    assert change == pytest.approx(25.5, abs=1)


def test_a_convolution_is_turned(tmp_path, levels):
    k = np.zeros((1, 4), np.float32)
    k[0, :2] = 0.75, 0.25
    np.save(tmp_path / "k.npy", k)
    tifffile.imwrite(tmp_path / "b.tif", np.float32(levels[1]))
    out = tmp_path / "o.tif"
    options = ("--kernel", tmp_path / "k.npy", "--convolution", "--balance", 0.01)
    done(tmp_path / "b.tif", out, *options)
    expected = restore.wiener(np.float32(levels[1]), k, balance=0.01, flip=True)
    np.testing.assert_allclose(tifffile.imread(out), expected, atol=0.01)


def test_a_kernel_of_edges_loses_the_mean(tmp_path, levels):
    tifffile.imwrite(tmp_path / "b.tif", np.float32(levels[1]))
    line = done(tmp_path / "b.tif", tmp_path / "o.tif", "--kernel", "sobel_x")
    assert "its weights sum to 0, so that the image's mean is lost" in line
    assert np.isfinite(tifffile.imread(tmp_path / "o.tif")).all()


REFUSED = {
    ("--method", "lucy"): "--method must be one of wiener, tikhonov, richardson-lucy; got 'lucy'",
    ("--boundary", "mirror"): "--boundary must be one of unknown, zeros, reflect, symmetric, "
    "replicate, circular; got 'mirror'",
    ("--boundary", "zeros"): "--boundary zeros is for tikhonov and richardson-lucy; wiener takes "
    "unknown or circular",
    ("--stop", 1): "--stop is for --method richardson-lucy",
    ("--steps", 3): "--steps is for --method tikhonov or richardson-lucy",
    ("--balance", 0): "--balance must be above 0, got 0.0",
    ("--noise", "nan"): "--noise must be 0 or more, got nan",
    ("--method", "tikhonov", "--steps", 0): "--steps must be 1 or more, got 0",
    ("--balance", 1, "--noise", 1): "--noise is for the estimate of a balance: give it or "
    "--balance",
    ("--tile", 0): "--tile must be 1 or more, got 0",
    ("--method", "richardson-lucy", "--kernel", "sobel_x"): "sobel_x has negative weights, and "
    "richardson-lucy is for blurs that have none; try --method wiener or tikhonov",
}


@pytest.mark.parametrize("options", REFUSED, ids=str)
def test_refusals(tmp_path, kernel, levels, options):
    tifffile.imwrite(tmp_path / "b.tif", levels[1])
    result = run(tmp_path / "b.tif", tmp_path / "o.tif", "--kernel", kernel, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"jaxconv restore: {REFUSED[options]}\n"
    assert not (tmp_path / "o.tif").exists()


def test_nan_and_bits_are_refused(tmp_path, kernel):
    y = np.zeros((12, 13), np.float32)
    y[3, 4] = np.nan
    tifffile.imwrite(tmp_path / "b.tif", y)
    for tile in ((), ("--tile", 64)):
        result = run(tmp_path / "b.tif", tmp_path / "o.tif", "--kernel", kernel, *tile)
        assert (result.exit_code, result.stderr) == (
            2,
            f"jaxconv restore: {tmp_path / 'b.tif'}: 1 of 156 values are NaN or infinite; fill "
            "them first: a restoration spreads them over all of the image\n",
        )
        assert not (tmp_path / "o.tif").exists()
    Image.fromarray(y > 0).save(tmp_path / "bits.png")
    result = run(tmp_path / "bits.png", tmp_path / "o.png", "--kernel", kernel)
    assert "has values of one bit, which a blur does not leave" in result.stderr


def test_no_file_is_lost_to_a_mistake(tmp_path, kernel, levels):
    image, other = tmp_path / "b.tif", tmp_path / "other.png"
    tifffile.imwrite(image, levels[1])
    other.write_bytes(b"kept")
    before = image.read_bytes()
    # a suffix that tiles cannot be written to, with leave to replace the file
    result = run(image, other, "--kernel", kernel, "--tile", 64, "--overwrite")
    assert result.stderr == (
        f"jaxconv restore: {other}: a target must end in .zarr or .tif or .tiff\n"
    )
    assert other.read_bytes() == b"kept"
    # figures replace nothing either
    out = tmp_path / "o.tif"
    for figure, message in (
        (other, f"{other} exists; --overwrite replaces it, or name another file"),
        (image, f"{image} is the image itself; name another file"),
        (out, f"--figure {out} is the OUTPUT too; name another file"),
    ):
        result = run(image, out, "--kernel", kernel, "--figure", figure)
        assert (result.exit_code, result.stderr) == (2, f"jaxconv restore: {message}\n")
        assert not out.exists()
    assert (other.read_bytes(), image.read_bytes()) == (b"kept", before)


def test_the_boundaries_are_those_of_the_functions():
    assert BOUNDARIES == OF_FUNCTIONS
