"""Deliver finished outputs to the caller: as base64 in the response, or as links that expire."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
from collections.abc import Callable
from datetime import datetime, timedelta

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
from orchestrator.store.files import FileStore
from orchestrator.web.http.public_url import public_base_url

#: Files below this size (in bytes) are encoded inline; a thread would take longer.
MAX_INLINE_ENCODE_BYTES = 256 * 1024


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

    async def load_data_items(
        self,
        record: JobRecord,
        *,
        to_url: Callable[[str], str] | None = None,
        encoding: ImageEncoding | None = None,
    ) -> list[dict[str, str]]:
        """Return one `{"url": ...}` or `{"b64_json": ...}` per output; images are converted to `encoding`.

        `to_url` returns the URL of an object's key; None: base64. Images of a job that stored them in a
        format stay as they are.
        """
        encoding = None if record.job.output_type is not None else encoding

        async def load(output: Output) -> dict[str, str]:
            async with self._slots.slot(record.job.account_id):
                if to_url is not None:
                    return {"url": to_url(await self._deliverable_key(record.job, output, encoding))}
                return await self._to_base64_item(record.job, output, encoding)

        return list(await asyncio.gather(*(load(output) for output in record.outputs)))

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
        """Return the key of the output; a converted image is stored as a new object of the job first.

        Raises Gone if the job was removed meanwhile.
        """
        if encoding is None or encoding.keeps(output.content_type):
            return output.key
        data = await self._convert(job, output, encoding)
        sha256, ext = hashlib.sha256(data).hexdigest(), EXTENSIONS[encoding.content_type]
        key = owned_object_key(OUTPUT_PREFIX, job.id, sha256, ext)
        await self._objects.put(key, data, encoding.content_type)
        await self._files.add_job_file(job.id, key)
        return key

    async def _to_base64_item(
        self, job: Job, output: Output, encoding: ImageEncoding | None
    ) -> dict[str, str]:
        if encoding is None or encoding.keeps(output.content_type):
            data = await self._objects.get(output.key)
        else:
            data = await self._convert(job, output, encoding)
        return {"b64_json": await encode_base64(data)}

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


async def encode_base64(data: bytes) -> str:
    """Encode bytes as base64; large ones in a thread."""
    if len(data) < MAX_INLINE_ENCODE_BYTES:
        return base64.b64encode(data).decode("ascii")
    return (await asyncio.to_thread(base64.b64encode, data)).decode("ascii")
