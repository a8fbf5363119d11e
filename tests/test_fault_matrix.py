"""Every fault of a registry, for every kind of query and state of the cache: the response and the upstream calls.

A row of `FAULTS` is a fault and its outcome. A cell is a row with a registry, a kind of query and a state of the cache.
The gateway tries each call twice, without a pause. `table` prints the matrix.
"""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from gateway import twins
from gateway.config.settings import (
    BreakerSettings,
    CacheSettings,
    QuotaSettings,
    RegistrySettings,
    RetrySettings,
    Secret,
)
from gateway.twins import Corpus, Twins
from tests.conftest import Answer, Client, mlflow, pai, qianfan, served, settings
from tests.sagemaker.conftest import sagemaker
from tests.sagemaker.fixture_registry import FixtureRegistry, fixture_registry
from tests.scripted_registry import (
    Parameters,
    Script,
    chain,
    marked_pages,
    model_package_group,
    model_set,
    pai_model,
    pai_pages,
    qianfan_model,
    qianfan_pages,
    registered_model,
    scripted,
    token_pages,
)
from tests.test_cache import ManualClock

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Faults


@dataclass(frozen=True)
class Outcome:
    """The outcome of a fault: its code (None for a valid response), the number of tries, and whether a stale response
    is served instead."""

    code: str | None
    tries: int
    serves_stale: bool

    @property
    def retryable(self) -> bool:
        return self.code in ("REGISTRY_TIMEOUT", "REGISTRY_UNREACHABLE", "REGISTRY_UNAVAILABLE", "REGISTRY_THROTTLED")


TIMEOUT = Outcome("REGISTRY_TIMEOUT", tries=2, serves_stale=True)
UNREACHABLE = Outcome("REGISTRY_UNREACHABLE", tries=2, serves_stale=True)
UNAVAILABLE = Outcome("REGISTRY_UNAVAILABLE", tries=2, serves_stale=True)
THROTTLED = Outcome("REGISTRY_THROTTLED", tries=2, serves_stale=True)
THROTTLED_FOR_LONG = Outcome("REGISTRY_THROTTLED", tries=1, serves_stale=True)
UNAVAILABLE_FOR_LONG = Outcome("REGISTRY_UNAVAILABLE", tries=1, serves_stale=True)
BAD_ANSWER = Outcome("REGISTRY_BAD_ANSWER", tries=1, serves_stale=True)
TOO_LARGE = Outcome("REGISTRY_ANSWER_TOO_LARGE", tries=1, serves_stale=True)
UNAUTHENTICATED = Outcome("REGISTRY_UNAUTHENTICATED", tries=1, serves_stale=False)
FORBIDDEN = Outcome("REGISTRY_FORBIDDEN", tries=1, serves_stale=False)
REJECTED = Outcome("REGISTRY_REJECTED", tries=1, serves_stale=False)
UNDERSTOOD = Outcome(None, tries=1, serves_stale=False)

AWAY = "no server listens on its port"
LATE = "its clock is an hour ahead"
Form = Mapping[str, Any] | str | None


@dataclass(frozen=True)
class Fault:
    """A fault, its outcome, and its form in each registry: a fault of the twin, `AWAY` or `LATE`; None if the registry
    does not have it. ``every`` is the form in the registries that have no other.

    ``retry_after`` is the time in the error of the client, and ``timeout`` that of the registry, in seconds.
    ``replaced`` counts the requests that are sent again, beside the tries, because an idle connection ended.
    """

    name: str
    end: Outcome
    pai: Form = None
    qianfan: Form = None
    mlflow: Form = None
    sagemaker: Form = None
    every: Form = None
    retry_after: float | None = None
    timeout: float = 8.0
    replaced: int = 0

    @property
    def holds(self) -> bool:
        """Whether the registry asks to wait for longer than a call may take, so that no other call is made either."""
        return self.retry_after is not None and self.retry_after > RetrySettings().deadline

    def form(self, registry: str) -> Form:
        own: Form = getattr(self, registry)
        return own or self.every


HTML: Mapping[str, Any] = {"body": "<html><h1>Hello</h1></html>", "content_type": "text/html"}
EMPTY: Mapping[str, Any] = {"body": "{}"}
LARGEST = 1 << 20

FAULTS = (
    # The connection
    Fault("connection refused", UNREACHABLE, every=AWAY),
    Fault("reset before the answer", UNREACHABLE, every={"drop": "before"}, replaced=1),
    Fault("reset in the middle of the body", UNREACHABLE, every={"drop": "body"}),
    Fault("slow drip", TIMEOUT, every={"drip": 10}, timeout=0.5),
    Fault("hang", TIMEOUT, every={"hang": True}, timeout=0.5),
    # The status
    Fault(
        "429 with a retry time of 20 ms",
        THROTTLED,
        pai={"status": 429, "error": "Throttling.User", "headers": {"x-acs-retry-after": "20"}},
        retry_after=0.02,
    ),
    Fault(  # longer than the call may take: no second try
        "429 with a retry time of a minute",
        THROTTLED_FOR_LONG,
        pai={"status": 429, "error": "Throttling.User", "headers": {"x-acs-retry-after": "60000"}},
        retry_after=60.0,
    ),
    Fault(
        "429 with Retry-After",
        THROTTLED_FOR_LONG,
        every={"status": 429, "headers": {"retry-after": "60"}},
        retry_after=60.0,
    ),
    Fault(
        "503 with Retry-After",
        UNAVAILABLE_FOR_LONG,
        every={"status": 503, "headers": {"retry-after": "3600"}},
        retry_after=3600.0,
    ),
    Fault(
        "503 with Retry-After of a year",
        UNAVAILABLE_FOR_LONG,
        every={"status": 503, "headers": {"retry-after": "31536000"}},
        retry_after=3600.0,
    ),
    Fault("429 without a time", THROTTLED, every={"status": 429}),
    Fault(
        "400 that means throttling",
        THROTTLED,
        pai={"status": 400, "error": "Throttling.Api"},
        sagemaker={"error": "ThrottlingException"},
    ),
    Fault(
        "400",
        REJECTED,
        pai={"status": 400, "error": "InvalidParameter"},
        qianfan={"error": "InappropriateJSON"},
        mlflow={"error": "INVALID_PARAMETER_VALUE"},
        sagemaker={"error": "ValidationException"},
    ),
    Fault("403", FORBIDDEN, every={"status": 403}),
    Fault("404 of a proxy", BAD_ANSWER, every={"status": 404, **HTML}),
    Fault("403 of a proxy", FORBIDDEN, every={"status": 403, **HTML}),
    Fault("500", UNAVAILABLE, every={"status": 500}),
    Fault("502 of a proxy", UNAVAILABLE, every={"status": 502, **HTML}),
    Fault("503", UNAVAILABLE, every={"status": 503}),
    Fault("504 of a proxy", UNAVAILABLE, every={"status": 504, **HTML}),
    # The body
    Fault("HTML with 200", BAD_ANSWER, every=HTML),
    Fault("no body", BAD_ANSWER, every={"body": ""}),
    Fault("an empty object", BAD_ANSWER, pai=EMPTY, qianfan=EMPTY, sagemaker=EMPTY),  # in MLflow, it is an empty list
    Fault("JSON that is cut short", BAD_ANSWER, every={"body": '{"models": [{'}),
    Fault("JSON that is not an object", BAD_ANSWER, every={"body": "[1, 2]"}),
    Fault("truncated gzip", BAD_ANSWER, every={"truncated_gzip": True}),
    Fault("gzip in two members", UNDERSTOOD, every={"gzip_members": True}),
    Fault("gzip bomb", TOO_LARGE, every={"gzip_bomb": 4 * LARGEST}),
    Fault("JSON as text/plain", UNDERSTOOD, every={"content_type": "text/plain"}),  # the body decides, not its label
    # Error codes in a 200 of Qianfan's first generation
    Fault("error_code 18 in a 200", THROTTLED, qianfan={"error": "18"}),
    Fault("error_code 336100 in a 200", UNAVAILABLE, qianfan={"error": "336100"}),
    Fault("error_code 500000 in a 200", UNAVAILABLE, qianfan={"error": "500000"}),
    Fault("error_code 14 in a 200", UNAUTHENTICATED, qianfan={"error": "14"}),
    Fault("error_code 6 in a 200", FORBIDDEN, qianfan={"error": "6"}),
    Fault("error_code 336003 in a 200", REJECTED, qianfan={"error": "336003"}),
    # Error codes of MLflow that differ from the status
    Fault("503 with DEADLINE_EXCEEDED", UNAVAILABLE, mlflow={"error": "DEADLINE_EXCEEDED", "status": 503}),
    Fault("400 with TEMPORARILY_UNAVAILABLE", UNAVAILABLE, mlflow={"error": "TEMPORARILY_UNAVAILABLE", "status": 400}),
    Fault("RESOURCE_EXHAUSTED", THROTTLED, mlflow={"error": "RESOURCE_EXHAUSTED"}),
    Fault("403 of the host guard", FORBIDDEN, mlflow={"status": 403, "body": "Invalid Host header"}),
    Fault(
        "a workspace that does not exist",
        REJECTED,
        mlflow={"error": "RESOURCE_DOES_NOT_EXIST", "message": "Workspace 'north' not found"},
    ),
    # The account
    Fault(
        "expired session token",
        UNAUTHENTICATED,
        pai={"error": "InvalidSecurityToken.Expired"},
        sagemaker={"error": "ExpiredTokenException"},
    ),
    Fault("clock skew", UNAUTHENTICATED, pai=LATE, qianfan=LATE, sagemaker=LATE),
    Fault(
        "wrong key or password",
        UNAUTHENTICATED,
        pai={"error": "InvalidAccessKeyId.NotFound"},
        qianfan={"error": "InvalidAccessKeyId"},
        mlflow={"error": "UNAUTHENTICATED"},
        sagemaker={"error": "UnrecognizedClientException"},
    ),
    Fault(
        "no permission",
        FORBIDDEN,
        pai={"error": "NoPermission"},
        qianfan={"error": "AccessDenied"},
        mlflow={"error": "PERMISSION_DENIED"},
        sagemaker={"error": "AccessDeniedException"},
    ),
)
REGISTRIES = ("pai", "qianfan", "mlflow", "sagemaker")
CASES = [(fault, name) for fault in FAULTS for name in REGISTRIES if fault.form(name) is not None]

# Queries

COVERAGE = "coverage { registry { name } state age error { code retryable retryAfter } }"
OLDEST = "orderBy: {field: CREATED_AT, direction: ASC}"
SINGLE = "query ($one: ID!) { model(id: $one) { name } }"
LIST = f"{{ models(first: 6, {OLDEST}) {{ nodes {{ id registryName }} totalCount {COVERAGE} }} }}"
OF_ONE_REGISTRY = f"""query ($registries: [String!]) {{
  models(first: 6, filter: {{registries: $registries}}, {OLDEST}) {{ nodes {{ id registryName }} }} }}"""
NESTED = f"""query ($registries: [String!]) {{ models(first: 2, filter: {{registries: $registries}}, {OLDEST}) {{
  nodes {{ id versions(first: 3) {{ nodes {{ id }} {COVERAGE} }} }} {COVERAGE} }} }}"""

QUERIES = {"object": SINGLE, "list": LIST, "versions in a list": NESTED}
"""A single object; a list over both registries; the versions of two models in a cached list of one registry."""

MODELS = {
    "pai": "pai:model/model-rbvg5wzljzjhc9ks92",
    "qianfan": "qianfan:model/5862",
    "mlflow": "mlflow:model/router",
    "sagemaker": "sagemaker:model/group-1",
}
OTHER = {"pai": "qianfan", "qianfan": "pai", "mlflow": "pai", "sagemaker": "qianfan"}
"""The registry beside each in the gateway."""

CALLS = {
    "object": {
        "pai": {"GetModel": 1},
        "qianfan": {"modelDetail": 1},
        "mlflow": {"GetRegisteredModel": 1},
        "sagemaker": {"DescribeModelPackageGroup": 1},
    },
    "list": {
        "pai": {"ListModels": 2},
        "qianfan": {"userList": 1, "presetList": 1},
        "mlflow": {"SearchRegisteredModels": 1},
        "sagemaker": {"ListModelPackageGroups": 1},
    },
    "versions in a list": {
        "pai": {"ListModelVersions": 2},
        "qianfan": {"modelDetail": 2},
        "mlflow": {"SearchModelVersions": 2},
        "sagemaker": {"ListModelPackages": 2},
    },
}
"""The calls of each query to a registry without faults."""

# States of the cache

LIFETIME, WITHIN, BEYOND = 60.0, 10.0, 1000.0
"""Seconds for which a response is fresh, and then for as long stale while it is revalidated; an age within the
lifetime, and one far beyond it."""

STATES = ("cold", "fresh", "stale")
"""An empty cache; a fresh response; a response so old that the registry is called first."""


@dataclass(frozen=True)
class Expected:
    """The expected part of a registry in the response: its coverage state, its age in seconds and its error code; and
    the number of tries of each call."""

    state: str
    age: float | None
    code: str | None
    tries: int


def expected(end: Outcome, state: str) -> Expected:
    if state == "fresh":
        return Expected("COMPLETE", WITHIN, None, 0)
    if end.code is None:
        return Expected("COMPLETE", 0.0, None, end.tries)
    if state == "stale" and end.serves_stale:
        return Expected("STALE", BEYOND, None, end.tries)
    return Expected("UNAVAILABLE", None, end.code, end.tries)


# The gateway

Cloud = Twins | FixtureRegistry


def mlflow_corpus() -> Corpus:
    """Return a corpus with two models of three versions each."""
    corpus = Corpus(0, references=False)
    for created, name in enumerate(("router", "ranker")):
        versions = [
            {"name": name, "version": str(number), "creation_timestamp": number, "current_stage": "None"}
            for number in (1, 2, 3)
        ]
        corpus.mlflow_models.insert({"name": name, "creation_timestamp": created, "versions": versions})
    return corpus


def configured(name: str, url: str, **limits: Any) -> RegistrySettings:
    """Return the settings of a registry of the matrix."""
    if name == "sagemaker":
        return sagemaker(url, ("AKIATESTKEY", "secret", ""), name=name, **limits)
    return {"pai": pai, "qianfan": qianfan, "mlflow": mlflow}[name](url, **limits)


@dataclass
class Broken:
    """A gateway over two registries, one of which has a fault that can be switched on and off."""

    fault: Fault
    registry: str
    clock: ManualClock = field(default_factory=ManualClock)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    servers: dict[str, AsyncExitStack] = field(default_factory=dict)
    clouds: dict[str, Cloud] = field(default_factory=dict)
    gateway: Client = field(init=False)

    async def open(self) -> None:
        for name in (self.registry, OTHER[self.registry]):
            await self._serve(name)
        await self._serve_gateway()

    @property
    def names(self) -> list[str]:
        """The names of the registries, in the order of the settings."""
        return [name for name in REGISTRIES if name in self.clouds]

    async def _serve_gateway(self) -> None:
        limits = {self.registry: {"timeout": self.fault.timeout, "max_answer_bytes": LARGEST}}
        gateway_settings = settings(
            *(configured(name, self.clouds[name].url, **limits.get(name, {})) for name in self.names),
            cache=CacheSettings(
                lists=LIFETIME,
                objects=LIFETIME,
                stale=LIFETIME,
                stale_on_error=3600.0,
                jitter=0.0,
                admin_token=Secret("t"),
            ),
            retry=RetrySettings(attempts=2, backoff=0.0, budget=1.0),
            breaker=BreakerSettings(failures=20),
            quota=QuotaSettings(requests_per_second=10_000, in_flight=10_000),
        )
        self.gateway = await self.stack.enter_async_context(served(gateway_settings, self.clock))

    async def close(self) -> None:
        await self.stack.aclose()
        for server in self.servers.values():
            await server.aclose()

    async def _serve(self, name: str) -> None:
        """Serve a registry, with the data and the port of the one before."""
        self.servers[name] = AsyncExitStack()
        before = self.clouds.get(name)
        port = 0 if before is None else before.port
        if name == "sagemaker":
            self.clouds[name] = await self.servers[name].enter_async_context(fixture_registry(port))
            return
        corpus = before.corpus if isinstance(before, Twins) else mlflow_corpus() if name == "mlflow" else Corpus(5)
        twin = await self.servers[name].enter_async_context(twins.serving(port=port, corpus=corpus))
        twin.mlflow_login.required = True
        self.clouds[name] = twin

    @property
    def cloud(self) -> Cloud:
        return self.clouds[self.registry]

    def calls(self) -> dict[str, int]:
        """Return the number of each upstream call since the last use of this method."""
        counts: Counter[str] = sum((cloud.calls for cloud in self.clouds.values()), Counter())
        for cloud in self.clouds.values():
            cloud.calls.clear()
        return dict(counts)

    async def send(self, query: str) -> Answer:
        return await self._query(QUERIES[query], self.registry)

    async def nodes_of(self, registry: str) -> list[Any]:
        return list((await self._query(OF_ONE_REGISTRY, registry)).data["models"]["nodes"])

    async def _query(self, text: str, registry: str) -> Answer:
        return await self.gateway.query(text, one=MODELS[registry], registries=[registry])

    async def reach(self, query: str, state: str) -> Answer:
        """Bring the cache into a state for a query, and return the response that it was filled with."""
        if self.fault.holds:  # a new gateway, that does not hold calls from the last fault on
            await self.stack.aclose()
            await self._serve_gateway()
        await self._purge()
        complete = await self.send(query)
        match state:
            case "cold":
                await self._purge()
            case "fresh":
                self.clock.seconds += WITHIN
                complete = await self.send(query)
            case "stale":
                self.clock.seconds += BEYOND
        if query == "versions in a list":
            await self.nodes_of(self.registry)
        self.calls()
        return complete

    async def _purge(self) -> None:
        bearer = {"Authorization": "Bearer t"}
        assert (await self.gateway.request("DELETE", "/cache", headers=bearer)).status == 200

    async def start_fault(self) -> None:
        form = self.fault.form(self.registry)
        if form == AWAY:
            await self.servers[self.registry].aclose()
        elif form == LATE:
            self.cloud.now = lambda: datetime.now(UTC) + timedelta(hours=1)
        else:
            self.cloud.faults.replace({"*": dict(form or {})})

    async def end_fault(self) -> None:
        form = self.fault.form(self.registry)
        if form == AWAY:
            await self._serve(self.registry)
        elif form == LATE:
            self.cloud.now = lambda: datetime.now(UTC)
        else:
            self.cloud.faults.clear()


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=CASES, ids=[f"{fault.name}-{registry}" for fault, registry in CASES]
)
async def broken(request: pytest.FixtureRequest) -> AsyncIterator[Broken]:
    """One gateway for all cells of a fault of a registry."""
    broken = Broken(*request.param)
    await broken.open()
    try:
        yield broken
    finally:
        await broken.close()


def failed_calls(log: pytest.LogCaptureFixture, registry: str) -> dict[str, int]:
    """Return how often each call failed according to the log, the only place that shows calls without a server."""
    logged = [record.args for record in log.records if record.name == "gateway.upstream"]
    return dict(Counter(args[1] for args in logged if isinstance(args, tuple) and args[0] == registry))


def times(calls: Mapping[str, int], tries: int) -> dict[str, int]:
    return {call: count * tries for call, count in calls.items() if tries}


def coverage(registry: str, part: Expected, fault: Fault) -> dict[str, Any]:
    """Return the expected coverage of a registry."""
    error = {"code": part.code, "retryable": fault.end.retryable, "retryAfter": fault.retry_after}
    return {
        "registry": {"name": registry},
        "state": part.state,
        "age": part.age,
        "error": error if part.code else None,
    }


# The matrix


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("query", QUERIES)
async def test_a_fault_has_its_expected_response_and_number_of_calls(
    broken: Broken, query: str, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    fault, registry, end = broken.fault, broken.registry, broken.fault.end
    other, part = OTHER[registry], expected(end, state)
    others = await broken.nodes_of(other) if query == "list" else []
    complete = await broken.reach(query, state)

    caplog.clear()
    await broken.start_fault()
    try:
        answer = await broken.send(query)
    finally:
        calls_made = broken.calls()
        await broken.end_fault()

    calls = times(CALLS[query][registry], part.tries and part.tries + fault.replaced)
    if fault.form(registry) == AWAY:
        assert failed_calls(caplog, registry) == calls
        calls = {}
    if query == "list" and state != "fresh":
        calls |= CALLS[query][other]
    assert calls_made == calls

    match query:
        case "object":
            check_object(answer, complete, part, fault)
        case "list":
            check_list(answer, complete, others, broken, part)
        case _:
            check_versions(answer, complete, registry, part, fault)
    if part.code is None:
        assert answer.headers["age"] == f"{part.age:.0f}"
    else:
        assert answer.headers["cache-control"] == "no-store"
    if state == "fresh":
        assert answer.body == complete.body


def check_object(answer: Answer, complete: Answer, part: Expected, fault: Fault) -> None:
    """The object, fresh or stale; or null with an error."""
    if part.code is None:
        assert answer.body == complete.body
        return
    assert answer.body["data"] == {"model": None}
    check_errors(answer, [["model"]], part, fault)


def check_list(answer: Answer, complete: Answer, others: list[Any], broken: Broken, part: Expected) -> None:
    """All rows, fresh or stale; or those of the other registry, without an error."""
    models = answer.data["models"]
    assert models["nodes"] == (complete.data["models"]["nodes"] if part.code is None else others)
    assert models["totalCount"] == (complete.data["models"]["totalCount"] if part.code is None else None)
    healthy = Expected("COMPLETE", WITHIN if part.age == WITHIN else 0.0, None, 1)
    shares = {OTHER[broken.registry]: healthy, broken.registry: part}
    assert models["coverage"] == [coverage(name, shares[name], broken.fault) for name in broken.names]


def check_versions(answer: Answer, complete: Answer, registry: str, part: Expected, fault: Fault) -> None:
    """The cached list with its versions, fresh or stale; or with null for the versions and an error."""
    models, expected_models = answer.body["data"]["models"], complete.data["models"]
    assert [node["id"] for node in models["nodes"]] == [node["id"] for node in expected_models["nodes"]]
    if part.code is None:
        for node, before in zip(models["nodes"], expected_models["nodes"], strict=True):
            assert node["versions"]["nodes"] == before["versions"]["nodes"] != []
            assert node["versions"]["coverage"] == [coverage(registry, part, fault)]
        assert models["coverage"] == [coverage(registry, part, fault)]
        assert answer.codes == []
        return
    assert [node["versions"] for node in models["nodes"]] == [None, None]
    assert models["coverage"] == [coverage(registry, Expected("COMPLETE", 0.0, None, 0), fault)]
    check_errors(answer, [["models", "nodes", place, "versions"] for place in (0, 1)], part, fault)


def check_errors(answer: Answer, paths: list[list[Any]], part: Expected, fault: Fault) -> None:
    errors = answer.body["errors"]
    assert [error["path"] for error in errors] == paths
    for extensions in (error["extensions"] for error in errors):
        assert (extensions["code"], extensions["retryable"]) == (part.code, fault.end.retryable)
        assert extensions.get("retryAfter") == fault.retry_after


@pytest.mark.parametrize("query", QUERIES)
async def test_the_next_request_after_a_fault_has_a_complete_response_unless_the_registry_asked_to_wait(
    broken: Broken, query: str
) -> None:
    complete = await broken.reach(query, "cold")
    await broken.start_fault()
    failed = await broken.send(query)
    await broken.end_fault()
    broken.calls()
    answer = await broken.send(query)
    understood = broken.fault.end.code is None
    if broken.fault.holds:
        assert without_times(answer) == without_times(failed)
        assert broken.calls() == {}
        return
    assert answer.body == complete.body
    assert (failed.body == complete.body) is understood
    assert broken.calls() == times(CALLS[query][broken.registry], 0 if understood else 1)


def without_times(answer: Answer) -> tuple[str, list[str]]:
    """Return data and codes of a response, without the times to wait, which pass."""
    return re.sub(r'"retryAfter": [0-9.]+', "", json.dumps(answer.body["data"])), answer.codes


# Objects that do not exist

ABSENCES: Mapping[str, Form] = {
    "pai": {"error": "201600003", "status": 404},
    "qianfan": {"error": "500004"},
    "mlflow": {"error": "RESOURCE_DOES_NOT_EXIST"},
    "sagemaker": {"error": "ValidationException", "message": "The group does not exist."},
}


@pytest_asyncio.fixture(loop_scope="module", params=REGISTRIES)
async def without_object(request: pytest.FixtureRequest) -> AsyncIterator[Broken]:
    """A gateway over a registry that answers every call with its own error for an object that does not exist."""
    broken = Broken(Fault("no such object", REJECTED, every=ABSENCES[request.param]), request.param)
    await broken.open()
    try:
        yield broken
    finally:
        await broken.close()


async def test_an_object_that_does_not_exist_is_null_and_a_list_that_does_not_exist_is_an_error(
    without_object: Broken,
) -> None:
    registry = without_object.registry
    others = await without_object.nodes_of(OTHER[registry])
    listed = await without_object.reach("versions in a list", "cold")
    await without_object.start_fault()
    assert (await without_object.send("object")).data == {"model": None}
    versions = await without_object.send("versions in a list")
    assert versions.data["models"]["nodes"] == [  # the models were deleted after they were listed
        {"id": node["id"], "versions": None} for node in listed.data["models"]["nodes"]
    ]
    without_object.clock.seconds += BEYOND * 10
    models = (await without_object.send("list")).data["models"]
    assert models["nodes"] == others
    [part] = [one for one in models["coverage"] if one["registry"]["name"] == registry]
    error = {"code": "REGISTRY_REJECTED", "retryable": False, "retryAfter": None}
    assert part == {"registry": {"name": registry}, "state": "UNAVAILABLE", "age": None, "error": error}


# The matrix as a table


def cell(case: tuple[Fault, str], query: str, state: str) -> str:
    """Return the outcome of a cell, and the number of calls to the failing registry."""
    fault, registry = case
    part = expected(fault.end, state)
    calls = sum(times(CALLS[query][registry], part.tries).values())
    outcome = {"COMPLETE": "cached" if state == "fresh" else "new", "STALE": "old", "UNAVAILABLE": "error"}[part.state]
    return f"{outcome}, {calls}"


def lines() -> Iterator[list[str]]:
    yield ["fault", "registry", "code", *(f"{query}, {state}" for query in QUERIES for state in STATES)]
    for case in CASES:
        fault, registry = case
        yield [fault.name, registry, fault.end.code or "", *(cell(case, s, at) for s in QUERIES for at in STATES)]


def table() -> str:
    """Return the matrix as a table in Markdown."""
    head, *rows = lines()
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


async def test_the_table_has_every_fault_of_every_registry_and_every_cell() -> None:
    rows = [[text.strip() for text in line.strip("|").split("|")] for line in table().splitlines()]
    assert {len(row) for row in rows} == {3 + len(QUERIES) * len(STATES)}
    assert [(row[0], row[1]) for row in rows[2:]] == [(fault.name, registry) for fault, registry in CASES]
    assert sum(len(row) - 3 for row in rows[2:]) == len(CASES) * len(QUERIES) * len(STATES)
    assert (
        "| 503 | qianfan | REGISTRY_UNAVAILABLE | error, 2 | cached, 0 | old, 2 "
        "| error, 4 | cached, 0 | old, 4 | error, 4 | cached, 0 | old, 4 |"
    ) in table()


# Faults of pages


@dataclass(frozen=True)
class PageFault:
    """A list of 60 rows whose pages have a fault: the rows that arrive, its state, and the number of calls.

    ``kind`` is a kind, or the generation of Qianfan.
    """

    name: str
    kind: str
    answer: Script
    rows: int
    state: str
    calls: int


def first_page(answer: Script) -> Script:
    """Every page is the first one."""
    return lambda parameters: answer({**parameters, "PageNumber": 1, "pageNo": 1})


def without_rows(answer: Script, page: int) -> Script:
    """One page has no rows."""

    def changed(parameters: Parameters) -> Any:
        document = answer(parameters)
        if page == int(parameters.get("PageNumber") or parameters.get("pageNo") or 1):
            document.get("result", document).update({name: [] for name in ("Models", "items")})
        return document

    return changed


SIZE = 60
MODELS_OF_PAI = [pai_model(number) for number in range(SIZE)]
MODELS_OF_QIANFAN = [qianfan_model(number) for number in range(SIZE)]
SETS = [[model_set(number) for number in range(at, at + 20)] for at in range(0, SIZE, 20)]
WITHOUT_ID = [None, *MODELS_OF_PAI[1:]]


def sets(pages: Mapping[str, Any]) -> Script:
    return marked_pages("customModelSetList", pages)


Pages = Mapping[str, tuple[Any, str | None]]
THREE = [range(at, at + 20) for at in range(0, SIZE, 20)]


def mlflow_pages(pages: Pages) -> Script:
    """Pages of MLflow; a number stands for a model."""
    listed = {token: (registered(rows, registered_model), following) for token, (rows, following) in pages.items()}
    return token_pages("registered_models", "page_token", "next_page_token", listed)


def sagemaker_pages(pages: Pages) -> Script:
    """Pages of SageMaker; a number stands for a group."""
    listed = {token: (registered(rows, model_package_group), following) for token, (rows, following) in pages.items()}
    return token_pages("ModelPackageGroupSummaryList", "NextToken", "NextToken", listed)


def registered(rows: Any, row: Callable[[int], Any]) -> list[Any]:
    return [None if number is None else row(number) for number in rows]


def with_tokens(name: str, pages: Pages, rows: int, state: str, calls: int) -> Iterator[PageFault]:
    """Yield a fault of pages with tokens in both kinds that have them."""
    yield PageFault(name, "mlflow", mlflow_pages(pages), rows, state, calls)
    yield PageFault(name, "sagemaker", sagemaker_pages(pages), rows, state, calls)


PAGE_FAULTS = (
    PageFault("pages of 20 rows in place of 50", "pai", pai_pages("Models", MODELS_OF_PAI, 20), 60, "COMPLETE", 3),
    PageFault("pages of 20 rows in place of 50", "v1", qianfan_pages(MODELS_OF_QIANFAN, 20), 60, "COMPLETE", 3),
    PageFault("pages of 20 rows in place of 100", "v2", sets(chain(*SETS)), 60, "COMPLETE", 3),
    PageFault("no count", "pai", pai_pages("Models", MODELS_OF_PAI, 20, counts=False), 60, "COMPLETE", 4),
    PageFault("no count", "v1", qianfan_pages(MODELS_OF_QIANFAN, 20, counts=False), 60, "COMPLETE", 4),
    PageFault("an empty page", "pai", without_rows(pai_pages("Models", MODELS_OF_PAI, 20), 2), 40, "PARTIAL", 4),
    PageFault("an empty page", "v1", without_rows(qianfan_pages(MODELS_OF_QIANFAN, 20), 2), 40, "PARTIAL", 4),
    PageFault(
        "empty pages between the others", "v2", sets(chain([], SETS[0], [], [], *SETS[1:], [])), 60, "COMPLETE", 7
    ),
    PageFault("the same page again", "pai", first_page(pai_pages("Models", MODELS_OF_PAI, 20)), 20, "PARTIAL", 2),
    PageFault("the same page again", "v1", first_page(qianfan_pages(MODELS_OF_QIANFAN, 20)), 20, "PARTIAL", 3),
    PageFault("the same page again", "v2", sets(chain(SETS[0], SETS[0], SETS[1])), 20, "PARTIAL", 2),
    PageFault("a marker of its own page", "v2", sets({"": (SETS[0], "a"), "a": (SETS[1], "a")}), 40, "PARTIAL", 2),
    PageFault(
        "markers in a circle",
        "v2",
        sets({"": (SETS[0], "a"), "a": (SETS[1], "b"), "b": (SETS[2], "a")}),
        60,
        "PARTIAL",
        3,
    ),
    PageFault("a next page without a marker", "v2", sets({"": (SETS[0], "")}), 20, "PARTIAL", 1),
    PageFault("a row without an id", "pai", pai_pages("Models", WITHOUT_ID), 59, "PARTIAL", 2),
    PageFault("a row without an id", "v2", sets(chain([*SETS[0], None])), 20, "PARTIAL", 1),
    *with_tokens("smaller pages than requested", chain(*THREE), 60, "COMPLETE", 3),
    *with_tokens("empty pages between the others", chain([], THREE[0], [], [], *THREE[1:], []), 60, "COMPLETE", 7),
    *with_tokens("the same page again", chain(THREE[0], THREE[0], THREE[1]), 20, "PARTIAL", 2),
    *with_tokens("a marker of its own page", {"": (THREE[0], "a"), "a": (THREE[1], "a")}, 40, "PARTIAL", 2),
    *with_tokens(
        "markers in a circle",
        {"": (THREE[0], "a"), "a": (THREE[1], "b"), "b": (THREE[2], "a")},
        60,
        "PARTIAL",
        3,
    ),
    *with_tokens("a row without an id", chain([*THREE[0], None]), 20, "PARTIAL", 1),
)


PAGED_CALLS = {
    "pai": "own models",
    "v1": "presetList",
    "v2": "DescribeCustomModelSets",
    "mlflow": "SearchRegisteredModels",
    "sagemaker": "ListModelPackageGroups",
}


@pytest.mark.parametrize("fault", PAGE_FAULTS, ids=lambda fault: f"{fault.name}-{fault.kind}")
async def test_a_fault_of_pages_has_its_expected_rows_state_and_number_of_calls(fault: PageFault) -> None:
    call = PAGED_CALLS[fault.kind]
    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(scripted(**{call: fault.answer}))
        name, options = ("qianfan", {"api": fault.kind}) if fault.kind in ("v1", "v2") else (fault.kind, {})
        gateway = await stack.enter_async_context(served(settings(configured(name, registry.url, **options))))
        page = (await gateway.query("{ models(first: 100) { nodes { id } coverage { state error { code } } } }")).data
        [part] = page["models"]["coverage"]
        assert len(page["models"]["nodes"]) == fault.rows
        assert part["state"] == fault.state
        assert part["error"] == (None if fault.state == "COMPLETE" else {"code": "LIST_INCOMPLETE"})
        assert registry.calls[call] == fault.calls
        beside = await gateway.query("{ models(first: 100) { nodes { id } } }")
        assert beside.codes == ([] if fault.state == "COMPLETE" else ["LIST_INCOMPLETE"])
        assert len(beside.body["data"]["models"]["nodes"]) == fault.rows
