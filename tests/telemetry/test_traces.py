"""Traces, as received by an OTLP collector on loopback."""

import gzip
import hashlib
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from gateway.config.settings import CacheSettings, RetrySettings
from gateway.config.settings import TelemetrySettings as Telemetry
from tests.conftest import World, two_clouds

otlp = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
GIVEN = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
MODEL = 'query Named { model(id: "pai:model/model-rbvg5wzljzjhc9ks92") { name } }'


@dataclass
class Span:
    """One span, with ids in hexadecimal."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    failed: bool
    attributes: dict[str, Any]
    events: int


@dataclass
class Collector:
    """An OTLP collector that stores the spans it receives."""

    spans: list[Span] = field(default_factory=list)
    text: str = ""

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        if body.startswith(b"\x1f\x8b"):
            body = gzip.decompress(body)
        message = otlp.ExportTraceServiceRequest.FromString(body)
        self.text += str(message)
        for span in (
            span for resource in message.resource_spans for scope in resource.scope_spans for span in scope.spans
        ):
            kind = span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_")
            attributes = {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}
            ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
            self.spans.append(Span(span.name, kind, *ids, span.status.code == 2, attributes, len(span.events)))
        return web.Response()

    def of(self, kind: str) -> list[Span]:
        return [span for span in self.spans if span.kind == kind]


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[Collector, str]]:
    collector = Collector()
    app = web.Application()
    for prefix in ("", "/collectors/one"):
        app.router.add_post(f"{prefix}/v1/traces", collector.receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield collector, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def traced(url: str, **sections: Any) -> AsyncIterator[World]:
    """A gateway with traces. After the context ends, the collector has received every span."""
    async with two_clouds(sections={"telemetry": Telemetry(traces=url), **sections}) as world:
        yield world


async def test_request_operation_and_calls_are_spans_of_the_callers_trace() -> None:
    async with collecting() as (collector, url), traced(url) as world:
        answer = await world.gateway.request("POST", json={"query": MODEL}, headers=GIVEN)
        assert answer.status == 200
    (request,), (operation,), (call,) = map(collector.of, ("SERVER", "INTERNAL", "CLIENT"))
    assert {span.trace for span in collector.spans} == {TRACE}
    assert (request.parent, operation.parent, call.parent) == (PARENT, request.id, operation.id)
    assert answer.headers["traceparent"] == f"00-{TRACE}-{request.id}-01"
    assert (request.name, operation.name, call.name) == ("POST /graphql", "query", "GET GetModel")
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/graphql",
        "http.response.status_code": 200,
    }
    assert operation.attributes == {
        "graphql.operation.type": "query",
        "graphql.operation.name": "Named",
        "graphql.document.hash": hashlib.sha256(MODEL.encode()).hexdigest(),
    }
    assert call.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "gateway.registry": "pai",
        "gateway.call": "GetModel",
    }


@pytest.mark.parametrize("cache", [False, True], ids=["cold", "cached"])
async def test_a_repeated_request_is_traced_like_the_first(cache: bool) -> None:
    async with collecting() as (collector, url), traced(url, cache=CacheSettings(enabled=cache)) as world:
        for _ in range(3):
            assert (await world.gateway.request("POST", json={"query": MODEL}, headers=GIVEN)).status == 200
    for kind in ("SERVER", "INTERNAL"):
        first, *others = [(span.name, span.attributes, span.failed) for span in collector.of(kind)]
        assert others == [first, first]
    assert len(collector.of("CLIENT")) == (1 if cache else 3)


async def test_every_attempt_is_a_span_with_its_failure() -> None:
    retry = RetrySettings(attempts=3, backoff=0.001)
    async with collecting() as (collector, url), traced(url, retry=retry) as world:
        world.pai.faults.replace({"GetModel": {"status": 503, "times": 2}})
        await world.gateway.query(MODEL)
    calls = collector.of("CLIENT")
    assert [call.attributes.get("http.request.resend_count") for call in calls] == [None, 1, 2]
    assert [call.attributes["http.response.status_code"] for call in calls] == [503, 503, 200]
    assert [call.attributes.get("error.type") for call in calls] == ["REGISTRY_UNAVAILABLE"] * 2 + [None]
    assert [call.failed for call in calls] == [True, True, False]
    assert [span.failed for span in collector.of("INTERNAL")] == [False]


async def test_a_cache_hit_has_no_client_span() -> None:
    async with collecting() as (collector, url), traced(url, cache=CacheSettings(objects=600.0)) as world:
        await world.gateway.query(MODEL)
        await world.gateway.query(MODEL)
    assert (len(collector.of("INTERNAL")), len(collector.of("CLIENT"))) == (2, 1)


async def test_failed_operations_are_failed_spans_with_an_error_code() -> None:
    async with collecting() as (collector, url), traced(url) as world:
        await world.gateway.query("{ nothing }")
        world.pai.faults.replace({"*": {"drop": "before"}})
        await world.gateway.query(MODEL)
    refused, failed = collector.of("INTERNAL")
    assert (refused.name, refused.attributes["error.type"]) == ("GraphQL operation", "GRAPHQL_VALIDATION_FAILED")
    assert (failed.name, failed.attributes["error.type"]) == ("query", "REGISTRY_UNREACHABLE")
    assert [call.attributes.get("http.response.status_code") for call in collector.of("CLIENT")] == [None]


async def test_a_request_that_is_not_sampled_exports_no_spans() -> None:
    async with collecting() as (collector, url), traced(url) as world:
        answer = await world.gateway.request(
            "POST", json={"query": MODEL}, headers={"traceparent": f"00-{TRACE}-{PARENT}-00"}
        )
    assert answer.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert answer.headers["traceparent"].endswith("-00")
    assert collector.spans == []


async def test_spans_contain_no_documents_variables_hosts_or_exception_texts() -> None:
    async with collecting() as (collector, url), traced(url) as world:
        query = "query($id: ID!) { model(id: $id) { name } }"
        for fault in ({}, {"status": 503}, {"drop": "before"}, {"redirect": "http://127.0.0.1:9/else"}):
            world.pai.faults.replace({"*": fault})
            await world.gateway.query(query, id="pai:model/model-rbvg5wzljzjhc9ks92")
            await world.gateway.request("GET", "/somewhere/else?secret=1")
        hosts = [cloud.url.removeprefix("http://") for cloud in (world.pai, world.qianfan)]
    assert len(collector.spans) > 12
    for text in (*hosts, "127.0.0.1", "model-rbvg5wzljzjhc9ks92", "{ name }", "secret", "somewhere", "Traceback"):
        assert text not in collector.text
    assert [span.events for span in collector.spans] == [0] * len(collector.spans)


WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
from gateway.app import create_app
from gateway.config.settings import Settings, SettingsError, TelemetrySettings
create_app(Settings())
try:
    create_app(Settings(telemetry=TelemetrySettings(traces="http://collector:4318")))
except SettingsError as error:
    print(error)
"""


def test_without_the_extra_only_traces_are_refused_with_a_hint() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "telemetry.traces: OpenTelemetry is not installed: pip install 'registry-gateway[otel]'\n"


async def test_an_unreachable_collector_does_not_affect_responses() -> None:
    async with collecting() as (_, url):
        pass
    async with traced(url) as world:
        assert (await world.gateway.query(MODEL)).data["model"]


@pytest.mark.parametrize(
    "path", ["", "/", "/v1/traces", "/v1/traces/", "/collectors/one", "/collectors/one/", "/collectors/one/v1/traces"]
)
async def test_the_address_of_a_collector_may_have_a_path(path: str) -> None:
    async with collecting() as (collector, url), traced(url + path) as world:
        await world.gateway.query(MODEL)
    assert len(collector.of("SERVER")) == 1


@pytest.mark.parametrize(
    ("service", "attributes", "name"),
    [
        ("models", "", "models"),
        ("models", "service.name=catalogue,team=ml", "models"),
        ("", "service.name=catalogue,team=ml", "catalogue"),
        ("", "team=ml", "registry-gateway"),
    ],
)
async def test_the_variables_of_opentelemetry_name_the_service(
    service: str, attributes: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", service)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", attributes)
    async with collecting() as (collector, url), traced(url) as world:
        await world.gateway.query(MODEL)
    assert re.search(f'key: "service.name"\\s*value {{\\s*string_value: "{name}"', collector.text)
