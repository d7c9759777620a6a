"""Which axis of a file is what: every format filtered whole and in tiles, and written back.

The files are made by tifffile, Pillow and tensorstore, and read back by them.
"""

import json

import numpy as np
import pytest
import tensorstore as ts
import tifffile
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner

from jaxconv._files.axes import check_axes, layout, letters
from jaxconv.cli.app import app
from jaxconv.tiles import apply_tiled

RNG = np.random.default_rng(0)
PLANE = np.arange(9, dtype=np.float32).reshape(3, 3) / 36  # no symmetry: no axis can be mistaken
VOLUME = RNG.uniform(size=(3, 3, 3)).astype(np.float32) / 27


def run(*arguments, command="apply"):
    return CliRunner().invoke(app, [command, *map(str, arguments)])


def values(dtype, *shape):
    found = RNG.uniform(size=shape)
    if np.dtype(dtype).kind == "f":
        return found.astype(dtype)
    kind = np.iinfo(dtype)
    low, high = (kind.min, kind.max) if kind.bits < 32 else (kind.min and -1000, 1000)
    return np.rint(low + found * (high - low)).astype(dtype)


def tiff(path, x, **options):
    tifffile.imwrite(path, x, **options)
    return path


def store(path, x, driver="zarr3", metadata=None):
    path.mkdir(parents=True)
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}}
    if metadata:
        spec["metadata"] = metadata
    array = ts.open(spec, create=True, dtype=x.dtype.name, shape=x.shape).result()
    array[...] = x
    return path


def named(path, x, names):
    return store(path, x, metadata={"dimension_names": names})


def xarray(path, x, names):
    """As xarray writes version 2."""
    store(path, x, "zarr")
    (path / ".zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": names}))
    return path


def ngff(path, levels, names, version):
    """As ome-zarr and bioformats2raw write a pyramid."""
    driver = "zarr" if version == "0.4" else "zarr3"
    for n, level in enumerate(levels):
        store(path / str(n), level, driver)
    axes = [{"name": name, "type": "space"} for name in names]
    scales = [{"axes": axes, "datasets": [{"path": str(n)} for n in range(len(levels))]}]
    if version == "0.4":
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (path / ".zattrs").write_text(json.dumps({"multiscales": scales}))
    else:
        attributes = {"ome": {"version": version, "multiscales": scales}}
        group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        (path / "zarr.json").write_text(json.dumps(group))
    return path


def opened(path):
    """The values of a file, and the letters of its axes."""
    if path.is_dir():
        held = json.loads((path / "zarr.json").read_text())
        if held["node_type"] == "group":  # OME-NGFF, with one level
            return opened(path / "0")
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/"}}
        names = held.get("dimension_names")
        return ts.open(spec).result().read().result(), names
    with tifffile.TiffFile(path) as file:
        assert len(file.series) == 1
        return file.series[0].asarray(), file.series[0].axes


def filtered(x, axes, kernel, space="YX"):
    """Each plane or volume by SciPy, as the file's values."""
    order = [axes.index(letter) for letter in space]
    shape = [1] * x.ndim
    for n, size in zip(order, kernel.shape, strict=True):
        shape[n] = size
    k = kernel.transpose(np.argsort(order)).reshape(shape)
    y = ndimage.correlate(x.astype(np.float64), k, mode="reflect")
    return y if x.dtype.kind == "f" else np.rint(y)


def same(found, expected, dtype):
    assert found.dtype == dtype
    integer = np.dtype(dtype).kind in "iu"
    np.testing.assert_allclose(
        found.astype(np.float64), expected, rtol=0, atol=1 if integer else 2e-6
    )


# name -> (file's name, how it is made, shape, dtype, axes of the file, options)
rgb, grey = {"photometric": "rgb"}, {"photometric": "minisblack"}
contig, apart = {"planarconfig": "contig"}, {"planarconfig": "separate"}
TIFFS = {
    "a plane": (grey, (40, 50), "uint16", "YX"),
    "colour": (rgb, (40, 50, 3), "uint8", "YXS"),
    "near infrared": (rgb | contig | {"extrasamples": [0]}, (40, 50, 4), "uint8", "YXS"),
    "two bands": (grey | contig, (40, 50, 2), "uint16", "YXS"),
    "eight bands": (grey | contig, (40, 50, 8), "float32", "YXS"),
    "bands apart": (grey | apart, (5, 40, 50), "float32", "SYX"),
    "colours apart, compressed": (
        rgb | apart | {"compression": "zlib", "tile": (16, 32), "predictor": True},
        (3, 40, 50),
        "uint16",
        "SYX",
    ),
    "pages without names": (grey | {"metadata": None}, (5, 40, 50), "uint8", "IYX"),
    "pages of colour": (rgb | {"metadata": None}, (4, 40, 50, 3), "uint8", "IYXS"),
    "pages of width 3": (grey | {"metadata": None}, (5, 40, 3), "uint8", "IYX"),
    "compressed pages": (
        grey | {"metadata": None, "compression": "zlib", "tile": (16, 16)},
        (5, 40, 50),
        "int16",
        "IYX",
    ),
    "named by tifffile": (grey | {"metadata": {"axes": "ZYX"}}, (5, 40, 50), "float32", "ZYX"),
    "ImageJ": ({"imagej": True, "metadata": {"axes": "ZYX"}}, (5, 40, 50), "uint16", "ZYX"),
    "an ImageJ hyperstack": (
        {"imagej": True, "metadata": {"axes": "TZCYX"}},
        (2, 4, 3, 40, 50),
        "float32",
        "TZCYX",
    ),
    "OME": (grey | {"ome": True, "metadata": {"axes": "CZYX"}}, (2, 4, 40, 50), "uint16", "CZYX"),
    "OME of colour": (
        rgb | {"ome": True, "metadata": {"axes": "TYXS"}, "tile": (32, 16), "compression": "zlib"},
        (3, 40, 50, 3),
        "uint8",
        "TYXS",
    ),
}


@pytest.mark.cover
@pytest.mark.parametrize("suffix", ["tif", "zarr"])
@pytest.mark.parametrize("name", TIFFS)
def test_planes_of_every_tiff(tmp_path, name, suffix):
    options, shape, dtype, axes = TIFFS[name]
    x = values(dtype, *shape)
    image = tiff(tmp_path / "x.tif", x, **options)
    np.save(tmp_path / "k.npy", PLANE)
    for out, tile in (("whole", ()), ("tiles", ("--tile", 17))):
        path = tmp_path / f"{out}.{suffix}"
        result = run(image, path, "--kernel", tmp_path / "k.npy", *tile)
        assert result.exit_code == 0, result.stderr
        found, kept = opened(path)
        expected = filtered(x, axes, PLANE)
        if suffix == "zarr":  # samples come last there
            expected = np.moveaxis(expected, 0, -1) if axes == "SYX" else expected
            letter = {"I": None, "S": "c"}
            order = axes if axes != "SYX" else "YXS"
            assert kept == [letter.get(a, a.lower()) for a in order]
        else:
            assert kept == axes
        same(found, expected, dtype)
    np.testing.assert_array_equal(opened(tmp_path / f"whole.{suffix}")[0], found)


ZARRS = {
    "version 3": (lambda p, x: named(p, x, ["z", "y", "x"]), (5, 40, 50), "uint16", "ZYX"),
    "version 3, a band": (
        lambda p, x: named(p, x, ["time", "band", "lat", "lon"]),
        (2, 3, 40, 50),
        "float32",
        "TCYX",
    ),
    "version 3, columns first": (
        lambda p, x: named(p, x, ["x", "y", "z"]),
        (40, 30, 5),
        "float64",
        "XYZ",
    ),
    "version 3, channels last": (
        lambda p, x: named(p, x, ["y", "x", "channel"]),
        (40, 50, 4),
        "uint8",
        "YXC",
    ),
    "xarray's version 2": (
        lambda p, x: xarray(p, x, ["level", "y", "x"]),
        (5, 40, 50),
        "int16",
        "QYX",
    ),
    "OME-NGFF 0.4": (lambda p, x: ngff(p, [x], "czyx", "0.4"), (2, 4, 40, 50), "uint16", "CZYX"),
    "OME-NGFF 0.5": (lambda p, x: ngff(p, [x], "tyx", "0.5"), (2, 40, 50), "uint8", "TYX"),
    "a plane without names": (lambda p, x: store(p, x), (40, 50), "uint8", "YX"),
}


@pytest.mark.parametrize("name", ZARRS)
def test_planes_of_every_zarr(tmp_path, name):
    make, shape, dtype, axes = ZARRS[name]
    x = values(dtype, *shape)
    image = make(tmp_path / "x.zarr", x)
    np.save(tmp_path / "k.npy", PLANE)
    names = {
        "version 3, a band": ["time", "band", "lat", "lon"],
        "version 3, channels last": ["y", "x", "channel"],
        "xarray's version 2": ["level", "y", "x"],
    }.get(name, list(axes.lower()))
    for out, tile in (("whole", ()), ("tiles", ("--tile", 17))):
        path = tmp_path / f"{out}.zarr"
        result = run(image, path, "--kernel", tmp_path / "k.npy", *tile)
        assert result.exit_code == 0, result.stderr
        found, kept = opened(path)
        assert kept == names
        same(found, filtered(x, axes, PLANE), dtype)
    np.testing.assert_array_equal(opened(tmp_path / "whole.zarr")[0], found)
    if axes != "XYZ":
        out = tmp_path / "y.tif"
        result = run(image, out, "--kernel", tmp_path / "k.npy", "--tile", 32)
        assert result.exit_code == 0, result.stderr
        found, kept = opened(out)
        assert kept == axes.replace("YXC", "YXS").replace("Q", "I")
        same(found, filtered(x, axes, PLANE), dtype)


VOLUMES = {
    "ImageJ": lambda p, x: tiff(p / "x.tif", x, imagej=True, metadata={"axes": "ZYX"}),
    "OME": lambda p, x: tiff(p / "x.tif", x, ome=True, metadata={"axes": "ZYX"}, tile=(16, 16)),
    "zarr": lambda p, x: named(p / "x.zarr", x, ["z", "y", "x"]),
    "OME-NGFF": lambda p, x: ngff(p / "x.zarr", [x], "zyx", "0.5"),
    "pages, --axes": lambda p, x: tiff(p / "x.tif", x, photometric="minisblack", metadata=None),
    "zarr, --axes": lambda p, x: store(p / "x.zarr", x),
}


@pytest.mark.parametrize("name", VOLUMES)
def test_volumes(tmp_path, name):
    """A kernel of (d, h, w) over Z, Y, X, whole and in cubes."""
    x = values("float32", 9, 20, 23)
    image = VOLUMES[name](tmp_path, x)
    np.save(tmp_path / "k.npy", VOLUME)
    given = ("--axes", "zyx") if "--axes" in name else ()
    for out, tile in (("whole", ()), ("tiles", ("--tile", 8))):
        path = tmp_path / f"{out}{image.suffix}"
        result = run(image, path, "--kernel", tmp_path / "k.npy", *given, *tile)
        assert result.exit_code == 0, result.stderr
        assert "k (3x3x3), symmetric" in result.stdout
        found, kept = opened(path)
        assert kept == (["z", "y", "x"] if image.suffix == ".zarr" else "ZYX")
        same(found, filtered(x, "ZYX", VOLUME, "ZYX"), "float32")
    np.testing.assert_array_equal(opened(tmp_path / f"whole{image.suffix}")[0], found)


def test_a_kernel_of_three_axes_says_what_they_are(tmp_path):
    """As many kernels as channels, or as deep as it is: told where the image has both."""
    x = values("float32", 4, 3, 20, 23)
    image = named(tmp_path / "x.zarr", x, ["z", "c", "y", "x"])
    np.save(tmp_path / "k.npy", VOLUME)
    result = run(image, tmp_path / "y.zarr", "--kernel", tmp_path / "k.npy")
    assert result.stderr == (
        "jaxconv apply: k of (3, 3, 3) may be a kernel for volumes or one for each of 3 channels; "
        "--kernel-axes ZYX or --kernel-axes CYX says which\n"
    )
    for axes, tile in (("ZYX", ()), ("CYX", ("--tile", 9))):
        out, kernel = tmp_path / f"{axes}.zarr", tmp_path / "k.npy"
        result = run(image, out, "--kernel", kernel, "--kernel-axes", axes, *tile)
        assert result.exit_code == 0, result.stderr
        if axes == "ZYX":
            expected = filtered(x, "ZCYX", VOLUME, "ZYX")
        else:
            each = [filtered(x[:, n], "ZYX", VOLUME[n]) for n in range(3)]
            expected = np.stack(each, 1)
        same(opened(out)[0], expected, "float32")


def test_a_kernel_a_channel_where_channels_come_first(tmp_path):
    x = values("float32", 2, 20, 23)
    w = RNG.normal(size=(3, 3, 2, 3)).astype(np.float32)
    image = named(tmp_path / "x.zarr", x, ["c", "y", "x"])
    done = apply_tiled(image, w, tmp_path / "y.zarr", tile=9, padding_mode="symmetric")
    assert done.shape == (3, 20, 23)
    parts = [[filtered(x[i], "YX", w[:, :, i, o]) for i in range(2)] for o in range(3)]
    same(opened(tmp_path / "y.zarr")[0], np.array(parts).sum(1), "float32")


@pytest.mark.parametrize("tile", [(), ("--tile", 16)], ids=["whole", "tiles"])
def test_pages_and_levels(tmp_path, tile):
    x = values("uint8", 3, 2, 40, 50)
    hyper = tiff(tmp_path / "h.tif", x, imagej=True, metadata={"axes": "TCYX"})
    other = named(tmp_path / "h.zarr", x, ["t", "c", "y", "x"])
    pyramid = [values("uint8", 64 >> n, 96 >> n) for n in range(3)]
    with tifffile.TiffWriter(tmp_path / "p.tif") as file:
        file.write(pyramid[0], subifds=2, tile=(16, 16), resolution=(300, 300), resolutionunit=2)
        for level in pyramid[1:]:
            file.write(level, subfiletype=1, tile=(16, 16))
    with tifffile.TiffWriter(tmp_path / "gdal.tif") as file:  # overviews as GDAL writes them
        for n, level in enumerate(pyramid):
            file.write(level, subfiletype=int(n > 0), tile=(16, 16), metadata=None)
    group = ngff(tmp_path / "p.zarr", pyramid, "yx", "0.4")
    with tifffile.TiffWriter(tmp_path / "unlike.tif") as file:
        for level in (pyramid[2], x[0, 0], pyramid[2]):
            file.write(level, photometric="minisblack", metadata=None)
    cases = [
        (hyper, ("--page", 3), x[1, 1], "page 3 of 6 alone"),
        (other, ("--page", 4), x[2, 0], "page 4 of 6 alone"),
        (tmp_path / "p.tif", (), pyramid[0], "level 0 of 3 alone"),
        (tmp_path / "p.tif", ("--level", 2), pyramid[2], "level 2 of 3 alone"),
        (tmp_path / "gdal.tif", ("--level", 1), pyramid[1], "level 1 of 3 alone"),
        (group, ("--level", 1), pyramid[1], "level 1 of 3 alone"),
        (tmp_path / "unlike.tif", ("--page", 1), x[0, 0], "page 1 of 3 alone"),
    ]
    np.save(tmp_path / "k.npy", PLANE)
    for n, (image, options, plane, told) in enumerate(cases):
        out = tmp_path / f"{n}.tif"
        result = run(image, out, "--kernel", tmp_path / "k.npy", *options, *tile)
        assert result.exit_code == 0, result.stderr
        assert told in result.stdout
        same(opened(out)[0], filtered(plane, "YX", PLANE), "uint8")
    with tifffile.TiffFile(tmp_path / "3.tif") as file:  # a quarter of the pixels an inch
        assert file.pages[0].tags["XResolution"].value == (75, 1)


def test_images_of_pillow(tmp_path):
    """Multi-page TIFF, and the main picture of an MPO jpeg."""
    frames = [Image.fromarray(values("uint8", 20, 30)) for _ in range(3)]
    frames[0].save(tmp_path / "x.tif", save_all=True, append_images=frames[1:])
    main = Image.fromarray(np.full((20, 30, 3), 90, np.uint8))
    main.save(
        tmp_path / "x.jpg", format="MPO", save_all=True, append_images=[main.resize((15, 10))]
    )
    assert run(tmp_path / "x.tif", "--kernel", "box").exit_code == 0
    found = tifffile.imread(tmp_path / "x-box.tif")
    for plane, frame in zip(found, frames, strict=True):
        box = np.full((3, 3), 1 / 9)
        same(plane, filtered(np.asarray(frame), "YX", box), "uint8")
    result = run(tmp_path / "x.jpg", tmp_path / "y.png", "--kernel", "box")
    assert "; main picture of 2 alone" in result.stdout
    assert np.abs(np.asarray(Image.open(tmp_path / "y.png")).astype(int) - 90).max() <= 1
    result = run(tmp_path / "x.jpg", tmp_path / "z.png", "--kernel", "box", "--page", 1)
    assert "10x15 colour uint8" in result.stdout


def test_letters_and_layouts():
    assert letters(["T", "Channel", "Z", "row", "col"]) == "TCZYX"
    assert letters(["x", "lon", "y"]) == "XQY"
    assert letters([None, None, None]) == ""
    assert check_axes("zyx", (5, 4, 3)) == "ZYX"
    found, with_channels = layout("XYZC", (9, 8, 7, 2), 5)
    assert (found.space, found.channel, found.stack, with_channels) == ((2, 1, 0), 3, (), True)
    x = RNG.normal(size=(9, 8, 7, 2))
    np.testing.assert_array_equal(found.inward(x), x.transpose(2, 1, 0, 3))
    np.testing.assert_array_equal(found.outward(found.inward(x)), x)
    found, _ = layout("CTYX", (2, 3, 8, 9), 2)
    piece = x[:2, :1, :, :].reshape(2, 1, 7, 2)
    np.testing.assert_array_equal(found.outward(found.inward(piece)), piece)
