"""Serve files with support for conditional and range requests (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import hdrs, web

from orchestrator.web.http.preconditions import check_preconditions

CACHE_CONTROL = "private, max-age=3600"


@dataclass(frozen=True, kw_only=True, slots=True)
class FileInfo:
    """What the headers of a response say about a file."""

    #: Bytes.
    size: int
    content_type: str
    #: Name under which a browser saves the file.
    filename: str
    #: Entity tag without quotes; changes when the data changes.
    etag: str
    #: Whether browsers save the file instead of showing it.
    attachment: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every response with this file."""
        disposition = "attachment" if self.attachment else "inline"
        return {
            "Accept-Ranges": "bytes",
            "Cache-Control": CACHE_CONTROL,
            "Content-Disposition": f'{disposition}; filename="{self.filename}"',
            "ETag": f'"{self.etag}"',
            "X-Content-Type-Options": "nosniff",
        }


#: Statuses of conditional and range requests besides 200, for the OpenAPI document.
RANGE_RESPONSES = {
    206: "The part of the file that `Range` names.",
    304: "The caller has the file: `If-None-Match` names its `ETag`.",
    412: "`If-Match` does not name the `ETag` of the file.",
    416: "The file has no such part.",
}


def check_file_preconditions(request: web.Request, info: FileInfo) -> web.Response | None:
    """Return 304 or 412 if a condition of the request says so; None: send the file."""
    return check_preconditions(request, info.etag, {"Cache-Control": CACHE_CONTROL})


def build_head_response(info: FileInfo) -> web.Response:
    """Return the response to HEAD."""
    headers = info.headers | {"Content-Length": str(info.size)}
    return web.Response(content_type=info.content_type, headers=headers)


def build_file_response(request: web.Request, info: FileInfo, data: bytes) -> web.Response:
    """Return the byte range that `Range` asks for (206), or the whole file (200); 304 or 412 upon conditions.

    416 if the range is outside of the file. A malformed `Range`, or one with several ranges, is ignored.
    """
    unsent = check_file_preconditions(request, info)
    if unsent is not None:
        return unsent
    part = parse_range(request, info)
    status, headers = build_range_headers(info, part)
    if part is not None and not part:
        return web.Response(status=status, headers=headers)
    body = data if part is None else data[part.start : part.stop]
    return web.Response(status=status, body=body, content_type=info.content_type, headers=headers)


def build_range_headers(info: FileInfo, part: range | None) -> tuple[int, dict[str, str]]:
    """Return status and headers of the response with a part of a file, as `parse_range` returns it."""
    if part is None:
        return 200, info.headers
    if not part:
        return 416, {"Content-Range": f"bytes */{info.size}"}
    return 206, info.headers | {"Content-Range": f"bytes {part.start}-{part.stop - 1}/{info.size}"}


def parse_range(request: web.Request, info: FileInfo) -> range | None:
    """Return the bytes that `Range` asks for, none if they are outside of the file; None: the whole file.

    `If-Range` is compared strongly. A date in it never matches, since files have no `Last-Modified`; and
    `Range` has a meaning for GET only.
    """
    if (
        request.method != hdrs.METH_GET
        or request.headers.get("If-Range", f'"{info.etag}"') != f'"{info.etag}"'
    ):
        return None
    try:
        requested = request.http_range
    except ValueError:
        return None
    if requested.start is None and requested.stop is None:
        return None
    return range(info.size)[requested]
