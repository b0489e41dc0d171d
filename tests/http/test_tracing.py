from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest

from retrieval.errors import MissingExtraError
from server.app import create_app
from server.observing.tracing import TracedMetrics, Tracing, make_tracer
from server.settings import ServerSettings

pytest.importorskip("opentelemetry.sdk", reason="the extra 'otel' is not installed")

from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

SEARCH = "/v1/collections/dense/search"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def spans():
    return InMemorySpanExporter()


@pytest.fixture
def traced(spans, serve):
    tracer = make_tracer(SimpleSpanProcessor(spans))
    with serve() as client:
        context = client.app.state.context
        context.metrics = TracedMetrics(tracer)
        client.app.middleware_stack = Tracing(client.app.middleware_stack, tracer)
        spans.clear()
        yield client


def requests(spans):
    return [span for span in spans.get_finished_spans() if span.kind is SpanKind.SERVER]


def test_a_request_is_a_span_by_its_route(spans, traced):
    response = traced.get("/v1/collections/dense")
    (span,) = requests(spans)
    assert span.name == "GET /v1/collections/{collection}"
    assert span.attributes["http.route"] == "/v1/collections/{collection}"
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["retrieval.request_id"] == response.headers["x-request-id"]
    assert span.parent is None
    assert span.status.status_code is StatusCode.UNSET


def test_it_belongs_to_the_trace_that_the_client_names(spans, traced):
    traced.get("/livez", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    (span,) = requests(spans)
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT


@pytest.mark.parametrize("sent", ["nonsense", f"00-{'0' * 32}-{PARENT}-01", "00-" + "f" * 1000])
def test_a_malformed_parent_is_none(spans, traced, sent):
    assert traced.get("/livez", headers={"traceparent": sent}).status_code == 200
    assert requests(spans)[0].parent is None


def test_stages_are_spans_below_it(spans, traced):
    timings = traced.post(SEARCH, json={"query": "wing"}).json()["timings_ms"]
    (request,) = requests(spans)
    stages = [span for span in spans.get_finished_spans() if span is not request]
    assert {span.name for span in stages} == set(timings) - {"total"}
    for span in stages:
        assert span.parent.span_id == request.context.span_id
        assert span.attributes["retrieval.collection"] == "dense"
        assert (span.end_time - span.start_time) / 1e6 == pytest.approx(timings[span.name], abs=1e-3)
    assert all(a.end_time == b.start_time for a, b in pairwise(stages))


def test_spans_hold_nothing_of_what_was_asked(spans, traced):
    traced.post(SEARCH, json={"query": "zeppelin"}, headers={"api-key": "zeppelin"})
    traced.get("/zeppelin?zeppelin=zeppelin")
    assert "zeppelin" not in "".join(span.to_json() for span in spans.get_finished_spans())
    assert requests(spans)[-1].name == "GET"
    assert requests(spans)[-1].attributes["http.response.status_code"] == 404


def test_a_failure_is_marked(spans, traced, monkeypatch, capfd):
    monkeypatch.setattr(traced.app.state.context.registry, "not_ready", lambda: {"dense": "failed"})
    assert traced.get("/readyz").status_code == 503
    assert requests(spans)[0].status.status_code is StatusCode.ERROR


def test_the_environment_names_the_service(spans, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "papers")
    make_tracer(SimpleSpanProcessor(spans)).start_span("one").end()
    monkeypatch.delenv("OTEL_SERVICE_NAME")
    make_tracer(SimpleSpanProcessor(spans)).start_span("two").end()
    found = [span.resource.attributes["service.name"] for span in spans.get_finished_spans()]
    assert found == ["papers", "retrieval"]


@pytest.mark.parametrize("package", ["opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"])
def test_a_missing_package_is_one_sentence(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", raising=False)
    with pytest.raises(MissingExtraError, match=r"tracing needs the extra 'otel': pip install"):
        make_tracer()


def test_the_setting_turns_it_on(indexes, encoders, monkeypatch):
    made = []
    monkeypatch.setattr(
        "server.app.make_tracer",
        lambda: made.append(1) or make_tracer(SimpleSpanProcessor(InMemorySpanExporter())),
    )
    create_app(ServerSettings(data_dir=indexes), encoders=encoders)
    assert made == []
    app = create_app(ServerSettings(data_dir=indexes, tracing=True), encoders=encoders)
    assert len(made) == 1
    assert any(each.cls is Tracing for each in app.user_middleware)


def test_no_exporter_is_imported_while_it_is_off():
    code = (
        "import sys, server.app; from server.settings import ServerSettings;"
        "server.app.create_app(ServerSettings(data_dir='.'));"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.exporter')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
