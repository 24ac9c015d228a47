"""Read request bodies: JSON objects and multipart forms, as plain fields.

Every body is read completely and within a limit, which is small until the request is authenticated. What
takes long (joining, decompressing, parsing) happens in a few threads of its own, so that it neither blocks
the event loop nor uses up the threads that the rest of the service needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from orchestrator.errors import InvalidRequest, RequestTimeout
from orchestrator.web.http.content_encoding import (
    DamagedBody,
    InflatedTooLarge,
    inflate,
    parse_content_encoding,
)
from orchestrator.web.http.form_fields import collect_form_fields
from orchestrator.web.http.json_bodies import MAX_SMALL_BYTES, parse_json_object
from orchestrator.web.http.multipart import FormField, parse_multipart

ResultT = TypeVar("ResultT")

#: Largest body of a request that is not authenticated, in bytes, unless its handler says otherwise.
MAX_ANONYMOUS_BYTES = 64 * 1024
#: Number of bodies that are decompressed or parsed at the same time.
MAX_BODY_THREADS = 2

#: Exceptions of aiohttp for bodies that break off or have damaged chunks.
BODY_READ_ERRORS = (HttpProcessingError, web.RequestPayloadError)

#: Largest body that the request may have, in bytes.
MAX_BODY_BYTES_KEY = web.RequestKey("max_body_bytes", int)
_BODY_THREADS = web.AppKey("body_threads", ThreadPoolExecutor)


class BodyTimeout(Exception):
    """The body of a request arrives too slowly. The server raises it in the handler that reads the body."""


async def open_body_threads(app: web.Application) -> AsyncIterator[None]:
    """Provide the threads in which bodies are decompressed and parsed (a `cleanup_ctx` of the app)."""
    with ThreadPoolExecutor(MAX_BODY_THREADS, thread_name_prefix="request-body") as threads:
        app[_BODY_THREADS] = threads
        yield


def allow_large_body(request: web.Request) -> None:
    """Allow a body of the application's maximum size. Call it once the request is authenticated."""
    request[MAX_BODY_BYTES_KEY] = request.client_max_size


async def read_body(request: web.Request, max_bytes: int | None = None) -> bytes:
    """Return the whole body, decompressed.

    By default the limit is MAX_ANONYMOUS_BYTES, or the application's once the request is authenticated.
    Raises InvalidRequest (`invalid_body`, `payload_too_large`), UnsupportedMediaType, RequestTimeout.
    """
    limit = max_bytes or request.get(MAX_BODY_BYTES_KEY, MAX_ANONYMOUS_BYTES)
    encoding = parse_content_encoding(request)
    pieces = await _receive(request, limit)
    if sum(map(len, pieces)) <= MAX_SMALL_BYTES and encoding is None:
        return b"".join(pieces)
    raw = await _run(request, b"".join, pieces)
    if encoding is None:
        return raw
    try:
        return await _run(request, inflate, raw, encoding, limit)
    except InflatedTooLarge as error:
        raise _too_large(limit) from error
    except DamagedBody as error:
        raise InvalidRequest(
            f"The request body could not be decompressed ({encoding}): {error}", code="invalid_body"
        ) from error


async def read_fields(
    request: web.Request, max_bytes: int | None = None, max_json_bytes: int = MAX_SMALL_BYTES
) -> dict[str, Any]:
    """Return the fields of a multipart form or of a JSON object.

    `max_json_bytes` limits JSON without its long texts, such as images in base64.

    Any content type other than multipart is parsed as JSON, because `curl -d` sends
    `application/x-www-form-urlencoded`. Uploaded files are bytes, repeated fields are lists, and empty text
    fields of a form are not given.

    Raises InvalidRequest (`invalid_json`), and what `read_body` raises.
    """
    raw = await read_body(request, max_bytes)
    parse: Callable[[bytes], dict[str, Any]] = partial(parse_json_object, max_json_bytes=max_json_bytes)
    if is_form(request):
        parse = partial(_parse_form, content_type=request.headers[hdrs.CONTENT_TYPE])
    return parse(raw) if len(raw) <= MAX_SMALL_BYTES else await _run(request, parse, raw)


async def read_form(request: web.Request) -> list[FormField]:
    """Return the parts of a multipart form with the names and types of its files.

    Raises InvalidRequest, and what `read_body` raises.
    """
    if not is_form(request):
        raise InvalidRequest("The request body must be a multipart form", code="invalid_body")
    parse = partial(_parse_parts, content_type=request.headers[hdrs.CONTENT_TYPE])
    raw = await read_body(request)
    return parse(raw) if len(raw) <= MAX_SMALL_BYTES else await _run(request, parse, raw)


async def read_json(request: web.Request) -> dict[str, Any]:
    """Return the fields of a JSON object; forms are rejected. Raises as `read_fields` does."""
    if is_form(request):
        raise InvalidRequest("The request body must be JSON, not a form", code="invalid_json")
    return await read_fields(request)


def is_form(request: web.Request) -> bool:
    """Return whether the body is a multipart form, whose fields are all text or files."""
    return request.content_type == "multipart/form-data"


async def _receive(request: web.Request, limit: int) -> list[bytes]:
    """Return all pieces of the body as they were sent."""
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    pieces: list[bytes] = []
    size = 0
    try:
        while piece := await request.content.readany():
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            pieces.append(piece)
    except BodyTimeout as error:
        raise RequestTimeout("The body of the request did not arrive in time") from error
    except BODY_READ_ERRORS as error:
        raise InvalidRequest(
            "The request body could not be read: it breaks off or is damaged", code="invalid_body"
        ) from error
    return pieces


async def _run(request: web.Request, function: Callable[..., ResultT], *arguments: Any) -> ResultT:
    threads = request.app[_BODY_THREADS]
    return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)


def _too_large(limit: int) -> InvalidRequest:
    shown = f"{limit // 2**20} MiB" if limit >= 2**20 else f"{limit // 1024} KiB"
    return InvalidRequest(f"The request body is larger than the limit of {shown}", code="payload_too_large")


def _parse_form(raw: bytes, content_type: str) -> dict[str, Any]:
    try:
        return collect_form_fields(parse_multipart(raw, content_type))
    except (ValueError, LookupError) as error:
        raise _invalid_form(error) from error


def _parse_parts(raw: bytes, content_type: str) -> list[FormField]:
    try:
        return parse_multipart(raw, content_type)
    except (ValueError, LookupError) as error:
        raise _invalid_form(error) from error


def _invalid_form(error: Exception) -> InvalidRequest:
    return InvalidRequest(f"The request body is not a valid form: {error}", code="invalid_body")
