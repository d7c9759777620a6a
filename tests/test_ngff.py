"""What OME-NGFF says of an array, kept in what `apply` and `restore` write, whole and in tiles."""

import json

import numpy as np
import pytest
import tensorstore as ts
from test_axes import VOLUME, named, ngff, opened, run, store, values

from jaxconv._files import ngff as places
from jaxconv._files.formats import open_source
from jaxconv.tiles import apply_tiled

WAYS = pytest.mark.parametrize("tile", [(), ("--tile", 16)], ids=["whole", "tiles"])


def described(path, scale, *, unit="micrometer", level=0, more=(), everywhere=()):
    """Give the levels of a group scales and units."""
    file = path / ("zarr.json" if (path / "zarr.json").exists() else ".zattrs")
    held = json.loads(file.read_text())
    inside = held.get("attributes", held)
    inside = inside.get("ome", inside)
    [scales] = inside["multiscales"]
    for axis in scales["axes"]:
        axis |= {"unit": unit} if axis["name"] in "zyx" else {"type": "channel"}
    found = [{"type": "scale", "scale": scale}, *more]
    scales["datasets"][level]["coordinateTransformations"] = found
    if everywhere:
        scales["coordinateTransformations"] = [*everywhere]
    file.write_text(json.dumps(held))
    return path


def written(path):
    """The `multiscales` of a group of version 0.5, and its array."""
    held = json.loads((path / "zarr.json").read_text())
    assert (held["zarr_format"], held["node_type"]) == (3, "group")
    assert held["attributes"]["ome"]["version"] == "0.5"
    [scales] = held["attributes"]["ome"]["multiscales"]
    [level] = scales["datasets"]
    found, names = opened(path / level["path"])
    assert names == [axis["name"] for axis in scales["axes"]]
    return scales, level["coordinateTransformations"], found


@WAYS
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_sizes_of_voxels_are_kept(tmp_path, version, tile):
    x = values("float32", 2, 9, 20, 23)
    image = described(ngff(tmp_path / "x.zarr", [x], "czyx", version), [1, 0.5, 0.1, 0.2])
    np.save(tmp_path / "k.npy", VOLUME)
    out = tmp_path / "y.zarr"
    kernel = ("--kernel", tmp_path / "k.npy", "--kernel-axes", "zyx")
    result = run(image, out, *kernel, *tile)
    assert result.exit_code == 0, result.stderr
    scales, transformations, found = written(out)
    assert transformations == [{"type": "scale", "scale": [1, 0.5, 0.1, 0.2]}]
    space = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    assert scales["axes"] == [{"name": "c", "type": "channel"}, *space]
    # what is written can be read, and written again
    again = run(out, tmp_path / "z.zarr", *kernel, *tile)
    assert again.exit_code == 0, again.stderr
    assert written(tmp_path / "z.zarr")[:2] == (scales, transformations)
    np.testing.assert_array_equal(opened(out / "0")[0], found)


@WAYS
def test_an_image_that_is_cut_begins_later(tmp_path, tile):
    x = values("float32", 9, 20, 23)
    image = described(
        ngff(tmp_path / "x.zarr", [x], "zyx", "0.5"),
        [2, 0.5, 0.25],
        more=[{"type": "translation", "translation": [0, 10, 0]}],
        everywhere=[{"type": "scale", "scale": [1, 1, 2]}],
    )
    np.save(tmp_path / "k.npy", np.ones((3, 5, 2), np.float32))
    result = run(image, tmp_path / "y.zarr", "--kernel", tmp_path / "k.npy", "--cut", *tile)
    assert result.exit_code == 0, result.stderr
    _, transformations, found = written(tmp_path / "y.zarr")
    assert found.shape == (7, 16, 22)
    assert transformations == [
        {"type": "scale", "scale": [2, 0.5, 0.5]},
        {"type": "translation", "translation": [2, 11, 0]},
    ]


def test_strides_and_a_level(tmp_path):
    pyramid = [values("float32", 32 >> n, 48 >> n) for n in range(2)]
    group = ngff(tmp_path / "x.zarr", pyramid, "yx", "0.5")
    image = described(group, [2, 3], level=1, unit="nanometer")
    settings = {"tile": 4, "level": 1, "stride": 2, "padding": "valid"}
    apply_tiled(image, np.ones((3, 3), np.float32), tmp_path / "y.zarr", **settings)
    scales, transformations, found = written(tmp_path / "y.zarr")
    assert found.shape == (7, 11)
    assert {axis["unit"] for axis in scales["axes"]} == {"nanometer"}
    assert transformations == [
        {"type": "scale", "scale": [4, 6]},
        {"type": "translation", "translation": [2, 3]},
    ]


@WAYS
def test_a_page(tmp_path, tile):
    x = values("uint8", 3, 20, 23)
    image = described(ngff(tmp_path / "x.zarr", [x], "zyx", "0.5"), [2, 0.5, 0.25])
    result = run(image, tmp_path / "y.zarr", "--kernel", "box", "--page", 1, *tile)
    assert result.exit_code == 0, result.stderr
    scales, transformations, found = written(tmp_path / "y.zarr")
    assert [axis["name"] for axis in scales["axes"]] == ["y", "x"]
    assert transformations == [{"type": "scale", "scale": [0.5, 0.25]}]
    assert found.shape == (20, 23)


@WAYS
def test_axes_that_are_said_to_be_others(tmp_path, tile):
    """Then nothing that the file says of its axes holds."""
    x = values("uint8", 3, 20, 23)
    image = described(ngff(tmp_path / "x.zarr", [x], "zyx", "0.5"), [2, 0.5, 0.25])
    result = run(image, tmp_path / "y.zarr", "--kernel", "box", "--axes", "TYX", *tile)
    assert result.exit_code == 0, result.stderr
    assert opened(tmp_path / "y.zarr")[1] == ["t", "y", "x"]


def test_no_group_is_made_of_an_array(tmp_path):
    image = named(tmp_path / "x.zarr", values("uint8", 20, 23), ["y", "x"])
    for tile in ((), ("--tile", 16)):
        out = tmp_path / f"{len(tile)}.zarr"
        assert run(image, out, "--kernel", "box", *tile).exit_code == 0
        assert opened(out)[1] == ["y", "x"]


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "scale", "scale": [1, 2]},
        {"type": "scale", "scale": [1, "a", 2]},
        {"type": "translation"},
        {"scale": [1, 2, 3]},
    ],
    ids=str,
)
def test_descriptions_that_are_wrong(tmp_path, broken):
    group = ngff(tmp_path / "x.zarr", [values("uint8", 3, 20, 23)], "zyx", "0.5")
    described(group, [1, 1, 1], more=[broken])
    result = run(group, tmp_path / "y.zarr", "--kernel", "box")
    assert result.exit_code == 2
    assert (
        result.stderr == f"jaxconv apply: {group}: its multiscales are not as OME-NGFF has them\n"
    )


COMPRESSIONS = {
    "zarr": ({"compressor": None}, {"compressor": {"id": "blosc"}}, {"compressor": {"id": "zlib"}}),
    "zarr3": (
        {"codecs": [{"name": "bytes", "configuration": {"endian": "big"}}]},
        {"codecs": [{"name": "bytes"}, {"name": "gzip", "configuration": {"level": 1}}]},
        {"codecs": [{"name": "blosc"}]},
    ),
}


@pytest.mark.cover
@WAYS
@pytest.mark.parametrize("driver", COMPRESSIONS)
def test_what_is_compressed_stays_so(tmp_path, driver, tile):
    x = np.zeros((256, 256), np.float32)
    for n, metadata in enumerate(COMPRESSIONS[driver]):
        image, out = tmp_path / f"{n}.zarr", tmp_path / f"{n}-out.zarr"
        store(image, x, driver, metadata)
        assert open_source(image).compressed == (n > 0)
        given = ("--kernel", "box", "--axes", "YX", *tile)
        result = run(image, out, *given)
        assert result.exit_code == 0, result.stderr
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{out}/"}}
        codecs = ts.open(spec).result().codec.to_json()["codecs"]
        assert ("zstd" in str(codecs)) == (n > 0)
        np.testing.assert_array_equal(opened(out)[0], x)


def test_restored_images_keep_places(tmp_path):
    x = np.abs(values("float32", 40, 50)) + 1
    image = described(ngff(tmp_path / "x.zarr", [x], "yx", "0.5"), [0.5, 0.25])
    np.save(tmp_path / "k.npy", np.ones((3, 3), np.float32) / 9)
    options = ("--kernel", tmp_path / "k.npy", "--method", "wiener", "--noise", 0.01, "--tile", 32)
    result = run(image, tmp_path / "y.zarr", *options, command="restore")
    assert result.exit_code == 0, result.stderr
    assert written(tmp_path / "y.zarr")[1] == [{"type": "scale", "scale": [0.5, 0.25]}]


def test_five_axes_before_they_had_names():
    """Version 0.1 and 0.2."""
    found = places.read({"datasets": [{"path": "0"}]}, 0)
    assert found.names == ("t", "c", "z", "y", "x")
    assert found.scale == (1,) * 5
