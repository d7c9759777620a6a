#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93.
#
# Expected: GaussianBlur of bytes is that of floats, rounded: no more than 1 apart.
# Seen: where ksize is left to sigma, bytes are cut at 3 deviations and floats at 4 (the response of
# one pixel at sigma 2 is 13 wide in uint8 and uint8's weights in floats would be 17), so that the
# same sigma means two filters; and with one ksize for both, bytes still differ by more than 1, since
# the weights are rounded to 8 bits.
#   widths at sigma 2: uint8 13, uint16 17, float32 17; apart at sigma 10: 1.95, with one ksize 1.23
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q opencv-python-headless==5.0.0.93 numpy==2.4.6
"$folder/bin/python" - <<'EOF'
import cv2
import numpy as np

widths = {}
for name in ("uint8", "uint16", "float32"):
    # a bright line, so that no weight is rounded away along the other axis
    image = np.zeros((65, 65), name)
    image[:, 32] = 255 if name == "uint8" else 60000
    widths[name] = int(np.count_nonzero(cv2.GaussianBlur(image, (0, 0), 2.0)[32]))
print("widths at sigma 2: " + ", ".join(f"{name} {width}" for name, width in widths.items()))
assert widths == {"uint8": 13, "uint16": 17, "float32": 17}, widths

noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
apart = []
for size in ((0, 0), (81, 81)):
    rounded = cv2.GaussianBlur(noise, size, 10.0).astype(float)
    apart.append(abs(rounded - cv2.GaussianBlur(noise.astype(float), size, 10.0)).max())
print(f"apart at sigma 10: {apart[0]:.2f}, with one ksize {apart[1]:.2f}")
assert 1.9 < apart[0] < 2.0 and 1.1 < apart[1] < 1.4
EOF
