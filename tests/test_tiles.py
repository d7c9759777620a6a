"""Filtering tile by tile is filtering the whole, bit for bit, from and to every format."""

import itertools
import threading

import numpy as np
import pytest
import tensorstore as ts
import tifffile
from typer.testing import CliRunner

from jaxconv import conv, filters
from jaxconv._core.geometry.extension import source_index
from jaxconv._files.formats import open_source
from jaxconv._files.rasters import ImageError
from jaxconv._functional import padding
from jaxconv.cli.app import app
from jaxconv.tiles import _filtering as filtering
from jaxconv.tiles import _steps as steps
from jaxconv.tiles import apply_tiled
from jaxconv.tiles._gather import gather

RNG = np.random.default_rng(0)
MODES = ("zeros", "reflect", "symmetric", "replicate", "circular")
X = RNG.normal(size=(19, 26, 3)).astype(np.float32)
W = RNG.normal(size=(4, 5, 3, 2)).astype(np.float32)


def zarr(path, values, driver="zarr3", chunk=7):
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}}
    chunks = ts.ChunkLayout(chunk_shape=[min(chunk, n) for n in values.shape])
    store = ts.open(
        spec, create=True, dtype=values.dtype.name, shape=values.shape, chunk_layout=chunks
    ).result()
    store[...] = values
    return path


def read(path):
    if path.suffix == ".zarr":
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/"}}
        return ts.open(spec).result().read().result()
    return tifffile.imread(path)


@pytest.mark.parametrize("mode", MODES)
def test_tiles_make_the_whole(tmp_path, mode):
    """Tiles smaller than the halo, tiles that do not divide the image, one tile."""
    source = zarr(tmp_path / "x.zarr", X)
    whole = np.asarray(conv(X, W, padding="same", padding_mode=mode, method="taps"))
    for tile, suffix in (((2, 26), "zarr"), ((8, 11), "tif"), (100, "zarr")):
        target = tmp_path / f"{tile}.{suffix}"
        done = apply_tiled(source, W, target, tile=tile, padding_mode=mode, method="taps")
        assert done[:2] == ((19, 26, 2), "float32")
        np.testing.assert_array_equal(read(target), whole)


@pytest.mark.cover
@pytest.mark.parametrize(
    ("mode", "pads"),
    [(m, p) for m in MODES for p in (((18, 3), (0, 25)), ((-3, 4), (1, -2)))],
    ids=str,
)
def test_any_padding_reads_what_pad_reads(mode, pads):
    """Far beyond the image, and inside it where padding is negative."""
    whole = np.asarray(padding.pad(X, (*pads, (0, 0)), mode=mode))
    axes = [
        source_index(np.arange(-lo, n + hi), n, mode)
        for n, (lo, hi) in zip(X.shape, pads, strict=False)
    ]
    cuts = [slice(0, 2), slice(2, 5), slice(5, None)]
    for rows, columns in itertools.product(cuts, cuts):
        found = gather(lambda box: X[box].copy(), [axes[0][rows], axes[1][columns]])
        np.testing.assert_array_equal(found, whole[rows, columns])


@pytest.mark.parametrize("method", ["lax", "auto"])
def test_other_methods_and_geometries(tmp_path, method):
    """Stride, dilation, groups, bias, flip and padding a side, all at once."""
    x, w = X[..., :2].copy(), RNG.normal(size=(2, 3, 1, 4)).astype(np.float32)
    b = np.arange(4, dtype=np.float32)
    geometry = {
        "stride": (2, 1),
        "padding": ((3, 1), (-1, 0)),
        "dilation": (1, 2),
        "groups": 2,
        "padding_mode": "reflect",
        "flip": True,
        "method": method,
    }
    tifffile.imwrite(tmp_path / "x.tif", x, photometric="minisblack", planarconfig="contig")
    done = apply_tiled(tmp_path / "x.tif", w, tmp_path / "y.tif", tile=(5, 7), bias=b, **geometry)
    whole = np.asarray(conv(x, w, b, **geometry | {"method": done.method}))
    if method == "auto":
        np.testing.assert_array_equal(read(tmp_path / "y.tif"), whole)
    else:  # lax orders its sums by the size of the array
        np.testing.assert_allclose(read(tmp_path / "y.tif"), whole, rtol=1e-6, atol=1e-6)


def test_one_channel_in_a_tiff_has_no_axis(tmp_path):
    source, target = zarr(tmp_path / "x.zarr", X), tmp_path / "y.tif"
    done = apply_tiled(source, W[..., :1], target, tile=9)
    whole = np.asarray(conv(X, W[..., :1], padding="same", method=done.method))
    assert done.shape == (19, 26, 1)
    np.testing.assert_array_equal(read(target), whole[..., 0])
    again = apply_tiled(source, W[..., :1], target, tile=9, resume=True)
    assert again.resumed == again.tiles


def test_one_kernel_a_channel_is_the_grouped_convolution(tmp_path):
    x, w = np.rint(9 * X), np.rint(9 * W[..., :1, :1] * np.ones(3, np.float32))  # exact sums
    apply_tiled(zarr(tmp_path / "x.zarr", x), w, tmp_path / "y.zarr", tile=9, groups=3)
    whole = np.asarray(conv(x, w, padding="same", groups=3))
    np.testing.assert_array_equal(read(tmp_path / "y.zarr"), whole)


@pytest.mark.parametrize("shape", [(50,), (7, 6, 8)], ids=str)
def test_lines_and_volumes_from_zarr_2(tmp_path, shape):
    x = RNG.normal(size=shape)  # float64, which comes back as such, computed in float32
    k = RNG.normal(size=(3, 2, 4)[: len(shape)]).astype(np.float32)
    source = zarr(tmp_path / "x.zarr", x, "zarr")
    done = apply_tiled(source, k, tmp_path / "y.zarr", tile=4, padding_mode="circular")
    whole = conv(
        x.astype(np.float32)[..., None],
        k[..., None, None],
        padding="same",
        padding_mode="circular",
        method=done.method,
    )
    assert done.dtype == "float64"
    np.testing.assert_array_equal(read(tmp_path / "y.zarr"), np.asarray(whole)[..., 0])


@pytest.mark.as_shipped  # ties of the rounding show what a compiler fuses
@pytest.mark.parametrize(
    ("dtype", "colour", "kernel", "options"),
    [
        ("uint8", False, "sobel_x", ()),  # signed: ties of the rounding everywhere
        ("uint16", True, "gaussian", ("--padding-mode", "circular")),  # 9x9
        ("uint8", True, "laplacian", ("--scale", "clip", "--cut")),
        ("bool", False, "box", ()),
        ("float16", False, "sobel_y", ()),
        ("float32", True, "sobel_x", ("--scale", "clip")),
        ("float32", False, "scharr_y", ("--scale", "signed", "--padding-mode", "zeros")),
        ("uint8", True, "sobel_y", ("--scale", "stretch")),
    ],
)
def test_the_command_with_tiles_is_the_command(tmp_path, dtype, colour, kernel, options):
    shape = (31, 45, 3) if colour else (31, 45)
    values = RNG.uniform(size=shape)
    if not dtype.startswith("float"):
        values = np.rint(values * (1 if dtype == "bool" else np.iinfo(dtype).max))
    photometric = "rgb" if colour else "minisblack"
    image = tmp_path / "x.tif"
    tifffile.imwrite(image, values.astype(dtype), photometric=photometric, iccprofile=b"profile")
    told = []
    for name, tile in (("whole.tif", ()), ("tiles.tif", ("--tile", "16"))):
        arguments = [image, tmp_path / name, "--kernel", kernel, *options, *tile]
        result = CliRunner().invoke(app, ["apply", *map(str, arguments)])
        assert result.exit_code == 0, result.stderr
        told.append(result.stdout.split("; "))
    np.testing.assert_array_equal(read(tmp_path / "tiles.tif"), read(tmp_path / "whole.tif"))
    assert told[0][1:3] == told[1][1:3]  # kernel and padding, scale and how much was clipped
    with tifffile.TiffFile(tmp_path / "tiles.tif") as file:
        assert file.pages[0].iccprofile == b"profile"


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zlib", "rowsperstrip": 4, "byteorder": ">"},
        {"compression": "zlib", "tile": (16, 16), "predictor": True},
        {"tile": (32, 16)},
        {"rowsperstrip": 5, "byteorder": ">"},
        {"compression": "zlib", "rowsperstrip": 1, "planarconfig": "contig"},
    ],
    ids=str,
)
def test_any_box_of_any_tiff(tmp_path, options):
    x = RNG.integers(0, 65536, (41, 53, 3), np.uint16)
    x[:16, :16] = 0
    tifffile.imwrite(tmp_path / "x.tif", x, photometric="rgb", metadata=None, **options)
    source = open_source(tmp_path / "x.tif")
    assert (source.shape, source.dtype) == (x.shape, "uint16")
    for _ in range(20):
        (a, b), (c, d) = (sorted(RNG.choice(n + 1, 2, replace=False)) for n in x.shape[:2])
        box = slice(int(a), int(b)), slice(int(c), int(d))
        found = source.read(box)
        assert found.dtype == x.dtype
        np.testing.assert_array_equal(found, x[box])


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiles_that_are_not_stored_have_no_data(tmp_path, compression):
    """GDAL leaves out tiles (SPARSE_OK) whose pixels all are the value of its tag."""
    x = np.full((32, 48), -9999, np.float32)
    x[:16, :32] = X[:16, :1, 0]
    tiles = [x[:16, :16], x[:16, 16:32], None, None, None, None]
    tifffile.imwrite(
        tmp_path / "x.tif",
        iter(tiles),
        shape=x.shape,
        dtype=x.dtype,
        tile=(16, 16),
        photometric="minisblack",
        compression=compression,
        extratags=[(42113, "s", 0, "-9999", True)],
        metadata=None,
    )
    found = open_source(tmp_path / "x.tif").read((slice(3, 30), slice(5, 48)))
    np.testing.assert_array_equal(found, x[3:30, 5:])


@pytest.mark.parametrize("whole", [False, True])
def test_floats_that_would_be_decoded_wrong_are_refused(tmp_path, whole):
    """findings/tifffile_lerc_nan.sh; only the tag counts here."""
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, X[..., 0], tile=(16, 16))
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["Compression"].overwrite(34887)
    with pytest.raises(ImageError, match="its floats are compressed as LERC"):
        open_source(path, whole=whole)


@pytest.mark.parametrize("value", ["-9999", "nan", "300"])
def test_no_data_that_the_dtype_cannot_hold(tmp_path, value):
    tiles = [np.full((16, 16), 7, np.uint8), None]
    tifffile.imwrite(
        tmp_path / "x.tif",
        iter(tiles),
        shape=(16, 32),
        dtype=np.uint8,
        tile=(16, 16),
        compression="zlib",
        extratags=[(42113, "s", 0, value, True)],
        metadata=None,
    )
    found = open_source(tmp_path / "x.tif").read((slice(0, 16), slice(0, 32)))
    np.testing.assert_array_equal(found[:, :16], 7)
    np.testing.assert_array_equal(found[:, 16:], 0)


def test_integers_of_a_wider_result(tmp_path):
    """The response of an 8-bit image kept as floats, neither rounded nor clipped."""
    x = RNG.integers(0, 256, (20, 20), np.uint8)
    k = filters.by_name("sobel_x").astype(np.float32)
    source = zarr(tmp_path / "x.zarr", x)
    done = apply_tiled(source, k, tmp_path / "y.zarr", tile=8, dtype="float32")
    same = {"padding": "same", "method": done.method}
    whole = conv((x / 255).astype(np.float32)[..., None], k[..., None, None], **same)
    np.testing.assert_array_equal(read(tmp_path / "y.zarr"), np.asarray(whole)[..., 0])
    rounded = apply_tiled(source, k, tmp_path / "z.zarr", tile=8)
    outside = (np.asarray(whole) < 0) | (np.asarray(whole) > 1)
    assert done.clipped == 0
    assert rounded.clipped == outside.mean()


class Array:
    """A source and target in memory, as a caller may write them."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.stamp = (
            values,
            values.shape,
            values.dtype.name,
            "",
        )

    def read(self, box):
        return self.values[box]

    def write(self, box, values):
        self.values[box] = values


@pytest.mark.parametrize("tile", [None, 8])
def test_objects_in_place_of_files(tmp_path, tile):
    """Without a file there is no journal; None is one tile."""
    target = Array(np.full((19, 26, 2), np.nan, np.float32))
    done = apply_tiled(Array(X), W, target, tile=tile, padding_mode="symmetric")
    whole = conv(X, W, padding="same", padding_mode="symmetric", method=done.method)
    np.testing.assert_array_equal(target.values, whole)
    assert done.tiles == (1 if tile is None else 12)
    apply_tiled(Array(X), W, tmp_path / "y.zarr", tile=tile, padding_mode="symmetric")
    np.testing.assert_array_equal(read(tmp_path / "y.zarr"), whole)
    assert (tmp_path / "y.zarr.finished").exists()
    with pytest.raises(
        ValueError, match=r"^apply_tiled: resume=True needs a target that is a path$"
    ):
        apply_tiled(Array(X), W, target, tile=tile, resume=True)
    with pytest.raises(
        ValueError, match=r"^apply_tiled: source: values of type int64; expected bool,"
    ):
        apply_tiled(Array(X.astype(np.int64)), W, target, tile=tile)


def test_what_low_clip_and_float16_do(tmp_path):
    """A linear map of the response; the fraction that was clipped, or that float16 overflowed."""
    source, k = zarr(tmp_path / "x.zarr", X[..., 0]), np.ones((1, 1))
    numbers = {"low": -1.0, "offset": 0.25, "divisor": 2.0}
    mapped = np.float32(0.25) + (X[..., 0] + 1) / 2
    apply_tiled(source, k, tmp_path / "y.zarr", tile=8, **numbers)
    np.testing.assert_array_equal(read(tmp_path / "y.zarr"), mapped)
    done = apply_tiled(source, k, tmp_path / "z.zarr", tile=8, clip=True, **numbers)
    np.testing.assert_array_equal(read(tmp_path / "z.zarr"), np.clip(mapped, 0, 1))
    assert done.clipped == ((mapped < 0) | (mapped > 1)).mean() > 0
    half = Array(np.zeros(X.shape[:2], np.float16))
    done = apply_tiled(source, 6e4 * k, half, tile=8, dtype="float16")
    assert done.clipped == np.isinf(half.values).mean() > 0


def test_neighbouring_tiles_share_what_is_read(tmp_path):
    """Each chunk is read once, although each of these tiles needs nine of them."""
    source = zarr(tmp_path / "x.zarr", X, chunk=8)

    def count():
        found = ts.experimental_collect_matching_metrics("/tensorstore/kvstore/file/bytes_read")
        return sum(value["value"] for metric in found for value in metric["values"])

    before = count()
    apply_tiled(source, W, tmp_path / "y.zarr", tile=8)
    chunks = (source / "c").rglob("*")
    whole = sum(path.stat().st_size for path in chunks if path.is_file())
    assert whole <= count() - before < 1.2 * whole  # and the arrays' metadata


def test_memory_is_bounded_and_one_program_compiled(tmp_path, monkeypatch):
    """Never more than 2 `ahead` tiles between the first read and the end of the write."""
    lock, alive, most, reading, shapes_seen = threading.Lock(), set(), [0], [], set()
    read_one, write_one = steps.Work.read, steps.Work.write
    run = steps.program.run

    def reads(work, number):
        with lock:
            alive.add(number)
            most[0] = max(most[0], len(alive))
        reading.append(threading.current_thread().name)
        return read_one(work, number)

    def writes(work, number, result):
        done = write_one(work, number, result)
        with lock:
            alive.remove(number)
        return done

    def runs(x, *rest, rule):
        shapes_seen.add((x.shape, rule))
        return run(x, *rest, rule=rule)

    monkeypatch.setattr(steps.Work, "read", reads)
    monkeypatch.setattr(steps.Work, "write", writes)
    monkeypatch.setattr(steps.program, "run", runs)
    source, seen = zarr(tmp_path / "x.zarr", X), []
    done = apply_tiled(
        source, W, tmp_path / "y.zarr", tile=5, ahead=3, on_tile=lambda *a: seen.append(a)
    )
    assert done.tiles == len(reading) == 24
    assert seen == [(n + 1, 24) for n in range(24)]
    assert 1 < most[0] <= 6
    assert len(shapes_seen) == 1  # edges too
    assert threading.main_thread().name not in reading
    assert filtering.Work is steps.Work
