#!/usr/bin/env bash
# dask-image 2026.5.0 beside scipy 1.17.1.
#
# Expected: filters of a chunked image are scipy's of the whole one, in every mode.
# Seen: in mode "wrap" only correlate and convolve are. The others hand the mode to scipy for each
# chunk, and so meet the other side of the (overlapped) chunk where the image ends. One chunk is
# right, two are wrong along the image's edges, without a warning.
#   wrong with wrap: gaussian_filter, laplace, maximum_filter, median_filter, sobel, uniform_filter;
#   right: convolve, correlate
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q dask-image==2026.5.0 dask==2026.8.0 scipy==1.17.1 numpy==2.4.6
"$folder/bin/python" - <<'EOF'
import dask.array as da
import numpy as np
from dask_image import ndfilters
from scipy import ndimage

image = np.random.default_rng(0).normal(size=(40, 40))
calls = {
    "convolve": (np.ones((3, 5)),),
    "correlate": (np.ones((3, 5)),),
    "gaussian_filter": (1.0,),
    "laplace": (),
    "maximum_filter": (3,),
    "median_filter": (3,),
    "sobel": (),
    "uniform_filter": (3,),
}


def wrong(chunks, mode):
    found = []
    for name, given in calls.items():
        ours = getattr(ndfilters, name)(da.from_array(image, chunks=chunks), *given, mode=mode)
        theirs = getattr(ndimage, name)(image, *given, mode=mode)
        apart = ~np.isclose(np.asarray(ours), theirs, rtol=0, atol=1e-12)
        if apart.any():
            found.append(name)
            assert not apart[8:-8, 8:-8].any()  # along the edges only
    return found


for mode in ("reflect", "constant", "nearest", "mirror"):
    assert wrong(20, mode) == [], mode
assert wrong(40, "wrap") == []
found = wrong(20, "wrap")
right = [name for name in calls if name not in found]
print(f"wrong with wrap: {', '.join(found)}; right: {', '.join(right)}")
assert right == ["convolve", "correlate"]
EOF
