"""Reading and writing photographs: formats, depths, alpha, and every way a file can be wrong."""

import re
import struct
import zlib

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from jaxconv._files import images

GREY = np.linspace(0, 1, 5 * 6, dtype=np.float32).reshape(5, 6)
SMOOTH = np.linspace(0.2, 0.8, 16 * 16, dtype=np.float32).reshape(16, 16)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


@pytest.mark.parametrize(
    ("suffix", "bits", "pixels", "tolerance"),
    [
        (".png", 8, GREY, 0.5 / 255),
        (".png", 8, COLOUR, 0.5 / 255),
        (".png", 16, GREY, 0.5 / 65535),
        (".tiff", 8, COLOUR, 0.5 / 255),
        (".tif", 16, COLOUR, 0.5 / 65535),
        (".jpg", 8, SMOOTH, 3 / 255),  # jpeg is lossy
        (".jpeg", 8, np.full((16, 16, 3), 0.4, np.float32), 2 / 255),
    ],
)
def test_what_is_written_is_read(tmp_path, suffix, bits, pixels, tolerance):
    path = tmp_path / f"image{suffix}"
    images.write(path, pixels, bits=bits)
    found, remarks = images.read(path)
    assert (found.dtype, found.shape, remarks) == (np.float32, pixels.shape, [])
    np.testing.assert_allclose(found, pixels, atol=tolerance * 1.0001)


def test_writing_clips(tmp_path):
    images.write(tmp_path / "a.png", np.array([[-1.0, 2.0]]))
    np.testing.assert_array_equal(images.read(tmp_path / "a.png")[0], [[0, 1]])


def test_floating_tiffs_keep_their_values(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY * 700 - 3)
    np.testing.assert_array_equal(images.read(tmp_path / "a.tif")[0], GREY * 700 - 3)


def test_bilevel_images_are_0_and_1(tmp_path):
    iio.imwrite(tmp_path / "a.png", GREY > 0.5)
    np.testing.assert_array_equal(images.read(tmp_path / "a.png")[0], GREY > 0.5)


@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_opaque_alpha_is_dropped_with_a_remark(tmp_path, pixels):
    path = tmp_path / "a.png"
    opaque = np.dstack([np.rint(pixels * 255), np.full(GREY.shape, 255)]).astype(np.uint8)
    iio.imwrite(path, opaque)
    found, remarks = images.read(path)
    np.testing.assert_allclose(found, pixels, atol=0.51 / 255)
    assert remarks == [f"{path}: dropped its alpha channel, which is opaque everywhere"]


def _deep_colour_png(path):
    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" + b"\1\2" * 3))
        + chunk(b"IEND", b"")
    )


def _transparent(path):
    iio.imwrite(path, np.zeros((4, 4, 4), np.uint8))


def _truncated(path):
    images.write(path, COLOUR)
    path.write_bytes(path.read_bytes()[:60])


def _nan(path):
    tifffile.imwrite(path, np.where(GREY > 0.95, np.nan, GREY).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.png", _deep_colour_png, "16-bit colour png would lose half its bits; save it as tiff"),
        ("a.png", _transparent, "has transparent pixels; flatten it onto a background first"),
        ("a.png", _truncated, "cannot be read as an image (image file is truncated)"),
        ("a.tif", _nan, "2 of 30 values are NaN or infinite, the first at row 4, column 4"),
        (
            "a.tif",
            lambda path: tifffile.imwrite(path, np.full((5, 6), 1e300)),
            "30 of 30 values are NaN or infinite, the first at row 0, column 0",
        ),
        (
            "a.tif",
            lambda path: tifffile.imwrite(path, np.zeros((2, 5, 6), np.uint8)),
            "has axes QYX of the shape (2, 5, 6); expected one grey image (H, W) or one colour "
            "image (H, W, 3)",
        ),
        (
            "a.tif",
            lambda path: tifffile.imwrite(path, np.zeros((5, 6), np.int16)),
            "pixels of type int16; expected unsigned of 8 or 16 bits, or floating",
        ),
        (
            "a.tif",
            lambda path: tifffile.imwrite(
                path, np.zeros((5, 6, 4), np.uint8), photometric="rgb", extrasamples=[0]
            ),
            "has the bands red, green, blue, 1 unspecified; expected one grey image (H, W) or one "
            "colour image (H, W, 3)",
        ),
        (
            "a.tif",
            lambda path: tifffile.imwrite(
                path,
                np.zeros((5, 6, 3), np.uint8),
                photometric="minisblack",
                planarconfig="contig",
                extrasamples=[0, 2],
            ),
            "has the bands grey, 1 unspecified and alpha; expected one grey image (H, W) or one "
            "colour image (H, W, 3)",
        ),
        (
            "a.txt",
            lambda path: path.write_text("hello"),
            "not an image that can be read (.png, .jpg, .jpeg, .tif, .tiff, or a zarr folder)",
        ),
        (
            "a.png",
            lambda path: path.mkdir(),
            "not an image that can be read (.png, .jpg, .jpeg, .tif, .tiff, or a zarr folder)",
        ),
    ],
)
def test_files_that_cannot_serve(tmp_path, name, make, message):
    path = tmp_path / name
    make(path)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}: {message}')}$"):
        images.read(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff"])
def test_broken_files_are_told_in_one_line(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"this is no image")
    with pytest.raises(ValueError, match=r"^\S+: cannot be read as an image \([^\n]+\)$"):
        images.read(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.png: no such file or folder$"):
        images.read(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "pixels", "bits", "rule"),
    [
        (
            "a.gif",
            GREY,
            8,
            "not the suffix of an image that can be written (.png, .jpg, .jpeg, .tif, .tiff, "
            ".zarr)",
        ),
        ("a.jpg", GREY, 16, "jpeg cannot hold uint16 values; name a tiff or png file"),
        (
            "a.png",
            COLOUR,
            16,
            "png cannot hold uint16 values with colour or alpha; name a tiff file",
        ),
    ],
)
def test_formats_that_cannot_hold_it(tmp_path, name, pixels, bits, rule):
    with pytest.raises(ValueError, match=f"{re.escape(rule)}$"):
        images.write(tmp_path / name, pixels, bits=bits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", images.SAMPLES)
def test_samples_are_photographs_from_0_to_1(name):
    pixels = images.sample(name)
    assert pixels.ndim == 2 or pixels.shape[2] == 3
    assert 0 <= pixels.min() < 0.4 < 0.5 < pixels.max() <= 1


def test_quantising_errs_by_half_a_level_and_evenly():
    pixels = np.random.default_rng(0).normal(size=20000)
    stored, scale, offset = images.quantise(pixels)
    error = stored * scale + offset - pixels
    assert np.abs(error).max() <= 0.5 * scale * (1 + 1e-9)
    np.testing.assert_allclose(np.mean(error**2), scale**2 / 12, rtol=0.03)
    np.testing.assert_array_equal(images.quantise(np.full(3, 0.7))[0], [0, 0, 0])
