"""The rules for Prometheus and the dashboard: tested with promtool, and against the metrics of a gateway."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import twins
from gateway.config.settings import BreakerSettings, CacheSettings, RetrySettings
from gateway.config.settings import TelemetrySettings as Telemetry
from tests.conftest import pai, served, settings
from tests.docker.test_files import DOCKER, compose_config, run_tool
from tests.docker.tools import tool
from tests.telemetry.scraping import Scrape, scrape

RULES = DOCKER / "alerts.yaml"
RECORDS, ALERTS = (group["rules"] for group in yaml.safe_load(RULES.read_bytes())["groups"])
DASHBOARD = json.loads((DOCKER / "grafana/dashboard.json").read_bytes())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
MINUTES = 30
"""The time that the tests of rules cover, one sample a minute."""


def test_the_rules_and_the_settings_of_prometheus_are_valid(tmp_path: Path) -> None:
    promtool = tool("promtool")
    run_tool(promtool, "check", "rules", str(RULES))
    for name in ("prometheus.yaml", "alerts.yaml"):
        (tmp_path / name).write_bytes((DOCKER / name).read_bytes())
    assert "1 rule files" in run_tool(promtool, "check", "config", str(tmp_path / "prometheus.yaml"))


def test_prometheus_loads_the_rules() -> None:
    volumes = compose_config(DOCKER / "compose.observability.yaml")["services"]["prometheus"]["volumes"]
    mounted = {volume["target"] for volume in volumes if volume["type"] == "bind"}
    assert mounted == {"/etc/prometheus/prometheus.yaml", "/etc/prometheus/alerts.yaml"}


# Each alert fires, and does not


def each_minute(*increases: float) -> str:
    """Return the samples of a counter that increases by these numbers, in turn, each minute."""
    total, samples = 0.0, []
    for minute in range(MINUTES + 1):
        samples.append(f"{total:g}")
        total += increases[minute % len(increases)]
    return " ".join(samples)


def always(value: float) -> str:
    return f"{value:g}x{MINUTES}"


def once(at: int) -> str:
    """Return the samples of a counter that is 0 until it becomes 1."""
    return f"0x{at - 1} 1x{MINUTES - at}"


def circuit(open: str, half_open: str, closed: str) -> dict[str, str]:
    states = {"OPEN": open, "HALF_OPEN": half_open, "CLOSED": closed}
    return {f'gateway_circuit_state{{registry="pai", state="{state}"}}': samples for state, samples in states.items()}


def attempts(**codes: float) -> dict[str, str]:
    name = "gateway_upstream_attempts_total"
    return {f'{name}{{registry="pai", call="ListModels", code="{code}"}}': each_minute(n) for code, n in codes.items()}


def answers(**states: float) -> dict[str, str]:
    name = "gateway_cache_answers_total"
    return {
        f'{name}{{registry="pai", call="GetModel", state="{state}"}}': each_minute(n) for state, n in states.items()
    }


def buckets(name: str, labels: str, increases: dict[str, float]) -> dict[str, str]:
    """Return a histogram by the bounds of its buckets, and how many values up to each of them there are each minute."""
    return {f'{name}_bucket{{{labels}, le="{bound}"}}': each_minute(number) for bound, number in increases.items()}


OK = {'gateway_operations_total{type="query", outcome="ok"}': each_minute(94)}
FAILED = 'gateway_operations_total{type="query", outcome="failed"}'
INVALID = 'gateway_operations_total{type="unknown", outcome="failed"}'
REFUSED = 'gateway_upstream_failures_total{registry="pai", call="GetModel", code="REGISTRY_%s"}'
RENEWAL = 'gateway_credentials_renewal_failed{registry="pai"}'
THROTTLES = 'gateway_upstream_throttles_total{registry="pai", call="ListModels"}'
WAIT = "gateway_upstream_quota_wait_seconds"
INTERNAL = 'gateway_operation_errors_total{code="INTERNAL_SERVER_ERROR"}'
DURATION = "gateway_operation_duration_seconds"
QUERY, SUBSCRIPTION, PAI = 'type="query"', 'type="subscription"', 'registry="pai"'
SHARED = "gateway_shared_cache_failures_total"
MEMORY, INFO = "process_resident_memory_bytes", "gateway_info"


@dataclass(frozen=True)
class Case:
    """The series with which an alert fires, and those with which it does not, with their samples.

    ``labels`` are those of the alert beside its job; ``at`` is the minute at which it fires.
    """

    fires: dict[str, str]
    summary: str
    silent: dict[str, str]
    labels: dict[str, str] = field(default_factory=dict)
    at: int = MINUTES


REGISTRY = {"registry": "pai"}
CASES = {
    "RegistryGatewayAbsent": Case({"up": always(0)}, "Prometheus scrapes no gateway.", {INFO: always(1)}),
    "RegistryGatewayRegistryDown": Case(
        circuit("1 0 " * (MINUTES // 2), "0 1 " * (MINUTES // 2), always(0)),
        "pai keeps failing, and is called only to test whether it has recovered.",
        circuit(always(0), always(0), always(1)),
        REGISTRY,
        MINUTES - 1,
    ),
    "RegistryGatewayRegistryFailing": Case(
        attempts(OK=60, REGISTRY_UNAVAILABLE=30),
        "33.33% of the requests to pai fail.",
        attempts(OK=60, REGISTRY_UNAVAILABLE=10, REGISTRY_THROTTLED=60, CANCELLED=60),
        REGISTRY,
    ),
    "RegistryGatewayAccessRefused": Case(
        {REFUSED % "FORBIDDEN": each_minute(1)},
        "pai refuses the credentials or the permission of the gateway (REGISTRY_FORBIDDEN).",
        {REFUSED % "UNAVAILABLE": each_minute(60)},
        {**REGISTRY, "code": "REGISTRY_FORBIDDEN"},
    ),
    "RegistryGatewayAccessKeyNotRenewed": Case(
        {RENEWAL: always(1)}, "The access key of pai cannot be renewed.", {RENEWAL: always(0)}, REGISTRY
    ),
    "RegistryGatewayThrottled": Case(
        {THROTTLES: each_minute(12)}, "pai throttles the gateway.", {THROTTLES: each_minute(3)}, REGISTRY
    ),
    "RegistryGatewayQuotaWait": Case(
        buckets(WAIT, PAI, {"0.5": 0, "1.0": 60, "+Inf": 60}),
        "Calls to pai wait 975ms for the rate limit (p95).",
        buckets(WAIT, PAI, {"0.1": 60, "1.0": 60, "+Inf": 60}),
        REGISTRY,
    ),
    "RegistryGatewayStaleAnswers": Case(
        answers(hit=40, miss=40, stale_on_error=20),
        "20% of the answers of pai are old, since it fails.",
        answers(hit=20, stale=75, stale_on_error=5),
        REGISTRY,
    ),
    "RegistryGatewayErrorRate": Case(
        {**OK, FAILED: each_minute(6)},
        "6% of the operations fail.",
        {**OK, FAILED: each_minute(1), INVALID: each_minute(60)},
    ),
    "RegistryGatewayInternalErrors": Case(
        {INTERNAL: once(20)}, "The gateway has unexpected errors.", {INTERNAL: once(10)}, at=22
    ),
    "RegistryGatewaySlow": Case(
        buckets(DURATION, QUERY, {"5.0": 98, "10.0": 100, "+Inf": 100}),
        "1 % of the queries take longer than 7.5s.",
        {
            **buckets(DURATION, QUERY, {"1.0": 100, "+Inf": 100}),
            **buckets(DURATION, SUBSCRIPTION, {"20.0": 0, "+Inf": 100}),
        },
    ),
    "RegistryGatewaySharedCacheFailing": Case(
        {SHARED: each_minute(1)},
        "Redis fails or refuses commands; the replicas share less than they could.",
        {SHARED: once(20)},
    ),
    "RegistryGatewayMemory": Case(
        {INFO: always(1), MEMORY: always(700e6)},
        "one:9464 uses 667.6MiB of memory.",
        {INFO: always(1), MEMORY: always(600e6), f'{MEMORY}{{instance="another:9100"}}': always(900e6)},
        {"instance": "one:9464"},
    ),
}


def with_target(series: str) -> str:
    """Return a series with the labels that Prometheus adds."""
    name, _, labels = series.partition("{")
    target = 'job="gateways"' if "instance=" in labels else 'job="gateways", instance="one:9464"'
    return f"{name}{{{target}, {labels or '}'}"


def rule_test(alert: dict[str, Any], series: dict[str, str], expected: dict[int, list[Any]]) -> dict[str, Any]:
    """Return a test for promtool: what is expected of an alert at some minutes."""
    return {
        "interval": "1m",
        "input_series": [{"series": with_target(name), "values": samples} for name, samples in series.items()],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": alert["alert"], "exp_alerts": alerts}
            for minute, alerts in expected.items()
        ],
    }


def test_every_alert_has_a_case() -> None:
    assert [alert["alert"] for alert in ALERTS] == [*CASES]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_the_alert_fires_when_it_should_and_only_then(alert: dict[str, Any], tmp_path: Path) -> None:
    case = CASES[alert["alert"]]
    job = {} if alert["alert"] == "RegistryGatewayAbsent" else {"job": "gateways"}
    firing = {
        "exp_labels": {**job, **case.labels, **alert["labels"]},
        "exp_annotations": {**alert["annotations"], "summary": case.summary},
    }
    tests = [
        rule_test(alert, case.fires, {0: [], case.at: [firing]}),
        rule_test(alert, case.silent, {minute: [] for minute in (0, 5, MINUTES - 1, MINUTES)}),
    ]
    file = tmp_path / "tests.json"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    run_tool(tool("promtool"), "test", "rules", str(file))


# The dashboard


def test_each_alert_compares_one_recorded_query_with_a_threshold_that_the_dashboard_shows() -> None:
    shown = {
        panel["targets"][0]["expr"]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"]
        for panel in PANELS
        if "thresholds" in panel["fieldConfig"]["defaults"]
    }
    recorded = {record["record"] for record in RECORDS}
    compared = {}
    for alert in ALERTS:
        query, _, threshold = re.split(" (==|>) ", alert["expr"])
        compared[query] = float(threshold)
    assert compared.pop("absent(gateway_info)") == 1
    assert compared.keys() == recorded
    assert shown.pop('ALERTS{alertname=~"RegistryGateway.+", alertstate="firing"}') == 1
    assert shown == compared


# Metrics

SELECTOR = re.compile(r"\b((?:gateway|process)_\w+)\b(?!:)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
OPERATORS = {
    "=": lambda given, wanted: given == wanted,
    "!=": lambda given, wanted: given != wanted,
    "=~": lambda given, wanted: re.fullmatch(wanted, given) is not None,
    "!~": lambda given, wanted: re.fullmatch(wanted, given) is None,
}
BY = re.compile(r"\bby \(([^)]*)\)")


def selected(metrics: Scrape, name: str, matchers: str) -> list[dict[str, str]]:
    """Return the labels of the samples that a selector selects. Prometheus and Grafana set ``instance``."""
    wanted = [found for found in MATCHER.findall(matchers) if found[0] != "instance"]
    return [
        sample.labels
        for sample in metrics.samples
        if sample.name == name
        and all(label in sample.labels and OPERATORS[how](sample.labels[label], value) for label, how, value in wanted)
    ]


async def scrape_after_traffic() -> Scrape:
    """Return the metrics of a gateway whose registries succeeded, failed, throttled and refused it."""
    now = [1_800_000_000.0]
    sections = {
        "telemetry": Telemetry(metrics="path"),
        "cache": CacheSettings(objects=60.0, stale=300.0, jitter=0.0),
        "retry": RetrySettings(attempts=2, backoff=0.001),
        "breaker": BreakerSettings(failures=4, open_for=0.1),
    }
    model = '{ model(id: "pai:model/model-rbvg5wzljzjhc9ks92") { name } }'
    other = '{ model(id: "pai:model/model-another") { name } }'
    async with (
        twins.serving() as cloud,
        served(settings(pai(cloud.url), **sections), lambda: now[0]) as gateway,
    ):
        for _ in range(2):
            await gateway.query(model)
        for age, fault in (
            (100, {}),
            (1000, {"status": 429, "error": "Throttling.User", "times": 1}),
            (1000, {"status": 403, "error": "NoPermission"}),
            *[(1000, {"status": 503})] * 4,
        ):
            now[0] += age
            cloud.faults.replace({"*": fault} if fault else {})
            await gateway.query(model)
            await gateway.query(other)
        await gateway.query("{ nothing }")
        while not (metrics := await scrape(gateway))("gateway_cache_refreshes_total"):
            pass
        return metrics


async def test_the_rules_and_the_dashboard_select_only_what_a_gateway_has() -> None:
    metrics = await scrape_after_traffic()
    queries = [record["expr"] for record in RECORDS] + [alert["expr"] for alert in ALERTS]
    queries += [target["expr"] for panel in PANELS for target in panel["targets"]]
    queries += [v["query"]["query"] for v in DASHBOARD["templating"]["list"] if v["type"] == "query"]
    recorded = {record["record"] for record in RECORDS}
    assert len(queries) > 60
    for query in queries:
        if query.partition(" ")[0] in recorded or query.startswith("ALERTS{"):
            continue
        labels = {"namespace", "job", "instance"}
        selectors = SELECTOR.findall(query)
        assert selectors, query
        for name, matchers in selectors:
            found = selected(metrics, name, matchers)
            if name == "gateway_upstream_hedges_total":  # no request was slow
                assert name.removesuffix("_total") in metrics.families
                found = [{"registry": "pai", "call": "GetModel"}]
            assert found, f"{name}{{{matchers}}} selects nothing, in {query}"
            labels |= {label for sample in found for label in sample}
        grouped = {label for group in BY.findall(query) for label in re.split(r",\s*", group)}
        assert grouped <= labels, query
