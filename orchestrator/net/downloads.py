"""Downloads files from URLs that callers provide: from the public Internet only, and within limits.

`orchestrator.net.egress` decides at connection time which addresses are public. Error messages never contain
anything that the server sent except its status, so that callers cannot explore a network through them.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from orchestrator.media.errors import FetchError, FileTooLarge, UrlNotAllowed, UrlUnreachable
from orchestrator.net.egress import AddressNotPublic, create_public_session, is_public_address
from orchestrator.net.http_urls import (
    FORBIDDEN_URL_CHARACTERS,
    REDIRECT_STATUSES,
    InvalidHttpUrl,
    parse_http_url,
    resolve_redirect,
)

#: Maximum number of redirects.
MAX_REDIRECTS = 3
CONNECT_TIMEOUT_SECONDS = 5.0
#: Responses of object storage for presigned URLs that have expired, and for objects that were deleted.
OWN_GONE_STATUSES = frozenset({403, 404})
REQUEST_HEADERS = {"User-Agent": "PixelFactory-Fetch/1", "Accept-Encoding": "identity", "Accept": "*/*"}

#: `..` and its percent-encoded forms, which leave the folder of a URL prefix.
_PATH_TRAVERSAL = re.compile(r"(?:\.|%2e){2}", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchPolicy:
    """What may be downloaded, and how long that may take."""

    #: Whether private addresses are allowed; for development.
    allow_private: bool = False
    #: Time limit from the DNS lookup to the last byte, including redirects.
    timeout_seconds: float = 20.0
    #: Prefixes of the service's own presigned URLs. They are allowed at private addresses too, so that the
    #: output of one job can be the input of another.
    own_url_prefixes: tuple[str, ...] = ()
    #: Returns the presigned URL that another URL of the service stands for; None for URLs of others. Raises
    #: FetchError for one that has expired.
    presign_own: Callable[[str], Awaitable[str | None]] | None = None


class UrlFetcher:
    """Downloads files while its context is active; its users limit the number of downloads per account."""

    def __init__(
        self,
        policy: FetchPolicy,
        *,
        resolver: AbstractResolver | None = None,
        reachable: Callable[[str], bool] = is_public_address,
    ) -> None:
        """`resolver` resolves host names, by default with the system's resolver; `reachable` decides whether
        an IP address may be connected to."""
        self._policy = policy
        self._resolver = resolver
        self._reachable = reachable
        self._is_public = None if policy.allow_private else reachable

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS)
        self._public_session = create_public_session(
            allow_private=self._policy.allow_private,
            timeout=timeout,
            resolver=self._resolver,
            is_allowed=self._reachable,
        )
        self._own_session = create_public_session(allow_private=True, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._public_session.close()
        await self._own_session.close()

    async def fetch(self, url: str, max_bytes: int, timeout_seconds: float | None = None) -> bytes:
        """Return the decompressed file at an http(s) URL of at most `max_bytes`.

        `timeout_seconds` replaces the limit of the policy. Raises FetchError.
        """
        timeout = self._policy.timeout_seconds if timeout_seconds is None else timeout_seconds
        try:
            async with asyncio.timeout(timeout):
                if self._policy.presign_own is not None:
                    url = await self._policy.presign_own(url) or url
                if self._is_own_url(url):
                    return await self._fetch_own(URL(url, encoded=True), max_bytes)
                return await self._follow_redirects(parse_http_url(url, self._is_public), max_bytes)
        except TimeoutError as error:
            raise UrlUnreachable(f"it took longer than {timeout:g} s") from error
        except InvalidHttpUrl as error:
            raise UrlNotAllowed(str(error)) from error
        except aiohttp.InvalidURL as error:
            raise UrlNotAllowed("it is not an http(s) URL without credentials") from error
        except aiohttp.ClientConnectorError as error:
            raise _to_fetch_error(error) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UrlUnreachable("its server sent an invalid response") from error

    def _is_own_url(self, url: str) -> bool:
        has_prefix = url.startswith(self._policy.own_url_prefixes)
        return has_prefix and not FORBIDDEN_URL_CHARACTERS.search(url) and not _PATH_TRAVERSAL.search(url)

    async def _fetch_own(self, url: URL, max_bytes: int) -> bytes:
        async with self._own_session.get(url, headers=REQUEST_HEADERS, allow_redirects=False) as response:
            if response.status in OWN_GONE_STATUSES:
                raise UrlUnreachable(
                    "the result was deleted, or its link is wrong or has expired; get the job again for a new"
                    " URL"
                )
            return await _read_body(response, max_bytes)

    async def _follow_redirects(self, url: URL, max_bytes: int) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            async with self._public_session.get(
                url, headers=REQUEST_HEADERS, allow_redirects=False
            ) as response:
                target = response.headers.get("Location")
                if response.status not in REDIRECT_STATUSES or target is None:
                    return await _read_body(response, max_bytes)
                url = resolve_redirect(url, target, self._is_public)
        raise UrlNotAllowed(f"it redirects more than {MAX_REDIRECTS} times")


def _to_fetch_error(error: aiohttp.ClientConnectorError) -> FetchError:
    # An unknown host name gives the same message as one with a private address, so that callers cannot find
    # out which names the internal network knows.
    if isinstance(error, aiohttp.ClientConnectorDNSError) or isinstance(error.os_error, AddressNotPublic):
        return UrlNotAllowed("it does not lead to a public server")
    return UrlUnreachable("its server is unreachable")


async def _read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    if response.status != 200:
        raise UrlUnreachable(f"its server responded with status {response.status}")
    if (response.content_length or 0) > max_bytes:
        raise FileTooLarge(f"it is larger than {max_bytes} bytes")
    decompress = _decompressor(response.headers.get("Content-Encoding", "identity"))
    body = bytearray()
    received = 0
    async for chunk in response.content.iter_any():
        received += len(chunk)
        body += decompress(chunk, max_bytes + 1 - len(body))
        if max(len(body), received) > max_bytes:
            raise FileTooLarge(f"it is larger than {max_bytes} bytes")
    return bytes(body)


def _decompressor(encoding: str) -> Callable[[bytes, int], bytes]:
    """Return a function that decompresses a chunk to at most a given number of bytes.

    The request asks for the identity encoding, but some servers send stored files compressed anyway.
    """
    match encoding.strip().lower():
        case "identity" | "":
            return lambda chunk, max_bytes: chunk
        case "gzip" | "x-gzip" | "deflate":
            inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)

            def decompress(chunk: bytes, max_bytes: int) -> bytes:
                try:
                    return inflate.decompress(chunk, max_bytes)
                except zlib.error as error:
                    raise UrlUnreachable("its server sent an invalid response") from error

            return decompress
    raise UrlUnreachable("its server sent an unsupported Content-Encoding")
