"""Send a file by its presigned request. Blocking: called by upload threads."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

from .state import Grant

#: Long enough for a stalled network, short enough to notice a server that is gone.
TIMEOUT_SECONDS = 30.0
#: How long a connection may be idle before another one is opened, in seconds: networks forget idle ones.
KEEP_SECONDS = 15.0
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


class _KeptConnection:
    """The connection of a thread, which its next upload to the same address uses; closed with its thread."""

    def __init__(self, connection: http.client.HTTPConnection, address: tuple[str, str]) -> None:
        self.connection, self.address = connection, address
        self.used_at = 0.0

    def suits(self, address: tuple[str, str]) -> bool:
        is_recent = time.monotonic() - self.used_at < KEEP_SECONDS
        return is_recent and self.address == address and self.connection.sock is not None

    def __del__(self) -> None:
        self.connection.close()


_thread = threading.local()


def put_file(grant: Grant, data: bytes) -> str:
    """Send the bytes; return the tag that object storage gives the object, empty if it gives none.

    Raises UploadUnavailable, UploadRejected, UploadRefused.
    """
    parts = urlsplit(grant.url)
    kept = _take_connection(parts)
    is_used = kept.used_at > 0
    try:
        try:
            response = _send(kept.connection, grant, parts, data)
        except ConnectionError:
            if not is_used:
                raise
            # Servers close connections that were idle. The object is the same if it is sent twice.
            kept.connection.close()
            response = _send(kept.connection, grant, parts, data)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UploadUnavailable(f"{parts.hostname}: {type(error).__name__}") from error
    kept.used_at = time.monotonic()
    _thread.kept = kept
    raise_for_status(response.status)
    return (response.headers["ETag"] or "").strip('"')


def _take_connection(parts: SplitResult) -> _KeptConnection:
    """Return the connection that this thread has kept, or another one. Raises UploadRefused."""
    address = (parts.scheme, parts.netloc)
    kept: _KeptConnection | None = _thread.__dict__.pop("kept", None)
    if kept is not None and kept.suits(address):
        return kept
    connection = open_connection(parts)
    if connection is None:
        raise UploadRefused("the address of object storage is not http or https")
    return _KeptConnection(connection, address)


def _send(
    connection: http.client.HTTPConnection, grant: Grant, parts: SplitResult, data: bytes
) -> http.client.HTTPResponse:
    connection.request("PUT", f"{parts.path}?{parts.query}", body=data, headers=dict(grant.headers))
    response = connection.getresponse()
    response.read()
    return response


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
