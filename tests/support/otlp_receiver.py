"""A receiver of OpenTelemetry's traces by HTTP, which reads the protocol with the official package."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from tests.support.polling import wait_until_sync


@dataclass(frozen=True)
class ReceivedSpan:
    """One span of a trace."""

    name: str
    trace_id: str
    span_id: str
    #: Empty for the first span of a trace.
    parent_id: str
    start: int
    end: int
    #: 2 for a server's.
    kind: int
    #: 2 for an error.
    status: int
    attributes: dict[str, Any]
    #: Of the process.
    resource: dict[str, Any]


@dataclass
class OtlpReceiver:
    """What was received, and how to have a process send to it."""

    url: str
    spans: list[ReceivedSpan] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables by which a process sends to it; none without the packages of the extra."""
        if find_spec("opentelemetry") is None:
            return {}
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20token-of-the-collector",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }

    def trace(self, trace_id: str) -> list[ReceivedSpan]:
        """Return the spans of a trace by the time of their start."""
        found = [span for span in list(self.spans) if span.trace_id == trace_id]
        return sorted(found, key=lambda span: span.start)

    def wait_for(self, trace_id: str, *names: str) -> list[ReceivedSpan]:
        """Return a trace once it has spans of these names."""
        wait_until_sync(lambda: set(names) <= {span.name for span in self.trace(trace_id)})
        return self.trace(trace_id)


@contextmanager
def receiving_traces() -> Iterator[OtlpReceiver]:
    """Run a receiver on a free port."""
    receiver: OtlpReceiver

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.authorizations.add(self.headers.get("Authorization", ""))
            protocol = import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
            message = protocol.ExportTraceServiceRequest.FromString(body)
            for part in message.resource_spans:
                resource = _attributes(part.resource.attributes)
                for scope in part.scope_spans:
                    receiver.spans.extend(_read(span, resource) for span in scope.spans)
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Be silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = OtlpReceiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _read(span: Any, resource: dict[str, Any]) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        kind=span.kind,
        status=span.status.code,
        attributes=_attributes(span.attributes),
        resource=resource,
    )


def _attributes(rows: Any) -> dict[str, Any]:
    return {row.key: getattr(row.value, row.value.WhichOneof("value")) for row in rows}
