"""Conditional requests (RFC 9110, section 13): `If-Match` and `If-None-Match`.

`If-Modified-Since` and `If-Unmodified-Since` are ignored: no response has a `Last-Modified`.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import ETag, hdrs, web

#: The value of an entity tag that stands for any.
_ANY = "*"


def check_preconditions(
    request: web.Request, etag: str, headers: Mapping[str, str] | None = None
) -> web.Response | None:
    """Return 412 if `If-Match` does not name `etag`, and 304 if `If-None-Match` does; None: send the file.

    `etag` is a strong entity tag without quotes. The response has `headers` and the tag.
    """
    request = _join_repeated(request)
    sent = {**(headers or {}), hdrs.ETAG: f'"{etag}"'}
    if request.if_match is not None and not _names(request.if_match, etag, weak=False):
        return web.Response(status=412, headers=sent)
    if request.if_none_match is not None and _names(request.if_none_match, etag, weak=True):
        return web.Response(status=304, headers=sent)
    return None


def _names(tags: tuple[ETag, ...], etag: str, *, weak: bool) -> bool:
    """Return whether the tags name this one; weak tags count in a weak comparison only."""
    return any(tag.value in (etag, _ANY) and (weak or not tag.is_weak) for tag in tags)


def _join_repeated(request: web.Request) -> web.Request:
    """Return the request with each list of tags in one header: repeated ones are one list."""
    headers = request.headers.copy()
    for name in (hdrs.IF_MATCH, hdrs.IF_NONE_MATCH):
        if len(lines := request.headers.getall(name, [])) > 1:
            headers[name] = ", ".join(lines)
    return request if len(headers) == len(request.headers) else request.clone(headers=headers)
