"""Numbers that a request sends as text: in multipart forms, and as JSON strings where those are allowed."""

from __future__ import annotations

from collections.abc import Iterator, Set
from decimal import Decimal
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from orchestrator.number_text import NumberTextError, is_number_to_python, parse_decimal, parse_whole_number


class StrictNumbersModel(BaseModel):
    """Base class of request bodies. Text is a number only in plain digits (see `number_text`)."""

    # As those of responses: built where it is first used.
    model_config = ConfigDict(defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _check_number_text(cls, value: Any, info: ValidationInfo) -> Any:
        types = _types_of(cls, info.field_name or "")
        if not types & {str, bytes}:
            _check_texts(value, types)
        return value


@cache
def _types_of(model: type[BaseModel], name: str) -> frozenset[Any]:
    """Return the types of a field's values; none for an unknown field, whose texts stay."""
    field = model.model_fields.get(name)
    return frozenset(() if field is None else _leaf_types(field.annotation))


def _leaf_types(annotation: Any) -> Iterator[Any]:
    """Yield the types of a union, a list or an annotated type: `list[int] | None` has int and None."""
    yield annotation
    for argument in get_args(annotation):
        yield from _leaf_types(argument)


def _check_texts(value: Any, types: Set[Any]) -> None:
    if isinstance(value, list):
        for item in value:
            _check_texts(item, types)
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        return
    try:
        if types & {float, Decimal}:
            parse_decimal(text)
        elif int in types:
            parse_whole_number(text)
    except NumberTextError as error:
        if is_number_to_python(text):  # pydantic itself rejects all others
            raise PydanticCustomError(
                "number_text", "Input should be {rule}", {"rule": str(error)}
            ) from error
