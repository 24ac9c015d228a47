"""Store media in an S3 bucket, and presign download URLs.

Requests for single objects run on the event loop; all others are calls of the `minio` SDK in worker threads.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.error import S3Error

from orchestrator.media.errors import (
    ObjectNotFound,
    ObjectStoreError,
    ObjectStoreRequestRejected,
)
from orchestrator.storage.counted_errors import CountedErrors
from orchestrator.storage.recent_cache import RecentObjectCache
from orchestrator.storage.retention import set_retention
from orchestrator.storage.retrying import retry_while_unavailable
from orchestrator.storage.s3_errors import translate_s3_errors
from orchestrator.storage.s3_requests import S3Requests

log = logging.getLogger(__name__)
T = TypeVar("T")

#: More than the uploads and downloads of one account can hold (see the users of `FairSlots`).
_MAX_REQUESTS = 32
#: Of listings, deletions, and files that are stored from the disk.
_MAX_WORKERS = 8
_TIMEOUT = urllib3.Timeout(connect=3.0, read=30.0)
_HEALTH_CHECK_TIMEOUT = urllib3.Timeout(connect=1.0, read=1.5)
#: Of files, which may be larger than the memory; 10 000 parts of this size are the largest one.
_FILE_PART_SIZE = 64 * 1024 * 1024
#: Bytes of an object that a download holds in memory.
CHUNK_BYTES = 256 * 1024
_UNSAFE_IN_FILENAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class S3Config:
    """The address of a bucket and its credentials."""

    #: `http://host:port` or `https://host`.
    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    bucket: str
    region: str = "us-east-1"
    #: Address at which callers reach the same server, if it differs from `endpoint`.
    public_endpoint: str | None = None
    #: Address at which ComfyUI instances reach the same server, if it differs from `endpoint`.
    instance_endpoint: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectStat:
    """Properties of a stored object."""

    #: Bytes.
    size: int
    content_type: str
    modified: datetime
    etag: str


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object of a listing."""

    key: str
    modified: datetime
    #: Bytes.
    size: int = 0


#: Returns the next objects of a listing, up to a number; none at its end or after an error.
NextPage = Callable[[int], Awaitable[list[ListedObject]]]


def content_addressed_key(prefix: str, sha256: str, ext: str) -> str:
    """Return `outputs/ab/abcd....png` for prefix `outputs`, a hexadecimal SHA-256 and extension `png`."""
    return f"{prefix.strip('/')}/{sha256[:2]}/{sha256}.{ext}"


class ObjectStore:
    """One bucket. Calls raise ObjectStoreError and its subclasses only.

    An object written less than `fresh_seconds` ago is not written again. Retention rules must therefore keep
    objects at least this much longer than promised.
    """

    def __init__(self, config: S3Config, *, fresh_seconds: float = 3600.0) -> None:
        self._bucket = config.bucket
        self._fresh_seconds = fresh_seconds
        self._cache = RecentObjectCache()
        self._pools = (_http_pool(_TIMEOUT), _http_pool(_HEALTH_CHECK_TIMEOUT))
        self._client = _minio_client(config, config.endpoint, self._pools[0])
        self._health_client = _minio_client(config, config.endpoint, self._pools[1])
        self._presign_client = _minio_client(
            config, config.public_endpoint or config.endpoint, self._pools[0]
        )
        self._instance_client = _minio_client(
            config, config.instance_endpoint or config.endpoint, self._pools[0]
        )
        credentials = Credentials(config.access_key, config.secret_key)
        self._requests = S3Requests(
            self._client, credentials, config.bucket, config.region, limit=_MAX_REQUESTS
        )
        self._executor = ThreadPoolExecutor(_MAX_WORKERS, thread_name_prefix="object-store")
        self.errors = CountedErrors()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for running calls, then close all connections."""
        await self._requests.close()
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)
        for pool in self._pools:
            pool.clear()

    async def ensure_bucket(
        self, retention: Mapping[str, int] | None = None, *, timeout: float = 0.0
    ) -> None:
        """Create the bucket if it does not exist, and set its retention rules.

        `retention` maps key prefixes (`outputs/`) to days. If the credentials do not permit changing the
        rules, the bucket keeps its own, and a warning is logged. `timeout` as in `put_with_retry`.
        """
        await retry_while_unavailable(
            lambda: self._run_in_thread(self._create_bucket), f"bucket {self._bucket}", timeout
        )
        if retention:
            await retry_while_unavailable(
                lambda: self._set_retention(retention), "its retention rules", timeout
            )

    async def _set_retention(self, retention: Mapping[str, int]) -> None:
        try:
            await self._run_in_thread(lambda: set_retention(self._client, self._bucket, retention))
        except ObjectStoreRequestRejected as error:
            log.warning("bucket %s keeps its own retention rules: %s", self._bucket, error)

    def _create_bucket(self) -> None:
        if self._client.bucket_exists(self._bucket):
            return
        try:
            self._client.make_bucket(self._bucket)
        except S3Error as error:  # another replica has created it in the meantime
            if error.code != "BucketAlreadyOwnedByYou":
                raise

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """Store `data` under `key`; afterwards the object is at most `fresh_seconds` old.

        Equal data written recently is not sent again, since replacing an object breaks downloads that are
        in progress. An older object is rewritten, so that its retention counts from now.
        """
        if not await self._is_fresh(key, data, content_type):
            await self.put_new(key, data, content_type)

    async def put_new(self, key: str, data: bytes, content_type: str, sha256: str | None = None) -> None:
        """Store `data` under a key that nothing else is stored under; `sha256` is its digest, if known."""
        await self._requests.put(key, data, content_type, sha256)
        self._cache.put(key, data)

    async def _is_fresh(self, key: str, data: bytes, content_type: str) -> bool:
        try:
            stored = await self.stat(key)
        except ObjectNotFound:
            return False
        if (stored.size, stored.content_type) != (len(data), content_type):
            return False
        if (datetime.now(UTC) - stored.modified).total_seconds() >= self._fresh_seconds:
            return False
        digest = await asyncio.to_thread(hashlib.md5, data, usedforsecurity=False)
        return stored.etag == digest.hexdigest()

    async def put_with_retry(
        self, key: str, data: bytes, content_type: str, *, timeout: float = 900.0
    ) -> None:
        """Like `put`, but retry with backoff for up to `timeout` seconds while the store is unavailable.

        Raises ObjectStoreUnavailable after the timeout, ObjectStoreRequestRejected at once.
        """
        await retry_while_unavailable(lambda: self.put(key, data, content_type), key, timeout)

    async def put_new_with_retry(
        self, key: str, data: bytes, content_type: str, sha256: str, *, timeout: float
    ) -> None:
        """Like `put_new`, with the patience of `put_with_retry`."""
        await retry_while_unavailable(lambda: self.put_new(key, data, content_type, sha256), key, timeout)

    async def put_file(self, key: str, file: Path) -> None:
        """Store a file of any size under `key`, reading it piece by piece. Raises OSError, too."""
        await self._run_in_thread(
            lambda: self._client.fput_object(self._bucket, key, str(file), part_size=_FILE_PART_SIZE)
        )

    async def get(self, key: str) -> bytes:
        """Return the data under `key`, from memory if this process has stored it recently."""
        recent = self._cache.get(key)
        return recent if recent is not None else await self._requests.get(key)

    async def get_current(self, key: str) -> bytes:
        """Return the data under `key` as it is now, also if another process has replaced it."""
        return await self._requests.get(key)

    async def read_range(self, key: str, start: int, stop: int) -> bytes:
        """Return the bytes of an object from `start` to `stop` (exclusive)."""
        return b"".join([chunk async for chunk in self.read_chunks(key, start, stop)])

    async def read_chunks(self, key: str, start: int, stop: int) -> AsyncGenerator[bytes]:
        """Yield the bytes of an object from `start` to `stop` (exclusive) in chunks."""
        if start >= stop:
            return
        recent = self._cache.get(key)
        if recent is not None:
            for offset in range(start, stop, CHUNK_BYTES):
                yield recent[offset : min(offset + CHUNK_BYTES, stop)]
            return
        async with self._requests.open_range(key, start, stop) as content:
            async for chunk in content.iter_chunked(CHUNK_BYTES):
                yield chunk

    async def stat(self, key: str) -> ObjectStat:
        """Return the properties of an object without its data."""
        found = await self._requests.head(key)
        modified = found.get("Last-Modified")
        return ObjectStat(
            size=int(found.get("Content-Length", "0")),
            content_type=found.get("Content-Type", "application/octet-stream"),
            modified=parsedate_to_datetime(modified) if modified else datetime.fromtimestamp(0, UTC),
            etag=found.get("ETag", "").strip('"'),
        )

    async def stat_with_retry(self, key: str, *, timeout: float) -> ObjectStat:
        """Like `stat`, with the patience of `put_with_retry`."""
        return await retry_while_unavailable(lambda: self.stat(key), key, timeout)

    async def has(self, key: str, size: int) -> bool:
        """Return whether there is an object of this size under `key`."""
        try:
            return (await self.stat(key)).size == size
        except ObjectNotFound:
            return False

    async def delete(self, key: str) -> None:
        """Delete the object; succeeds if it does not exist."""
        self._cache.delete(key)
        await self._run_in_thread(lambda: self._client.remove_object(self._bucket, key))

    def list_objects(self, prefix: str) -> NextPage:
        """Return a function that lists the objects below a prefix page by page, in the order of the server.

        Only one page is in memory. The calls of one listing must not overlap.
        """
        found = (
            ListedObject(entry.object_name or "", entry.last_modified or datetime.now(UTC), entry.size or 0)
            for entry in self._client.list_objects(self._bucket, prefix=prefix, recursive=True)
            if not entry.is_dir
        )
        return lambda limit: self._run_in_thread(lambda: list(islice(found, limit)))

    def presign(self, key: str, lifetime: float, filename: str | None = None) -> str:
        """Return a presigned download URL, valid for `lifetime` seconds (1 to 604800) without credentials.

        Browsers save the file as `filename`, if given. Makes no request.
        """
        headers: dict[str, str | list[str] | tuple[str]] | None = None
        if filename:
            safe = _UNSAFE_IN_FILENAME.sub("_", filename)
            headers = {"response-content-disposition": f'inline; filename="{safe}"'}
        with translate_s3_errors():
            return self._presign_client.presigned_get_object(
                self._bucket, key, expires=timedelta(seconds=lifetime), response_headers=headers
            )

    def presign_for_instances(self, key: str, lifetime: float = 60.0) -> str:
        """Return a presigned download URL for ComfyUI instances. Makes no request."""
        with translate_s3_errors():
            return self._instance_client.presigned_get_object(
                self._bucket, key, expires=timedelta(seconds=lifetime)
            )

    def presign_upload(
        self, key: str, *, content_type: str, md5: str, lifetime: float
    ) -> tuple[str, dict[str, str]]:
        """Return URL and headers of a PUT request that stores an object, for ComfyUI instances.

        The server rejects other bytes than those with the hexadecimal digest `md5`. Makes no request.
        """
        with translate_s3_errors():
            url = self._instance_client.presigned_put_object(
                self._bucket, key, expires=timedelta(seconds=lifetime)
            )
        digest = base64.b64encode(bytes.fromhex(md5)).decode()
        return url, {"Content-Type": content_type, "Content-MD5": digest}

    def presigned_url_prefix(self, prefix: str) -> str:
        """Return the start that the presigned URLs of all objects below `prefix` have in common."""
        return self.presign(f"{prefix}any", 1).partition("any")[0]

    async def is_healthy(self) -> bool:
        """Return whether the bucket responds within three seconds."""
        try:
            async with asyncio.timeout(3.0):
                return await self._run_in_thread(lambda: self._health_client.bucket_exists(self._bucket))
        except (ObjectStoreError, TimeoutError):
            return False

    async def _run_in_thread(self, operation: Callable[[], T]) -> T:
        def run() -> T:
            with translate_s3_errors():
                return operation()

        with self.errors.counted():
            return await asyncio.get_running_loop().run_in_executor(self._executor, run)


def _http_pool(timeout: urllib3.Timeout) -> urllib3.PoolManager:
    # No retries in urllib3: `retry_while_unavailable` logs them and holds no thread while it waits.
    return urllib3.PoolManager(maxsize=_MAX_WORKERS, timeout=timeout, retries=False)


def _minio_client(config: S3Config, endpoint: str, pool: urllib3.PoolManager) -> Minio:
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.netloc or url.path not in ("", "/"):
        raise ObjectStoreRequestRejected(
            f"the S3 endpoint must be http://host:port or https://host (got {endpoint!r})"
        )
    return Minio(
        url.netloc,
        access_key=config.access_key,
        secret_key=config.secret_key,
        secure=url.scheme == "https",
        region=config.region,
        http_client=pool,
    )
