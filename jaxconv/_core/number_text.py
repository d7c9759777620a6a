"""Numbers as text: common decimals in a table, a power of ten apart, no minus before zero."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

EXACT = 1e-6  # of the largest magnitude: a difference from a rounded value that float32 leaves


@dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """How the numbers of a table are written.

    Attributes:
        exponent: the numbers are written in units of 10 to this power.
        decimals: after the point, the same for all.
    """

    exponent: int
    decimals: int

    def __call__(self, value: float) -> str:
        text = f"{float(value) / 10.0**self.exponent:.{self.decimals}f}"
        return text.removeprefix("-") if text.strip("-0.") == "" else text

    @property
    def note(self) -> str:
        """Such as " (times 1e-3)"; empty if the unit is 1."""
        return f" (times 1e{self.exponent})" if self.exponent else ""


def common_format(
    values: ArrayLike, *, digits: int = 5, exponent: int | None = None
) -> NumberFormat:
    """Return the format in which numbers of one table can be compared.

    The largest magnitude has `digits` digits if it is from 10**(3 - digits) to 10**digits, of which
    at least one is before the point; beyond, a power of ten is written apart. Zeros that would end
    all numbers are left out.

    Args:
        values: any shape; NaN and infinity are not counted.
        digits: of the largest, 2 or more. With a sign and a point no number is longer than
            `digits + 2` characters, unless the exponent is given.
        exponent: of the power of ten, if that of other numbers is to be used.

    Returns:
        The format.

    Example:
        >>> from jaxconv._core.number_text import common_format
        >>> [common_format([0.1, -2.0, 1 / 3])(value) for value in (0.1, -2.0, 1 / 3)]
        ['0.1000', '-2.0000', '0.3333']
        >>> [common_format([1, -2])(value) for value in (1, -2, -1e-9)]
        ['1', '-2', '0']
        >>> common_format([1e-7]).note
        ' (times 1e-7)'
    """
    numbers = np.asarray(values, np.float64).ravel()
    numbers = numbers[np.isfinite(numbers)]
    largest = float(np.abs(numbers).max(initial=0))
    if largest == 0:
        return NumberFormat(exponent=exponent or 0, decimals=0)
    if exponent is None:
        exponent = int(f"{largest:.{digits - 1}e}".partition("e")[2])  # after rounding
        exponent = 0 if 3 - digits <= exponent < digits else exponent
    numbers, largest = numbers / 10.0**exponent, largest / 10.0**exponent
    decimals = digits - 1
    while decimals and len(f"{largest:.{decimals}f}") > digits + 1:
        decimals -= 1
    while decimals and np.abs(numbers - numbers.round(decimals - 1)).max() <= EXACT * largest:
        decimals -= 1
    return NumberFormat(exponent=exponent, decimals=decimals)


def readable(value: float) -> str:
    """Return one number with three digits; whole ones, and those from 1,000, with all their digits.

    Example:
        >>> from jaxconv._core.number_text import readable
        >>> [readable(value) for value in (0.1 + 0.2, 254.99999, -42600.4, -1e-12, 65535)]
        ['0.3', '255', '-42,600', '-1e-12', '65,535']
    """
    whole = round(value) if np.isfinite(value) else 0
    if abs(value) < 1e9 and (abs(value) >= 1000 or abs(value - whole) <= EXACT * abs(value)):
        return f"{whole:,}"
    return f"{value:.3g}"
