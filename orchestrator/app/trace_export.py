"""Sends spans by OpenTelemetry, as its standard variables say (`OTEL_*`).

The packages of the extra `otel` are imported only where an address is set.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from orchestrator.logs import hide_secret
from orchestrator.settings import SettingsError
from orchestrator.tracing import Span, SpanContext, TraceSink, set_trace_sink
from orchestrator.version import installed_version

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import SpanContext as OtelContext

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
SERVICE_NAME = "pixelfactory"
SCOPE = "orchestrator"


def wants_traces(environment: Mapping[str, str]) -> bool:
    """Return whether the standard variables ask for traces by OTLP."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = environment.get("OTEL_TRACES_EXPORTER", "otlp").split(",")
    if "otlp" not in (name.strip().lower() for name in exporters):
        return False
    return any(environment.get(name, "").strip() for name in _ENDPOINTS)


def start_tracing(role: str) -> None:
    """Record and send the spans of this process, if the environment asks for it. Raises SettingsError."""
    if not wants_traces(os.environ):
        return
    for name in _HEADERS:
        for pair in os.environ.get(name, "").split(","):
            hide_secret(pair.partition("=")[2].strip())
    try:
        exporter = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter").OTLPSpanExporter()
        sdk = import_module("opentelemetry.sdk.trace")
        batching = import_module("opentelemetry.sdk.trace.export")
    except ImportError as error:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed:"
            " pip install 'pixel-factory[otel]', or unset the variable"
        ) from error
    except ValueError as error:
        raise SettingsError(f"the variables OTEL_EXPORTER_OTLP_* cannot be used: {error}") from error
    # The provider is only asked for what the environment says: our spans may be of the past, and their ids
    # are stored with the jobs, which its tracers do not allow.
    provider = sdk.TracerProvider(resource=_describe_process(role), shutdown_on_exit=False)
    processor = batching.BatchSpanProcessor(exporter)
    atexit.register(processor.shutdown)
    converter = _SpanConverter(provider)
    set_trace_sink(TraceSink(lambda span: processor.on_end(converter.convert(span)), converter.is_sampled))


def _describe_process(role: str) -> Any:
    resources = import_module("opentelemetry.sdk.resources")
    attributes = {"service.version": installed_version(), "pixelfactory.role": role}
    named = "service.name" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not named and not os.environ.get("OTEL_SERVICE_NAME"):
        attributes["service.name"] = SERVICE_NAME
    return resources.Resource.create(attributes)


class _SpanConverter:
    """Makes OpenTelemetry's spans of ours."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._api = import_module("opentelemetry.trace")
        self._sdk = import_module("opentelemetry.sdk.trace")
        scopes = import_module("opentelemetry.sdk.util.instrumentation")
        self._scope = scopes.InstrumentationScope(SCOPE, installed_version())

    def is_sampled(self, trace_id: str, name: str, caller: SpanContext | None) -> bool:
        """Return what the sampler of `OTEL_TRACES_SAMPLER` decides; by default what the caller did."""
        parent = None
        if caller is not None:
            remote = self._api.NonRecordingSpan(self._to_context(caller, is_remote=True))
            parent = self._api.set_span_in_context(remote)
        result: Any = self._provider.sampler.should_sample(parent, int(trace_id, 16), name)
        return bool(result.decision.is_sampled())

    def convert(self, span: Span) -> Any:
        """Return a span that has ended."""
        status = self._api.Status(self._api.StatusCode.ERROR, span.error) if span.error else None
        parent = None
        if span.parent_id is not None:
            parent = self._to_context(SpanContext(span.context.trace_id, span.parent_id))
        return self._sdk.ReadableSpan(
            name=span.name,
            context=self._to_context(span.context),
            parent=parent,
            resource=self._provider.resource,
            attributes=dict(span.attributes),
            kind=self._api.SpanKind.SERVER if span.kind == "server" else self._api.SpanKind.INTERNAL,
            instrumentation_scope=self._scope,
            status=status or self._api.Status(self._api.StatusCode.UNSET),
            start_time=round(span.start * 1e9),
            end_time=round(span.end * 1e9),
        )

    def _to_context(self, context: SpanContext, *, is_remote: bool = False) -> OtelContext:
        flags = self._api.TraceFlags(1 if context.is_sampled else 0)
        found: OtelContext = self._api.SpanContext(
            int(context.trace_id, 16), int(context.span_id, 16), is_remote=is_remote, trace_flags=flags
        )
        return found
