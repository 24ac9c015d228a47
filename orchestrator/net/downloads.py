"""Files that callers name by address: fetched by us, from the public Internet only, within limits.

Which addresses are public is decided where connections are made (`orchestrator.egress`). What a server
says is never passed on: a caller hears only whether there is such a server, its status and our limits.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from orchestrator.media.errors import FetchError, FileTooLarge, UrlNotAllowed, UrlUnreachable
from orchestrator.net.egress import AddressNotPublic, create_public_session, is_http_url, is_public_address

#: Hops from the first address to the file.
MAX_REDIRECTS = 3
#: Characters of an address: presigned ones are long.
MAX_URL_LENGTH = 8192
#: Downloads at once: a bound on memory, of which each may take its limit, and enough that callers who
#: are sent to slow servers leave room for the others.
MAX_CONCURRENT_DOWNLOADS = 64
CONNECT_TIMEOUT_SECONDS = 5.0
REQUEST_HEADERS = {"User-Agent": "PixelFactory-Fetch/1", "Accept-Encoding": "identity", "Accept": "*/*"}

_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
#: What no address has, and what would end the request line or a header early.
_FORBIDDEN_CHARACTERS = re.compile(r"[\x00-\x20\x7f\\]")
#: Ways out of the folder that an address seems to lie in.
_PATH_TRAVERSAL = re.compile(r"(?:\.|%2e){2}", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchPolicy:
    """What may be fetched, and how long that may take."""

    #: For development: private addresses are fetched too.
    allow_private: bool = False
    #: From the first look-up to the last byte, redirects included.
    timeout_seconds: float = 20.0
    #: What our own presigned addresses begin with: they are fetched wherever our store is, so that the
    #: result of one job can be the input of the next one.
    own_url_prefix: str | None = None


class UrlFetcher:
    """Fetches files until it is closed."""

    def __init__(
        self,
        policy: FetchPolicy,
        *,
        resolver: AbstractResolver | None = None,
        reachable: Callable[[str], bool] = is_public_address,
    ) -> None:
        """`resolver` turns names into addresses, None asks the system; `reachable` says of an IP address
        whether files are fetched from there."""
        self._policy = policy
        self._resolver = resolver
        self._reachable = reachable
        self._semaphore = asyncio.Semaphore(MAX_CONCURRENT_DOWNLOADS)

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
        """The file at an http(s) address, unpacked; within `seconds` where the rules' are not meant.
        Raises the FetchError tree, and only that."""
        patience = self._policy.timeout_seconds if timeout_seconds is None else timeout_seconds
        try:
            async with asyncio.timeout(patience), self._semaphore:
                if self._is_own_url(url):
                    return await self._fetch_own(URL(url, encoded=True), max_bytes)
                return await self._follow_redirects(_parse_url(url), max_bytes)
        except TimeoutError as error:
            raise UrlUnreachable(f"it took longer than {patience:g} s") from error
        except aiohttp.InvalidURL as error:
            raise UrlNotAllowed("it is no http(s) address") from error
        except aiohttp.ClientConnectorError as error:
            raise _to_fetch_error(error) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UrlUnreachable("the server does not answer properly") from error

    def _is_own_url(self, url: str) -> bool:
        own = self._policy.own_url_prefix
        known = own is not None and url.startswith(own)
        return known and not _FORBIDDEN_CHARACTERS.search(url) and not _PATH_TRAVERSAL.search(url)

    async def _fetch_own(self, url: URL, max_bytes: int) -> bytes:
        async with self._own_session.get(url, headers=REQUEST_HEADERS, allow_redirects=False) as response:
            return await _read_body(response, max_bytes)

    async def _follow_redirects(self, url: URL, max_bytes: int) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            async with self._public_session.get(
                url, headers=REQUEST_HEADERS, allow_redirects=False
            ) as response:
                target = response.headers.get("Location")
                if response.status not in _REDIRECT_STATUSES or target is None:
                    return await _read_body(response, max_bytes)
                url = _resolve_redirect(url, target)
        raise UrlNotAllowed(f"it redirects more than {MAX_REDIRECTS} times")


def _parse_url(text: str) -> URL:
    """The address, byte for byte where it is ASCII: signatures in it must stay as they are."""
    if len(text) > MAX_URL_LENGTH or _FORBIDDEN_CHARACTERS.search(text) or not is_http_url(text):
        raise UrlNotAllowed("it is no http(s) address without credentials")
    return URL(text, encoded=text.isascii())


def _resolve_redirect(url: URL, location: str) -> URL:
    found = _parse_url(str(url.join(URL(location, encoded=location.isascii()))))
    if url.scheme == "https" and found.scheme != "https":
        raise UrlNotAllowed("it redirects from https to http")
    return found


def _to_fetch_error(error: aiohttp.ClientConnectorError) -> FetchError:
    # A name without an address is answered like one with a private address: nobody shall find out here
    # which names our network knows.
    if isinstance(error, aiohttp.ClientConnectorDNSError) or isinstance(error.os_error, AddressNotPublic):
        return UrlNotAllowed("there is no public server at it")
    return UrlUnreachable("its server can not be reached")


async def _read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    if response.status != 200:
        raise UrlUnreachable(f"its server answers with status {response.status}")
    if (response.content_length or 0) > max_bytes:
        raise FileTooLarge(f"it is larger than {max_bytes} bytes")
    unpack = _decompressor(response.headers.get("Content-Encoding", "identity"))
    body = bytearray()
    received = 0
    async for chunk in response.content.iter_any():
        received += len(chunk)
        body += unpack(chunk, max_bytes + 1 - len(body))
        if max(len(body), received) > max_bytes:
            raise FileTooLarge(f"it is larger than {max_bytes} bytes")
    return bytes(body)


def _decompressor(encoding: str) -> Callable[[bytes, int], bytes]:
    """What turns a chunk into at most so many bytes of the file. We ask for the file as it is, but some
    servers know no other way than the one in which they keep it."""
    match encoding.strip().lower():
        case "identity" | "":
            return lambda chunk, most: chunk
        case "gzip" | "x-gzip" | "deflate":
            inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)

            def unpack(chunk: bytes, most: int) -> bytes:
                try:
                    return inflate.decompress(chunk, most)
                except zlib.error as error:
                    raise UrlUnreachable("the server does not answer properly") from error

            return unpack
    raise UrlUnreachable("its server packs it in a way that was not asked for")
