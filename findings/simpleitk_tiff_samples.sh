#!/usr/bin/env bash
# SimpleITK 2.5.7 (ITK 5.4) beside tifffile 2026.3.3 and rasterio 1.4.4.
#
# Expected: a TIFF with several samples a pixel reads as an image of vectors, as a colour one does;
# or it is refused, as doubles are, or warned of, as tiles are.
# Seen: where the colours are called grey (photometric MinIsBlack with extra samples: what GDAL writes
# for two bands, for more than four, and for any number that is not of bytes), ReadImage returns a
# plain image of the right height and width: the first samples of each row, all bands interleaved,
# as if they were pixels. The bands lie side by side as stripes, and the right of the image is lost.
# No warning. Likewise float16 comes as uint16, its bits as numbers.
#   4x6x3 grey: row 0 is 0 1 2 3 4 5, band 0 is 0 3 6 9 12 15; rgb: right; float16 1 2 3: 15360 16384 16896
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q SimpleITK==2.5.7 tifffile==2026.3.3 rasterio==1.4.4 numpy==2.4.6
(cd "$folder" && bin/python - 2>warnings || (cat warnings && false)) <<'EOF'
import numpy as np
import rasterio
import SimpleITK as sitk
import tifffile
from rasterio.transform import from_origin


def read():
    return sitk.GetArrayFromImage(sitk.ReadImage("a.tif"))


for dtype in (np.uint8, np.uint16, np.int16, np.float32):
    for samples in (2, 3, 4, 5, 8):
        pixels = np.arange(4 * 6 * samples).reshape(4, 6, samples).astype(dtype)
        tifffile.imwrite("a.tif", pixels, photometric="minisblack", planarconfig="contig")
        seen = read()
        assert seen.shape == (4, 6) and seen.dtype == dtype
        assert (seen == pixels.reshape(4, -1)[:, :6]).all()

pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
tifffile.imwrite("a.tif", pixels, photometric="minisblack", planarconfig="contig")
row = " ".join(str(v) for v in read()[0])
print(f"4x6x3 grey: row 0 is {row}, band 0 is {' '.join(str(v) for v in pixels[0, :, 0])}", end="; ")
for samples, extra in ((3, []), (4, ["unspecified"]), (5, ["unspecified"] * 2)):
    pixels = np.arange(4 * 6 * samples, dtype=np.uint16).reshape(4, 6, samples)
    tifffile.imwrite("a.tif", pixels, photometric="rgb", planarconfig="contig", extrasamples=extra)
    assert (read() == pixels).all()

bands = np.random.default_rng(0).normal(size=(4, 30, 40)).astype(np.float32)
profile = dict(driver="GTiff", count=4, height=30, width=40, dtype="float32", crs="EPSG:32632")
profile |= dict(transform=from_origin(0, 0, 10, 10), interleave="pixel")
with rasterio.open("a.tif", "w", **profile) as file:
    file.write(bands)
with rasterio.open("a.tif") as file:
    assert (file.read() == bands).all()
assert (read() == np.moveaxis(bands, 0, -1).reshape(30, -1)[:, :40]).all()

tifffile.imwrite("a.tif", np.full((4, 6), 1, np.float16) * np.float16([1, 2, 3, 1, 2, 3]))
half = read()
print(f"rgb: right; float16 1 2 3: {' '.join(str(v) for v in half[0, :3])}")
assert half.dtype == np.uint16
assert (half[0, :3] == np.float16([1, 2, 3]).view(np.uint16)).all()
EOF
test ! -s "$folder/warnings"
