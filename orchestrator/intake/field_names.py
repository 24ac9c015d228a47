"""Errors and warnings of parameters that name the field of the request which the caller sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from orchestrator.errors import InvalidRequest

#: A name in a sentence.
_NAME = re.compile(r"`([^`]+)`")
#: The name of an item of a list: of the list, and the index.
_ITEM = re.compile(r"(.+)(\[[0-9]+\])", re.DOTALL)


def item_name(name: str, index: int) -> str:
    """Return the name of an item of a list in errors."""
    return f"{name}[{index}]"


def split_item(name: str) -> tuple[str, str]:
    """Return the name of the list and the index in brackets; the index is empty for what is no item."""
    found = _ITEM.fullmatch(name)
    return (found[1], found[2]) if found else (name, "")


def rename_field(name: str, field_names: Mapping[str, str]) -> str:
    """Return the other name of a field, or of an item of it."""
    if name in field_names:
        return field_names[name]
    field, index = split_item(name)
    return f"{field_names.get(field, field)}{index}"


def name_fields(texts: Iterable[str], field_names: Mapping[str, str]) -> tuple[str, ...]:
    """Return sentences about parameters as sentences about the fields that set them."""
    return tuple(_NAME.sub(lambda found: f"`{field_names.get(found[1], found[1])}`", text) for text in texts)


@contextmanager
def errors_name_fields(
    field_names: Mapping[str, str], computed_from: Mapping[str, str] = MappingProxyType({})
) -> Iterator[None]:
    """Make errors of parameters name the fields that set them.

    `field_names` are the fields by parameter, `computed_from` those that a parameter is a part of: an error
    of the width that a `size` asks for names both. Where the field of an item is not known, the list is
    named: its items may have been sent in several fields.
    """
    try:
        yield
    except InvalidRequest as error:
        name = error.param or ""
        source = computed_from.get("width", "") if name == "size" else computed_from.get(name, "")
        field = field_names.get(source, source) or field_names.get(name) or _list_name(name, field_names)
        known = {**field_names, name: field} if split_item(name)[1] else field_names
        named = name_fields([error.message], known)[0]
        if field == name and name.lower() in error.message.lower() and named == error.message:
            raise
        kinds, listed = ("missing", "invalid", "unsupported"), split_item(field)[0]
        codes = {f"{kind}_{name}": f"{kind}_{listed}" for kind in kinds}
        message = f"`{field}`: {error.message}" if source else named
        if field.lower() not in message.lower():
            message = f"`{field}`: {message}"
        # Of the same class: some dialects have a format of their own for blocked content.
        raise type(error)(
            message,
            code=codes.get(error.code, error.code),
            param=field,
            details=error.details,
        ) from error


def _list_name(name: str, field_names: Mapping[str, str]) -> str:
    """Return the field of the list that an item belongs to, or the name of what is no item."""
    listed = split_item(name)[0]
    return field_names.get(listed, listed)
