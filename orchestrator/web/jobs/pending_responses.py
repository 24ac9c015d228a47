"""Submit jobs, and record when their response was sent.

A response to a request without an idempotency key may be the only way to its job. The middleware sends it
itself, to the last byte, and records the outcome; the responses that a crash cut off are then known.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp.web_exceptions import HTTPBadRequest

from orchestrator.execution.results.responses import ResponseTracker
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import JobRecord, PendingResponse
from orchestrator.store import ApiKey
from orchestrator.web.jobs.wait_for_result import note_job
from orchestrator.web.protocols import JobService

#: OpenAI's SDKs number the tries of a request here; 0 is the first one. They send no idempotency key.
RETRY_COUNT_HEADER = "X-Stainless-Retry-Count"
#: Job and tracker of a request whose response is pending.
PENDING_KEY = web.RequestKey("pending_response", tuple[str, ResponseTracker])
#: Present if the response that is sent is an error.
UNSENT_KEY = web.RequestKey("unsent_response", bool)


async def submit_job(
    request: web.Request,
    service: JobService,
    key: ApiKey,
    generation_request: GenerationRequest,
    *,
    waits_for_result: bool,
) -> JobRecord:
    """Create the job of a request, or return the one that it repeats. Raises as `JobService.submit` does."""
    pending = PendingResponse.RESULT if waits_for_result else PendingResponse.ID
    record = await service.submit(
        key, replace(generation_request, pending_response=pending, is_retry=is_sdk_retry(request))
    )
    note_job(request, record)
    if record.job.pending_response is not None:
        request[PENDING_KEY] = (record.job.id, service.responses)
    return record


def is_sdk_retry(request: web.Request) -> bool:
    """Whether an SDK sends this request again after a failed try."""
    count = request.headers.get(RETRY_COUNT_HEADER, "")
    return count.isascii() and count.isdigit() and int(count[:9]) > 0


def keep_pending(request: web.Request) -> None:
    """Say that the response does not bring what it should, although it is sent to its end."""
    request[UNSENT_KEY] = True


@web.middleware
async def pending_response_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Send the response of a request that created a job, and record whether that succeeded."""
    try:
        response = await handler(request)
        if PENDING_KEY in request:
            await _send_to_the_end(request, response)
    except (asyncio.CancelledError, ConnectionError):
        if PENDING_KEY in request:
            job_id, responses = request[PENDING_KEY]
            responses.record_lost(job_id)
        raise
    except BaseException:
        # The job still waits for a connection that brings it, or for its refund.
        if PENDING_KEY in request:
            job_id, responses = request[PENDING_KEY]
            responses.end(job_id)
        raise
    if PENDING_KEY in request:
        job_id, responses = request[PENDING_KEY]
        if UNSENT_KEY in request or response.status >= HTTPBadRequest.status_code:
            responses.end(job_id)
        else:
            responses.record_sent(job_id)
    return response


async def _send_to_the_end(request: web.Request, response: web.StreamResponse) -> None:
    """Return when the operating system has taken the last byte. Raises ConnectionError."""
    writer = await response.prepare(request)
    await response.write_eof()
    transport = request.transport
    if writer is None or transport is None:
        return
    # Without a limit of zero the last bytes may still be in this process.
    transport.set_write_buffer_limits(high=0)
    try:
        await writer.drain()
    finally:
        transport.set_write_buffer_limits()
