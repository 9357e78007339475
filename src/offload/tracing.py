"""Spans as OpenTelemetry has them, sent in batches to a collector by OTLP over HTTP; an extra."""

import asyncio
import logging
from collections.abc import Mapping
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, set_span_in_context
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind as OtelKind

from offload.core.task import Seconds
from offload.ports.tracing import Attributes, SpanKind

log = logging.getLogger("offload.tracing")

SERVICE = "offload"
TRACES_PATH = "/v1/traces"
SEND_SECONDS = 5
"""How long a collector may take; what it does not take is dropped."""
STOP_SECONDS = 3.0
KINDS = {
    SpanKind.SERVER: OtelKind.SERVER,
    SpanKind.CLIENT: OtelKind.CLIENT,
    SpanKind.CONSUMER: OtelKind.CONSUMER,
    SpanKind.INTERNAL: OtelKind.INTERNAL,
}


class OtelTracer:
    """Hands spans to the SDK, whose own thread sends them. Its variables (OTEL_…) are read by the SDK itself."""

    def __init__(self, exporter: SpanExporter, *, node: str, version: str, service: str = SERVICE) -> None:
        about = {"service.name": service, "service.version": version, "service.instance.id": node}
        self._provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(SERVICE, version)

    def begin(
        self, name: str, kind: SpanKind, *, parent: str, at: Seconds, attributes: Attributes | None = None
    ) -> "OtelTracedSpan":
        above = set_span_in_context(NonRecordingSpan(_context_of(parent)), Context()) if parent else Context()
        begun = self._tracer.start_span(
            name, context=above, kind=KINDS[kind], attributes=dict(attributes or {}), start_time=_nanoseconds(at)
        )
        return OtelTracedSpan(begun)

    async def stop(self) -> None:
        """Send what is left, as far as somebody takes it in time."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.to_thread(self._provider.shutdown)
        except TimeoutError:
            log.warning("the last spans could not be sent in time")


class OtelTracedSpan:
    """One span of the SDK's."""

    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        context = span.get_span_context()
        self._traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags) & 1:02x}"

    @property
    def traceparent(self) -> str:
        return self._traceparent

    def end(self, at: Seconds, *, attributes: Attributes | None = None, error: str = "") -> None:
        if attributes:
            self._span.set_attributes(dict(attributes))
            if "http.route" in attributes:  # known only now
                self._span.update_name(f"{attributes['http.request.method']} {attributes['http.route']}")
        if error:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end(_nanoseconds(at))


def exporter_to(url: str, environ: Mapping[str, str]) -> SpanExporter:
    """Return what sends spans to a collector; a bare address gets the usual path."""
    parts = urlsplit(url)
    endpoint = url if parts.path.strip("/") else f"{url.rstrip('/')}{TRACES_PATH}"
    own = environ.get("OTEL_EXPORTER_OTLP_TIMEOUT") or environ.get("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
    return OTLPSpanExporter(endpoint=endpoint, timeout=None if own else SEND_SECONDS)


def _context_of(traceparent: str) -> SpanContext:
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _nanoseconds(at: Seconds) -> int:
    return int(at * 1e9)
