"""Send a file by its presigned request. Blocking: called by upload threads."""

from __future__ import annotations

import http.client
import ssl
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

from .state import Grant

#: Long enough for a stalled network, short enough to notice a server that is gone.
TIMEOUT_SECONDS = 30.0
#: Statuses after which the same request may succeed later.
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
#: Statuses of a request that has expired or was not signed for this file.
_REJECTED = frozenset({400, 401, 403})


class UploadUnavailable(Exception):
    """Object storage cannot be reached, or not now. The text holds no part of the request."""


class UploadRejected(Exception):
    """Object storage does not accept this request; another one may be."""


class UploadRefused(Exception):
    """Object storage will not take the file in this way."""


def put_file(grant: Grant, data: bytes) -> None:
    """Send the bytes. Raises UploadUnavailable, UploadRejected, UploadRefused."""
    parts = urlsplit(grant.url)
    connection = open_connection(parts)
    if connection is None:
        raise UploadRefused("the address of object storage is not http or https")
    target = f"{parts.path}?{parts.query}"
    try:
        connection.request("PUT", target, body=data, headers=dict(grant.headers))
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UploadUnavailable(f"{parts.hostname}: {type(error).__name__}") from error
    finally:
        connection.close()
    raise_for_status(response.status)


def raise_for_status(status: int) -> None:
    """Raise the error that a status of object storage means."""
    if 200 <= status < 300:
        return
    message = f"object storage answers {status}"
    if status in _RETRIED:
        raise UploadUnavailable(message)
    if status in _REJECTED:
        raise UploadRejected(message)
    raise UploadRefused(message)


def open_connection(parts: SplitResult) -> http.client.HTTPConnection | None:
    """Return a connection for a URL, which is opened by its first request; None for other schemes."""
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host:
        return None
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=_tls())
    return http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS) if parts.scheme == "http" else None


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Return the certificates of the machine, or those that `SSL_CERT_FILE` names."""
    return ssl.create_default_context()
