#!/usr/bin/env bash
# rasterio 1.4.4 (GDAL 3.10.3); rasterio 1.5.2 (GDAL 3.12.2) does the same.
#
# Expected: a pixel that the file declares as nodata takes no part in a reduced read or in an
# overview, be nodata -9999 or NaN.
# Seen: so it is for -9999 with every method, and for NaN with average, rms and gauss. With bilinear,
# cubic and lanczos a NaN declared as nodata makes NaN all that sees it, as if it were not declared: at
# half the size one lost pixel is 4, 16 and 36, in overviews too, so that holes grow from level to
# level. A warp on the same grid loses 1 for either.
#   nodata -9999: bilinear 0, cubic 0, lanczos 0; nan: bilinear 4, cubic 16, lanczos 36
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q rasterio==1.4.4 numpy==2.4.6
(cd "$folder" && bin/python -) <<'EOF'
import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.warp import reproject

fine, coarse = from_origin(0, 64, 1, 1), from_origin(0, 64, 2, 2)


def lost(nodata, method):
    """Pixels of value other than 10 at half the size: of a read, an overview and a warp."""
    image = np.full((64, 64), 10, np.float32)
    image[21, 21] = nodata
    profile = dict(driver="GTiff", width=64, height=64, count=1, dtype="float32", nodata=nodata)
    with rasterio.open("a.tif", "w", crs="EPSG:32632", transform=fine, **profile) as file:
        file.write(image, 1)
    with rasterio.open("a.tif") as file:
        assert np.array_equal(file.nodata, nodata, equal_nan=True)
        assert (file.read_masks(1) == 0).sum() == 1
        read = file.read(1, out_shape=(32, 32), resampling=method)
    with rasterio.open("a.tif", "r+") as file:
        file.build_overviews([2], method)
    with rasterio.open("a.tif", overview_level=0) as file:
        overview = file.read(1)
    found = [read, overview]
    if method != Resampling.gauss:  # which no warp has
        warped = np.zeros((32, 32), np.float32)
        grids = dict(src_transform=fine, src_crs="EPSG:32632", dst_transform=coarse)
        grids |= dict(dst_crs="EPSG:32632", src_nodata=nodata, dst_nodata=nodata)
        reproject(image, warped, resampling=method, **grids)
        found.append(warped)
    return [int((~np.isclose(values, 10)).sum()) for values in found]


for nodata in (-9999.0, float("nan")):
    for method in (Resampling.average, Resampling.rms, Resampling.gauss):
        assert lost(nodata, method)[:2] == [0, 0], (nodata, method)
seen = {}
for nodata in (-9999.0, float("nan")):
    seen[nodata] = {}
    for method in (Resampling.bilinear, Resampling.cubic, Resampling.lanczos):
        read, overview, warped = lost(nodata, method)
        assert read == overview and warped == 1
        seen[nodata][method.name] = read
shown = [f"{n:.0f}: " + ", ".join(f"{m} {c}" for m, c in s.items()) for n, s in seen.items()]
print("nodata " + "; ".join(shown))
without, poisoned = seen.values()
assert without == {"bilinear": 0, "cubic": 0, "lanczos": 0}
assert poisoned == {"bilinear": 4, "cubic": 16, "lanczos": 36}
EOF
