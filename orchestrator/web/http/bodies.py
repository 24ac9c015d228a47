"""Read request bodies: JSON objects and multipart forms, as plain fields."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from orchestrator.errors import InvalidRequest

#: Larger bodies (in bytes) are parsed in a thread, so that they do not block the event loop.
MAX_INLINE_PARSE_BYTES = 256 * 1024

#: Exceptions of aiohttp for malformed forms, unknown encodings and broken compression.
BODY_READ_ERRORS = (
    ValueError,
    LookupError,
    RuntimeError,
    zlib.error,
    HttpProcessingError,
    web.RequestPayloadError,
)

_OBJECT_FIELD_NAME = re.compile(r"(?P<whole>\w+)\[(?P<part>\w+)\]")


async def read_fields(request: web.Request) -> dict[str, Any]:
    """Return the fields of a multipart form or of a JSON object.

    Any content type other than multipart is parsed as JSON, because `curl -d` sends
    `application/x-www-form-urlencoded`. Uploaded files are bytes, repeated fields are lists.

    Raises InvalidRequest (`invalid_json`, `invalid_body`, `payload_too_large`).
    """
    try:
        if is_form(request):
            return _parse_form_fields(await request.post())
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        limit = request.app._client_max_size // 2**20
        raise InvalidRequest(
            f"The request body is larger than the limit of {limit} MiB", code="payload_too_large"
        ) from error
    except BODY_READ_ERRORS as error:
        raise InvalidRequest(
            "The request body could not be read: it is not a valid form or is damaged", code="invalid_body"
        ) from error
    return (
        parse_json_object(raw)
        if len(raw) < MAX_INLINE_PARSE_BYTES
        else await asyncio.to_thread(parse_json_object, raw)
    )


async def read_json(request: web.Request) -> dict[str, Any]:
    """Return the fields of a JSON object; forms are rejected. Raises as `read_fields` does."""
    fields = await read_fields(request)
    if is_form(request):
        raise InvalidRequest("The request body must be JSON, not a form", code="invalid_json")
    return fields


def is_form(request: web.Request) -> bool:
    """Return whether the body is a multipart form, whose fields are all text or files."""
    return request.content_type == "multipart/form-data"


def parse_json_object(raw: bytes) -> dict[str, Any]:
    """Parse a JSON object. Raises InvalidRequest (`invalid_json`)."""
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}", code="invalid_json") from error
    if not isinstance(fields, dict):
        raise InvalidRequest(
            f"The request body must be a JSON object (got {type(fields).__name__})", code="invalid_json"
        )
    return fields


def _parse_form_fields(form: Any) -> dict[str, Any]:
    """Decode the field names of the OpenAI SDKs: `image[]` is a list, `image[url]` a key of an object."""
    fields: dict[str, Any] = {}
    for name in dict.fromkeys(form.keys()):
        values = [_parse_form_value(value) for value in form.getall(name)]
        found = _OBJECT_FIELD_NAME.fullmatch(name)
        if found and isinstance(fields.setdefault(found["whole"], {}), dict):
            fields[found["whole"]][found["part"]] = values[0]
            continue
        plain = name.removesuffix("[]")
        fields[plain] = values if len(values) > 1 or plain != name else values[0]
    return fields


def _parse_form_value(value: str | web.FileField | bytes | bytearray) -> str | bytes:
    if isinstance(value, web.FileField):
        return value.file.read()
    return bytes(value) if isinstance(value, bytearray) else value
