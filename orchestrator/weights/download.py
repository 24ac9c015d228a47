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

from orchestrator.catalog import WeightFile
from orchestrator.net.egress import AddressNotPublic, is_http_url
from orchestrator.weights.errors import DownloadInterrupted, LicenseNotAccepted, PermanentDownloadError
from orchestrator.weights.file_checks import (
    SIZE_TOLERANCE,
    ProgressCallback,
    compute_sha256,
    find_size_problem,
    inspect_weight_file,
)
from orchestrator.weights.partial_file import PartialDownload

log = logging.getLogger(__name__)

HUGGING_FACE_URL = "https://huggingface.co"
MAX_REDIRECTS = 5
#: Of a file whose size nobody knows.
MAX_UNDECLARED_BYTES = 200 * 10**9
_CHUNK_BYTES = 2**20
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class HuggingFaceHub:
    """Where the manifests' Hugging Face files are had from, and as whom."""

    #: The hub itself or a mirror of it.
    url: str = HUGGING_FACE_URL
    token: str | None = None

    def resolve_url(self, url: str) -> URL:
        """The address to ask for a manifest's URL. Raises Refused."""
        found = (
            self.url.rstrip("/") + url.removeprefix(HUGGING_FACE_URL)
            if url.startswith(f"{HUGGING_FACE_URL}/")
            else url
        )
        return _parse_url(found)

    def auth_headers(self, url: URL) -> dict[str, str]:
        """The token goes to the hub and to no other host, wherever that redirects to."""
        is_hub = url.origin() == URL(self.url).origin()
        return {"Authorization": f"Bearer {self.token}"} if self.token and is_hub else {}


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadRetryPolicy:
    """How long a server may misbehave. Seconds."""

    #: Silence after which a connection is given up.
    stall_timeout_seconds: float = 30.0
    #: Connections in a row that bring nothing.
    max_attempts: int = 5
    #: Before the second attempt; doubled with each further one.
    backoff_seconds: float = 1.0


class WeightDownloader:
    """Fetches weight files over one client."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        hub: HuggingFaceHub,
        retry_policy: DownloadRetryPolicy | None = None,
    ) -> None:
        self._http = http
        self._hub = hub
        self._retry_policy = retry_policy or DownloadRetryPolicy()

    async def download(
        self, weight: WeightFile, file: Path, pinned_sha256: str | None, on_progress: ProgressCallback
    ) -> str:
        """Puts the file in its place and gives its SHA-256. `hear` is told how many bytes there are.

        It must have the manifest's digest, or the `pinned_sha256` one where the manifest has none. Raises
        WeightError, OSError; what has arrived until then is kept for the next time.
        """
        if not weight.url:
            raise PermanentDownloadError("nobody knows its address: put the file there yourself")
        part = PartialDownload(file)
        with part.lock():
            resumed = part.size > 0
            sha = await self._download_with_retry(weight, part, on_progress)
            wanted = weight.sha256 or pinned_sha256 or sha
            if sha != wanted and resumed:
                log.warning("%s: what was there before is of another file; once more", file.name)
                part.discard()
                sha = await self._download_with_retry(weight, part, on_progress)
            problems = [f"it has SHA-256 {sha}, not {wanted}"] if sha != wanted else []
            if problems or (not weight.sha256 and (problems := inspect_weight_file(weight, part.path))):
                part.discard()
                raise PermanentDownloadError("; ".join(problems))
            part.finish()
        return sha

    async def _download_with_retry(
        self, weight: WeightFile, part: PartialDownload, on_progress: ProgressCallback
    ) -> str:
        """Fetches until the part is complete; its SHA-256."""
        failures = 0
        while True:
            before = part.size
            try:
                with _translate_client_errors():
                    await self._resume_download(weight, part, on_progress)
                return await asyncio.to_thread(compute_sha256, part.path)
            except DownloadInterrupted as error:
                failures = 0 if part.size > before else failures + 1
                if failures >= self._retry_policy.max_attempts:
                    raise
                log.info("%s: %s; trying again", part.path.name, error)
            await asyncio.sleep(self._retry_policy.backoff_seconds * 2 ** max(0, failures - 1))

    async def _resume_download(
        self, weight: WeightFile, part: PartialDownload, on_progress: ProgressCallback
    ) -> None:
        """Appends what is missing. Raises ProcessingInterrupted where that is still something."""
        if weight.sha256 and part.size == weight.bytes:
            return
        if weight.sha256 and part.size > weight.bytes:
            part.discard()
        held = part.size
        async with self._open_response(weight, _range_headers(weight, part)) as response:
            if response.status == 416:
                part.discard()
                raise DownloadInterrupted("there is more of it than the server has")
            begin, total = _parse_content_range(response, held)
            if total is not None and (problem := find_size_problem(weight, total)):
                raise PermanentDownloadError(f"the server's file is another one: {problem}")
            with part.open_at(begin, response.headers.get("ETag", "")) as opened:
                await _write_body(response, opened, total or _max_download_bytes(weight), on_progress)
            if total is not None and part.size < total:
                raise DownloadInterrupted("the server ended too early")

    @asynccontextmanager
    async def _open_response(
        self, weight: WeightFile, range_headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The server's answer with a body, redirects followed one by one."""
        url = self._hub.resolve_url(weight.url)
        for _ in range(MAX_REDIRECTS + 1):
            headers = {"Accept-Encoding": "identity", **range_headers, **self._hub.auth_headers(url)}
            async with self._http.get(
                url, headers=headers, allow_redirects=False, timeout=self._timeout()
            ) as response:
                target = response.headers.get("Location")
                if response.status not in _REDIRECT_STATUSES or target is None:
                    _check_status(response, weight)
                    yield response
                    return
                url = _resolve_redirect(url, target)
        raise PermanentDownloadError(f"it redirects more than {MAX_REDIRECTS} times")

    def _timeout(self) -> aiohttp.ClientTimeout:
        seconds = self._retry_policy.stall_timeout_seconds
        return aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)


@contextmanager
def _translate_client_errors() -> Iterator[None]:
    """What the client raises, in our words."""
    try:
        yield
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, AddressNotPublic):
            raise PermanentDownloadError(f"{error.host} is no public address") from error
        raise DownloadInterrupted(f"{error.host} can not be reached") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise DownloadInterrupted("the server has stopped sending") from error


async def _write_body(
    response: aiohttp.ClientResponse, file: BinaryIO, max_bytes: int, on_progress: ProgressCallback
) -> None:
    """Takes in the body, piece by piece. Raises Refused where the file would be longer than `most`."""
    on_progress(file.tell())
    async for piece in response.content.iter_chunked(_CHUNK_BYTES):
        if file.tell() + len(piece) > max_bytes:
            file.truncate(0)
            raise PermanentDownloadError(
                f"the server sends more than the {max_bytes} bytes that were expected"
            )
        file.write(piece)
        file.flush()
        on_progress(file.tell())


def _max_download_bytes(weight: WeightFile) -> int:
    """Bytes beyond which a server that does not say how many will come is not believed any more."""
    return int(weight.bytes * (1 + SIZE_TOLERANCE)) if weight.bytes else MAX_UNDECLARED_BYTES


def _range_headers(weight: WeightFile, part: PartialDownload) -> dict[str, str]:
    """Headers that ask for the rest. Without a digest, the server must say that it is the same file."""
    wanted = {"Range": f"bytes={part.size}-"} if part.size else {}
    if weight.sha256:
        return wanted
    return wanted | {"If-Range": part.etag} if wanted and part.etag else {}


def _parse_content_range(response: aiohttp.ClientResponse, received: int) -> tuple[int, int | None]:
    """Where the body begins within the file, and the size of the whole file as far as it is told."""
    if response.status == 200:
        return 0, response.content_length
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != received:
        raise PermanentDownloadError("the server sends another part than it was asked for")
    return received, int(found[2])


def _check_status(response: aiohttp.ClientResponse, weight: WeightFile) -> None:
    """Raises WeightError for any answer but a file, or its rest."""
    host = response.url.host
    match response.status:
        case 416:
            return
        case 200 | 206 if response.headers.get("Content-Encoding", "identity") == "identity":
            return
        case 401 | 403:
            license = f" ({weight.license})" if weight.license else ""
            raise LicenseNotAccepted(
                f"{host} wants an account that has accepted the licence{license}:"
                f" accept it at {weight.url.partition('/resolve/')[0]} and set HF_TOKEN"
            )
        case status if status in _TRANSIENT_STATUSES:
            raise DownloadInterrupted(f"{host} answers with status {status}")
        case status:
            raise PermanentDownloadError(f"{host} answers with status {status}")


def _parse_url(text: str) -> URL:
    if not is_http_url(text):
        raise PermanentDownloadError("its address is no http(s) address without credentials")
    return URL(text, encoded=text.isascii())


def _resolve_redirect(url: URL, location: str) -> URL:
    found = _parse_url(str(url.join(URL(location, encoded=location.isascii()))))
    if url.scheme == "https" and found.scheme != "https":
        raise PermanentDownloadError("it redirects from https to http")
    return found
