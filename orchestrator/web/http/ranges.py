"""Files in answers, whole or in part (RFC 9110, section 14)."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadFile:
    """What is sent."""

    data: bytes
    content_type: str
    #: Under which a browser saves it.
    filename: str
    #: Changes with the data, without quotes.
    etag: str


def build_file_response(request: web.Request, file: DownloadFile) -> web.Response:
    """The part that `Range` names, or all of it; 416 where there is no such part.

    A `Range` that can not be read, or names several parts, is as good as none.
    """
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=3600",
        "Content-Disposition": f'inline; filename="{file.filename}"',
        "ETag": f'"{file.etag}"',
    }
    part, size = _parse_range(request, file), len(file.data)
    if part is None:
        return web.Response(body=file.data, content_type=file.content_type, headers=headers)
    start, end = part
    if start >= end:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return web.Response(
        status=206, body=file.data[start:end], content_type=file.content_type, headers=headers
    )


def _parse_range(request: web.Request, file: DownloadFile) -> tuple[int, int] | None:
    """First byte and the one after the last; None: all. Empty where nothing of it is there."""
    if request.headers.get("If-Range", f'"{file.etag}"') != f'"{file.etag}"':
        return None
    try:
        asked = request.http_range
    except ValueError:
        return None
    if asked.start is None and asked.stop is None:
        return None
    start, end, _ = asked.indices(len(file.data))
    return start, end
