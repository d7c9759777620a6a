"""How a user's value is written in a message."""

import math
from typing import Any

_MOST_ELEMENTS = 8
_MOST_LETTERS = 200


def shown(value: Any) -> str:
    """Return what a message calls a value: its repr, or of a larger array its dtype and shape.

    Example:
        >>> import numpy as np
        >>> shown((1, 2)), shown(np.ones((2, 32, 32, 3), np.float32))
        ('(1, 2)', 'float32[2,32,32,3]')
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if dtype is not None and isinstance(shape, tuple) and math.prod(shape) > _MOST_ELEMENTS:
        return f"{dtype}[{','.join(map(str, shape))}]"
    text = repr(value)
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}..."
