"""Parse numbers that users write as text, strictly.

Python's own `int`, `float` and `Decimal` also take `1_000`, `1e3`, ` 12 `, `+5`, `inf` and digits of every
script, so that a typing error or a locale becomes another number. Here a number is ASCII digits, an optional
minus sign before them and, for decimal numbers, an optional point and further digits.
"""

from __future__ import annotations

import re
from decimal import Decimal

#: More digits than any field allows; it bounds the work of the conversion.
MAX_DIGITS = 40

_INTEGER = re.compile(rf"-?[0-9]{{1,{MAX_DIGITS}}}", re.ASCII)
_DECIMAL = re.compile(rf"-?[0-9]{{1,{MAX_DIGITS}}}(?:\.[0-9]{{1,{MAX_DIGITS}}})?", re.ASCII)


class NumberTextError(ValueError):
    """The text is not a number in plain digits."""


def parse_integer(text: str) -> int:
    """Parse `12` or `-3`. Raises NumberTextError."""
    if _INTEGER.fullmatch(text) is None:
        raise NumberTextError("an integer in plain digits, such as 12")
    return int(text)


def parse_whole_number(text: str) -> int:
    """Parse an integer that may be written as a decimal number: `12` or `12.0`. Raises NumberTextError."""
    number = parse_decimal(text) if _DECIMAL.fullmatch(text) else None
    if number is None or number != int(number):
        raise NumberTextError("an integer in plain digits, such as 12")
    return int(number)


def parse_decimal(text: str) -> Decimal:
    """Parse `12`, `-3` or `0.25`. Raises NumberTextError."""
    if _DECIMAL.fullmatch(text) is None:
        raise NumberTextError("a number in plain digits, such as 12 or 0.25")
    return Decimal(text)


def is_number_to_python(text: str) -> bool:
    """Return whether Python reads the text as a number, be it in plain digits or not."""
    for convert in (float, Decimal):
        try:
            convert(text)
        except (ValueError, ArithmeticError):
            continue
        return True
    return False
