#!/usr/bin/env bash
# scikit-image 0.26.0, SimpleITK 2.5.7 beside it.
#
# Expected: the deconvolutions of one package agree on where the middle of a PSF is, also of one with
# an even number of pixels (a 2n x 2n crop around the peak of a measured star).
# Seen: with the peak at n of 2n, wiener and unsupervised_wiener put the light back where it was, as
# SimpleITK's RichardsonLucyDeconvolution does; richardson_lucy puts it one pixel before, in both
# axes, and with the peak at n - 1 it is right where the others are one pixel after. It gains light
# as well, 2 % in 10 iterations, since its flipped PSF is not the adjoint any more. For odd sizes all
# agree, and nothing is gained.
#   PSF 12, peak at 6: richardson_lucy -1, wiener 0, SimpleITK 0; peak at 5: 0, 1, 1; light 1.018
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q scikit-image==0.26.0 SimpleITK==2.5.7 numpy==2.4.6 scipy==1.17.1
"$folder/bin/python" - <<'EOF'
import numpy as np
import SimpleITK as sitk
from skimage import restoration


def of_sitk(image, psf):
    arrays = (sitk.GetImageFromArray(image), sitk.GetImageFromArray(psf))
    return sitk.GetArrayFromImage(sitk.RichardsonLucyDeconvolution(*arrays, 10))


methods = {
    "richardson_lucy": lambda image, psf: restoration.richardson_lucy(image, psf, 10, clip=False),
    "wiener": lambda image, psf: restoration.wiener(image, psf, 1e-3, clip=False),
    "unsupervised_wiener": lambda image, psf: restoration.unsupervised_wiener(
        image, psf, clip=False, rng=0
    )[0],
    "SimpleITK": of_sitk,
}


def seen(size, peak):
    """How far from the source each method puts it, and the light gained by richardson_lucy."""
    line = np.exp(-((np.arange(size) - peak) ** 2) / 8.0)
    psf = line[:, None] * line / line.sum() ** 2
    image = np.full((64, 64), 1e-3)
    image[32 - peak : 32 - peak + size, 32 - peak : 32 - peak + size] += psf
    moved = {}
    for name, method in methods.items():
        result = method(image, psf)
        row, column = np.unravel_index(result.argmax(), result.shape)
        assert row == column
        moved[name] = int(row) - 32
        if name == "richardson_lucy":
            gain = float(result.sum() / image.sum())
    assert moved["wiener"] == moved.pop("unsupervised_wiener")
    return moved, gain


late, gain = seen(12, 6)
early, _ = seen(12, 5)
print("PSF 12, peak at 6: " + ", ".join(f"{name} {n}" for name, n in late.items()), end="; ")
print(f"peak at 5: {', '.join(str(n) for n in early.values())}; light {gain:.3f}")
assert late == {"richardson_lucy": -1, "wiener": 0, "SimpleITK": 0}
assert early == {"richardson_lucy": 0, "wiener": 1, "SimpleITK": 1}
assert 1.01 < gain < 1.04
moved, gain = seen(13, 6)
assert set(moved.values()) == {0} and abs(gain - 1) < 1e-6
EOF
