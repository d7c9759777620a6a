"""Handwritten digits for the networks among the examples: scikit-learn's, no download."""

from typing import Any

import numpy as np

BATCH = 32


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images (n, 16, 16, 1) from 0 to 1 and labels: 1,437 to learn from, then 360 to be asked.

    Of those to learn from the nine shifts by -1, 0 or 1 follow each other, each of all digits.
    """
    from sklearn.datasets import load_digits  # late: it costs a second
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
    framed = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    moved = [framed[:, i : i + 16, j : j + 16] for i in range(3) for j in range(3)]
    return np.concatenate(moved)[..., None], np.tile(y, 9), x_test[..., None], y_test


def batches(count: int, epochs: int) -> np.ndarray:
    """Which images each step sees, (epochs, steps, BATCH): every digit once an epoch, moved anyhow.

    What does not fill a batch waits for another epoch.
    """
    rng = np.random.default_rng(0)
    own = count // 9
    seen = own // BATCH * BATCH
    order = [rng.permutation(own)[:seen] + own * rng.integers(0, 9, seen) for _ in range(epochs)]
    return np.stack(order).reshape(epochs, -1, BATCH)
