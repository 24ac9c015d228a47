"""Spans of requests and jobs. Without a sink nothing is recorded, and everything here costs next to nothing.

`orchestrator/app/trace_export.py` sends the spans by OpenTelemetry. A job's trace goes through several
processes, and over restarts: its context is stored with the job.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import time
from typing import Literal

SpanKind = Literal["internal", "server"]
AttributeValue = str | int | float | bool
Attributes = dict[str, AttributeValue]
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class SpanContext:
    """Where spans belong: the trace, and the span above them."""

    #: 32 and 16 hexadecimal digits.
    trace_id: str
    span_id: str
    is_sampled: bool = True

    def to_traceparent(self) -> str:
        """Return the value of the header `traceparent` (W3C Trace Context)."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.is_sampled else '00'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A span that has ended."""

    name: str
    context: SpanContext
    #: Id of the span above it; None for the first one of a trace.
    parent_id: str | None
    #: Unix time in seconds.
    start: float
    end: float
    kind: SpanKind = "internal"
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    #: What failed; None for a success.
    error: str | None = None


@dataclass(slots=True)
class OpenSpan:
    """A span that is being recorded, or would be; what its block sets here is recorded with it."""

    name: str
    trace_id: str
    attributes: Attributes = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class TraceSink:
    """Takes what is recorded."""

    export: Callable[[Span], None]
    #: Decides at the start of a trace by its id, the span's name and the caller's context.
    is_sampled: Callable[[str, str, SpanContext | None], bool]


_sink: TraceSink | None = None
_current: ContextVar[SpanContext | None] = ContextVar("span", default=None)


def set_trace_sink(sink: TraceSink | None) -> None:
    """Record spans of this process from now on; None ends that."""
    global _sink
    _sink = sink


def is_tracing() -> bool:
    """Return whether spans are recorded."""
    return _sink is not None


def current_span() -> SpanContext | None:
    """Return the span to which what happens now belongs; None outside of sampled traces."""
    return _current.get() if _sink is not None else None


def parse_traceparent(header: str | None) -> SpanContext | None:
    """Return the context of a caller; None for a header that is missing or malformed."""
    found = _TRACEPARENT.fullmatch(header.strip()) if header else None
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    if not int(found[2], 16) or not int(found[3], 16):
        return None
    return SpanContext(found[2], found[3], bool(int(found[4], 16) & 1))


def new_span_id() -> str:
    """Return the id of a new span."""
    return secrets.token_hex(8)


@contextmanager
def in_context(context: SpanContext | None) -> Iterator[None]:
    """Let spans in the block belong to a context; None: to no trace."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def trace_request(name: str, caller: SpanContext | None) -> Iterator[OpenSpan]:
    """Record the block as a request of its caller's trace, or of a new one.

    The trace has an id whether or not it is recorded.
    """
    found = OpenSpan(name, secrets.token_hex(16) if caller is None else caller.trace_id)
    if _sink is None or not _sink.is_sampled(found.trace_id, name, caller):
        with in_context(None):
            yield found
        return
    parent_id = None if caller is None else caller.span_id
    with _recording(found, parent_id, "server"):
        yield found


@contextmanager
def span(name: str, attributes: Mapping[str, AttributeValue] | None = None) -> Iterator[OpenSpan]:
    """Record the block as a span of the current one, if there is one."""
    parent = current_span()
    found = OpenSpan(name, "" if parent is None else parent.trace_id, dict(attributes or {}))
    if parent is None:
        yield found
        return
    with _recording(found, parent.span_id, "internal"):
        yield found


@contextmanager
def _recording(found: OpenSpan, parent_id: str | None, kind: SpanKind) -> Iterator[None]:
    context, started = SpanContext(found.trace_id, new_span_id()), time()
    try:
        with in_context(context):
            yield
    except BaseException as error:
        # Not its message, which may hold what callers wrote.
        found.error = type(error).__name__
        raise
    finally:
        if _sink is not None:
            _sink.export(
                Span(
                    name=found.name,
                    context=context,
                    parent_id=parent_id,
                    start=started,
                    end=max(started, time()),
                    kind=kind,
                    attributes=found.attributes,
                    error=found.error,
                )
            )


def record_span(
    name: str, start: float, end: float, attributes: Mapping[str, AttributeValue] | None = None
) -> None:
    """Record what has happened already as a span of the current one, if there is one. Times are Unix time."""
    parent = current_span()
    if parent is not None:
        record_own_span(
            Span(
                name=name,
                context=SpanContext(parent.trace_id, new_span_id()),
                parent_id=parent.span_id,
                start=start,
                end=max(start, end),
                attributes=attributes or {},
            )
        )


def record_own_span(ended: Span) -> None:
    """Record a span whose context is its own."""
    if _sink is not None:
        _sink.export(ended)
