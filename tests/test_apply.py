"""The apply command: every kind of image keeps its format, and learned kernels can be applied."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps
from scipy import ndimage
from typer.testing import CliRunner

from jaxconv import cli, filters
from jaxconv._files import images, stored
from jaxconv.cli.app import app

RNG = np.random.default_rng(0)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def _values(dtype, *shape):
    values = RNG.uniform(size=shape)
    if not dtype.startswith("float"):
        values = np.rint(values * np.iinfo(dtype).max)
    return values.astype(dtype)


@pytest.fixture
def identity(tmp_path):
    np.save(tmp_path / "identity.npy", np.pad([[1.0]], 1))
    return tmp_path / "identity.npy"


@pytest.mark.parametrize(
    ("suffix", "dtype", "shape", "alpha"),
    [
        (".png", "uint8", (6, 7), False),
        (".png", "uint8", (6, 7), True),
        (".png", "uint8", (6, 7, 3), False),
        (".png", "uint8", (6, 7, 3), True),
        (".png", "uint16", (6, 7), False),
        (".tif", "uint16", (6, 7, 3), True),
        (".tiff", "float32", (6, 7, 3), False),
        (".tif", "float16", (6, 7), False),
    ],
)
def test_the_identity_changes_nothing(tmp_path, identity, suffix, dtype, shape, alpha):
    before, after = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    cover = _values(dtype, *shape[:2]) if alpha else None
    image = stored.Stored(colours=_values(dtype, *shape), alpha=cover, profile=PROFILE)
    stored.save(before, image)
    result = _run("apply", before, after, "--kernel", identity)
    assert result.exit_code == 0, result.stderr
    assert "; colour profile kept" in result.stdout
    found = stored.load(after)
    assert found.colours.dtype == dtype
    np.testing.assert_array_equal(found.colours, image.colours)
    assert found.profile == PROFILE
    assert (found.alpha is not None) == alpha
    if alpha:
        np.testing.assert_array_equal(found.alpha, cover)


def test_what_else_says_how_to_show_a_file_is_kept(tmp_path, identity):
    image = Image.fromarray(_values("uint8", 6, 7))
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "words", 6  # a description, and: turn it by a quarter
    image.save(tmp_path / "a.jpg", exif=exif, icc_profile=PROFILE, quality=100)
    assert (
        _run("apply", tmp_path / "a.jpg", tmp_path / "b.jpg", "--kernel", identity).exit_code == 0
    )
    with Image.open(tmp_path / "b.jpg") as found:
        assert (found.size, found.info["icc_profile"]) == ((6, 7), PROFILE)
        assert dict(found.getexif()) == {0x010E: "words"}  # turned once, not twice
    extra = {"gamma": 0.45455, "chromaticity": (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)}
    source = stored.Stored(colours=_values("uint8", 3, 3), extra={**extra, "srgb": 1})
    stored.save(tmp_path / "a.png", source)
    found = stored.load(tmp_path / "a.png").extra
    assert (found["gamma"], found["srgb"]) == (pytest.approx(0.45455), 1)
    assert found["chromaticity"] == pytest.approx(extra["chromaticity"])


def _chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_a_video_signals_code_points_are_kept(tmp_path, identity):
    """PNG's cICP declares values as, for example, BT.2020 with PQ: without it they look grey."""
    images.write(tmp_path / "plain.png", images.as_float(_values("uint8", 6, 7, 3), tmp_path))
    plain = (tmp_path / "plain.png").read_bytes()
    signal = _chunk(b"cICP", bytes([9, 16, 0, 1])) + _chunk(b"cLLI", bytes(range(8)))
    (tmp_path / "a.png").write_bytes(plain[:33] + signal + plain[33:])  # behind the header
    result = _run("apply", tmp_path / "a.png", tmp_path / "b.png", "--kernel", identity)
    assert result.exit_code == 0, result.stderr
    after = (tmp_path / "b.png").read_bytes()
    assert signal in after[: after.index(b"IDAT")]
    assert stored.load(tmp_path / "b.png").extra == stored.load(tmp_path / "a.png").extra


@pytest.mark.parametrize("turn", range(1, 9))
def test_tiffs_are_turned_as_jpegs_are(tmp_path, identity, turn):
    """Pixels and resolution are turned upright, as Pillow turns them."""
    values, tags = _values("uint8", 6, 7, 3), [(274, "H", 1, turn, True)]
    options = {"photometric": "rgb", "resolution": (300, 150), "resolutionunit": "INCH"}
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=tags, **options)
    exif = Image.Exif()
    exif[274] = turn
    flat = Image.fromarray(values)
    flat.save(tmp_path / "a.png", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    assert _run("apply", tmp_path / "a.tif", "--kernel", identity).exit_code == 0
    with tifffile.TiffFile(tmp_path / "a-identity.tif") as found:
        page = found.pages[0]
        np.testing.assert_array_equal(page.asarray(), upright)
        assert page.tags.get("Orientation") is None
        resolution = [page.tags[f"{axis}Resolution"].value[0] for axis in "XY"]
    assert resolution == ([150, 300] if turn > 4 else [300, 150])


@pytest.mark.parametrize(("dtype", "shape"), [("uint8", (6, 7, 3)), ("uint16", (6, 7))])
def test_tiffs_that_only_pillow_decodes_keep_their_bits(tmp_path, dtype, shape):
    values = _values(dtype, *shape)
    Image.fromarray(values).save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(stored.load(tmp_path / "a.tif").colours, values)


def test_wide_floats_are_computed_in_float32_and_say_so(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 5), 0.1))
    assert (
        "; values kept; computed in float32\n"
        in _run("apply", tmp_path / "a.tif", "--kernel", "box").stdout
    )
    assert stored.load(tmp_path / "a-box.tif").colours.dtype == np.float64


def test_palettes_and_bits_become_what_a_filtered_image_needs(tmp_path):
    Image.fromarray(_values("uint8", 8, 8) // 64, mode=None).convert("P").save(tmp_path / "p.png")
    Image.fromarray(RNG.uniform(size=(8, 8)) > 0.5).save(tmp_path / "bits.png")
    result = _run("apply", tmp_path / "p.png", "--kernel", "box")
    assert result.stdout.endswith("; its palette was looked up\n")
    assert stored.load(tmp_path / "p-box.png").colours.shape == (8, 8, 3)
    assert (
        " grey uint8; box (3x3)" in _run("apply", tmp_path / "bits.png", "--kernel", "box").stdout
    )
    bits = np.asarray(Image.open(tmp_path / "bits.png").convert("L")) / 255
    np.testing.assert_allclose(
        images.read(tmp_path / "bits-box.png")[0],
        ndimage.correlate(bits, filters.by_name("box"), mode="reflect"),
        atol=0.51 / 255,
    )


@pytest.mark.parametrize("tile", [(), ("--tile", 4)], ids=["whole", "tiles"])
def test_nan_reaches_only_what_sees_it(tmp_path, tile):
    x = _values("float32", 9, 8)
    x[2, 3] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", x)
    result = _run("apply", tmp_path / "a.tif", tmp_path / "b.tif", "--kernel", "box", *tile)
    assert result.exit_code == 0, result.stderr
    expected = np.zeros(x.shape, bool)
    expected[1:4, 2:5] = True
    np.testing.assert_array_equal(np.isnan(tifffile.imread(tmp_path / "b.tif")), expected)
    arguments = ["a.tif", "c.tif", "--kernel", "box", "--scale", "stretch", *tile]
    result = _run(
        "apply", *[tmp_path / a if a.endswith(".tif") else a for a in map(str, arguments)]
    )
    told = "--scale stretch needs finite responses; some are NaN or infinite"
    assert (result.exit_code, result.stderr) == (2, f"jaxconv apply: {told}\n")
    assert not (tmp_path / "c.tif").exists()


def test_scales_and_edges(tmp_path):
    x = images.as_float(_values("uint8", 9, 8), tmp_path)
    images.write(tmp_path / "a.png", x)
    kernel = filters.by_name("sobel_x")
    right = ndimage.correlate(x, kernel, mode="reflect")
    for scale, told, expected in (
        (None, "level = 127.5 + response / 8", 0.5 + right / 8),
        ("clip", "of the values clipped to 0..255", np.clip(right, 0, 1)),
        ("stretch", "level = (response + ", (right - right.min()) / np.ptp(right)),
    ):
        options = [] if scale is None else ["--scale", scale, "--overwrite"]
        result = _run("apply", tmp_path / "a.png", "--kernel", "sobel_x", *options)
        assert told in result.stdout
        found = images.read(tmp_path / "a-sobel_x.png")[0]
        np.testing.assert_allclose(found, expected, atol=0.51 / 255)
    tifffile.imwrite(tmp_path / "a.tif", x)
    result = _run("apply", tmp_path / "a.tif", "--kernel", "sobel_x", "--cut")
    assert "7x6 grey float32; sobel_x (3x3), cut; values kept" in result.stdout
    np.testing.assert_allclose(
        tifffile.imread(tmp_path / "a-sobel_x.tif"), right[1:-1, 1:-1], atol=1e-5
    )


@pytest.mark.parametrize("form", ["", "kernel.csv"])
def test_learn_and_apply_compose(tmp_path, form):
    """What a kernel and a shift did to a photograph, learned and done again, to one level."""
    x = images.sample("coffee")[100:148, 200:260]
    kernels = [filters.by_name(name) / 9 for name in ("sobel_x", "prewitt_y", "laplacian")]
    planes = [ndimage.correlate(x[..., n], kernels[n], mode="reflect") for n in range(3)]
    images.write(tmp_path / "x.png", x)
    images.write(tmp_path / "y.png", 0.5 + np.stack(planes, axis=-1))
    files = (tmp_path / "x.png", tmp_path / "y.png")
    assert _run("learn", *files, "--kernel", 3, "--out", tmp_path / "out").exit_code == 0
    result = _run("apply", files[0], tmp_path / "z.png", "--kernel", tmp_path / "out" / form)
    assert result.exit_code == 0
    assert "clipped to 0..255" in result.stdout
    y, z = (stored.load(tmp_path / name).colours.astype(int) for name in ("y.png", "z.png"))
    assert np.abs(y - z).max() <= 1
    assert np.mean(y == z) > 0.9


REFUSALS = {
    "grey.png --kernel best": "'best' is neither a known kernel nor a file; known: sobel_x, "
    "sobel_y, prewitt_x, prewitt_y, scharr_x, scharr_y, laplacian, gaussian, box, gabor; or name a "
    ".npy or .csv file that jaxconv learn wrote",
    "grey.png grey.png --kernel box": "grey.png is the image itself; name another file",
    "deep.png a.jpg --kernel box": "a.jpg: jpeg cannot hold uint16 values; name a tiff or png file",
    "float.tif a.png --kernel box": "a.png: png cannot hold float32 values; name a tiff file",
    "clear.png a.jpg --kernel box": "a.jpg: jpeg cannot hold alpha; name a png or tiff file",
    "grey.png a.gif --kernel box": "a.gif: not the suffix of an image that can be written "
    "(.png, .jpg, .jpeg, .tif, .tiff, .zarr)",
    "inks.jpg --kernel box": "inks.jpg: its colours are stored as CMYK; save it as grey or RGB",
    "white.tif --kernel box": "white.tif: its colours are stored as MINISWHITE; save it as grey or "
    "RGB",
    "premultiplied.tif --kernel box": "premultiplied.tif: its colours are premultiplied by alpha; "
    "save it with straight alpha",
    "film.png --kernel box": "film.png: holds 2 images; --page N takes one, from 0",
    "grey.png --kernel gaussian": "a 9x9 kernel is larger than the 4x5 image",
    "grey.png --kernel three.npy": "three has a kernel for each colour, but the image is grey",
    "grey.png --kernel flat.npy": "flat.npy: contains an array of shape (4,); expected (h, w), "
    "(d, h, w) or (channels, h, w)",
    "grey.png --kernel nan.npy": "nan.npy: has weights that are NaN or infinite",
    "grey.png --kernel box --scale best": "--scale must be one of clip, signed, stretch, none; got "
    "'best'",
    "grey.png --kernel box --scale none": "--scale none is for floating-point and signed images; "
    "clip is the nearest to it",
    "grey.png --kernel box --padding-mode odd": "--padding-mode must be one of symmetric, reflect, "
    "replicate, circular, zeros; got 'odd'",
    "deep.tif a.jpg --kernel box": "a.jpg: jpeg cannot hold uint16 values; name a tiff file",
    "deep.tif a.png --kernel box": "a.png: png cannot hold uint16 values with colour or alpha; "
    "name a tiff file",
    "grey.png --kernel words.npy": "words.npy: cannot be read as a kernel (its first bytes are "
    "not those of a .npy file)",
    "grey.png --kernel .": ".: contains no kernel.csv; name a folder that jaxconv learn wrote",
    "grey.png grey.png/a.png --kernel box": "cannot write results to grey.png: grey.png is not a "
    "folder",
    "text.png --kernel box": "text.png: cannot be read as an image (its first bytes are not "
    "those of a png, jpeg or tiff file)",
    "short.png --kernel box": "short.png: cannot be read as an image (image file is truncated)",
    "short.tif --kernel box": "short.tif: cannot be read as an image (corrupted IFD structure)",
    "pages.tif --kernel box": "pages.tif: holds 2 images that differ ((4, 5) uint8, (4, 5, 3) "
    "uint8); --page N takes one page, from 0",
    "stack.tif a.png --kernel box": "a.png: png holds one image, not the axes QYX; name a tiff or "
    ".zarr, or take one --page N",
    "film.gif --kernel box": "film.gif: not an image that can be read (.png, .jpg, .jpeg, .tif, "
    ".tiff, or a zarr folder)",
    "colour16.png --kernel box": "colour16.png: 16-bit colour png would lose half its bits; save "
    "it as tiff",
    "palette.tif --kernel box": "palette.tif: its colours are stored as PALETTE; save it as grey "
    "or RGB",
    "signed.tif a.png --kernel box": "a.png: png cannot hold int16 values; name a tiff file",
    "planes.tif --kernel box": "planes.tif: is compressed by LZW, which needs: pip install "
    "imagecodecs",
    "linear.png a.tif --kernel box": "a.tif: tiff cannot hold the colour information of the "
    "png (chunk gAMA); name a png file",
    "video.png a.jpg --kernel box": "a.jpg: jpeg cannot hold the colour information of the png "
    "(chunk cICP); name a png file",
    "half.tif --kernel twice.npy": "half-twice.tif: 20 of 20 values are beyond the largest of "
    "float16; scale the image down, or save it in a wider type",
    "grey.png --kernel complex.npy": "complex.npy: cannot be read as a kernel (its weights are "
    "complex)",
    "grey.png --kernel vast.npy": "vast.npy: has weights that are NaN or infinite",
    "grey.png --kernel ragged.csv": "ragged.csv: cannot be read as a kernel (its rows differ in "
    "length, or its kernels in size)",
    "grey.png --kernel grey.png": "grey.png: cannot be read as a kernel (it is not UTF-8 text)",
    "turned.tif a.tif --kernel box --tile 8": "turned.tif: its tag Orientation=6 turns it; save "
    "it upright",
    "grey.png --kernel box --method magic": "--method 'magic' must be one of 'auto', 'fastest', "
    "'lax', 'loops', 'onednn', 'taps', 'fft', 'columns', 'covered', 'floats', 'integers', "
    "'pallas', 'phases', 'products', 'shifts', 'slabs', 'widened'",
    "grey.png --kernel box --resume": "--resume needs the --tile N of the interrupted run",
    "float.tif half.tif --kernel box --tile 8": "half.tif exists; --overwrite replaces it, "
    "--resume continues an interrupted run, or name another file",
    "float.tif float.tif --kernel box --tile 8": "float.tif is the image itself; name another file",
    "grey.png a.tif --kernel box --tile 8": "grey.png: neither a zarr folder nor a TIFF file "
    "(.tif, .tiff)",
    "none.png --kernel box": "none.png: no such file or folder",
    "grey.png /proc/a.png --kernel box": "cannot write results to /proc: No such file or directory",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grey = Image.fromarray(_values("uint8", 4, 5))
    grey.save("grey.png")
    Image.fromarray(_values("uint16", 4, 5)).save("deep.png")
    Image.fromarray(_values("uint8", 4, 5, 4)).save("clear.png")
    Image.new("CMYK", (5, 4)).save("inks.jpg")
    grey.save("film.png", save_all=True, append_images=[Image.fromarray(_values("uint8", 4, 5))])
    tifffile.imwrite("float.tif", np.ones((4, 5), np.float32))
    tifffile.imwrite("white.tif", np.ones((4, 5), np.uint8), photometric="miniswhite")
    rgba = _values("uint8", 4, 5, 4)
    tifffile.imwrite("premultiplied.tif", rgba, photometric="rgb", extrasamples=["assocalpha"])
    tifffile.imwrite("deep.tif", rgba.astype(np.uint16)[..., :3], photometric="rgb")
    (tmp_path / "words.npy").write_text("words")
    (tmp_path / "text.png").write_text("words")
    (tmp_path / "short.png").write_bytes((tmp_path / "grey.png").read_bytes()[:60])
    (tmp_path / "short.tif").write_bytes((tmp_path / "white.tif").read_bytes()[:100])
    with tifffile.TiffWriter("pages.tif") as pages:
        pages.write(rgba[..., 0])
        pages.write(rgba[..., :3], photometric="rgb")
    tifffile.imwrite("stack.tif", np.ones((5, 4, 6), np.uint8), photometric="minisblack")
    grey.save("film.gif")
    grey.convert("P").save("palette.tif")
    tifffile.imwrite("signed.tif", np.ones((4, 5), np.int16))
    tifffile.imwrite("half.tif", np.full((4, 5), 6e4, np.float16))
    tifffile.imwrite("turned.tif", np.ones((4, 5), np.uint8), extratags=[(274, "H", 1, 6, True)])
    Image.fromarray(rgba[..., :3]).save("lzw.tif", compression="tiff_lzw")
    planes = bytearray((tmp_path / "lzw.tif").read_bytes())
    at = planes.index(struct.pack("<HHII", 284, 3, 1, 1))  # PlanarConfiguration: one by one
    planes[at + 8] = 2
    (tmp_path / "planes.tif").write_bytes(planes)
    head = (tmp_path / "clear.png").read_bytes()
    linear, video = _chunk(b"gAMA", struct.pack(">I", 100000)), _chunk(b"cICP", b"\t\x10\0\1")
    (tmp_path / "linear.png").write_bytes(head[:33] + linear + head[33:])
    (tmp_path / "video.png").write_bytes(head[:33] + video + head[33:])
    sixteen = struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0)
    (tmp_path / "colour16.png").write_bytes(head[:8] + _chunk(b"IHDR", sixteen) + head[33:])
    (tmp_path / "ragged.csv").write_text("1,2\n3\n")
    for name, kernel in (
        ("complex", np.ones((3, 3), complex)),
        ("vast", np.full((1, 1), 1e300)),
        ("twice", np.full((1, 1), 2.0)),
        ("three", np.ones((3, 1, 1))),
        ("flat", np.ones(4)),
        ("nan", np.full((1, 1), np.nan)),
    ):
        np.save(f"{name}.npy", kernel)
    return tmp_path


@pytest.mark.parametrize(("arguments", "message"), REFUSALS.items())
def test_refusals_are_one_line_and_leave_nothing(folder, arguments, message):
    there = sorted(folder.iterdir())
    result = _run("apply", *arguments.split())
    assert (result.exit_code, result.stderr) == (2, f"jaxconv apply: {message}\n")
    assert sorted(folder.iterdir()) == there


def test_a_full_output_is_told_in_one_line(capsys, monkeypatch, folder):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        code = cli.main(["apply", "grey.png", "--kernel", "box"])
    assert code == 2
    told = "jaxconv: cannot write the output: No space left on device\n"
    assert capsys.readouterr().err == told
