"""Errors of parameters that name the field of the request which the caller sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from orchestrator.errors import InvalidRequest


@contextmanager
def errors_name_fields(field_names: Mapping[str, str]) -> Iterator[None]:
    """Make errors of parameters name the fields that set them; `field_names` are these by parameter."""
    try:
        yield
    except InvalidRequest as error:
        name = error.param or ""
        field = field_names.get(name)
        if field is None:
            raise
        codes = {f"{kind}_{name}": f"{kind}_{field}" for kind in ("missing", "invalid", "unsupported")}
        # Of the same class: some dialects have a format of their own for blocked content.
        raise type(error)(
            error.message.replace(f"`{name}`", f"`{field}`"),
            code=codes.get(error.code, error.code),
            param=field,
            details=error.details,
        ) from error
