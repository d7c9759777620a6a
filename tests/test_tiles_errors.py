"""The messages of `apply_tiled` and `jaxconv apply --tile` about bad calls, in full."""

import re
import resource
from contextlib import contextmanager

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from jaxconv._files.formats import open_source
from jaxconv._files.zarr import ZarrTarget
from jaxconv.cli.app import app
from jaxconv.tiles import apply_tiled

X = np.arange(60, dtype=np.uint8).reshape(6, 10)
K = np.ones((3, 3), np.float32)
STORED = "uint8, int8, uint16, int16, uint32, int32, float16, float32, float64"


@pytest.fixture
def good(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", X)
    return {
        "source": tmp_path / "x.tif",
        "kernel": K,
        "target": tmp_path / "y.tif",
        "tile": 4,
    }


def assert_refused(error, message, arguments):
    with pytest.raises(error) as caught:
        apply_tiled(**arguments)
    assert type(caught.value) is error
    assert str(caught.value) == f"apply_tiled: {message}"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"tile": 0}, ValueError, "tile=0 must be at least 1"),
        ({"tile": 2.5}, TypeError, "tile=2.5 must be an integer, not float"),
        (
            {"tile": (4, 4, 4)},
            ValueError,
            "tile=(4, 4, 4) has 3 entries for 2 spatial dimensions; give one integer, or 2",
        ),
        (
            {"source": X},
            TypeError,
            "source must be a path or an object with shape, dtype, stamp and read, not ndarray",
        ),
        ({"target": X}, TypeError, "target must be a path or an object with write, not ndarray"),
        ({"ahead": 0}, ValueError, "ahead=0 must be at least 1"),
        ({"divisor": 0}, ValueError, "divisor=0 must be finite and not 0"),
        ({"offset": float("nan")}, ValueError, "offset=nan must be finite"),
        ({"offset": "half"}, TypeError, "offset='half' must be a number"),
        ({"low": True}, TypeError, "low=True must be a number"),
        ({"flip": 1}, TypeError, "flip=1 must be True or False"),
        ({"clip": None}, TypeError, "clip=None must be True or False"),
        (
            {"bias": np.zeros(2)},
            ValueError,
            "bias.shape=(2,) must be (1,), one a channel of the result",
        ),
        ({"bias": 1j}, TypeError, "bias is complex64; images here are real"),
        ({"kernel": K * 1j}, TypeError, "kernel is complex64; images here are real"),
        ({"kernel": "box"}, TypeError, "kernel must be an array of numbers, not str"),
        (
            {"kernel": np.ones(3)},
            ValueError,
            "kernel has rank 1; the source (6, 10), axes YX, takes rank 2",
        ),
        (
            {"padding_mode": "mirror"},
            ValueError,
            "padding_mode='mirror' must be one of 'zeros', 'reflect', 'symmetric', 'replicate', "
            "'circular'; 'mirror' is 'reflect' here",
        ),
        (
            {"padding": 7, "padding_mode": "symmetric"},
            ValueError,
            "padding_mode='symmetric' needs widths of at most the size, got widths (7, 7) for "
            "axis 0 of size 6 (shape (6, 10, 1))",
        ),
        (
            {"dtype": "int64"},
            ValueError,
            f"dtype=int64 must be one of {STORED}",
        ),
        ({"dtype": "greyish"}, ValueError, f"dtype='greyish' must be one of {STORED}"),
        (
            {"policy": {}},
            TypeError,
            "policy must be a jaxconv.Policy or None, not dict; jaxconv.tune makes one",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_arguments(good, tmp_path, change, error, message):
    assert_refused(error, message, good | change)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.tif"]  # nothing was written


def test_targets(good, tmp_path):
    for name, message in (
        ("y.png", "{}: a target must end in .zarr or .tif or .tiff"),
        ("none/y.tif", None),
    ):
        path = tmp_path / name
        if message is None:
            missing = f"{path.parent}: no such folder"
            assert_refused(FileNotFoundError, missing, good | {"target": path})
        else:
            assert_refused(ValueError, message.format(path), good | {"target": path})
    ZarrTarget(tmp_path / "x.zarr", (9,), "uint8", (3,)).write((slice(0, 9),), X.ravel()[:9])
    line = good | {"source": tmp_path / "x.zarr", "kernel": np.ones(3)}
    assert_refused(ValueError, f"{good['target']}: TIFF holds planes, not rank 1; use .zarr", line)
    assert_refused(
        ValueError,
        f"{good['source']} is the source; name another target",
        good | {"target": good["source"], "overwrite": True},
    )


def write(path, values, **options):
    tifffile.imwrite(path, values, metadata=None, **options)


def test_sources(good, tmp_path):
    def says(name, error, message):
        path = tmp_path / name
        assert_refused(error, f"{path}: {message}", good | {"source": path})

    says("none.tif", FileNotFoundError, "no such file or folder")
    (tmp_path / "x.png").touch()
    says("x.png", ValueError, "neither a zarr folder nor a TIFF file (.tif, .tiff)")
    (tmp_path / "text.tif").write_text("text, and more of it")
    with pytest.raises(ValueError, match=re.escape("text.tif: cannot be read as TIFF (not a TIFF")):
        apply_tiled(**good | {"source": tmp_path / "text.tif"})
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(X, metadata=None)
        file.write(X[:4].astype(np.uint16), metadata=None)
    says(
        "two.tif",
        ValueError,
        "holds 2 images that differ ((6, 10) uint8, (4, 10) uint16); page=N takes one page, from 0",
    )
    (tmp_path / "none.tiff").write_bytes(b"II*\0\0\0\0\0")
    says("none.tiff", ValueError, "holds no image")
    write(
        tmp_path / "alpha.tif",
        np.stack([X] * 4, -1),
        photometric="rgb",
        extrasamples=["unassalpha"],
    )
    with pytest.raises(ValueError, match=re.escape("source: has an alpha channel, which is kept")):
        apply_tiled(**good | {"source": tmp_path / "alpha.tif", "stride": 2})
    assert_refused(
        ValueError,
        f"{tmp_path / 'y.zarr'}: zarr cannot hold alpha; use .tif",
        good | {"source": tmp_path / "alpha.tif", "target": tmp_path / "y.zarr"},
    )
    assert not list(tmp_path.glob("y.zarr*"))  # no journal of a run that cannot begin
    write(tmp_path / "white.tif", X, photometric="miniswhite")
    says("white.tif", ValueError, "its colours are stored as MINISWHITE; save it as grey or RGB")
    write(tmp_path / "deep.tif", X.astype(np.int64))
    says(
        "deep.tif",
        ValueError,
        f"values of type int64; expected bool, {STORED}; their largest values are not exact in "
        "float32, in which images are computed",
    )
    (tmp_path / "group.zarr").mkdir()
    says(
        "group.zarr",
        ValueError,
        "is not a zarr array (zarr.json or .zarray is missing)",
    )
    (tmp_path / "group.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    says("group.zarr", ValueError, "is a group, not an array; name one of its arrays")
    (tmp_path / "group.zarr" / "raw").mkdir()
    says("group.zarr", ValueError, "is a group, not an array; name one of its arrays: raw")
    (tmp_path / "group.zarr" / "zarr.json").write_text("{")
    path = tmp_path / "group.zarr"
    message = f"{path / 'zarr.json'}: is not JSON"
    assert_refused(ValueError, message, good | {"source": path})
    (tmp_path / "group.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "array"}')
    with pytest.raises(ValueError, match=re.escape("group.zarr: cannot be opened as zarr (")):
        apply_tiled(**good | {"source": tmp_path / "group.zarr"})
    write(tmp_path / "floats.tif", X.astype(np.float32))
    assert_refused(
        ValueError,
        "dtype=uint8 cannot hold the values of a float32 image; use one of float16, float32, "
        "float64",
        good | {"source": tmp_path / "floats.tif", "dtype": "uint8"},
    )


def test_compressed_pieces_that_are_too_large(good, monkeypatch):
    monkeypatch.setattr("jaxconv._files.tiff.MAX_PIECE_BYTES", 50)
    write(good["source"], X, compression="zlib")
    assert_refused(
        ValueError,
        f"{good['source']}: is compressed in pieces of 60 bytes, of which each is decoded whole; "
        "at most 50 are allowed: save it in tiles",
        good,
    )


def test_files_that_are_damaged(good, tmp_path):
    """Detected by the thread that reads the damaged piece."""
    source, x = good["source"], np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)

    def damaged(change, **options):
        write(source, x, **options)
        with tifffile.TiffFile(source) as file:
            begin, size = file.pages[0].dataoffsets[-1], file.pages[0].databytecounts[-1]
        data = bytearray(source.read_bytes())
        change(data, begin, size)
        source.write_bytes(data)
        return begin, size

    def cut(data, begin, size):
        del data[begin + size - 10 :]

    def overwrite(data, begin, size):
        data[begin : begin + 2] = b"xx"

    begin, _ = damaged(cut)  # one piece, of which whole rows are read at once
    gone = f"is cut off, 10 of the 2000 bytes at {begin} are missing"
    assert_refused(ValueError, f"{source}: {gone}", good | {"tile": 64})
    assert [path.name for path in tmp_path.iterdir()] == ["x.tif"]
    options = {"compression": "zlib", "tile": (16, 16)}
    begin, size = damaged(cut, **options)
    good["target"] = tmp_path / "z.tif"
    assert_refused(
        ValueError, f"{source}: is cut off, 10 of the {size} bytes at {begin} are missing", good
    )
    damaged(overwrite, **options)
    good["target"] = tmp_path / "w.tif"
    why = "Error -3 while decompressing data: incorrect header check"
    assert_refused(ValueError, f"{source}: its piece 11 cannot be decoded ({why})", good)

    ZarrTarget(tmp_path / "x.zarr", (6, 10), "uint8", (6, 10)).write((slice(6), slice(10)), X)
    chunk = tmp_path / "x.zarr" / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(ValueError, match="Not enough data") as caught:
        apply_tiled(tmp_path / "x.zarr", K, tmp_path / "y.zarr", tile=4)
    assert str(caught.value).startswith(f"apply_tiled: {tmp_path / 'x.zarr'}: cannot be read (")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "tile": (16, 16)}], ids=str)
def test_damaged_tags_are_told_in_one_line(good, options):
    """With random bytes changed in its tags, a file opens, or the message names it."""
    source, rng, told = good["source"], np.random.default_rng(0), set()
    write(source, np.zeros((40, 50), np.uint8), **options)
    whole = source.read_bytes()
    with tifffile.TiffFile(source) as file:
        tags = file.pages[0].offset
    for _ in range(100):
        data = bytearray(whole)
        data[rng.integers(tags, min(tags + 200, len(data)))] = rng.integers(256)
        source.write_bytes(data)
        try:
            open_source(source)
        except ValueError as error:
            told.add(str(error))
    assert len(told) > 5
    assert all(text.startswith(f"{source}: ") for text in told)
    assert not any("\n" in text for text in told)


def test_codecs_that_are_not_here(good, monkeypatch):
    write(good["source"], X, compression="zlib")
    message = (
        f"{good['source']}: is compressed as ADOBE_DEFLATE (predictor 1), which needs the package "
        "imagecodecs: install it, or save the image with zlib or uncompressed"
    )

    def without_its_library(*_, **__):
        raise ImportError("No module named 'compression'")

    for listed in ({}, {8: without_its_library}):
        monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", listed)
        assert_refused(ValueError, message, good)


@contextmanager
def small_files(size):
    """No file can grow beyond this size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", ["tif", "zarr"])
def test_a_full_disk_is_told_and_the_run_goes_on(good, tmp_path, suffix):
    write(good["source"], np.random.default_rng(0).integers(0, 256, (100, 90), np.uint8))
    target, again = tmp_path / f"y.{suffix}", {"kernel": K / 9, "tile": 64}
    with small_files(3000), pytest.raises(OSError, match="File too large") as caught:
        apply_tiled(good["source"], target=target, **again)
    told = rf"apply_tiled: {target}: cannot be written \(.*File too large\)"
    assert re.fullmatch(told, str(caught.value))
    apply_tiled(good["source"], target=target, resume=True, **again)
    whole = tmp_path / f"whole.{suffix}"
    apply_tiled(good["source"], target=whole, **again)
    for box in ((slice(0, 64), slice(0, 90)), (slice(64, 100), slice(0, 90))):
        want, found = (open_source(path).read(box) for path in (whole, target))
        np.testing.assert_array_equal(found, want)


def test_a_full_disk_while_the_journal_is_written(good):
    with small_files(100), pytest.raises(OSError, match="File too large") as caught:
        apply_tiled(**good)
    told = f"apply_tiled: {good['target']}.unfinished: cannot be written (File too large)"
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume"], "--resume needs the --tile N of the interrupted run"),
        (["--tile", "0"], "--tile must be 1 or more, got 0"),
        (
            ["--tile", "4", "--scale", "none"],
            "--scale none is for floating-point and signed images; clip is the nearest to it",
        ),
        (
            ["--tile", "4", "--padding-mode", "mirror"],
            "--padding-mode must be one of symmetric, reflect, replicate, circular, zeros; got "
            "'mirror'",
        ),
    ],
    ids=str,
)
def test_the_command(good, options, message):
    arguments = ["apply", str(good["source"]), "--kernel", "box", *options]
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stderr) == (2, f"jaxconv apply: {message}\n")


def test_the_commands_kernels(good, tmp_path):
    def says(kernel, message):
        np.save(tmp_path / "k.npy", kernel)
        path = str(tmp_path / "k.npy")
        result = CliRunner().invoke(
            app, ["apply", str(good["source"]), "--kernel", path, "--tile", "4"]
        )
        assert (result.exit_code, result.stderr) == (2, f"jaxconv apply: {message}\n")

    says(np.ones((3, 2, 2)), "k has a kernel for each colour, but the image is grey")
    says(np.ones((7, 3)), "a 7x3 kernel is larger than the 6x10 image")
