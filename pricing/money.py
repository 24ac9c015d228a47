"""Money as integer micro-dollars (1 USD = 1 000 000), and its conversion from and to text.

Rounding happens once, at the end of a calculation done in exact fractions, and always up to the next
micro-dollar: work that has a price is never free. No binary or decimal floating point takes part.
"""

from __future__ import annotations

import re
from fractions import Fraction

MICROS_PER_DOLLAR = 1_000_000
MICROS_PER_CENT = 10_000
#: A million dollars per entry: sums over 9 million such entries still fit a database integer.
MAX_MICROS = 1_000_000 * MICROS_PER_DOLLAR

_USD_PATTERN = re.compile(r"(?P<sign>-?)\$?(?P<whole>[0-9]+)(?:\.(?P<part>[0-9]{1,6}))?", re.ASCII)
_RATE_PATTERN = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)


class MoneyError(ValueError):
    """The text is not an amount of money."""


def parse_usd(text: str) -> int:
    """Parse `5`, `5.00`, `$0.0005` or `-1.25` to micro-dollars. At most six decimals; nothing is rounded.

    Nothing else is an amount: no spaces, underscores, exponents, plus signs or digits of other scripts.

    Raises MoneyError, also for amounts beyond MAX_MICROS.
    """
    match = _USD_PATTERN.fullmatch(text)
    if match is None:
        raise MoneyError(f"{text!r} is not an amount in dollars with at most six decimals")
    micros = int(match["whole"]) * MICROS_PER_DOLLAR + int((match["part"] or "").ljust(6, "0"))
    if micros > MAX_MICROS:
        raise MoneyError(f"{text!r} is more than this service can book ({format_usd(MAX_MICROS)})")
    return -micros if match["sign"] else micros


def parse_rate(text: str) -> Fraction:
    """Parse a non-negative decimal number exactly, such as a price below a micro-dollar."""
    if _RATE_PATTERN.fullmatch(text) is None:
        raise MoneyError(f"{text!r} is not a decimal number")
    return Fraction(text)


def format_usd(micros: int) -> str:
    """Format as dollars with two to six decimals and no currency sign: `5.00`, `0.0128`, `-1.25`."""
    whole, part = divmod(abs(micros), MICROS_PER_DOLLAR)
    decimals = f"{part:06d}".rstrip("0").ljust(2, "0")
    return f"{'-' if micros < 0 else ''}{whole}.{decimals}"


def to_usd(micros: int) -> float:
    """Return dollars for a JSON body, for display only."""
    return micros / MICROS_PER_DOLLAR


def to_cents(micros: int) -> float:
    """Return cents for a JSON body (`12_800` -> `1.28`), for display only."""
    return micros / MICROS_PER_CENT


def round_up(micros: Fraction) -> int:
    """Round up to a whole micro-dollar, the rounding rule of all prices."""
    return -(-micros.numerator // micros.denominator)


def split_evenly(micros: int, parts: int) -> list[int]:
    """Split an amount into equal parts; the first parts take the remainder."""
    share, rest = divmod(micros, parts)
    return [share + (index < rest) for index in range(parts)]
