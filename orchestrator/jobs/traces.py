"""The trace of a job: stored with it, so that all processes that work for it record spans of one trace."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from contextlib import AbstractContextManager
from typing import Any

from orchestrator.jobs.events import ExecutionEvent, JobChanged
from orchestrator.jobs.job import Job, JobRecord
from orchestrator.jobs.status import JobStatus
from orchestrator.tracing import (
    Span,
    SpanContext,
    current_span,
    in_context,
    new_span_id,
    parse_traceparent,
    record_own_span,
)

#: Name of the parameter of a job that holds its trace. No parameter of a model has a name like it.
TRACE_PARAM = "@trace"


def trace_params() -> dict[str, Any]:
    """Return the parameters by which a job that is accepted now belongs to the current trace."""
    parent = current_span()
    if parent is None:
        return {}
    job = SpanContext(parent.trace_id, new_span_id())
    return {TRACE_PARAM: {"job": job.to_traceparent(), "parent": parent.span_id}}


def trace_of(job: Job) -> SpanContext | None:
    """Return the span of a job; None if its request was not traced."""
    stored = job.params.get(TRACE_PARAM)
    return parse_traceparent(str(stored.get("job"))) if isinstance(stored, Mapping) else None


def in_trace_of(job: Job) -> AbstractContextManager[None]:
    """Let spans and log lines in the block belong to a job's trace, or to none."""
    return in_context(trace_of(job))


async def traced(job: Job, coroutine: Coroutine[Any, Any, None]) -> None:
    """Await a coroutine in a job's trace."""
    with in_trace_of(job):
        await coroutine


def record_finished_job(event: ExecutionEvent) -> None:
    """Record the span of a job whose end this process has stored (an observer of events)."""
    if isinstance(event, JobChanged) and event.final:
        _record(event.record)


def _record(record: JobRecord) -> None:
    job, context = record.job, trace_of(record.job)
    if context is None or job.finished_at is None:
        return
    failure = job.error.code if job.error is not None else "failed"
    record_own_span(
        Span(
            name="job",
            context=context,
            parent_id=job.params[TRACE_PARAM].get("parent"),
            start=job.created_at.timestamp(),
            end=job.finished_at.timestamp(),
            attributes={
                "pixelfactory.job.id": job.id,
                "pixelfactory.job.status": str(job.status),
                "pixelfactory.job.shards": len(record.shards),
                "pixelfactory.model": job.model,
                "pixelfactory.account.id": job.account_id,
            },
            error=failure if job.status is JobStatus.FAILED else None,
        )
    )
