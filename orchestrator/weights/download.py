"""One file from the net to the disk: resumable, checked, and under its own name only when it is whole.

What has arrived lies in `NAME.part`. A later try goes on after its last byte, unless the server says, or
the digest shows, that the file has changed meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import aiohttp
from yarl import URL

from orchestrator.catalog import Weight
from orchestrator.egress import NotPublic, is_web_url
from orchestrator.weights.checking import ROUNDED, Hear, digest, look, wrong_size
from orchestrator.weights.errors import GateClosed, Interrupted, Refused
from orchestrator.weights.part import Part

log = logging.getLogger(__name__)

HUB = "https://huggingface.co"
MAX_REDIRECTS = 5
#: Of a file whose size nobody knows.
MAX_BYTES = 200 * 10**9
_CHUNK = 2**20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub:
    """Where the manifests' Hugging Face files are had from, and as whom."""

    #: The hub itself or a mirror of it.
    url: str = HUB
    token: str | None = None

    def address(self, url: str) -> URL:
        """The address to ask for a manifest's URL. Raises Refused."""
        found = self.url.rstrip("/") + url.removeprefix(HUB) if url.startswith(f"{HUB}/") else url
        return _checked(found)

    def headers(self, url: URL) -> dict[str, str]:
        """The token goes to the hub and to no other host, wherever that redirects to."""
        is_hub = url.origin() == URL(self.url).origin()
        return {"Authorization": f"Bearer {self.token}"} if self.token and is_hub else {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a server may misbehave. Seconds."""

    #: Silence after which a connection is given up.
    stall_seconds: float = 30.0
    #: Connections in a row that bring nothing.
    attempts: int = 5
    #: Before the second attempt; doubled with each further one.
    pause_seconds: float = 1.0


class Downloader:
    """Fetches weight files over one client."""

    def __init__(self, http: aiohttp.ClientSession, hub: Hub, patience: Patience | None = None) -> None:
        self._http = http
        self._hub = hub
        self._patience = patience or Patience()

    async def fetch(self, weight: Weight, file: Path, pinned: str | None, hear: Hear) -> str:
        """Puts the file in its place and gives its SHA-256. `hear` is told how many bytes there are.

        It must have the manifest's digest, or the `pinned` one where the manifest has none. Raises
        WeightError, OSError; what has arrived until then is kept for the next time.
        """
        if not weight.url:
            raise Refused("nobody knows its address: put the file there yourself")
        part = Part(file)
        with part.locked():
            resumed = part.size > 0
            sha = await self._whole(weight, part, hear)
            wanted = weight.sha256 or pinned or sha
            if sha != wanted and resumed:
                log.warning("%s: what was there before is of another file; once more", file.name)
                part.empty()
                sha = await self._whole(weight, part, hear)
            problems = [f"it has SHA-256 {sha}, not {wanted}"] if sha != wanted else []
            if problems or (not weight.sha256 and (problems := look(weight, part.path))):
                part.empty()
                raise Refused("; ".join(problems))
            part.finish()
        return sha

    async def _whole(self, weight: Weight, part: Part, hear: Hear) -> str:
        """Fetches until the part is complete; its SHA-256."""
        failures = 0
        while True:
            before = part.size
            try:
                with _our_errors():
                    await self._continue(weight, part, hear)
                return await asyncio.to_thread(digest, part.path)
            except Interrupted as error:
                failures = 0 if part.size > before else failures + 1
                if failures >= self._patience.attempts:
                    raise
                log.info("%s: %s; trying again", part.path.name, error)
            await asyncio.sleep(self._patience.pause_seconds * 2 ** max(0, failures - 1))

    async def _continue(self, weight: Weight, part: Part, hear: Hear) -> None:
        """Appends what is missing. Raises Interrupted where that is still something."""
        if weight.sha256 and part.size == weight.bytes:
            return
        if weight.sha256 and part.size > weight.bytes:
            part.empty()
        held = part.size
        async with self._answer(weight, _range(weight, part)) as response:
            if response.status == 416:
                part.empty()
                raise Interrupted("there is more of it than the server has")
            begin, total = _announced(response, held)
            if total is not None and (problem := wrong_size(weight, total)):
                raise Refused(f"the server's file is another one: {problem}")
            with part.writing(begin, response.headers.get("ETag", "")) as opened:
                await _receive(response, opened, total or _most(weight), hear)
            if total is not None and part.size < total:
                raise Interrupted("the server ended too early")

    @asynccontextmanager
    async def _answer(self, weight: Weight, asked: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """The server's answer with a body, redirects followed one by one."""
        url = self._hub.address(weight.url)
        for _ in range(MAX_REDIRECTS + 1):
            headers = {"Accept-Encoding": "identity", **asked, **self._hub.headers(url)}
            async with self._http.get(
                url, headers=headers, allow_redirects=False, timeout=self._timeout()
            ) as response:
                target = response.headers.get("Location")
                if response.status not in _REDIRECTS or target is None:
                    _check_status(response, weight)
                    yield response
                    return
                url = _redirected(url, target)
        raise Refused(f"it redirects more than {MAX_REDIRECTS} times")

    def _timeout(self) -> aiohttp.ClientTimeout:
        seconds = self._patience.stall_seconds
        return aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)


@contextmanager
def _our_errors() -> Iterator[None]:
    """What the client raises, in our words."""
    try:
        yield
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, NotPublic):
            raise Refused(f"{error.host} is no public address") from error
        raise Interrupted(f"{error.host} can not be reached") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Interrupted("the server has stopped sending") from error


async def _receive(response: aiohttp.ClientResponse, opened: BinaryIO, most: int, hear: Hear) -> None:
    """Takes in the body, piece by piece. Raises Refused where the file would be longer than `most`."""
    hear(opened.tell())
    async for piece in response.content.iter_chunked(_CHUNK):
        if opened.tell() + len(piece) > most:
            opened.truncate(0)
            raise Refused(f"the server sends more than the {most} bytes that were expected")
        opened.write(piece)
        opened.flush()
        hear(opened.tell())


def _most(weight: Weight) -> int:
    """Bytes beyond which a server that does not say how many will come is not believed any more."""
    return int(weight.bytes * (1 + ROUNDED)) if weight.bytes else MAX_BYTES


def _range(weight: Weight, part: Part) -> dict[str, str]:
    """Headers that ask for the rest. Without a digest, the server must say that it is the same file."""
    wanted = {"Range": f"bytes={part.size}-"} if part.size else {}
    if weight.sha256:
        return wanted
    return wanted | {"If-Range": part.etag} if wanted and part.etag else {}


def _announced(response: aiohttp.ClientResponse, held: int) -> tuple[int, int | None]:
    """Where the body begins within the file, and the size of the whole file as far as it is told."""
    if response.status == 200:
        return 0, response.content_length
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != held:
        raise Refused("the server sends another part than it was asked for")
    return held, int(found[2])


def _check_status(response: aiohttp.ClientResponse, weight: Weight) -> None:
    """Raises WeightError for any answer but a file, or its rest."""
    host = response.url.host
    match response.status:
        case 416:
            return
        case 200 | 206 if response.headers.get("Content-Encoding", "identity") == "identity":
            return
        case 401 | 403:
            license = f" ({weight.license})" if weight.license else ""
            raise GateClosed(
                f"{host} wants an account that has accepted the licence{license}:"
                f" accept it at {weight.url.partition('/resolve/')[0]} and set HF_TOKEN"
            )
        case status if status in _PASSING:
            raise Interrupted(f"{host} answers with status {status}")
        case status:
            raise Refused(f"{host} answers with status {status}")


def _checked(text: str) -> URL:
    if not is_web_url(text):
        raise Refused("its address is no http(s) address without credentials")
    return URL(text, encoded=text.isascii())


def _redirected(url: URL, target: str) -> URL:
    found = _checked(str(url.join(URL(target, encoded=target.isascii()))))
    if url.scheme == "https" and found.scheme != "https":
        raise Refused("it redirects from https to http")
    return found
