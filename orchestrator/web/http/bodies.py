"""Request bodies as plain fields, whatever they were sent as."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from orchestrator.errors import InvalidRequest

#: Larger bodies are parsed in a thread, so that other requests are not held up meanwhile (bytes).
MAX_INLINE_PARSE_BYTES = 256 * 1024

#: What the framework raises for forms that are none, unknown encodings and broken compression.
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
    """The fields of a form, or else of a JSON object, whatever type it claims (curl says urlencoded).

    Uploaded files come as bytes, repeated fields as lists.

    Raises InvalidRequest (`invalid_json`, `invalid_body`, `payload_too_large`).
    """
    try:
        if is_form(request):
            return _parse_form_fields(await request.post())
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        limit = request.app._client_max_size // 2**20
        raise InvalidRequest(
            f"The request body is larger than {limit} MiB", code="payload_too_large"
        ) from error
    except BODY_READ_ERRORS as error:
        raise InvalidRequest("The request body could not be read", code="invalid_body") from error
    return (
        parse_json_object(raw)
        if len(raw) < MAX_INLINE_PARSE_BYTES
        else await asyncio.to_thread(parse_json_object, raw)
    )


async def read_json(request: web.Request) -> dict[str, Any]:
    """The fields of a JSON object, for addresses that take no form. Raises as `read_fields` does."""
    fields = await read_fields(request)
    if is_form(request):
        raise InvalidRequest("The request body must be JSON", code="invalid_json")
    return fields


def is_form(request: web.Request) -> bool:
    """Whether the body is a form, whose fields are all text or files."""
    return request.content_type == "multipart/form-data"


def parse_json_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`. Raises InvalidRequest (`invalid_json`)."""
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("The request body is not valid JSON", code="invalid_json") from error
    if not isinstance(fields, dict):
        raise InvalidRequest("The request body must be a JSON object", code="invalid_json")
    return fields


def _parse_form_fields(form: Any) -> dict[str, Any]:
    """Names such as `image[]` are lists, `image[url]` parts of an object, as the OpenAI SDKs send them."""
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
