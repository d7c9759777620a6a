#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93.
#
# Expected: getGaussianKernel refuses even sizes, which its documentation excludes, or returns its
# formula, exp(-(i - (n - 1) / 2)^2 / (2 sigma^2)) scaled to sum 1.
# Seen: the two weights in the middle are those of a distance of 0 instead of 1/2: of size 4 at sigma
# 1 the ratio of the middle to the ends is exp(9/8) = 3.08 instead of e = 2.72. No error is raised.
#   size 4, sigma 1: 0.1225 0.3775 0.3775 0.1225; formula: 0.1345 0.3655 0.3655 0.1345
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q opencv-python-headless==5.0.0.93 numpy==2.4.6
"$folder/bin/python" - <<'PY'
import cv2
import numpy as np

found = cv2.getGaussianKernel(4, 1).ravel()
formula = np.exp(-((np.arange(4) - 1.5) ** 2) / 2)
formula /= formula.sum()
print("size 4, sigma 1:", *found.round(4), end="; ")
print("formula:", *formula.round(4))
assert abs(found[1] / found[0] - np.exp(9 / 8)) < 1e-9
for size in (6, 8, 10):
    line = cv2.getGaussianKernel(size, 2.0).ravel()
    wanted = np.exp(-((np.arange(size) - (size - 1) / 2) ** 2) / 8)
    wanted[size // 2 - 1 : size // 2 + 1] = 1
    assert abs(line - wanted / wanted.sum()).max() < 1e-9
odd = cv2.getGaussianKernel(5, 1).ravel()
wanted = np.exp(-((np.arange(5) - 2) ** 2) / 2)
assert abs(odd - wanted / wanted.sum()).max() < 1e-9
PY
