#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93.
#
# Expected: GaussianBlur of bytes is that of floats, rounded: no more than 1 apart.
# Seen: where ksize is left to sigma, bytes are cut at 3 deviations and all else at 4, so that the
# same sigma means two filters; and with one ksize for both, bytes still differ by more than 1, since
# their weights are rounded to 8 bits.
#   ksize at sigma 5: uint8 31, uint16 41, float32 41; apart at sigma 10: 1.95, with one ksize 1.23
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q opencv-python-headless==5.0.0.93 numpy==2.4.6
"$folder/bin/python" - <<'EOF'
import cv2
import numpy as np

noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
sizes = {}
for name in ("uint8", "uint16", "float32"):
    image = noise.astype(name)
    blurred = cv2.GaussianBlur(image, (0, 0), 5.0)
    same = [n for n in range(3, 61, 2) if (blurred == cv2.GaussianBlur(image, (n, n), 5.0)).all()]
    sizes[name] = same
print("ksize at sigma 5: " + ", ".join(f"{name} {same}" for name, same in sizes.items()))
assert sizes == {"uint8": [31], "uint16": [41], "float32": [41]}

apart = []
for size in ((0, 0), (81, 81)):
    rounded = cv2.GaussianBlur(noise, size, 10.0).astype(float)
    apart.append(abs(rounded - cv2.GaussianBlur(noise.astype(float), size, 10.0)).max())
print(f"apart at sigma 10: {apart[0]:.2f}, with one ksize {apart[1]:.2f}")
assert 1.9 < apart[0] < 2.0 and 1.1 < apart[1] < 1.4
EOF
