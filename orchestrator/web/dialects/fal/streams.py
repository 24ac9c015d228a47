"""Streams of fal's API: the states of a request, and unfinished images of a run."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from aiohttp import web

from orchestrator.errors import ServiceError, ServiceUnavailable
from orchestrator.jobs import JobRecord
from orchestrator.jobs.events import JobChanged, ShardPreview, StateSubscription
from orchestrator.web.auth import AUTH_CONTEXT, get_stream_access
from orchestrator.web.dialects.error_responses import to_error_response
from orchestrator.web.dialects.fal import translation as fal
from orchestrator.web.dialects.fal.views import FalViews
from orchestrator.web.dialects.ids import job_id_to_uuid
from orchestrator.web.http.event_stream import EventStream, open_event_stream
from orchestrator.web.http.response_model import to_json_dict
from orchestrator.web.http.stream_access import end_on_revocation
from orchestrator.web.jobs.job_updates import JobUpdate, JobUpdates
from orchestrator.web.jobs.wait_for_result import cancel_on_disconnect, job_headers
from orchestrator.web.protocols import JobWaiter


async def stream_status(
    request: web.Request, record: JobRecord, updates: JobUpdates, views: FalViews, *, with_logs: bool
) -> web.StreamResponse:
    """Send the state of a request whenever it changes, until it is completed. Raises RateLimited."""

    def describe(current: JobRecord) -> dict[str, Any]:
        return to_json_dict(views.status(current, request, updates, with_logs=with_logs))

    job = record.job
    access, open_streams = get_stream_access(request), request.app[AUTH_CONTEXT].open_streams
    async with (
        open_streams.count(job.account_id),
        open_event_stream(request, {}) as (response, stream),
        aclosing(updates.stream(job.account_id, job.id, StateSubscription())) as changes,
    ):
        try:
            async with end_on_revocation(access):
                await _send_states(stream, record, changes, describe)
        except ServiceError as error:
            await _send_error(request, stream, error)
    return response


async def stream_request(
    request: web.Request, record: JobRecord, jobs: JobWaiter, updates: JobUpdates, views: FalViews
) -> web.StreamResponse:
    """Send the sampler's previews of a run, then its result or its error. Raises RateLimited."""
    job = record.job
    access, open_streams = get_stream_access(request), request.app[AUTH_CONTEXT].open_streams
    headers = {"X-Fal-Request-Id": job_id_to_uuid(job.id), **job_headers(record)}
    async with (
        cancel_on_disconnect(jobs, record),
        open_streams.count(job.account_id),
        open_event_stream(request, headers) as (response, stream),
        aclosing(updates.stream(job.account_id, job.id)) as changes,
    ):
        try:
            async with end_on_revocation(access):
                finished = await _send_previews(stream, changes)
                result = await views.result(fal.require_result(finished), request)
                await stream.send(None, to_json_dict(result))
        except ServiceError as error:
            await _send_error(request, stream, error)
    return response


async def _send_states(
    stream: EventStream,
    record: JobRecord,
    changes: AsyncIterator[JobUpdate],
    describe: Callable[[JobRecord], dict[str, Any]],
) -> None:
    """Send what describes the record after each change, unless it is what was sent before.

    Of its logs, a state has the lines that are new: clients append those of each event to the earlier ones.
    """
    previous: dict[str, Any] = {}
    sent_lines: set[str] = set()
    async for change in changes:
        record = change.record if isinstance(change, JobChanged) else record
        state = describe(record)
        if state != previous:
            previous = state
            await stream.send(None, _with_new_logs(state, sent_lines))


def _with_new_logs(state: dict[str, Any], sent_lines: set[str]) -> dict[str, Any]:
    """Return a state without the log lines that were sent before, and remember the others."""
    if state.get("logs") is None:
        return state
    new = [line for line in state["logs"] if line["message"] not in sent_lines]
    sent_lines.update(line["message"] for line in new)
    return {**state, "logs": new}


async def _send_previews(stream: EventStream, changes: AsyncIterator[JobUpdate]) -> JobRecord:
    """Send previews until the job is finished, and return its record. Raises ServiceUnavailable."""
    async for change in changes:
        if isinstance(change, ShardPreview):
            await stream.send(None, _to_partial(change))
        elif isinstance(change, JobChanged) and change.record.job.is_finished:
            return change.record
    raise ServiceUnavailable("The service is shutting down; retry", code="shutting_down", retry_after=5)


def _to_partial(preview: ShardPreview) -> dict[str, Any]:
    """Return an unfinished image in the form of a result."""
    encoded = base64.b64encode(preview.data).decode("ascii")
    url = f"data:{preview.content_type};base64,{encoded}"
    return {"images": [{"url": url, "content_type": preview.content_type}], "partial": True}


async def _send_error(request: web.Request, stream: EventStream, error: ServiceError) -> None:
    _, body = to_error_response(request.path, error)
    await stream.send_last("error", body)
