"""Numbers as text: common decimals, powers of ten apart, no noise of float32."""

import numpy as np
import pytest

from jaxconv._core.number_text import common_format, readable

MANTISSAS = (1.0, 1.23456, 5.0, 9.99949, 9.99951, 9.9996, 9.99999)


@pytest.mark.parametrize("digits", [3, 4, 5])
def test_numbers_of_every_magnitude_are_short_and_near(digits):
    for power in range(-30, 31):
        for mantissa in MANTISSAS:
            values = np.array([1, -1, 1 / 3, 0]) * mantissa * 10.0**power
            number = common_format(values, digits=digits)
            texts = [number(value) for value in values]
            assert max(map(len, texts)) <= digits + 2, texts
            assert len({len(text.partition(".")[2]) for text in texts}) == 1
            assert texts[3].strip("0.") == ""
            found = [float(text) * 10.0**number.exponent for text in texts]
            half = 0.5 * 10.0 ** (number.exponent - number.decimals)
            np.testing.assert_allclose(found, values, rtol=1e-6, atol=1.0001 * half)
            # the largest has three digits or more
            assert half <= 0.501 * 10.0 ** (1 - min(digits, 3)) * np.abs(values).max()


def test_zeros_that_end_all_numbers_are_left_out():
    assert common_format([1, -2, 0]).decimals == 0
    assert common_format(np.float32([0.1, 0.7]) * np.float32(3)).decimals == 1
    assert common_format([1, 1.0001]).decimals == 4
    assert common_format([0.0, -0.0])(-0.0) == "0"


def test_no_minus_before_zero():
    number = common_format([1.25, -1e-9])
    assert [number(value) for value in (1.25, -1e-9, -0.004, -0.006)] == [
        "1.25",
        "0.00",
        "0.00",
        "-0.01",
    ]


def test_numbers_that_are_not_finite_do_not_count():
    number = common_format([np.inf, 0.5, np.nan])
    assert (number(0.5), number(np.inf), number.note) == ("0.5", "inf", "")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.3"),
        (-0.0, "0"),
        (np.float32(251 / 255) * 255, "251"),
        (65535.0, "65,535"),
        (-42600.4, "-42,600"),
        (127.46, "127"),
        (0.012345, "0.0123"),
        (3e12, "3e+12"),
        (np.inf, "inf"),
    ],
)
def test_one_number(value, text):
    assert readable(value) == text
