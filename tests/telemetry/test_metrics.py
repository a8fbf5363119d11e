"""Prometheus metrics at `/metrics`, compared with the requests that the clouds received."""

import asyncio
import json
import logging
import re
import shutil
import socket
from pathlib import Path

import pytest

from gateway import twins
from gateway.config.settings import BreakerSettings, CacheSettings, RetrySettings, Secret
from gateway.config.settings import TelemetrySettings as Telemetry
from gateway.telemetry.metrics import Metrics, table
from tests.conftest import Client, pai, served, settings, two_clouds
from tests.telemetry.scraping import Scrape, scrape
from tests.test_documentation import section
from tests.test_replicas import Server

MODEL = '{ model(id: "pai:model/model-rbvg5wzljzjhc9ks92") { name } }'
LIST = "{ models(first: 5) { nodes { id } coverage { registry { name } state } } }"
METRICS_ON = {"telemetry": Telemetry(metrics="path")}
ROOT = Path(__file__).parents[2]


async def test_operations_are_counted_by_type_and_outcome_and_errors_by_code() -> None:
    async with two_clouds(sections=METRICS_ON) as world:
        await world.gateway.query(MODEL)
        world.pai.faults.replace({"*": {"status": 403, "error": "NoPermission"}})
        await world.gateway.query(MODEL)
        await world.gateway.query("{ nothing }")
        await world.gateway.query("{ models(first: 2) { nodes { id } } }")
        metrics = await scrape(world.gateway)
    assert metrics("gateway_operations_total", type="query", outcome="ok") == 1
    assert metrics("gateway_operations_total", type="query", outcome="partial") == 1
    assert metrics("gateway_operations_total", outcome="failed") == 2
    assert metrics("gateway_operation_errors_total", code="REGISTRY_FORBIDDEN") == 2
    assert metrics("gateway_operation_errors_total", code="GRAPHQL_VALIDATION_FAILED") == 1
    assert metrics("gateway_operation_duration_seconds_count") == 4
    assert metrics("gateway_operations_in_progress") == 0


async def test_counts_of_operations_and_unexpected_errors_start_at_zero() -> None:
    async with two_clouds(sections=METRICS_ON) as world:
        metrics = await scrape(world.gateway)
    counts = [(sample.name, sample.labels, sample.value) for sample in metrics.samples]
    for outcome in ("ok", "partial", "failed", "cancelled"):
        assert ("gateway_operations_total", {"type": "query", "outcome": outcome}, 0) in counts
    assert ("gateway_operation_errors_total", {"code": "INTERNAL_SERVER_ERROR"}, 0) in counts


async def test_every_request_to_a_registry_is_counted_with_its_outcome() -> None:
    async with two_clouds(sections=METRICS_ON) as world:
        world.qianfan.faults.replace({"presetList": {"status": 500}})
        await world.gateway.query(LIST)
        made = world.calls()
        metrics = await scrape(world.gateway)
    for registry, call in (("pai", "ListModels"), ("qianfan", "userList"), ("qianfan", "presetList")):
        code = "REGISTRY_UNAVAILABLE" if call == "presetList" else "OK"
        labels = {"registry": registry, "call": call}
        assert metrics("gateway_upstream_attempts_total", **labels, code=code) == made[call]
        assert metrics("gateway_upstream_attempt_duration_seconds_count", **labels) == made[call]
    assert metrics("gateway_upstream_failures_total", call="presetList", code="REGISTRY_UNAVAILABLE") == 1
    assert metrics("gateway_upstream_failures_total") == 1


async def test_a_missing_object_is_not_counted_as_a_failure() -> None:
    async with two_clouds(sections=METRICS_ON) as world:
        answer = await world.gateway.query('{ model(id: "pai:model/model-nothing") { name } }')
        assert answer.data == {"model": None}
        metrics = await scrape(world.gateway)
    assert metrics("gateway_upstream_attempts_total", call="GetModel", code="OK") == 1
    assert metrics("gateway_upstream_failures_total") == 0


async def test_throttled_requests_and_their_retries_are_counted() -> None:
    async with two_clouds(sections=METRICS_ON | {"retry": RetrySettings(attempts=3, backoff=0.001)}) as world:
        world.pai.faults.replace({"GetModel": {"status": 429, "error": "Throttling.User", "times": 2}})
        assert (await world.gateway.query(MODEL)).data["model"]
        metrics = await scrape(world.gateway)
    of = {"registry": "pai", "call": "GetModel"}
    assert metrics("gateway_upstream_throttles_total", **of) == 2
    assert metrics("gateway_upstream_retries_total", **of) == 2
    assert metrics("gateway_upstream_attempts_total", **of, code="REGISTRY_THROTTLED") == 2
    assert metrics("gateway_upstream_attempts_total", **of, code="OK") == 1
    assert metrics("gateway_upstream_quota_wait_seconds_count", registry="pai") == 3


async def test_the_state_of_each_circuit_breaker_is_exported() -> None:
    async with two_clouds(sections=METRICS_ON | {"breaker": BreakerSettings(failures=2, open_for=60)}) as world:
        before = await scrape(world.gateway)
        assert states(before) == {"pai": "CLOSED", "qianfan": "CLOSED"}
        world.pai.faults.replace({"*": {"status": 503}})
        for _ in range(4):
            await world.gateway.query(MODEL)
        metrics = await scrape(world.gateway)
    assert states(metrics) == {"pai": "OPEN", "qianfan": "CLOSED"}
    assert metrics("gateway_circuit_openings_total", registry="pai") == 1
    assert metrics("gateway_upstream_attempts_total", registry="pai") == 2
    assert metrics("gateway_upstream_failures_total", registry="pai") == 4


def states(metrics: Scrape) -> dict[str, str]:
    current = [sample for sample in metrics.samples if sample.name == "gateway_circuit_state" and sample.value]
    return {sample.labels["registry"]: sample.labels["state"] for sample in current}


async def test_hits_stale_answers_misses_and_refreshes_are_counted() -> None:
    now = [1_800_000_000.0]
    cache = CacheSettings(objects=60.0, stale=300.0, stale_on_error=3600.0, jitter=0.0)
    async with (
        twins.serving() as cloud,
        served(settings(pai(cloud.url), cache=cache, **METRICS_ON), lambda: now[0]) as one,
    ):
        await one.query(MODEL)
        await one.query(MODEL)
        now[0] += 100
        await one.query(MODEL)
        while (await scrape(one))("gateway_upstream_attempts_total", code="OK") < 2:
            pass
        now[0] += 1000
        cloud.faults.replace({"*": {"status": 503}})
        await one.query(MODEL)
        metrics = await scrape(one)
    of = {"registry": "pai", "call": "GetModel"}
    counted = {state: metrics("gateway_cache_answers_total", **of, state=state) for state in ("hit", "stale", "miss")}
    assert counted == {"hit": 1, "stale": 1, "miss": 1}
    assert metrics("gateway_cache_answers_total", **of, state="stale_on_error") == 1
    assert metrics("gateway_cache_refreshes_total", **of) == 1
    assert metrics("gateway_cache_entries") == 1
    assert metrics("gateway_cache_bytes") > 100


async def test_operations_that_share_a_call_are_counted_as_shared() -> None:
    again = RetrySettings(attempts=2, backoff=0.001)
    async with two_clouds(sections=METRICS_ON | {"cache": CacheSettings(), "retry": again}) as world:
        world.pai.faults.replace({"GetModel": {"hang": True}})
        queries = [asyncio.create_task(world.gateway.query(MODEL)) for _ in range(5)]
        while (await scrape(world.gateway))("gateway_operations_in_progress") < 5 or not world.pai.calls:
            pass
        world.pai.faults.clear()
        names = {(await query).data["model"]["name"] for query in queries}
        metrics = await scrape(world.gateway)
    assert len(names) == 1
    assert metrics("gateway_cache_answers_total", state="miss") == 1
    assert metrics("gateway_cache_answers_total", state="shared") == 4
    assert metrics("gateway_upstream_attempts_total") == 2
    assert metrics("gateway_upstream_retries_total") == 1


async def test_failures_of_the_shared_cache_are_counted() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = CacheSettings(redis=Secret(f"redis://127.0.0.1:{closed.getsockname()[1]}/0"))
        async with two_clouds(sections=METRICS_ON | {"cache": away}) as world:
            assert (await world.gateway.query(MODEL)).data["model"]
            metrics = await scrape(world.gateway)
    assert metrics("gateway_shared_cache_failures_total") >= 1


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
async def test_the_wait_for_other_replicas_is_measured(tmp_path: Path) -> None:
    redis = Server(tmp_path)
    await redis.start()
    try:
        sections = METRICS_ON | {"cache": CacheSettings(redis=Secret(redis.url))}
        async with two_clouds(sections=sections) as world:
            assert (await world.gateway.query(MODEL)).data["model"]
            metrics = await scrape(world.gateway)
    finally:
        await redis.stop()
    assert metrics("gateway_lease_wait_seconds_count") == 1
    assert metrics("gateway_shared_cache_failures_total") == 0


async def test_clients_cannot_create_series() -> None:
    async with two_clouds(sections=METRICS_ON) as world:

        async def send_query(number: int) -> None:
            body = {"query": f"query Name{number} {{ __typename }}", "operationName": f"Name{number}"}
            headers = {"x-request-id": f"id-{number}", "user-agent": f"agent-{number}"}
            assert (await world.gateway.request("POST", json=body, headers=headers)).status == 200

        await send_query(0)
        before = {(sample.name, *sorted(sample.labels.items())) for sample in (await scrape(world.gateway)).samples}
        for start in range(1, 1000, 100):
            await asyncio.gather(*(send_query(number) for number in range(start, start + 100)))
        metrics = await scrape(world.gateway)
    assert metrics("gateway_operations_total", type="query") == 1001
    assert {(sample.name, *sorted(sample.labels.items())) for sample in metrics.samples} == before


async def test_applications_in_one_process_have_separate_metrics() -> None:
    async with two_clouds(sections=METRICS_ON) as one, two_clouds(sections=METRICS_ON) as other:
        await one.gateway.query(MODEL)
        assert (await scrape(one.gateway))("gateway_operations_total") == 1
        assert (await scrape(other.gateway))("gateway_operations_total") == 0


async def test_metrics_on_a_separate_port_are_not_on_the_gateways_port(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.http")
    async with two_clouds(sections={"telemetry": Telemetry(metrics="port", metrics_port=0)}) as world:
        await world.gateway.query(MODEL)
        (port,) = re.findall(r"Metrics are on port (\d+)", caplog.text)
        beside = Client(f"http://127.0.0.1:{port}", world.gateway.session)
        assert (await scrape(beside))("gateway_operations_total") == 1
        elsewhere = await beside.request("GET", "/graphql")
        assert (elsewhere.status, elsewhere.headers["x-content-type-options"]) == (404, "nosniff")
        assert (await world.gateway.request("GET", "/metrics")).status == 404


async def test_metrics_are_off_by_default() -> None:
    async with two_clouds() as world:
        assert (await world.gateway.request("GET", "/metrics")).status == 404


async def test_the_readme_lists_every_metric() -> None:
    assert section("metrics") == table().strip()
    async with two_clouds(sections=METRICS_ON) as world:
        metrics = await scrape(world.gateway)
    shown = {name for name in metrics.families if name.startswith("gateway_")}
    assert shown == {metric.name.removesuffix("_total") for metric in Metrics().descriptions}


async def test_every_sample_has_the_documented_labels() -> None:
    labels = {metric.name: set(metric.labels) for metric in Metrics().descriptions}
    async with two_clouds(sections=METRICS_ON | {"cache": CacheSettings()}) as world:
        world.qianfan.faults.replace({"*": {"status": 503}})
        await world.gateway.query(LIST)
        await world.gateway.query(LIST)
        metrics = await scrape(world.gateway)
    for name, family in metrics.families.items():
        if name.startswith("gateway_"):
            written = labels.get(name, labels.get(f"{name}_total"))
            for sample in family.samples:
                assert sample.labels.keys() - {"le"} == written, sample


def test_the_dashboard_is_valid_for_grafana() -> None:
    dashboard = json.loads((ROOT / "docker/grafana/dashboard.json").read_text(encoding="utf-8"))
    assert dashboard["title"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,40}", dashboard["uid"])
    assert dashboard["schemaVersion"] >= 36
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert {target["refId"] for target in panel["targets"]}
            assert {panel["datasource"]["type"]} == {"prometheus"}
            assert panel["description"].endswith(".")
