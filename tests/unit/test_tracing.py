"""Spans without a service: what belongs to what, which headers count, and what the environment asks for."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest

from comfy_instances.process.child import child_environment
from orchestrator.app.trace_export import wants_traces
from orchestrator.jobs import Job, JobError, JobRecord, JobStatus
from orchestrator.jobs.events import JobChanged
from orchestrator.jobs.traces import (
    TRACE_PARAM,
    in_trace_of,
    record_finished_job,
    trace_of,
    trace_params,
    traced,
)
from orchestrator.logs import JsonFormatter, TextFormatter
from orchestrator.tracing import (
    Span,
    SpanContext,
    TraceSink,
    current_span,
    is_tracing,
    parse_traceparent,
    record_span,
    set_trace_sink,
    span,
    trace_request,
)

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
NOW = datetime(2026, 11, 26, tzinfo=UTC)
JOB = Job(
    id="job_1",
    account_id="acct_1",
    key_id="key_1",
    model="sdxl-1.0",
    params={"n": 1},
    price=1,
    created_at=NOW,
)


@pytest.fixture
def spans() -> Iterator[list[Span]]:
    found: list[Span] = []
    set_trace_sink(TraceSink(found.append, lambda _, __, caller: caller is None or caller.is_sampled))
    yield found
    set_trace_sink(None)


@pytest.mark.parametrize(
    ("header", "is_sampled"),
    [
        (f"00-{TRACE}-{PARENT}-01", True),
        (f"00-{TRACE}-{PARENT}-00", False),
        (f" 01-{TRACE}-{PARENT}-03-x ", True),
    ],
)
def test_reads_the_context_of_a_caller(header: str, is_sampled: bool) -> None:
    assert parse_traceparent(header) == SpanContext(TRACE, PARENT, is_sampled)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "x",
        f"00-{TRACE}-{PARENT}",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-x",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\n00",
    ],
)
def test_ignores_malformed_headers(header: str | None) -> None:
    assert parse_traceparent(header) is None


def test_spans_belong_to_the_one_around_them(spans: list[Span]) -> None:
    with trace_request("GET /", None) as request, span("outer", {"a": 1}), span("inner") as inner:
        inner.attributes["b"] = True
    found = {one.name: one for one in spans}
    assert {one.context.trace_id for one in spans} == {request.trace_id}
    assert found["GET /"].parent_id is None
    assert found["outer"].parent_id == found["GET /"].context.span_id
    assert found["inner"].parent_id == found["outer"].context.span_id
    assert (found["outer"].attributes, found["inner"].attributes) == ({"a": 1}, {"b": True})
    assert [one.kind for one in spans] == ["internal", "internal", "server"]


def test_an_error_is_named_by_its_class_only(spans: list[Span]) -> None:
    def fail() -> None:
        with trace_request("GET /", None), span("step"):
            raise ValueError("a secret prompt")

    with pytest.raises(ValueError, match="secret"):
        fail()
    assert [one.error for one in spans] == ["ValueError", "ValueError"]


def test_nothing_is_recorded_outside_of_a_trace_or_without_a_sink(spans: list[Span]) -> None:
    with span("alone"):
        record_span("past", 1, 2)
    with trace_request("GET /", SpanContext(TRACE, PARENT, is_sampled=False)) as request, span("quiet"):
        assert request.trace_id == TRACE
        assert trace_params() == {}
    assert spans == []
    set_trace_sink(None)
    with trace_request("GET /", None) as request, span("off"):
        assert len(request.trace_id) == 32
        assert (is_tracing(), current_span(), trace_params()) == (False, None, {})
    assert spans == []


def test_a_span_of_the_past_does_not_end_before_it_begins(spans: list[Span]) -> None:
    """Clocks of two machines may differ."""
    with trace_request("GET /", None):
        record_span("past", 10.0, 9.0)
    assert (spans[0].start, spans[0].end) == (10.0, 10.0)


async def test_a_job_keeps_its_trace_over_processes(spans: list[Span]) -> None:
    with trace_request("POST /", SpanContext(TRACE, PARENT)):
        request = current_span()
        stored = replace(JOB, params={"n": 1, **json.loads(json.dumps(trace_params()))})
    assert request is not None
    assert trace_of(stored) is not None
    assert trace_of(JOB) is None

    async def run() -> None:
        with span("attempt"):
            await asyncio.sleep(0)

    with trace_request("another request", None):
        await traced(stored, run())
        await traced(JOB, run())
    attempts = [one for one in spans if one.name == "attempt"]
    assert [one.context.trace_id for one in attempts] == [TRACE], "a job without a trace begins none"
    ended = stored.transition_to(JobStatus.RUNNING).transition_to(
        JobStatus.FAILED, finished_at=NOW + timedelta(seconds=3), error=JobError(code="stalled", message="m")
    )
    record_finished_job(JobChanged(record=JobRecord(job=ended, shards=()), final=False))
    record_finished_job(JobChanged(record=JobRecord(job=ended, shards=()), final=True))
    (job,) = [one for one in spans if one.name == "job"]
    assert job.parent_id == request.span_id
    assert job.context.span_id == attempts[0].parent_id
    assert (job.end - job.start, job.error) == (3.0, "stalled")


@pytest.mark.parametrize("stored", [None, "x", {}, {"job": 3}, {"job": "00-x"}])
def test_a_damaged_trace_of_a_job_is_none(stored: object) -> None:
    assert trace_of(replace(JOB, params={TRACE_PARAM: stored})) is None


def test_log_lines_name_the_trace(spans: list[Span]) -> None:
    stored = replace(JOB, params={TRACE_PARAM: {"job": f"00-{TRACE}-{PARENT}-01", "parent": None}})
    lines = {}
    for name, formatter in (("json", JsonFormatter()), ("text", TextFormatter())):
        stream = StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(formatter)
        logger = logging.getLogger(f"orchestrator.test.{name}")
        logger.addHandler(handler)
        with in_trace_of(stored):
            logger.warning("in")
        logger.warning("out")
        logger.removeHandler(handler)
        lines[name] = stream.getvalue().splitlines()
    inside, outside = (json.loads(line) for line in lines["json"])
    assert (inside["trace_id"], inside["span_id"]) == (TRACE, PARENT)
    assert "trace_id" not in outside
    assert TRACE in lines["text"][0]
    assert TRACE not in lines["text"][1]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "console, otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, False),
    ],
)
def test_traces_are_sent_where_the_environment_asks_for_it(
    environment: dict[str, str], expected: bool
) -> None:
    assert wants_traces(environment) is expected


def test_instances_do_not_get_the_headers_of_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    inherited = child_environment()
    assert "OTEL_EXPORTER_OTLP_HEADERS" not in inherited
    assert inherited["OTEL_SERVICE_NAME"] == "mine"
