"""Deliver finished outputs to the caller: as base64 in the response, or as links that expire."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from aiohttp import web

from orchestrator.errors import InvalidRequest
from orchestrator.execution.results.expiry import ExpiryPolicy
from orchestrator.execution.results.media_origins import DerivedMediaMarker
from orchestrator.execution.results.result_links import ResultLink, ResultLinks
from orchestrator.fair_slots import FairSlots
from orchestrator.jobs import Job, JobRecord, Output
from orchestrator.jobs.objects import OUTPUT_PREFIX, owned_object_key
from orchestrator.media.errors import ImageTooLarge, LosesFrames
from orchestrator.media.formats import EXTENSIONS, ImageEncoding
from orchestrator.storage.object_store import ObjectStore
from orchestrator.storage.retrying import retry_while_unavailable
from orchestrator.store.files import FileStore
from orchestrator.web.http.embedded_files import PIECE_BYTES, FileContent
from orchestrator.web.http.public_url import public_base_url

T = TypeVar("T")

#: How long a part of a file is asked for while object storage is unavailable, once its response has begun, in
#: seconds.
READ_PATIENCE_SECONDS = 20.0


class OutputDelivery:
    """Loads stored outputs and makes links to them."""

    def __init__(
        self,
        objects: ObjectStore,
        files: FileStore,
        links: ResultLinks,
        expiry: ExpiryPolicy,
        marker: DerivedMediaMarker,
        *,
        url_lifetime_seconds: int,
        public_url: str | None,
        own_url: str | None,
    ) -> None:
        """`public_url` is the URL at which callers reach the service; None: the origin of the request, and
        without a request `own_url`, if that is known."""
        self._objects = objects
        self._files = files
        self._links = links
        self._public_url = public_url
        self._own_url = public_url or own_url
        # Results wait for as long as it takes: they are paid for.
        self._slots = FairSlots("results", 8, per_account=4, max_waiting=sys.maxsize)
        self._url_lifetime_seconds = url_lifetime_seconds
        self.expiry = expiry
        self.marker = marker

    async def load_files(
        self, record: JobRecord, *, encoding: ImageEncoding | None = None
    ) -> list[FileContent]:
        """Return the content of each output; images are converted to `encoding`.

        Images of a job that stored them in a format stay as they are.

        Raises ObjectStoreError, InvalidRequest.
        """
        return await self._for_each_output(record, partial(self._load_file, record.job), encoding)

    async def store_files(self, record: JobRecord, *, encoding: ImageEncoding | None = None) -> list[str]:
        """Return the key of each output. A converted image is stored as a new object of the job first.

        Raises ObjectStoreError, InvalidRequest, and Gone if the job was removed meanwhile.
        """
        return await self._for_each_output(record, partial(self._deliverable_key, record.job), encoding)

    async def _for_each_output(
        self,
        record: JobRecord,
        take: Callable[[Output, ImageEncoding | None], Awaitable[T]],
        encoding: ImageEncoding | None,
    ) -> list[T]:
        encoding = None if record.job.output_type is not None else encoding

        async def take_in_turn(output: Output) -> T:
            async with self._slots.slot(record.job.account_id):
                return await take(output, encoding)

        return list(await asyncio.gather(*(take_in_turn(output) for output in record.outputs)))

    async def load_file(self, key: str) -> bytes:
        """Return an object of a job. Raises ObjectStoreError."""
        return await self._objects.get(key)

    def url_of(
        self, job_id: str, key: str, request: web.Request | None, *, expires: datetime | None = None
    ) -> str:
        """Return a URL of an object of a job that works without a key until it expires.

        Without a request, in webhooks, the service may not know its own address. Then the URL is one of
        object storage, presigned for GET.
        """
        path = self.path_of(job_id, key, expires=expires)
        if request is not None:
            return public_base_url(request, self._public_url) + path
        if self._own_url is not None:
            return self._own_url.rstrip("/") + path
        return self._objects.presign(key, self._url_lifetime_seconds)

    def base_url(self, request: web.Request | None) -> str:
        """Return the address of the service without a trailing slash; empty if it is not known."""
        if request is not None:
            return public_base_url(request, self._public_url)
        return (self._own_url or "").rstrip("/")

    def path_of(self, job_id: str, key: str, *, expires: datetime | None = None) -> str:
        """Return the path of such a URL, for pages of the service itself."""
        end = expires or self._links.clock() + timedelta(seconds=self._url_lifetime_seconds)
        return self._links.path_of(ResultLink(job_id, key), end)

    async def _deliverable_key(self, job: Job, output: Output, encoding: ImageEncoding | None) -> str:
        if encoding is None or encoding.keeps(output.content_type):
            return output.key
        data = await self._convert(job, output, encoding)
        sha256, ext = hashlib.sha256(data).hexdigest(), EXTENSIONS[encoding.content_type]
        key = owned_object_key(OUTPUT_PREFIX, job.id, sha256, ext)
        await self._objects.put(key, data, encoding.content_type)
        await self._files.add_job_file(job.id, key)
        return key

    async def _load_file(self, job: Job, output: Output, encoding: ImageEncoding | None) -> FileContent:
        key, size = output.key, output.size
        if encoding is not None and not encoding.keeps(output.content_type):
            return FileContent.of(await self._convert(job, output, encoding))
        if size <= PIECE_BYTES:
            return FileContent.of(await self._objects.get(key))

        async def read(start: int, stop: int) -> bytes:
            async with self._slots.slot(job.account_id):
                return await retry_while_unavailable(
                    lambda: self._objects.read_range(key, start, stop), key, READ_PATIENCE_SECONDS
                )

        return FileContent(size, await self._objects.read_range(key, 0, PIECE_BYTES), read)

    async def _convert(self, job: Job, output: Output, encoding: ImageEncoding) -> bytes:
        """Return a converted image. Raises InvalidRequest if the format does not hold all of its frames."""
        data = await self._objects.get(output.key)
        try:
            converted = await asyncio.to_thread(encoding.encode, data)
        except (LosesFrames, ImageTooLarge) as error:
            raise InvalidRequest(
                f"The result cannot be delivered in this `output_format`: {error}. The file itself is an"
                f" output of job {job.id}: GET /api/v1/jobs/{job.id}",
                code="unsupported_output_format",
                param="output_format",
            ) from error
        return await self.marker.mark(job, converted, encoding.content_type)
