#!/usr/bin/env bash
# SimpleITK 2.5.7 (ITK 5.4).
#
# Expected: a wider Gaussian blurs more; where maximumKernelWidth cuts it, towards a box. A constant
# image stays constant at any width.
# Seen: DiscreteGaussian does so up to a variance of 709 pixels^2 (sigma 26.6 pixels), and from 710 on
# every weight is NaN: float images come out as NaN, integers as black, without an error. The
# variance is in physical units by default, so at a spacing of 0.1 sigma 2.7 is too wide.
# SmoothingRecursiveGaussian, of the same image, is right.
#   image of 100: variance 709 -> 100.0, 710 -> nan; uint8 100 -> 0; spacing 0.1, variance 7.1 -> nan
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q SimpleITK==2.5.7 numpy==2.4.6
"$folder/bin/python" - <<'EOF'
import numpy as np
import SimpleITK as sitk


def blurred(dtype, variance, spacing=1.0, width=301):
    image = sitk.GetImageFromArray(np.full((64, 64), 100, dtype))
    image.SetSpacing([spacing] * 2)
    values = sitk.GetArrayFromImage(sitk.DiscreteGaussian(image, variance, maximumKernelWidth=width))
    assert np.isnan(values).all() or np.ptp(values) < 1e-3
    return float(values[0, 0])


wide, wider = blurred("float64", 709.0), blurred("float64", 710.0)
byte, fine = blurred("uint8", 710.0), blurred("float32", 7.1, 0.1)
print(f"image of 100: variance 709 -> {wide:.1f}, 710 -> {wider}", end="; ")
print(f"uint8 100 -> {byte:.0f}; spacing 0.1, variance 7.1 -> {fine}")
assert abs(wide - 100) < 1e-6 and abs(blurred("uint8", 709.0) - 100) <= 1
assert np.isnan(wider) and np.isnan(fine) and byte == 0
assert np.isnan(blurred("float64", 710.0, width=32))
assert abs(blurred("float32", 7.0, 0.1) - 100) < 1e-3

image = sitk.GetImageFromArray(np.full((64, 64), 100.0))
recursive = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(image, 710.0**0.5))
assert abs(recursive - 100).max() < 1e-3
EOF
