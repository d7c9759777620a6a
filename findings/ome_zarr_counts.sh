#!/usr/bin/env bash
# ome-zarr 0.18.0 (0.21.0 on Python 3.12 does the same).
#
# Expected: the levels of a pyramid of means are as bright as the image, but for noise of rounding.
# Seen: write_image makes each level from the one before, and cuts the fraction off each time, both
# by default (RESIZE) and by LOCAL_MEAN: an image of integers gets half a grey level darker a level,
# which is much in an image of counts: of 1 photon a pixel the second level has nothing left. Of floats
# both keep the mean.
#   mean of counts: 1.00 0.48 0.01 0.00 0.00, as float32: 1.00 1.00 1.00 1.00 1.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q ome-zarr==0.18.0 zarr==3.1.6 dask==2026.8.0 scikit-image==0.26.0 \
    numpy==2.4.6 scipy==1.17.1
"$folder/bin/python" - "$folder/a.zarr" <<'EOF'
import shutil
import sys

import numpy as np
import zarr
from ome_zarr import scale, writer


def means(image, **method):
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    group = zarr.open_group(sys.argv[1], mode="w")
    writer.write_image(image, group, axes="yx", scale_factors=[2, 4, 8, 16], **method)
    levels = [group[f"s{n}"][:] for n in range(5)]
    assert all(level.dtype == image.dtype for level in levels)
    return levels, [round(float(level.mean()), 2) for level in levels]


counts = np.random.default_rng(0).poisson(1, (512, 512)).astype(np.uint16)
_, seen = means(counts)
_, right = means(counts.astype(np.float32))
shown = [" ".join(f"{mean:.2f}" for mean in row) for row in (seen, right)]
print(f"mean of counts: {shown[0]}, as float32: {shown[1]}")
assert seen[0] == 1.0 and seen[3] == seen[4] == 0.0
assert 0.4 < seen[1] < 0.6 and seen[2] < 0.05
assert max(abs(mean - 1) for mean in right) < 0.03

bright = np.random.default_rng(0).integers(1000, 3000, (512, 512), dtype=np.uint16)
for method in ({}, {"method": scale.Methods.LOCAL_MEAN}):
    levels, seen = means(bright, **method)
    assert 1.3 < seen[0] - seen[4] < 2.3, seen
below = levels[0].reshape(256, 2, 256, 2).mean((1, 3))
assert (levels[1] == np.floor(below)).all()
EOF
