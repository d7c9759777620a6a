#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93.
#
# Expected: blur of bytes is the mean, rounded to the nearest, halves to even as cvRound does; so is
# filter2D with the same weights.
# Seen: filter2D is, and blur for odd counts of pixels. Of four pixels blur rounds every fraction up.
# Of two it is 1 + floor(mean): a flat image of 100 comes out as 101, black as 1; white stays white in
# a wide image, and in one of three columns becomes black. So 2x1 brightens noise by 0.75 on average,
# 2x2 by 0.375, 4x4 by 0.09, 3x3 not at all.
#   2x1 of flat images: 0 -> 1, 100 -> 101, 255 -> 255, narrow 255 -> 0; 2x2 means 10.25 -> 11, 10.5 -> 11, 10.75 -> 11
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q opencv-python-headless==5.0.0.93 numpy==2.4.6
"$folder/bin/python" - <<'EOF'
import cv2
import numpy as np

flat = {}
for name, value, width in (("0", 0, 64), ("100", 100, 64), ("255", 255, 64), ("narrow 255", 255, 3)):
    blurred = cv2.blur(np.full((8, width), value, np.uint8), (2, 1))
    assert np.ptp(blurred) == 0
    flat[name] = int(blurred[0, 0])
means = {}
for sum_ in (41, 42, 43):
    tile = np.uint8([[10, sum_ - 30], [10, 10]])
    means[sum_ / 4] = int(cv2.blur(np.tile(tile, (8, 8)), (2, 2))[8, 8])
print("2x1 of flat images: " + ", ".join(f"{a} -> {b}" for a, b in flat.items()), end="; ")
print("2x2 means " + ", ".join(f"{a} -> {b}" for a, b in means.items()))
assert flat == {"0": 1, "100": 101, "255": 255, "narrow 255": 0}
assert means == {10.25: 11, 10.5: 11, 10.75: 11}

noise = np.random.default_rng(0).integers(0, 250, (512, 512), dtype=np.uint8)
brighter = {}
for size in ((2, 1), (2, 2), (4, 4), (3, 3)):
    mean = cv2.blur(noise.astype(float), size)
    weights = np.full(size[::-1], 1 / (size[0] * size[1]), np.float32)
    general = cv2.filter2D(noise, -1, weights) - mean
    assert abs(general).max() <= 0.5 and abs(general.mean()) < 0.01
    brighter[size] = round(float((cv2.blur(noise, size) - mean).mean()), 2)
print(f"brighter by {brighter}")
wanted = {(2, 1): 0.75, (2, 2): 0.375, (4, 4): 0.09, (3, 3): 0.0}
assert all(abs(brighter[size] - wanted[size]) < 0.02 for size in wanted)
EOF
