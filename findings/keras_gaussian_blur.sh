#!/usr/bin/env bash
# keras 3.15.1 with jax 0.10.2, and with its numpy backend.
#
# Expected: keras.ops.image.gaussian_blur of (height, width, 3) blurs rows and columns of each colour,
# as its documentation's first examples do without data_format; kernel_size and sigma are "along
# height and width".
# Seen: on JAX data_format is channels_last only if it is written out. Left to the default, which is
# channels_last, the image is taken for channels first: it is blurred along columns and across the
# colours, with zeros beside red and blue, and not along rows. The numpy backend does right. In both
# kernel_size and sigma are width first, then height.
#   red dot: jax 0.45 red 0.27 green in 1x3 pixels, numpy 1.00 red in 3x3; kernel_size (3, 9): 9 rows, 3 columns
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q keras==3.15.1 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cat >"$folder/run.py" <<'EOF'
import os

import keras
import numpy as np

blur = keras.ops.image.gaussian_blur
name = keras.config.backend()
assert name == os.environ["KERAS_BACKEND"]
assert keras.config.image_data_format() == "channels_last"

dot = np.zeros((17, 17, 3), np.float32)
dot[8, 8, 0] = 1
line = np.exp(-np.array([1, 0, 1]) / 2)
line /= line.sum()
right = np.zeros_like(dot)
right[7:10, 7:10, 0] = np.outer(line, line)
assert np.allclose(blur(dot, (3, 3), (1.0, 1.0), data_format="channels_last"), right, atol=1e-6)

seen = np.asarray(blur(dot, (3, 3), (1.0, 1.0)))
rows, columns = (int((seen.sum((axis, 2)) > 1e-6).sum()) for axis in (1, 0))
colours = {c: float(seen[..., n].sum()) for n, c in enumerate(("red", "green", "blue"))}
shown = " ".join(f"{light:.2f} {colour}" for colour, light in colours.items() if light)
print(f"{name}: {shown} in {rows}x{columns} pixels")
if name == "jax":
    across = np.zeros_like(dot)  # columns and colours are taken for rows and columns
    across[8, 7:10, 0] = line * line[1]
    across[8, 7:10, 1] = line * line[0]
    assert np.allclose(seen, across, atol=1e-6)
    flat = np.asarray(blur(np.full((9, 9, 3), 10, np.float32), (3, 3), (1.0, 1.0)))
    assert np.allclose(flat[4, 4], [7.2593, 10, 7.2593], atol=1e-3)
else:
    assert np.allclose(seen, right, atol=1e-6)

seen = np.asarray(blur(dot, (3, 9), (2.0, 2.0), data_format="channels_last"))
rows, columns = (int((seen.sum((axis, 2)) > 1e-6).sum()) for axis in (1, 0))
print(f"kernel_size (3, 9): {rows} rows, {columns} columns")
assert (rows, columns) == (9, 3)
seen = np.asarray(blur(dot, (9, 9), (0.5, 2.0), data_format="channels_last"))[..., 0]
assert seen[0:7, 8].sum() > 0.05 and seen[8, 0:7].sum() < 0.01  # wide along the height
EOF
for backend in jax numpy; do
    JAX_PLATFORMS=cpu KERAS_HOME="$folder" KERAS_BACKEND=$backend "$folder/bin/python" "$folder/run.py"
done
