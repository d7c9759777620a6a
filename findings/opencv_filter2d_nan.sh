#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93.
#
# Expected: one NaN in a float image makes NaN what sees it, or, if the transform is one of the whole
# image, all of it.
# Seen: up to 11x11 exactly the window (121 for 11x11); from 12x12 on filter2D multiplies spectra of
# tiles: 244 x 244 = 59,536 values are NaN for 13x13, and fewer, 226 x 226 = 51,076, for 31x31, since
# tiles overlap by the kernel. An image four times as wide loses no more. Likewise one pixel of 1e15
# makes far parts of ones inexact, where 11x11 is exact.
#   NaN: 3x3 9, 11x11 121, 13x13 59536, 31x31 51076
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q opencv-python-headless==5.0.0.93 numpy==2.4.6
"$folder/bin/python" - <<'EOF'
import cv2
import numpy as np

image = np.ones((256, 256), np.float32)
image[100, 100] = np.nan
bright = np.ones((256, 256), np.float32)
bright[100, 100] = 1e15
count, error = {}, {}
for size in (3, 11, 13, 31):
    box = np.ones((size, size), np.float32)
    count[size] = int(np.isnan(cv2.filter2D(image, -1, box)).sum())
    far = cv2.filter2D(bright, -1, box)[60:80, 60:80]  # no window holds the pixel
    error[size] = float(abs(far - size**2).max())
print("NaN: " + ", ".join(f"{n}x{n} {found}" for n, found in count.items()))
print("error: " + ", ".join(f"{n}x{n} {found:.3g}" for n, found in error.items()))
assert count == {3: 9, 11: 121, 13: 59536, 31: 51076}
assert error[3] == error[11] == 0 and error[13] > 1e-3 and error[31] > 1e-3
EOF
