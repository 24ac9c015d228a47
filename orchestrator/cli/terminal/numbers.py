"""Options of commands that are numbers, written in plain digits."""

from __future__ import annotations

from collections.abc import Callable

import typer

from orchestrator.number_text import NumberTextError, parse_decimal, parse_integer


def integer_between(minimum: int, maximum: int | None = None) -> Callable[[str | int], int]:
    """Return the parser of an option. It rejects what only Python reads as an integer, such as `1_000`."""

    def integer(value: str | int) -> int:
        try:
            number = value if isinstance(value, int) else parse_integer(value)
        except NumberTextError as error:
            raise typer.BadParameter(f"must be {error} (got {value!r})") from error
        if number < minimum or (maximum is not None and number > maximum):
            limits = f"from {minimum} to {maximum}" if maximum is not None else f"at least {minimum}"
            raise typer.BadParameter(f"must be {limits} (got {number})")
        return number

    return integer


def number_at_least(minimum: float) -> Callable[[str | float], float]:
    """Return the parser of an option. It rejects what only Python reads as a number, such as `1e3`."""

    def number(value: str | float) -> float:
        try:
            found = float(parse_decimal(value)) if isinstance(value, str) else value
        except NumberTextError as error:
            raise typer.BadParameter(f"must be {error} (got {value!r})") from error
        if found < minimum:
            raise typer.BadParameter(f"must be at least {minimum:g} (got {found:g})")
        return found

    return number
