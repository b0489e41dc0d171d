"""Spans for OpenTelemetry: one for each request, below it one for each stage of a search.

Off unless the setting ``tracing`` says otherwise; we import its packages only then. Everything else is set by
OpenTelemetry's own variables: ``OTEL_EXPORTER_OTLP_ENDPOINT`` (and ``_HEADERS``), ``OTEL_SERVICE_NAME``,
``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_TRACES_SAMPLER``, ``OTEL_BSP_*``, ``OTEL_SDK_DISABLED``. Spans are sent
as OTLP over HTTP. They hold no query, no document, no path and no header, as little as the log does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retrieval.errors import MissingExtraError
from server.observing.metrics import METHODS, Metrics

__all__ = ["TracedMetrics", "Tracing", "make_tracer"]

NAME = "retrieval.server"
SERVICE = "retrieval"
WHOLE = "total"
NANOSECONDS_PER_MS = 1_000_000


def make_tracer(processor: Any = None) -> Any:
    """A tracer whose spans go to ``processor`` (default: by OTLP, in batches); what is left is sent when the
    process ends. OpenTelemetry's global provider stays as it is.

    Raises:
        MissingExtraError: the packages of the extra 'otel' are not installed.
    """
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        if processor is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            processor = BatchSpanProcessor(OTLPSpanExporter())
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("opentelemetry"):
            raise MissingExtraError("tracing", "otel") from None
        raise
    # What the environment says wins over the name given here.
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: SERVICE}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(processor)
    return provider.get_tracer(NAME)


class Tracing:
    """Makes a span for each request (ASGI), a child of the one that ``traceparent`` names, if any.

    It stands around everything else: also what is refused at the door has a span.
    """

    def __init__(self, app: ASGIApp, tracer: Any) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app, self._tracer = app, tracer
        self._server, self._failed = trace.SpanKind.SERVER, trace.StatusCode.ERROR
        # That one alone: what a stranger sends as baggage is not carried on.
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        parent = self._propagator.extract(Headers(scope=scope))
        attributes = {"http.request.method": method, "url.scheme": scope["scheme"]}
        with self._tracer.start_as_current_span(
            method, parent, self._server, attributes, record_exception=False
        ) as span:

            async def send_and_see(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(self._failed)
                await send(message)

            try:
                await self._app(scope, receive, send_and_see)
            finally:
                _name(span, method, scope)


def _name(span: Any, method: str, scope: Scope) -> None:
    """By the route's template, known only after routing: a path that was sent could be anything."""
    route = getattr(scope.get("route"), "path", None)
    if route is not None:
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
    request_id = scope.get("state", {}).get("request_id")
    if request_id is not None:
        span.set_attribute("retrieval.request_id", request_id)


class TracedMetrics(Metrics):
    """Metrics that also make a span of each stage they are told of, below the request's span."""

    def __init__(self, tracer: Any) -> None:
        super().__init__()
        self._tracer = tracer

    def stages(self, collection: str, timings_ms: Mapping[str, float]) -> None:
        """As `Metrics.stages`. It is called at the end of the last stage, and stages follow each other."""
        super().stages(collection, timings_ms)
        stages = {stage: int(ms * NANOSECONDS_PER_MS) for stage, ms in timings_ms.items() if stage != WHOLE}
        at = time.time_ns() - sum(stages.values())
        for stage, nanoseconds in stages.items():
            attributes = {"retrieval.collection": collection}
            span = self._tracer.start_span(stage, attributes=attributes, start_time=at)
            at += nanoseconds
            span.end(at)
