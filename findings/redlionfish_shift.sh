#!/usr/bin/env bash
# RedLionfish 0.10 (method "cpu"), scipy 1.17.1.
#
# Expected: Richardson-Lucy deconvolution puts light back to where it came from, with a PSF of an odd
# size and its peak in the middle at any rate; the result has the size of the image.
# Seen: along an axis of even size a PSF of odd size (the usual pair: 512 pixels, 31 of the PSF) moves
# everything by one pixel towards the end; other pairs do not. A last axis of odd size is made even
# by a column of zeros, which the result keeps, and so moves there too. No warning; more iterations
# make it sharper in the wrong place.
#   PSF 9: image (32, 32, 32) -> moved (1, 1, 1); (33, 33, 33) -> (33, 33, 34), moved (0, 0, 1)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q scipy==1.17.1 numpy==2.4.6
"$folder/bin/pip" install -q --no-deps RedLionfish==0.10  # not its OpenCL parts
"$folder/bin/python" - <<'EOF'
import numpy as np
import RedLionfishDeconv


def psf(size):
    """A Gaussian with its peak at size // 2 along each axis."""
    x = np.arange(size) - size // 2
    line = np.exp(-(x**2) / (2 * 1.5**2))
    cube = line[:, None, None] * line[:, None] * line
    return cube / cube.sum()


def moved(shape, size, iterations=10):
    """The shape of the result, and where its peak lies beside that of the source."""
    at = [n // 2 for n in shape]
    image = np.full(shape, 0.1)
    box = tuple(slice(a - size // 2, a - size // 2 + size) for a in at)
    image[box] += 1000 * psf(size)  # a point at `at`, blurred
    assert list(np.unravel_index(image.argmax(), shape)) == at
    result = RedLionfishDeconv.doRLDeconvolutionFromNpArrays(
        image, psf(size), niter=iterations, method="cpu", resAsUint8=False
    )
    assert result.max() > 1.5 * image.max()  # sharper
    peak = np.unravel_index(result.argmax(), result.shape)
    return result.shape, tuple(int(p) - a for p, a in zip(peak, at))


even, odd = (32, 32, 32), (33, 33, 33)
first, second = moved(even, 9), moved(odd, 9)
print(f"PSF 9: image {even} -> moved {first[1]}; {odd} -> {second[0]}, moved {second[1]}")
assert first == (even, (1, 1, 1)) and second == ((33, 33, 34), (0, 0, 1))
assert moved(even, 9, 40) == first
assert moved(even, 8) == (even, (0, 0, 0))
assert moved((32, 33, 32), 9) == ((32, 33, 32), (1, 0, 1))
EOF
