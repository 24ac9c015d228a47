"""From an accepted job to its result: waiting for it, and giving it up with the caller who goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from orchestrator.errors import ContentBlocked, GenerationFailed, InvalidRequest, ServiceUnavailable
from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.service import GenerationService

JOB_ID_HEADER = "X-PixelFactory-Job"
SIMULATED_HEADER = "X-PixelFactory-Simulated"
MAX_IDEMPOTENCY_KEY_LENGTH = 255


def parse_idempotency_key(request: web.Request) -> str | None:
    """The caller's `Idempotency-Key`. Raises InvalidRequest."""
    given = request.headers.get("Idempotency-Key")
    if given is not None and not 0 < len(given) <= MAX_IDEMPOTENCY_KEY_LENGTH:
        raise InvalidRequest(
            f"`Idempotency-Key` must have 1 to {MAX_IDEMPOTENCY_KEY_LENGTH} characters",
            code="invalid_idempotency_key",
            param="Idempotency-Key",
        )
    return given


def job_headers(record: JobRecord) -> dict[str, str]:
    """What every answer about a generation carries."""
    return {JOB_ID_HEADER: record.job.id} | ({SIMULATED_HEADER: "true"} if record.is_simulated else {})


@asynccontextmanager
async def cancel_on_disconnect(service: GenerationService, record: JobRecord) -> AsyncIterator[None]:
    """A caller who goes away, or whom we can not serve to the end, gives the job up, unless an idempotency
    key says that it will ask again."""
    try:
        yield
    except (asyncio.CancelledError, ConnectionError, ServiceUnavailable):
        if record.job.idempotency_key is None:
            await asyncio.shield(service.cancel_job(record.job.id))
        raise


async def wait_for_result(service: GenerationService, record: JobRecord) -> JobRecord:
    """The job once it has succeeded. Raises GenerationFailed, ContentBlocked, ServiceUnavailable."""
    async with cancel_on_disconnect(service, record):
        return require_success(await service.wait_for_job(record.job.id))


def require_success(record: JobRecord) -> JobRecord:
    """The finished job. Raises GenerationFailed where it came to nothing, ContentBlocked where its outputs
    were
    refused."""
    if record.job.status is JobStatus.SUCCEEDED:
        return record
    if record.job.error and record.job.error.code == ContentBlocked.default_code:
        raise ContentBlocked(record.job.error.message)
    if record.job.error:
        raise GenerationFailed(record.job.error.message, code=record.job.error.code)
    raise GenerationFailed("The job was cancelled", code="cancelled")
