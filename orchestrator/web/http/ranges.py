"""Serve files with support for range requests (RFC 9110, section 14)."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadFile:
    """A file to send to the caller."""

    data: bytes
    content_type: str
    #: Name under which a browser saves the file.
    filename: str
    #: Entity tag without quotes; changes when the data changes.
    etag: str


#: Statuses of `build_file_response` besides 200, for the OpenAPI document.
RANGE_RESPONSES = {206: "The part of the file that `Range` names.", 416: "The file has no such part."}


def build_head_response(size: int, content_type: str) -> web.Response:
    """Return the response to HEAD for a file of `size` bytes."""
    headers = {"Content-Length": str(size), "Accept-Ranges": "bytes"}
    return web.Response(content_type=content_type, headers=headers)


def build_file_response(request: web.Request, file: DownloadFile) -> web.Response:
    """Return the byte range that `Range` asks for (206), or the whole file (200).

    416 if the range is outside of the file. A malformed `Range`, or one with several ranges, is ignored.
    """
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=3600",
        "Content-Disposition": f'inline; filename="{file.filename}"',
        "ETag": f'"{file.etag}"',
    }
    byte_range, size = _parse_range(request, file), len(file.data)
    if byte_range is None:
        return web.Response(body=file.data, content_type=file.content_type, headers=headers)
    start, end = byte_range
    if start >= end:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return web.Response(
        status=206, body=file.data[start:end], content_type=file.content_type, headers=headers
    )


def _parse_range(request: web.Request, file: DownloadFile) -> tuple[int, int] | None:
    """Return start and end (exclusive) of the requested range, or None for the whole file.

    A range outside of the file has `start >= end`.
    """
    if request.headers.get("If-Range", f'"{file.etag}"') != f'"{file.etag}"':
        return None
    try:
        requested = request.http_range
    except ValueError:
        return None
    if requested.start is None and requested.stop is None:
        return None
    start, end, _ = requested.indices(len(file.data))
    return start, end
