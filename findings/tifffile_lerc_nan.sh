#!/usr/bin/env bash
# tifffile 2026.3.3 with imagecodecs 2026.3.6, files by rasterio 1.4.4 (GDAL 3.10.3).
#
# Expected: a GeoTIFF of floats in LERC, lossless as GDAL writes it by default, reads as it was
# written; at worst the pixel that is NaN (LERC stores it as "not valid") reads as something else.
# Seen: GDAL reads it back exactly. tifffile gives 0 for NaN, as valid as any other; and where bands
# are interleaved by pixel, one NaN in one band permutes every value of its strip or tile: bands come
# one after another in the file then, and are read as if they were interleaved. No warning; without
# the NaN it is exact.
# (The same with tifffile 2026.11.8, imagecodecs 2026.10.10 and rasterio 1.5.2 on Python 3.12.)
#   wrong values in the tile of 64x64x3 with one NaN: 12286 of 12288, in the other tiles 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q tifffile==2026.3.3 imagecodecs==2026.3.6 rasterio==1.4.4 numpy==2.4.6
(cd "$folder" && bin/python -) <<'EOF'
import numpy as np
import rasterio
import tifffile
from rasterio.transform import from_origin


def passed_on(bands, interleave):
    """What GDAL and tifffile read of what GDAL wrote, bands first."""
    count, height, width = bands.shape
    profile = dict(driver="GTiff", count=count, height=height, width=width, dtype=bands.dtype)
    profile |= dict(tiled=True, blockxsize=64, blockysize=64, compress="LERC")
    profile |= dict(interleave=interleave, crs="EPSG:32632", transform=from_origin(0, 0, 10, 10))
    with rasterio.open("a.tif", "w", **profile) as file:
        file.write(bands)
    with rasterio.open("a.tif") as file:
        gdal = file.read()
    with tifffile.TiffFile("a.tif") as file:
        axes, values = file.series[0].axes, file.asarray()
    assert axes == ("YXS" if interleave == "pixel" else "SYX")
    return gdal, np.moveaxis(values, -1, 0) if interleave == "pixel" else values


whole = np.random.default_rng(0).random((3, 128, 128), np.float32) + 1  # no value is 0
holed = whole.copy()
holed[0, 70, 80] = np.nan
tile = (slice(None), slice(64, 128), slice(64, 128))

for interleave in ("pixel", "band"):
    gdal, tiff = passed_on(whole, interleave)
    assert (gdal == whole).all() and (tiff == whole).all()
gdal, tiff = passed_on(holed, "band")
assert np.array_equal(gdal, holed, equal_nan=True)
assert tiff[0, 70, 80] == 0 and (tiff != holed).sum() == 1

gdal, tiff = passed_on(holed, "pixel")
assert np.array_equal(gdal, holed, equal_nan=True)
wrong = tiff != whole
inside = wrong[tile].sum()
print(f"wrong values in the tile of 64x64x3 with one NaN: {inside} of {wrong[tile].size}", end=", ")
print(f"in the other tiles {wrong.sum() - inside}")
assert inside > 12000 and wrong.sum() == inside
planes = np.nan_to_num(holed[tile])  # one band after another, read as pixels
assert (tiff[tile] == np.moveaxis(planes.reshape(64, 64, 3), -1, 0)).all()
EOF
