"""The stream of a prediction: `logs` as the run goes on, `output` for each file, `done` at the end.

    event: output     data: the URL of a file
    event: logs       data: a line
    event: error      data: why the prediction failed
    event: done       data: {}, or {"reason": "error"} or {"reason": "canceled"}

Its address needs no key: clients send none. It works for as long as the key that created the prediction.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field

from aiohttp import web

from orchestrator.errors import NotAuthenticated, NotFound
from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.jobs.events import JobChanged, ShardProgress, StateSubscription
from orchestrator.web.auth import AUTH_CONTEXT
from orchestrator.web.dialects.job_logs import job_log_lines, progress_line
from orchestrator.web.dialects.replicate.views import PredictionViews
from orchestrator.web.http.event_stream import EventStream, open_event_stream
from orchestrator.web.http.stream_access import StreamAccess, end_on_revocation
from orchestrator.web.jobs.job_updates import JobUpdate, JobUpdates

_EVENT_ID = re.compile(r"([0-9]{1,9}):([0-9]{1,9})", re.ASCII)
_REASONS = {JobStatus.FAILED: {"reason": "error"}, JobStatus.CANCELLED: {"reason": "canceled"}}


async def stream_prediction(
    request: web.Request, record: JobRecord, updates: JobUpdates, views: PredictionViews
) -> web.StreamResponse:
    """Send the events of a prediction until it is finished. Raises NotFound, RateLimited."""
    job = record.job
    access = _access_of(request, record)
    if not await access.is_valid():
        raise NotAuthenticated("The API key that created the prediction was revoked or has expired")
    async with (
        request.app[AUTH_CONTEXT].open_streams.count(job.account_id),
        open_event_stream(request, {}) as (response, stream),
        aclosing(updates.stream(job.account_id, job.id, StateSubscription())) as changes,
        end_on_revocation(access),
    ):
        await _PredictionEvents.after(request, stream, views).send_all(changes)
    return response


def _access_of(request: web.Request, record: JobRecord) -> StreamAccess:
    auth = request.app[AUTH_CONTEXT]

    async def is_valid() -> bool:
        try:
            key = await auth.stream_keys.get_key(record.job.key_id)
        except NotFound:
            return False
        return key.is_usable(auth.accounts.now())

    return StreamAccess(account_id=record.job.account_id, is_valid=is_valid)


@dataclass(slots=True)
class _PredictionEvents:
    """Sends each line once, and each file once to a client that reconnects with the id of its last event.

    An id is the number of the event, and the number of files that were sent up to it: clients append the
    output that they read to what they have.
    """

    request: web.Request
    stream: EventStream
    views: PredictionViews
    #: Events and files that the client has.
    _count: int = 0
    _file_count: int = 0
    _lines: set[str] = field(default_factory=set)
    _files: set[str] = field(default_factory=set)

    @classmethod
    def after(cls, request: web.Request, stream: EventStream, views: PredictionViews) -> _PredictionEvents:
        """Return what goes on after the event that `Last-Event-ID` names."""
        found = _EVENT_ID.fullmatch(request.headers.get("Last-Event-ID", ""))
        count, files = (int(found[1]), int(found[2])) if found else (0, 0)
        return cls(request, stream, views, count, files)

    async def send_all(self, updates: AsyncIterator[JobUpdate]) -> None:
        async for update in updates:
            match update:
                case ShardProgress():
                    await self._send_line(progress_line(update))
                case JobChanged(record=record):
                    await self._send_state(record)

    async def _send_state(self, record: JobRecord) -> None:
        job = record.job
        if job.error is None:
            for line in job_log_lines(record, ()):
                await self._send_line(line)
        if job.status not in _REASONS:
            for output in record.outputs:
                if output.key in self._files:
                    continue
                self._files.add(output.key)
                if len(self._files) > self._file_count:
                    self._file_count = len(self._files)
                    url = self.views.delivery.url_of(job.id, output.key, self.request)
                    await self._send("output", url)
        if not job.is_finished:
            return
        if job.error is not None:
            await self._send("error", json.dumps({"detail": job.error.message}))
        await self._send("done", json.dumps(_REASONS.get(job.status, {})))

    async def _send_line(self, line: str) -> None:
        if line not in self._lines:
            self._lines.add(line)
            await self._send("logs", f"{line}\n")

    async def _send(self, event: str, text: str) -> None:
        self._count += 1
        await self.stream.send_text(event, text, event_id=f"{self._count}:{self._file_count}")
