#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93.
#
# Expected: in bytes, blur, boxFilter, sepFilter2D and filter2D with the same weights round alike, and
# halves to even, as cvRound does.
# Seen: the two box filters round halves up; the two general ones to even. A 2x2 mean of 0, 1, 0, 1
# is 1 by blur and 0 by filter2D; random bytes differ in every eighth pixel, always by +1, so that a
# mean filter brightens.
#   halves of 0.5 1.5 2.5 3.5: blur [1 2 3 4], boxFilter [1 2 3 4], sepFilter2D [0 2 2 4], filter2D [0 2 2 4]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q opencv-python-headless==5.0.0.93 numpy==2.4.6
"$folder/bin/python" - <<'EOF'
import cv2
import numpy as np

half = np.float32([0.5, 0.5])
quarter = np.full((2, 2), 0.25, np.float32)
filters = {
    "blur": lambda x: cv2.blur(x, (2, 2)),
    "boxFilter": lambda x: cv2.boxFilter(x, -1, (2, 2)),
    "sepFilter2D": lambda x: cv2.sepFilter2D(x, -1, half, half),
    "filter2D": lambda x: cv2.filter2D(x, -1, quarter),
}
stripes = np.tile(np.uint8([0, 1]), (8, 4))
seen = {name: [int(f(stripes + np.uint8(n))[4, 4]) for n in range(4)] for name, f in filters.items()}
print("halves of 0.5 1.5 2.5 3.5: " + ", ".join(f"{k} {v}" for k, v in seen.items()))
assert seen["blur"] == seen["boxFilter"] == [1, 2, 3, 4]
assert seen["sepFilter2D"] == seen["filter2D"] == [0, 2, 2, 4]

noise = np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8)
difference = filters["blur"](noise).astype(int) - filters["filter2D"](noise)
print(f"on noise: {sorted(set(difference.ravel()))}, share {np.mean(difference != 0):.3f}")
assert set(difference.ravel()) == {0, 1}
assert 0.11 < np.mean(difference != 0) < 0.14
EOF
