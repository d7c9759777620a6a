#!/usr/bin/env bash
# mahotas 1.4.19 (1.4.13 does the same).
#
# Expected: interpolate.shift and interpolate.zoom interpolate with splines of the order asked for,
# from 0 to 5, as documented, and as scipy.ndimage's functions of the same names do.
# Seen: whatever the order, they take one element for each: the one after the position asked for,
# x[floor(p) + 1]. So a shift by 0 moves the array by one, a shift by 0.5 by none, a shift by 1 by
# none; and zoom repeats elements and loses the first one. The spline coefficients are right
# (spline_filter is scipy's); it is the fraction of the position that is lost.
#   shift of [0 1 4 9 16 25] by 0: [1 4 9 16 25 0], by 0.5: [0 1 4 9 16 25], by 1: [0 1 4 9 16 25]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q mahotas==1.4.19 numpy==2.4.6 scipy==1.17.1
"$folder/bin/python" - <<'EOF'
import numpy as np
from mahotas import interpolate
from scipy import ndimage


def taken(x, positions):
    """x[floor(p) + 1], and 0 outside."""
    values = np.zeros(len(positions))
    for n, p in enumerate(positions):
        index = int(np.floor(p)) + 1
        values[n] = x[index] if index < len(x) and 0 <= p <= len(x) - 1 else 0
    return values


squares = np.arange(6.0) ** 2
shown = {s: interpolate.shift(squares, (s,), order=1) for s in (0, 0.5, 1)}
line = ", ".join(f"by {s}: [{' '.join(f'{v:.0f}' for v in y)}]" for s, y in shown.items())
print(f"shift of [0 1 4 9 16 25] {line}")

wave = np.sin(np.arange(40) / 6)
assert np.allclose(interpolate.spline_filter(wave, 3), ndimage.spline_filter(wave, 3))
for order in range(6):
    for by in (0.0, 0.25, 0.5, 1.0, -0.75):
        # compared inside: the edge is a matter of the mode
        seen = interpolate.shift(wave, (by,), order=order)[3:-3]
        assert np.allclose(seen, taken(wave, np.arange(40) - by)[3:-3], rtol=0, atol=1e-6)
        if order:  # a smooth wave: every true interpolation is close to it
            right = ndimage.shift(wave, by, order=order)[3:-3]
            assert abs(right - np.sin((np.arange(40) - by) / 6)[3:-3]).max() < 0.01
            assert abs(seen - right).max() > 0.03
    seen = interpolate.zoom(wave, 2.0, order=order)
    assert len(seen) == 80
    assert np.allclose(seen[:-2], taken(wave, np.arange(80) * 39 / 79)[:-2], rtol=0, atol=1e-6)
EOF
