"""Errors that several parts of the HTTP API raise with the same code and message."""

from __future__ import annotations

from aiohttp import web

from orchestrator.errors import NotFound, ServiceUnavailable
from orchestrator.media.errors import ObjectStoreError

#: `Retry-After` while object storage does not answer, in seconds.
OBJECT_STORAGE_RETRY_SECONDS = 5
#: Longest part of a path that an error message repeats, in characters.
MAX_SHOWN_PATH = 200


def unknown_url(request: web.Request) -> NotFound:
    """Return the error for a path without a route."""
    return NotFound(f"Not found: {request.method} {request.path[:MAX_SHOWN_PATH]}", code="unknown_url")


def object_storage_unavailable() -> ServiceUnavailable:
    """Return the error for requests that need object storage while it does not answer."""
    return ServiceUnavailable(
        "Object storage is unavailable; retry later",
        code="store_unavailable",
        retry_after=OBJECT_STORAGE_RETRY_SECONDS,
    )


def cut_off(request: web.BaseRequest, error: ObjectStoreError) -> ConnectionResetError:
    """Close the connection of a response that has begun, and return the error that ends its handler."""
    if request.transport is not None:
        request.transport.abort()
    return ConnectionResetError(f"object storage failed during a response: {error}")


def job_not_found(job_id: str) -> NotFound:
    """Return the error for a job that does not exist, or belongs to another account."""
    return NotFound(f"Job {job_id[:MAX_SHOWN_PATH]!r} does not exist", code="job_not_found")
