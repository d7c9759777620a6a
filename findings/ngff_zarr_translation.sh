#!/usr/bin/env bash
# ngff-zarr 0.50.0 (itk 5.4.7, itkwasm-downsample 2.0.2, dask-image 2026.5.0).
#
# Expected: in a pyramid the translation of a level says where its pixels lie, whichever method made
# it: of an image whose values are x, each pixel holds its own x.
# Seen: every method writes the same translation, that of the middle of the pixels taken together
# (1.5 pixels at a factor of 4). The bin-shrink methods and ITKWASM_GAUSSIAN are there; ITK_GAUSSIAN,
# DASK_IMAGE_GAUSSIAN, DASK_IMAGE_MODE and DASK_IMAGE_NEAREST take values at the first pixel, so that
# their levels lie 0.5, 1.5, 3.5 pixels off, and labels made by one do not lie on an image made by
# another.
#   off by at 2, 4, 8: bin shrink 0 0 0, itkwasm_gaussian 0 0 0, itk_gaussian 0.5 1.5 3.5, others 0.5 1.5 3.5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q "ngff-zarr[dask-image,itk]==0.50.0" itkwasm-downsample==2.0.2 \
    itk-filtering==5.4.7 dask-image==2026.5.0 dask==2026.8.0 zarr==3.1.6 numpy==2.4.6 scipy==1.17.1
"$folder/bin/python" - "$folder/a.ome.zarr" <<'EOF'
import sys

import ngff_zarr
import numpy as np
import zarr
from ngff_zarr import Methods

x = np.broadcast_to(np.arange(128, dtype=np.float32), (64, 128)).copy()
unit = {"y": 1.0, "x": 1.0}
image = ngff_zarr.to_ngff_image(x, dims=["y", "x"], scale=unit, translation={"y": 0.0, "x": 0.0})


def off(method):
    """How far values lie from where the file says, far from the edges, for 2, 4 and 8."""
    pyramid = ngff_zarr.to_multiscales(image, [2, 4, 8], method=method)
    ngff_zarr.to_ngff_zarr(sys.argv[1], pyramid, version="0.5", overwrite=True)
    group = zarr.open_group(sys.argv[1], mode="r")
    found = []
    for level in group.attrs["ome"]["multiscales"][0]["datasets"][1:]:
        parts = {part["type"]: part[part["type"]] for part in level["coordinateTransformations"]}
        row = group[level["path"]][4, :]
        places = parts["translation"][1] + parts["scale"][1] * np.arange(len(row))
        assert parts["scale"][1] == 128 / len(row)
        found.append(round(float(np.median(places - row)), 2))
    return found


middle, first = [0, 0, 0], [0.5, 1.5, 3.5]
for method in (Methods.ITKWASM_BIN_SHRINK, Methods.ITK_BIN_SHRINK, Methods.DASK_BIN_SHRINK):
    assert off(method) == middle, method
assert off(Methods.ITKWASM_GAUSSIAN) == middle
for method in ("ITK_GAUSSIAN", "DASK_IMAGE_GAUSSIAN", "DASK_IMAGE_MODE", "DASK_IMAGE_NEAREST"):
    seen = off(Methods[method])
    print(f"{method.lower()} {seen}")
    assert seen == first, method
EOF
