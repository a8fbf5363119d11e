"""OpenTelemetry spans of HTTP requests, operations, and requests to registries.

Sources: OpenTelemetry's semantic conventions for HTTP spans and for GraphQL server spans. For confidentiality, spans
omit the registries' ``server.address`` and ``url.full``, ``graphql.document``, and the texts of exceptions; the hash
of the document is in ``graphql.document.hash``. Registries never receive trace headers.

The library is an optional extra. It is imported only if traces are configured.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway import __version__
from gateway.config.settings import SettingsError
from gateway.errors import NotFound, RegistryError
from gateway.telemetry.events import Attempt
from gateway.telemetry.operation_log import Exchange, OperationReport
from gateway.telemetry.request_ids import Identity

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

EXPORT_TIMEOUT = 2.0
"""Seconds to export a batch of spans, retries included. Shutdown may wait this long."""

TRACES_PATH = "/v1/traces"
"""Where a collector receives traces, below its address. Source: OTLP 1.5, OTLP/HTTP request."""

METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}


class Tracing:
    """Sends spans to the collector at ``url`` by OTLP over HTTP.

    OpenTelemetry reads its other options, such as the sampler, from its own ``OTEL_`` environment variables.

    Raises `SettingsError` if the extra is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
        except ImportError:
            reason = "telemetry.traces: OpenTelemetry is not installed: pip install 'registry-gateway[otel]'"
            raise SettingsError((reason,)) from None
        self.trace = trace
        named = OTELResourceDetector().detect().attributes  # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
        ours = {"service.name": "registry-gateway", "service.version": __version__}
        resource = Resource.create({**ours, **named})
        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        endpoint = url.rstrip("/").removesuffix(TRACES_PATH) + TRACES_PATH
        self.exporter = OTLPSpanExporter(endpoint, timeout=EXPORT_TIMEOUT)
        self.exported = SpanExportResult.SUCCESS
        self.provider.add_span_processor(BatchSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("gateway", __version__)

    def reaches_collector(self) -> bool:
        """Whether the collector accepts traces: send it none. This may block for up to `EXPORT_TIMEOUT` seconds."""
        return self.exporter.export(()) is self.exported

    @contextmanager
    def span(
        self, name: str, span_kind: str, attributes: Mapping[str, Any], parent: "Context | None" = None
    ) -> "Iterator[Span]":
        """Open a span. Its parent is the current span unless ``parent`` is given."""
        with self.tracer.start_as_current_span(
            name,
            parent,
            self.trace.SpanKind[span_kind],
            {name: value for name, value in attributes.items() if value is not None},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span

    def fail(self, span: "Span", code: str) -> None:
        span.set_attribute("error.type", code)
        span.set_status(self.trace.StatusCode.ERROR)

    @contextmanager
    def request(self, exchange: Exchange) -> Iterator[None]:
        """Open a span for an HTTP request, and set the trace and span id of the request to the span's."""
        method = exchange.method if exchange.method in METHODS else "_OTHER"
        attributes = {"http.request.method": method}
        with self.span(method, "SERVER", attributes, self.parent(exchange.identity)) as span:
            context = span.get_span_context()
            ids = {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
            exchange.identity = replace(exchange.identity, **ids, sampled=context.trace_flags.sampled)
            try:
                yield
            finally:
                if exchange.path is not None:
                    span.update_name(f"{method} {exchange.path}")
                    span.set_attribute("http.route", exchange.path)
                if exchange.status is not None:
                    span.set_attribute("http.response.status_code", exchange.status)
                if exchange.status is None or exchange.status >= 500:
                    self.fail(span, str(exchange.status or "no answer"))

    def parent(self, identity: Identity) -> "Context":
        """Return the caller's span as the parent, or an empty context if the request had no `traceparent`."""
        from opentelemetry.context import Context

        if identity.parent_id is None:
            return Context()
        flags = self.trace.TraceFlags(identity.sampled)
        ids = int(identity.trace_id, 16), int(identity.parent_id, 16)
        remote = self.trace.SpanContext(*ids, is_remote=True, trace_flags=flags)
        return self.trace.set_span_in_context(self.trace.NonRecordingSpan(remote), Context())

    @contextmanager
    def operation(self, report: OperationReport) -> Iterator[None]:
        """Open a span for an operation."""
        with self.span("GraphQL operation", "INTERNAL", {}) as span:
            try:
                yield
            finally:
                if report.type != "unknown":
                    span.update_name(report.type)
                    span.set_attribute("graphql.operation.type", report.type)
                for name, value in (
                    ("graphql.operation.name", report.fields()["operation_name"]),
                    ("graphql.document.hash", report.document),
                    ("gateway.caller", report.caller),
                ):
                    if value is not None:
                        span.set_attribute(name, value)
                if report.codes:
                    self.fail(span, next(iter(report.codes)))

    @contextmanager
    def attempt(self, registry: str, call: str, method: str, attempt: Attempt) -> Iterator[None]:
        """Open a span for one request to a registry."""
        attributes = {
            "http.request.method": method,
            "http.request.resend_count": attempt.earlier or None,
            "gateway.registry": registry,
            "gateway.call": call,
        }
        with self.span(f"{method} {call}", "CLIENT", attributes) as span:
            try:
                yield
            except RegistryError as error:
                if not isinstance(error, NotFound):
                    self.fail(span, error.code)
                raise
            finally:
                if attempt.status is not None:
                    span.set_attribute("http.response.status_code", attempt.status)

    def close(self) -> None:
        """Send the remaining spans. This may block for up to `EXPORT_TIMEOUT` seconds."""
        self.provider.shutdown()
