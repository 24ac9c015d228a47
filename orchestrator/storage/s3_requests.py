"""Requests for single objects of an S3 bucket, on the event loop.

The SDK works in threads; for the requests of every image, its threads cost more than the requests. Its signer
and its choice of the bucket's address are used here as well.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import aiohttp
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.signer import sign_v4_s3
from minio.time import to_amz_date
from yarl import URL

from comfy_instances.log_text import error_text
from orchestrator.media.errors import ObjectStoreUnavailable
from orchestrator.storage.s3_errors import from_response, translate_s3_errors

_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=3.0, sock_read=30.0)
#: Bytes that are sent at once.
_PIECE_BYTES = 256 * 1024
#: Bytes from which on a digest is computed in a thread: a megabyte takes less than a millisecond.
_LONG_BYTES = 2 * 1024 * 1024
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_ERROR_FIELD = re.compile(r"<(Code|Message)>([^<]*)</\1>")
#: Bytes of an error that are read.
_MAX_ERROR_BYTES = 16 * 1024


class _Pieces:
    """The body of a request, which can be sent again if the connection was closed before."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for offset in range(0, len(self._data), _PIECE_BYTES):
            yield bytes(self._data[offset : offset + _PIECE_BYTES])


class S3Requests:
    """Signed requests to one bucket. All raise ObjectStoreError and its subclasses only."""

    def __init__(self, client: Minio, credentials: Credentials, bucket: str, region: str, limit: int) -> None:
        """`client` knows the address of the bucket; at most `limit` requests are under way at any time."""
        self._client = client
        self._credentials = credentials
        self._bucket = bucket
        self._region = region
        self._limit = limit
        self._base_url = ""
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def head(self, key: str) -> Mapping[str, str]:
        """Return the headers of an object."""
        async with self._request("HEAD", key) as response:
            return response.headers

    async def get(self, key: str) -> bytes:
        """Return the bytes of an object."""
        async with self._request("GET", key) as response:
            return await response.read()

    @asynccontextmanager
    async def open_range(self, key: str, start: int, stop: int) -> AsyncIterator[aiohttp.StreamReader]:
        """Open the bytes from `start` to `stop` (exclusive) of an object."""
        async with self._request("GET", key, {"Range": f"bytes={start}-{stop - 1}"}) as response:
            yield response.content

    async def put(self, key: str, data: bytes, content_type: str, sha256: str | None = None) -> None:
        """Store an object; `sha256` is the hexadecimal digest of `data`, if it is known."""
        if sha256 is None:
            is_long = len(data) >= _LONG_BYTES
            sha256 = await asyncio.to_thread(_digest, data) if is_long else _digest(data)
        headers = {"Content-Type": content_type, "Content-Length": str(len(data))}
        body = data if len(data) <= _PIECE_BYTES else _Pieces(data)
        async with self._request("PUT", key, headers, body, sha256):
            pass

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | _Pieces | None = None,
        sha256: str = _EMPTY_SHA256,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a signed request and yield its response, if it succeeds."""
        url = self._object_url(key)
        signed = self._sign(method, url, headers or {}, sha256)
        with _translate_client_errors():
            async with self._open_session().request(
                method, URL(url, encoded=True), headers=signed, data=body, allow_redirects=False
            ) as response:
                if response.status >= 300:
                    raise await _read_error(method, response)
                yield response

    def _object_url(self, key: str) -> str:
        if not self._base_url:
            with translate_s3_errors():
                # Without a request, since the region is known.
                signed = self._client.presigned_get_object(self._bucket, "x")
            self._base_url = signed.partition("?")[0].removesuffix("x")
        return self._base_url + quote(key, safe="/~-_.")

    def _sign(self, method: str, url: str, headers: Mapping[str, str], sha256: str) -> dict[str, str]:
        now, parts = datetime.now(UTC), urlsplit(url)
        unsigned: dict[str, str | list[str] | tuple[str]] = {
            **headers,
            "Host": parts.netloc,
            "x-amz-content-sha256": sha256,
            "x-amz-date": to_amz_date(now),
        }
        signed = sign_v4_s3(
            method=method,
            url=parts,
            region=self._region,
            headers=unsigned,
            credentials=self._credentials,
            content_sha256=sha256,
            date=now,
        )
        return {name: str(value) for name, value in signed.items()}

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._limit)
            # The server must not compress what is stored as it is.
            headers = {"Accept-Encoding": "identity"}
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=_TIMEOUT, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _translate_client_errors() -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        reason = error_text(error)
        raise ObjectStoreUnavailable(f"object storage is unreachable: {reason}") from error


async def _read_error(method: str, response: aiohttp.ClientResponse) -> Exception:
    body = (
        "" if method == "HEAD" else (await response.content.read(_MAX_ERROR_BYTES)).decode(errors="replace")
    )
    fields = dict(_ERROR_FIELD.findall(body))
    return from_response(
        response.status, fields.get("Code", ""), fields.get("Message", ""), has_body=method != "HEAD"
    )
