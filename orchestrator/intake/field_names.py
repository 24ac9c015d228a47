"""Errors and warnings of parameters that name the field of the request which the caller sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from orchestrator.errors import InvalidRequest

#: A name in a sentence.
_NAME = re.compile(r"`([^`]+)`")


def name_fields(texts: Iterable[str], field_names: Mapping[str, str]) -> tuple[str, ...]:
    """Return sentences about parameters as sentences about the fields that set them."""
    return tuple(_NAME.sub(lambda found: f"`{field_names.get(found[1], found[1])}`", text) for text in texts)


@contextmanager
def errors_name_fields(
    field_names: Mapping[str, str], computed_from: Mapping[str, str] = MappingProxyType({})
) -> Iterator[None]:
    """Make errors of parameters name the fields that set them.

    `field_names` are the fields by parameter, `computed_from` those that a parameter is a part of: an error
    of the width that a `size` asks for names both.
    """
    try:
        yield
    except InvalidRequest as error:
        name = error.param or ""
        source = computed_from.get("width", "") if name == "size" else computed_from.get(name, "")
        field = field_names.get(source, source) or field_names.get(name) or name
        named = name_fields([error.message], field_names)[0]
        if field == name and name.lower() in error.message.lower() and named == error.message:
            raise
        codes = {f"{kind}_{name}": f"{kind}_{field}" for kind in ("missing", "invalid", "unsupported")}
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
