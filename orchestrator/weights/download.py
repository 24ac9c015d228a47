"""Download one weight file: resume it, verify its checksum, and give it its name only when it is complete.

Received bytes are kept in `NAME.part`. A later attempt resumes after the last byte, unless the server (by
ETag) or the checksum shows that the file has changed in the meantime.
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

from comfy_instances.backoff import backoff_delay
from orchestrator.catalog import WeightFile
from orchestrator.net.egress import AddressNotPublic
from orchestrator.net.http_urls import REDIRECT_STATUSES, InvalidHttpUrl, parse_http_url, resolve_redirect
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
#: Size limit of a file whose size the manifest does not declare.
MAX_UNDECLARED_BYTES = 200 * 10**9
_CHUNK_BYTES = 2**20
_TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class HuggingFaceHub:
    """The host that serves the manifests' Hugging Face files, and the account's token."""

    #: The hub itself or a mirror of it.
    url: str = HUGGING_FACE_URL
    token: str | None = None

    def resolve_url(self, url: str) -> URL:
        """Return the URL to request for a manifest's URL. Raises InvalidHttpUrl."""
        if url.startswith(f"{HUGGING_FACE_URL}/"):
            url = self.url.rstrip("/") + url.removeprefix(HUGGING_FACE_URL)
        return parse_http_url(url)

    def auth_headers(self, url: URL) -> dict[str, str]:
        """Return the headers with the token, which is sent to the hub only and never to a redirect target."""
        is_hub = url.origin() == URL(self.url).origin()
        return {"Authorization": f"Bearer {self.token}"} if self.token and is_hub else {}


#: Longest pause between two attempts.
MAX_BACKOFF_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadRetryPolicy:
    """When to retry an interrupted download, and when to give up."""

    #: Time without data after which a connection is closed.
    stall_timeout_seconds: float = 30.0
    #: Consecutive attempts without any new bytes.
    max_attempts: int = 5
    #: Pause before the second attempt; doubled for each further one.
    backoff_seconds: float = 1.0


class WeightDownloader:
    """Downloads weight files over one HTTP session."""

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
        """Download to `file` and return its SHA-256; `on_progress` receives the number of bytes so far.

        The file must have the SHA-256 of the manifest, or `pinned_sha256` if the manifest has none. Raises
        WeightError, OSError; bytes received until then are kept for the next attempt.
        """
        if not weight.url:
            raise PermanentDownloadError(f"the manifest has no URL for it: put the file at {file} yourself")
        part = PartialDownload(file)
        with part.lock():
            resumed = part.size > 0
            sha = await self._download_with_retry(weight, part, on_progress)
            wanted = weight.sha256 or pinned_sha256 or sha
            if sha != wanted and resumed:
                log.warning("%s: the partial download is of another file; starting over", file.name)
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
        """Download until the part is complete, and return its SHA-256."""
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
                log.info("%s: %s; retrying", part.path.name, error)
            await asyncio.sleep(
                backoff_delay(failures, self._retry_policy.backoff_seconds, MAX_BACKOFF_SECONDS)
            )

    async def _resume_download(
        self, weight: WeightFile, part: PartialDownload, on_progress: ProgressCallback
    ) -> None:
        """Append the missing bytes. Raises DownloadInterrupted if some are still missing at the end."""
        if weight.sha256 and part.size == weight.bytes:
            return
        if weight.sha256 and part.size > weight.bytes:
            part.discard()
        held = part.size
        async with self._open_response(weight, _range_headers(weight, part)) as response:
            if response.status == 416:
                part.discard()
                raise DownloadInterrupted("the partial download is longer than the server's file")
            begin, total = _parse_content_range(response, held)
            if total is not None and (problem := find_size_problem(weight, total)):
                raise PermanentDownloadError(f"the server has another file: {problem}")
            with part.open_at(begin, response.headers.get("ETag", "")) as opened:
                await _write_body(response, opened, total or _max_download_bytes(weight), on_progress)
            if total is not None and part.size < total:
                raise DownloadInterrupted(f"the server sent {part.size} of {total} bytes")

    @asynccontextmanager
    async def _open_response(
        self, weight: WeightFile, range_headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Request the file, following redirects. Raises WeightError unless the response has a body."""
        url = self._hub.resolve_url(weight.url)
        for _ in range(MAX_REDIRECTS + 1):
            headers = {"Accept-Encoding": "identity", **range_headers, **self._hub.auth_headers(url)}
            async with self._http.get(
                url, headers=headers, allow_redirects=False, timeout=self._timeout()
            ) as response:
                target = response.headers.get("Location")
                if response.status not in REDIRECT_STATUSES or target is None:
                    _check_status(response, weight)
                    yield response
                    return
                url = resolve_redirect(url, target)
        raise PermanentDownloadError(f"it redirects more than {MAX_REDIRECTS} times")

    def _timeout(self) -> aiohttp.ClientTimeout:
        seconds = self._retry_policy.stall_timeout_seconds
        return aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)


@contextmanager
def _translate_client_errors() -> Iterator[None]:
    """Raise WeightError for what the HTTP session raises."""
    try:
        yield
    except InvalidHttpUrl as error:
        raise PermanentDownloadError(str(error)) from error
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, AddressNotPublic):
            raise PermanentDownloadError(f"{error.host} is not a public address") from error
        raise DownloadInterrupted(f"{error.host} is unreachable") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise DownloadInterrupted("the server stopped sending") from error


async def _write_body(
    response: aiohttp.ClientResponse, file: BinaryIO, max_bytes: int, on_progress: ProgressCallback
) -> None:
    """Append the body to `file`. Raises PermanentDownloadError beyond `max_bytes`."""
    on_progress(file.tell())
    async for piece in response.content.iter_chunked(_CHUNK_BYTES):
        if file.tell() + len(piece) > max_bytes:
            file.truncate(0)
            raise PermanentDownloadError(f"the server sends more than the expected {max_bytes} bytes")
        file.write(piece)
        file.flush()
        on_progress(file.tell())


def _max_download_bytes(weight: WeightFile) -> int:
    """Return the size limit for a server that does not declare the length of the file."""
    return int(weight.bytes * (1 + SIZE_TOLERANCE)) if weight.bytes else MAX_UNDECLARED_BYTES


def _range_headers(weight: WeightFile, part: PartialDownload) -> dict[str, str]:
    """Return headers that request the missing bytes.

    Without a known checksum, `If-Range` makes the server send the whole file if it has changed.
    """
    headers = {"Range": f"bytes={part.size}-"} if part.size else {}
    if weight.sha256:
        return headers
    return headers | {"If-Range": part.etag} if headers and part.etag else {}


def _parse_content_range(response: aiohttp.ClientResponse, received: int) -> tuple[int, int | None]:
    """Return the offset at which the body starts, and the size of the whole file if declared."""
    if response.status == 200:
        return 0, response.content_length
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != received:
        raise PermanentDownloadError("the server sends another byte range than was requested")
    return received, int(found[2])


def _check_status(response: aiohttp.ClientResponse, weight: WeightFile) -> None:
    """Raise WeightError unless the response is a file, a byte range, or 416."""
    host = response.url.host
    match response.status:
        case 416:
            return
        case 200 | 206 if response.headers.get("Content-Encoding", "identity") == "identity":
            return
        case 401 | 403:
            license = f" ({weight.license})" if weight.license else ""
            raise LicenseNotAccepted(
                f"{host} requires an account that has accepted the license{license}:"
                f" accept it at {weight.url.partition('/resolve/')[0]} and set HF_TOKEN"
            )
        case status if status in _TRANSIENT_STATUSES:
            raise DownloadInterrupted(f"{host} responds with status {status}")
        case status:
            raise PermanentDownloadError(f"{host} responds with status {status}")
