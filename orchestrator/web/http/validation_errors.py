"""What pydantic found wrong with a field, in words: all types that the field takes, not one of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic_core import ErrorDetails

#: Longest part of a rejected value that an error message repeats, in characters.
MAX_SHOWN_VALUE = 60

#: How pydantic names members of unions within a place: types, also of generics and functions.
_UNION_MEMBER = re.compile(r"(?:str|bytes|int|float|bool|none|is-instance|constrained-\w+)$|[\w-]+\[")

#: What a value has to be, by pydantic's kind of error. Files cannot be written in JSON, so they are left out.
_TYPE_NAMES = {
    "string_type": "a string",
    "bytes_type": "",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "an object",
    "model_type": "an object",
    "list_type": "a list",
}


def describe_problem(errors: Sequence[ErrorDetails]) -> str:
    """Return why the field of the first error was rejected: "must be a number (got 'high')"."""
    first = errors[0]
    same_field = [error for error in errors if error["loc"][:1] == first["loc"][:1]]
    # A member of a union that took the value's type found a problem inside of it: the innermost tells most.
    place = max((_place(error) for error in same_field), key=len)
    if not place:
        return _reason(same_field) + format_rejected_value(first["input"])
    inner = [error for error in same_field if _place(error) == place]
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    return f"{_reason(inner)} at `{shown[:MAX_SHOWN_VALUE]}`{format_rejected_value(inner[0]['input'])}"


def _place(error: ErrorDetails) -> tuple[int | str, ...]:
    """Return the indices and names at which a value inside of a field was rejected."""
    return tuple(part for part in error["loc"][1:] if isinstance(part, int) or not _UNION_MEMBER.match(part))


def _reason(errors: Sequence[ErrorDetails]) -> str:
    names = dict.fromkeys(_TYPE_NAMES.get(error["type"]) for error in errors)
    if None not in names:
        return f"must be {_join(names)}"
    other = next(error for error in errors if error["type"] not in _TYPE_NAMES)
    return other["msg"].replace("Input should", "must").replace("Value error, ", "")


def _join(names: dict[str | None, None]) -> str:
    """Return "a, b or c"; an integer is a number."""
    listed = [name for name in names if name and not (name == "an integer" and "a number" in names)]
    *others, last = listed or ["a file"]
    return f"{', '.join(others)} or {last}" if others else last


def format_rejected_value(value: object) -> str:
    """Return ` (got VALUE)` for short JSON scalars; files and containers are not repeated."""
    if isinstance(value, str):
        shown = value if len(value) <= MAX_SHOWN_VALUE else f"{value[:MAX_SHOWN_VALUE]}..."
        return f" (got {shown!r})"
    return f" (got {value})" if isinstance(value, bool | float) or _is_short_int(value) else ""


def _is_short_int(value: object) -> bool:
    return isinstance(value, int) and abs(value) < 10**MAX_SHOWN_VALUE
