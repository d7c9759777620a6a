"""Integers of every type, filtered by `apply` in their own units."""

import numpy as np
import pytest
import tensorstore as ts
import tifffile
from test_axes import PLANE, filtered, run, same, store, values

from jaxconv import filters
from jaxconv.tiles import _program as program
from jaxconv.tiles import apply_tiled

BOTH = pytest.mark.parametrize("tile", [(), ("--tile", 16)], ids=["whole", "tiles"])


@pytest.mark.cover
@BOTH
@pytest.mark.parametrize("suffix", ["tif", "zarr"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32"])
def test_every_type_is_filtered_in_its_units(tmp_path, dtype, suffix, tile):
    x = values(dtype, 40, 50)
    image, out = tmp_path / f"x.{suffix}", tmp_path / f"y.{suffix}"
    tifffile.imwrite(image, x) if suffix == "tif" else store(image, x)
    np.save(tmp_path / "k.npy", PLANE)
    result = run(image, out, "--kernel", tmp_path / "k.npy", *tile)
    assert result.exit_code == 0, result.stderr
    clipped = f"0.0% of the values clipped to 0..{np.iinfo(dtype).max}"
    told = "values kept" if dtype.startswith("int") else clipped
    assert told in result.stdout
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{out}/"}}
    found = tifffile.imread(out) if suffix == "tif" else ts.open(spec).result().read().result()
    same(found, filtered(x, "YX", PLANE), dtype)


@BOTH
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32"])
def test_the_identity_keeps_signed_values_and_their_ends(tmp_path, dtype, tile):
    kind = np.iinfo(dtype)
    x = np.array([[kind.min, -1, 0, 1, 100]], dtype)
    x[0, 4] = kind.max if kind.bits < 32 else 2**24
    tifffile.imwrite(tmp_path / "x.tif", x)
    np.save(tmp_path / "k.npy", np.ones((1, 1)))
    assert run(tmp_path / "x.tif", tmp_path / "y.tif", "--kernel", tmp_path / "k.npy", *tile)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "y.tif"), x)


@BOTH
def test_responses_beyond_a_signed_type_are_clipped_to_it_and_counted(tmp_path, tile):
    x = np.array([[-30000, -100, 100, 30000]], np.int16)
    tifffile.imwrite(tmp_path / "x.tif", x)
    np.save(tmp_path / "k.npy", np.full((1, 1), 2.0))
    result = run(tmp_path / "x.tif", tmp_path / "y.tif", "--kernel", tmp_path / "k.npy", *tile)
    assert "; values kept, 50.0% of them clipped to the range of the type" in result.stdout
    found = tifffile.imread(tmp_path / "y.tif")
    np.testing.assert_array_equal(found, [[-32768, -200, 200, 32767]])


@BOTH
def test_integers_that_float32_changes_are_refused(tmp_path, tile):
    x = np.zeros((40, 50), np.uint32)
    x[3, 4] = 2**24 + 1
    tifffile.imwrite(tmp_path / "x.tif", x)
    result = run(tmp_path / "x.tif", tmp_path / "y.tif", "--kernel", "box", *tile)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"jaxconv apply: {tmp_path / 'x.tif'}: 1 of ")
    assert result.stderr.endswith(
        "uint32 values, such as 16777217, are not exact in float32, in which images are computed; "
        "save the image as float32 or in fewer bits\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["x.tif"]


@BOTH
def test_wider_integers_are_refused_with_the_reason(tmp_path, tile):
    store(tmp_path / "x.zarr", np.zeros((40, 50), np.int64))
    result = run(tmp_path / "x.zarr", "--kernel", "box", *tile)
    assert result.stderr == (
        f"jaxconv apply: {tmp_path / 'x.zarr'}: values of type int64; expected bool, uint8, int8, "
        "uint16, int16, uint32, int32, float16, float32, float64; their largest values are not "
        "exact in float32, in which images are computed\n"
    )


@BOTH
def test_scales_of_signed_and_wide_integers(tmp_path, tile):
    x = values("int16", 40, 50)
    tifffile.imwrite(tmp_path / "x.tif", x)
    out = tmp_path / "y.tif"
    result = run(tmp_path / "x.tif", out, "--kernel", "sobel_x", "--scale", "signed", *tile)
    assert "level = response / 8" in result.stdout  # 8 is the sum of its magnitudes
    same(tifffile.imread(out), filtered(x, "YX", filters.by_name("sobel_x") / 8), "int16")
    result = run(
        tmp_path / "x.tif", out, "--kernel", "box", "--scale", "clip", "--overwrite", *tile
    )
    assert tifffile.imread(out).min() == 0
    tifffile.imwrite(tmp_path / "x.tif", x.astype(np.int32))
    result = run(
        tmp_path / "x.tif", out, "--kernel", "box", "--scale", "signed", "--overwrite", *tile
    )
    assert result.stderr == (
        "jaxconv apply: --scale signed is for images of at most 16 bits and floating-point ones, "
        "not int32\n"
    )


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32"])
def test_the_limits_of_a_type_are_the_last_that_it_holds(dtype):
    low, high = (np.float32(limit) for limit in program.limits(dtype))
    unit, kind = np.float32(program.largest(dtype)), np.iinfo(dtype)
    assert int(low * unit) == kind.min
    assert int(high * unit) <= kind.max < int(np.nextafter(high, np.float32(2)) * unit) + 1


def test_a_signed_image_as_unsigned(tmp_path):
    x = np.array([[-100, 0, 64, 127]], np.int8)
    tifffile.imwrite(tmp_path / "x.tif", x)
    done = apply_tiled(
        tmp_path / "x.tif", np.ones((1, 1)), tmp_path / "y.tif", tile=None, dtype="uint8"
    )
    assert done.clipped == 0.25
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "y.tif"), [[0, 0, 128, 253]])
