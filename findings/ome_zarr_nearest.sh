#!/usr/bin/env bash
# ngff-zarr 0.50.0 (itk 5.4.7, itkwasm-downsample 2.0.2, dask-image 2026.5.0) and ome-zarr 0.18.0.
#
# Expected: in a pyramid the translation of a level says where its pixels lie, whichever library and
# method made it: of an image whose values are x, each pixel holds its own x.
# Seen: both libraries write the same translation for every method, that of the middle of the pixels
# taken together (1.5 pixels at a factor of 4). The means and ITKWASM_GAUSSIAN are there. ngff-zarr's
# ITK_GAUSSIAN, DASK_IMAGE_GAUSSIAN, DASK_IMAGE_MODE and DASK_IMAGE_NEAREST take values at the first
# pixel, ome-zarr's NEAREST, by which it writes labels, at the last one: so labels of one do not lie
# on the image, nor on labels of the other, which at a factor of 8 are 7 pixels away.
# (ome-zarr 0.21.0, which needs Python 3.12, does the same.)
#   off by at 2, 4, 8: ngff-zarr nearest 0.5 1.5 3.5, ome-zarr nearest -0.5 -1.5 -3.5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q "ngff-zarr[dask-image,itk]==0.50.0" itkwasm-downsample==2.0.2 \
    itk-filtering==5.4.7 ome-zarr==0.18.0 dask-image==2026.5.0 dask==2026.8.0 zarr==3.1.6 \
    numpy==2.4.6 scipy==1.17.1
"$folder/bin/python" - "$folder" <<'EOF'
import shutil
import sys

import ngff_zarr
import numpy as np
import zarr
from ngff_zarr import Methods
from ome_zarr import scale, writer

path = f"{sys.argv[1]}/a.ome.zarr"
x = np.broadcast_to(np.arange(128, dtype=np.float32), (64, 128)).copy()
unit = {"y": 1.0, "x": 1.0}
image = ngff_zarr.to_ngff_image(x, dims=["y", "x"], scale=unit, translation={"y": 0.0, "x": 0.0})


def off(group):
    """How far values lie before where the file says, far from the edges, for 2, 4 and 8."""
    found = []
    for level in group.attrs["ome"]["multiscales"][0]["datasets"][1:]:
        parts = {part["type"]: part[part["type"]] for part in level["coordinateTransformations"]}
        row = group[level["path"]][0, :].astype(float)
        places = parts["translation"][1] + parts["scale"][1] * np.arange(len(row))
        assert parts["scale"][1] == 128 / len(row)
        assert parts["translation"][1] == (parts["scale"][1] - 1) / 2
        found.append(round(float(np.median(places - row)), 2))
    return found


def of_ngff_zarr(method):
    pyramid = ngff_zarr.to_multiscales(image, [2, 4, 8], method=method)
    ngff_zarr.to_ngff_zarr(path, pyramid, version="0.5", overwrite=True)
    return off(zarr.open_group(path, mode="r"))


def of_ome_zarr(method):
    shutil.rmtree(path, ignore_errors=True)
    group = zarr.open_group(path, mode="w")
    if method is None:
        writer.write_labels(x.astype(np.uint8), group, "l", axes="yx", scale_factors=[2, 4, 8])
        return off(group["labels/l"])[:3]  # it makes a fourth level whatever is asked for
    writer.write_image(x, group, axes="yx", scale_factors=[2, 4, 8], method=method)
    return off(group)


middle, first, last = [0, 0, 0], [0.5, 1.5, 3.5], [-0.5, -1.5, -3.5]
for method in (Methods.ITKWASM_BIN_SHRINK, Methods.ITK_BIN_SHRINK, Methods.DASK_BIN_SHRINK):
    assert of_ngff_zarr(method) == middle, method
assert of_ngff_zarr(Methods.ITKWASM_GAUSSIAN) == middle
for method in (Methods.ITK_GAUSSIAN, Methods.DASK_IMAGE_GAUSSIAN, Methods.DASK_IMAGE_MODE):
    assert of_ngff_zarr(method) == first, method
nearest, other = of_ngff_zarr(Methods.DASK_IMAGE_NEAREST), of_ome_zarr(scale.Methods.NEAREST)
print(f"off by at 2, 4, 8: ngff-zarr nearest {nearest}, ome-zarr nearest {other}")
assert nearest == first and other == last
assert of_ome_zarr(None) == last
for method in (scale.Methods.RESIZE, scale.Methods.LOCAL_MEAN):
    assert of_ome_zarr(method) == middle, method
EOF
