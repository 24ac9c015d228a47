"""Options of commands that are integers, written in plain digits."""

from __future__ import annotations

from collections.abc import Callable

import typer

from orchestrator.number_text import NumberTextError, parse_integer


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
