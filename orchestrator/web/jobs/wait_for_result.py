"""Wait for the result of a job, cancel it when the caller disconnects, and read idempotency keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from orchestrator.errors import (
    JOB_ID_HEADER,
    ContentBlocked,
    GenerationFailed,
    InvalidRequest,
    ServiceUnavailable,
)
from orchestrator.jobs import FailureKind, JobRecord, JobStatus
from orchestrator.web.protocols import JobWaiter

SIMULATED_HEADER = "X-PixelFactory-Simulated"
WARNINGS_HEADER = "X-PixelFactory-Warnings"
#: The job that a request is about.
JOB_KEY = web.RequestKey("job_record", JobRecord)
#: Returns whether all instances are simulators.
SIMULATES_KEY: web.AppKey[Callable[[], bool]] = web.AppKey("simulates", Callable)  # type: ignore[arg-type]
#: Characters; clients limit the size of headers.
MAX_WARNINGS_LENGTH = 2000
MAX_IDEMPOTENCY_KEY_LENGTH = 255


def parse_idempotency_key(request: web.Request) -> str | None:
    """Return the header `Idempotency-Key`, or None. Raises InvalidRequest (`invalid_idempotency_key`)."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 0 < len(key) <= MAX_IDEMPOTENCY_KEY_LENGTH:
        raise InvalidRequest(
            f"`Idempotency-Key` must have 1 to {MAX_IDEMPOTENCY_KEY_LENGTH} characters (got {len(key)})",
            code="invalid_idempotency_key",
            param="Idempotency-Key",
        )
    return key


def job_headers(record: JobRecord) -> dict[str, str]:
    """Return the headers of every response about a job.

    They are its id, whether a simulator made its result, and what of the request had no effect.
    """
    headers = {JOB_ID_HEADER: record.job.id}
    if record.is_simulated:
        headers[SIMULATED_HEADER] = "true"
    if record.job.warnings:
        headers[WARNINGS_HEADER] = to_header_text("; ".join(record.job.warnings))
    return headers


def note_job(request: web.Request, record: JobRecord) -> JobRecord:
    """Say that the request is about a job, so that every response to it carries the headers of the job."""
    request[JOB_KEY] = record
    return record


async def set_job_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Set the headers of the job that a response is about: errors and streams too (`on_response_prepare`)."""
    record = request.get(JOB_KEY)
    if record is None:
        return
    for name, value in job_headers(record).items():
        response.headers.setdefault(name, value)
    # The result does not exist yet, but will be a placeholder if there is nothing else than simulators.
    if record.job.status is not JobStatus.SUCCEEDED and request.app[SIMULATES_KEY]():
        response.headers.setdefault(SIMULATED_HEADER, "true")


def to_header_text(text: str) -> str:
    """Return a text as the value of a header: printable ASCII, and not too long."""
    printable = "".join(character if " " <= character <= "~" else "?" for character in text)
    return printable[:MAX_WARNINGS_LENGTH]


@asynccontextmanager
async def cancel_on_disconnect(jobs: JobWaiter, record: JobRecord) -> AsyncIterator[None]:
    """Cancel the job if the caller disconnects or the service stops while the block runs.

    A job with an idempotency key continues: its caller can repeat the request and get the result.
    """
    try:
        yield
    except (asyncio.CancelledError, ConnectionError, ServiceUnavailable):
        if record.job.idempotency_key is None:
            await jobs.abandon_job(record.job.id)
        raise


async def wait_for_result(jobs: JobWaiter, record: JobRecord) -> JobRecord:
    """Return the job once it has succeeded. Raises GenerationFailed, ContentBlocked, ServiceUnavailable."""
    async with cancel_on_disconnect(jobs, record):
        return require_success(await jobs.wait_for_job(record.job.id))


def require_success(record: JobRecord) -> JobRecord:
    """Return a finished job that has succeeded.

    Raises ContentBlocked if its outputs violate the content policy, InvalidRequest if the requested format
    does not hold them, GenerationFailed if it failed or was
    cancelled.
    """
    job = record.job
    if job.status is JobStatus.SUCCEEDED:
        return record
    headers = job_headers(record)
    if job.error is None:
        raise GenerationFailed("The job was cancelled before it finished", code="cancelled", headers=headers)
    if job.error.code == ContentBlocked.default_code:
        raise ContentBlocked(job.error.message, headers=headers)
    if job.error.code == FailureKind.UNSUPPORTED_FORMAT:
        raise InvalidRequest(job.error.message, code=job.error.code, param="output_format", headers=headers)
    raise GenerationFailed(job.error.message, code=job.error.code, headers=headers)
