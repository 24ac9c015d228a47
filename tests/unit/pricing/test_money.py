from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.money import (
    MAX_MICROS,
    MoneyError,
    format_usd,
    parse_rate,
    parse_usd,
    round_up,
    split_evenly,
    to_cents,
    to_usd,
)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("5", 5_000_000),
        ("5.00", 5_000_000),
        ("$0.0005", 500),
        ("-1.25", -1_250_000),
        ("-$1.25", -1_250_000),
        ("0.000001", 1),
        ("1000000", MAX_MICROS),
    ],
)
def test_dollars_are_read_exactly(text: str, micros: int) -> None:
    assert parse_usd(text) == micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        "five",
        "1,5",
        "1.",
        ".5",
        "1e3",
        "NaN",
        "inf",
        "0.0000001",
        "1000000.000001",
        "+1",
        "--1",
        "\u0663",
        "1\n2",
        " 0.01",
        "0.01 ",
        "1_000",
        "5e0",
        "0x5",
        "$ 5",
        "- 5",
        "\uff15",
        "\u20125",
    ],
)
def test_rejects_invalid_amounts(text: str) -> None:
    with pytest.raises(MoneyError):
        parse_usd(text)


@pytest.mark.parametrize(
    ("micros", "text"),
    [(0, "0.00"), (12_800, "0.0128"), (5_000_000, "5.00"), (1, "0.000001"), (-1_250_000, "-1.25")],
)
def test_dollars_are_written_with_two_to_six_decimals(micros: int, text: str) -> None:
    assert format_usd(micros) == text


@given(st.integers(-MAX_MICROS, MAX_MICROS))
def test_writing_and_reading_is_the_identity(micros: int) -> None:
    assert parse_usd(format_usd(micros)) == micros


@pytest.mark.parametrize(
    ("exact", "micros"),
    [
        (Fraction(0), 0),
        (Fraction(1, 10**9), 1),
        (Fraction(1), 1),
        (Fraction(10**12 + 1, 10**6), 10**6 + 1),
        (Fraction(2, 3), 1),
    ],
)
def test_rounding_is_up_to_the_next_micro_dollar(exact: Fraction, micros: int) -> None:
    assert round_up(exact) == micros


@given(st.fractions(min_value=0))
def test_rounding_never_loses_nor_adds_a_whole_micro_dollar(exact: Fraction) -> None:
    assert 0 <= round_up(exact) - exact < 1


def test_rates_may_be_smaller_than_a_micro_dollar() -> None:
    assert parse_rate("0.0000001") == Fraction(1, 10_000_000)


@pytest.mark.parametrize("text", ["-1", "1/3", "1e-3", "", "one"])
def test_rates_are_plain_decimals(text: str) -> None:
    with pytest.raises(MoneyError):
        parse_rate(text)


def test_json_numbers() -> None:
    assert (to_usd(4_990_000), to_cents(12_800)) == (4.99, 1.28)


@given(st.integers(0, MAX_MICROS), st.integers(1, 100))
def test_parts_add_up_and_differ_by_no_more_than_one(micros: int, parts: int) -> None:
    shares = split_evenly(micros, parts)
    assert (sum(shares), len(shares)) == (micros, parts)
    assert max(shares) - min(shares) <= 1
