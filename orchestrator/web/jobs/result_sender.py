"""Sends stored results to callers, in chunks and fairly between accounts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from aiohttp import web

from orchestrator.fair_slots import FairSlots, SlowUses
from orchestrator.jobs import JobRecord
from orchestrator.media.errors import ObjectStoreError
from orchestrator.storage.object_store import ObjectStore
from orchestrator.web.http.errors import cut_off
from orchestrator.web.http.ranges import (
    FileInfo,
    build_head_response,
    build_range_headers,
    check_file_preconditions,
    parse_range,
)

#: Each download holds one chunk of its file. A client that reads slowly does not keep others waiting.
DOWNLOAD_SLOTS, SLOTS_PER_ACCOUNT, MAX_SLOW_DOWNLOADS = 64, 32, 192
SLOW_AFTER_SECONDS = 5.0
MAX_WAITING_DOWNLOADS = 1024


class ResultSender:
    """Sends objects of jobs, and records how many bytes it has sent."""

    def __init__(self, objects: ObjectStore, record_bytes_sent: Callable[[JobRecord, int], None]) -> None:
        self.objects = objects
        self._record_bytes_sent = record_bytes_sent
        self._slots = FairSlots(
            "downloads",
            DOWNLOAD_SLOTS,
            per_account=SLOTS_PER_ACCOUNT,
            max_waiting=MAX_WAITING_DOWNLOADS,
            slow=SlowUses(SLOW_AFTER_SECONDS, MAX_SLOW_DOWNLOADS),
        )

    async def file_info(self, key: str, filename: str | None = None, *, attachment: bool = False) -> FileInfo:
        """Return what headers say about an object; browsers save an `attachment` instead of showing it.

        Raises ObjectNotFound.
        """
        stat = await self.objects.stat(key)
        return FileInfo(
            size=stat.size,
            content_type=stat.content_type,
            filename=filename or key.rpartition("/")[2],
            etag=stat.etag,
            attachment=attachment,
        )

    async def send(
        self, request: web.Request, record: JobRecord, key: str, info: FileInfo
    ) -> web.StreamResponse:
        """Send an object, or the part of it that the request names; its headers only upon HEAD.

        304 and 412 upon conditions of the request. Raises ObjectNotFound, TooManyWaiting.
        """
        unsent = check_file_preconditions(request, info)
        if unsent is not None:
            return unsent
        if request.method == "HEAD":
            return build_head_response(info)
        requested = parse_range(request, info)
        status, headers = build_range_headers(info, requested)
        part = range(info.size) if requested is None else requested
        if not part:
            return web.Response(status=status, headers=headers)
        response = web.StreamResponse(status=status, headers=headers)
        response.content_type, response.content_length = info.content_type, len(part)
        async with self._slots.slot(record.job.account_id):
            await self._stream(request, response, record, key, part)
        return response

    async def _stream(
        self, request: web.Request, response: web.StreamResponse, record: JobRecord, key: str, part: range
    ) -> None:
        sent = 0
        try:
            async with aclosing(self.objects.read_chunks(key, part.start, part.stop)) as chunks:
                async for chunk in chunks:
                    await _write(request, response, chunk)
                    sent += len(chunk)
        except ObjectStoreError as error:
            if not response.prepared:
                raise
            raise cut_off(request, error) from error
        finally:
            if sent:
                self._record_bytes_sent(record, sent)


async def _write(request: web.Request, response: web.StreamResponse, chunk: bytes) -> None:
    """Send a chunk, after the headers if it is the first: until then, an error is a response of its own."""
    if not response.prepared:
        await response.prepare(request)
    await response.write(chunk)
