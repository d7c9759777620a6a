#!/usr/bin/env bash
# imageio 2.38.1 and pillow 13.0.0, files by astropy 8.0.2.
#
# Expected: imageio.v3.imread of FITS gives the values that the file means, BZERO + BSCALE * stored,
# at least where astropy is installed, for which imageio has a plugin.
# Seen: it takes Pillow's reader, astropy or not, which applies neither and reads signed 16-bit
# integers as unsigned. So in the way FITS stores uint16 (every 16-bit camera: stored = value - 32768)
# the two halves of the range change places, and a star is darker than the sky; int16 below 0 becomes
# 65535 downwards. Rows are upside down beside astropy's; of a cube the first plane comes, no more.
# (plugin="FITS" reads all of them right.)
#   uint16 0 100 32767 32768 65535 -> 32768 32868 65535 0 32767; int16 -1 -> 65535; cube (3, 2, 5) -> (2, 5)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q imageio==2.38.1 pillow==13.0.0 astropy==8.0.2 numpy==2.4.6
(cd "$folder" && bin/python -) <<'EOF'
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from astropy.io import fits


def read(values):
    """What imageio gives of what astropy wrote, and what the standard says it is."""
    fits.writeto("a.fits", values, overwrite=True)
    header, file = fits.getheader("a.fits"), Path("a.fits").read_bytes()
    assert len(header.tostring()) == 2880  # the data begin after it
    stored = np.frombuffer(file, ">i2", values.size, 2880).astype(int).reshape(values.shape)
    meant = header.get("BZERO", 0) + header.get("BSCALE", 1) * stored
    assert (meant == values).all() and (iio.imread("a.fits", plugin="FITS") == values).all()
    assert iio.improps("a.fits").shape == iio.imread("a.fits").shape
    return iio.imread("a.fits"), stored


camera = np.array([[0, 100, 32767, 32768, 65535], [1, 2, 3, 4, 5]], np.uint16)
seen, stored = read(camera)
shown = [" ".join(str(v) for v in row) for row in (camera[0], seen[::-1][0])]
print(f"uint16 {shown[0]} -> {shown[1]}", end="; ")
assert seen.dtype == np.uint16
assert (seen[::-1] == stored % 65536).all() and (seen[::-1] == camera ^ 0x8000).all()

signed, _ = read(np.array([[-1, 7]], np.int16))
print(f"int16 -1 -> {signed[0, 0]}", end="; ")
assert signed.dtype == np.uint16 and signed.tolist() == [[65535, 7]]

cube = np.arange(30, dtype=np.int16).reshape(3, 2, 5)
plane, _ = read(cube)
print(f"cube {cube.shape} -> {plane.shape}")
assert (plane[::-1] == cube[0]).all()
EOF
