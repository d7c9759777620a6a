"""Handwritten digits for the LeNet examples, from scikit-learn (no download)."""

from typing import Any

import numpy as np

BATCH = 32


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return images (n, 16, 16, 1) from 0 to 1 and labels of 1,437 training and 360 test digits.

    The training set has nine copies of all digits, one for each shift by -1, 0 or 1 in each
    direction.
    """
    from sklearn.datasets import load_digits  # imported here because it takes a second
    from sklearn.model_selection import train_test_split

    found: Any = load_digits()
    images = (found.images / 16).astype(np.float32).repeat(2, axis=1).repeat(2, axis=2)
    x, x_test, y, y_test = train_test_split(
        images,
        found.target.astype(np.int32),
        test_size=360,
        random_state=0,
        stratify=found.target,
    )
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    shifted = [padded[:, i : i + 16, j : j + 16] for i in range(3) for j in range(3)]
    return np.concatenate(shifted)[..., None], np.tile(y, 9), x_test[..., None], y_test


def batches(count: int, epochs: int) -> np.ndarray:
    """Return image indices (epochs, steps, BATCH): randomly shifted digits, each once an epoch.

    Digits that do not fill a batch are left out of that epoch.
    """
    rng = np.random.default_rng(0)
    digits = count // 9
    used = digits // BATCH * BATCH
    order = [
        rng.permutation(digits)[:used] + digits * rng.integers(0, 9, used) for _ in range(epochs)
    ]
    return np.stack(order).reshape(epochs, -1, BATCH)
