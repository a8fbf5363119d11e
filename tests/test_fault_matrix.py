"""Every fault of a registry, for every kind of query and state of the cache: the response and the upstream calls.

A row of `FAULTS` is a fault and its outcome. A cell is a row with a registry, a kind of query and a state of the cache.
The gateway tries each call twice, without a pause. `table` prints the matrix.
"""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from gateway import twins
from gateway.config.settings import BreakerSettings, CacheSettings, QuotaSettings, RetrySettings, Secret
from gateway.twins import Twins
from tests.conftest import Answer, World, pai, qianfan, served, settings
from tests.scripted_registry import (
    Parameters,
    Script,
    chain,
    marked_pages,
    model_set,
    pai_model,
    pai_pages,
    qianfan_model,
    qianfan_pages,
    scripted,
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
    does not have it.

    ``retry_after`` is the time in the error of the client, and ``timeout`` that of the registry, in seconds.
    ``replaced`` counts the requests that are sent again, beside the tries, because an idle connection ended.
    """

    name: str
    end: Outcome
    pai: Form = None
    qianfan: Form = None
    both: Form = None
    retry_after: float | None = None
    timeout: float = 8.0
    replaced: int = 0

    @property
    def holds(self) -> bool:
        """Whether the registry asks to wait for longer than a call may take, so that no other call is made either."""
        return self.retry_after is not None and self.retry_after > RetrySettings().deadline

    def form(self, registry: str) -> Form:
        return self.both or {"pai": self.pai, "qianfan": self.qianfan}[registry]


HTML: Mapping[str, Any] = {"body": "<html><h1>Hello</h1></html>", "content_type": "text/html"}
LARGEST = 1 << 20

FAULTS = (
    # The connection
    Fault("connection refused", UNREACHABLE, both=AWAY),
    Fault("reset before the answer", UNREACHABLE, both={"drop": "before"}, replaced=1),
    Fault("reset in the middle of the body", UNREACHABLE, both={"drop": "body"}),
    Fault("slow drip", TIMEOUT, both={"drip": 10}, timeout=0.5),
    Fault("hang", TIMEOUT, both={"hang": True}, timeout=0.5),
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
        both={"status": 429, "headers": {"retry-after": "60"}},
        retry_after=60.0,
    ),
    Fault(
        "503 with Retry-After",
        UNAVAILABLE_FOR_LONG,
        both={"status": 503, "headers": {"retry-after": "3600"}},
        retry_after=3600.0,
    ),
    Fault(
        "503 with Retry-After of a year",
        UNAVAILABLE_FOR_LONG,
        both={"status": 503, "headers": {"retry-after": "31536000"}},
        retry_after=3600.0,
    ),
    Fault("429 without a time", THROTTLED, both={"status": 429}),
    Fault("400 that means throttling", THROTTLED, pai={"status": 400, "error": "Throttling.Api"}),
    Fault("400", REJECTED, pai={"status": 400, "error": "InvalidParameter"}, qianfan={"error": "InappropriateJSON"}),
    Fault("403", FORBIDDEN, both={"status": 403}),
    Fault("404 of a proxy", BAD_ANSWER, both={"status": 404, **HTML}),
    Fault("403 of a proxy", FORBIDDEN, both={"status": 403, **HTML}),
    Fault("500", UNAVAILABLE, both={"status": 500}),
    Fault("502 of a proxy", UNAVAILABLE, both={"status": 502, **HTML}),
    Fault("503", UNAVAILABLE, both={"status": 503}),
    Fault("504 of a proxy", UNAVAILABLE, both={"status": 504, **HTML}),
    # The body
    Fault("HTML with 200", BAD_ANSWER, both=HTML),
    Fault("JSON that is not an object", BAD_ANSWER, both={"body": "[1, 2]"}),
    Fault("truncated gzip", BAD_ANSWER, both={"truncated_gzip": True}),
    Fault("gzip in two members", UNDERSTOOD, both={"gzip_members": True}),
    Fault("gzip bomb", TOO_LARGE, both={"gzip_bomb": 4 * LARGEST}),
    Fault("JSON as text/plain", UNDERSTOOD, both={"content_type": "text/plain"}),  # the body decides, not its label
    # Error codes in a 200 of Qianfan's first generation
    Fault("error_code 18 in a 200", THROTTLED, qianfan={"error": "18"}),
    Fault("error_code 336100 in a 200", UNAVAILABLE, qianfan={"error": "336100"}),
    Fault("error_code 500000 in a 200", UNAVAILABLE, qianfan={"error": "500000"}),
    Fault("error_code 14 in a 200", UNAUTHENTICATED, qianfan={"error": "14"}),
    Fault("error_code 6 in a 200", FORBIDDEN, qianfan={"error": "6"}),
    Fault("error_code 336003 in a 200", REJECTED, qianfan={"error": "336003"}),
    # The account
    Fault("expired STS token", UNAUTHENTICATED, pai={"error": "InvalidSecurityToken.Expired"}),
    Fault("clock skew", UNAUTHENTICATED, both=LATE),
    Fault(
        "unknown key",
        UNAUTHENTICATED,
        pai={"error": "InvalidAccessKeyId.NotFound"},
        qianfan={"error": "InvalidAccessKeyId"},
    ),
)
CASES = [(fault, name) for fault in FAULTS for name in ("pai", "qianfan") if fault.form(name) is not None]

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

MODELS = {"pai": "pai:model/model-rbvg5wzljzjhc9ks92", "qianfan": "qianfan:model/5862"}
OTHER = {"pai": "qianfan", "qianfan": "pai"}

CALLS = {
    "object": {"pai": {"GetModel": 1}, "qianfan": {"modelDetail": 1}},
    "list": {"pai": {"ListModels": 2}, "qianfan": {"userList": 1, "presetList": 1}},
    "versions in a list": {"pai": {"ListModelVersions": 2}, "qianfan": {"modelDetail": 2}},
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


@dataclass
class Broken:
    """A gateway over two clouds, one of which has a fault that can be switched on and off."""

    fault: Fault
    registry: str
    clock: ManualClock = field(default_factory=ManualClock)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    clouds: dict[str, AsyncExitStack] = field(default_factory=dict)
    world: World = field(init=False)

    async def open(self) -> None:
        await self._serve_gateway(await self._serve("pai"), await self._serve("qianfan"))

    async def _serve_gateway(self, one: Twins, other: Twins) -> None:
        limits = {"timeout": self.fault.timeout, "max_answer_bytes": LARGEST}
        gateway_settings = settings(
            pai(one.url, **(limits if self.registry == "pai" else {})),
            qianfan(other.url, **(limits if self.registry == "qianfan" else {})),
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
        self.world = World(one, other, await self.stack.enter_async_context(served(gateway_settings, self.clock)))

    async def close(self) -> None:
        await self.stack.aclose()
        for cloud in self.clouds.values():
            await cloud.aclose()

    async def _serve(self, name: str, before: Twins | None = None) -> Twins:
        """Serve a cloud, with the data and the port of the one before."""
        self.clouds[name] = AsyncExitStack()
        corpus, port = (None, 0) if before is None else (before.corpus, before.port)
        return await self.clouds[name].enter_async_context(twins.serving(port=port, models=5, corpus=corpus))

    @property
    def cloud(self) -> Twins:
        return {"pai": self.world.pai, "qianfan": self.world.qianfan}[self.registry]

    async def send(self, query: str) -> Answer:
        return await self._query(QUERIES[query], self.registry)

    async def nodes_of(self, registry: str) -> list[Any]:
        return list((await self._query(OF_ONE_REGISTRY, registry)).data["models"]["nodes"])

    async def _query(self, text: str, registry: str) -> Answer:
        return await self.world.gateway.query(text, one=MODELS[registry], registries=[registry])

    async def reach(self, query: str, state: str) -> Answer:
        """Bring the cache into a state for a query, and return the response that it was filled with."""
        if self.fault.holds:  # a new gateway, that does not hold calls from the last fault on
            await self.stack.aclose()
            await self._serve_gateway(self.world.pai, self.world.qianfan)
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
        self.world.calls()
        return complete

    async def _purge(self) -> None:
        bearer = {"Authorization": "Bearer t"}
        assert (await self.world.gateway.request("DELETE", "/cache", headers=bearer)).status == 200

    async def start_fault(self) -> None:
        form = self.fault.form(self.registry)
        if form == AWAY:
            await self.clouds[self.registry].aclose()
        elif form == LATE:
            self.cloud.now = lambda: datetime.now(UTC) + timedelta(hours=1)
        else:
            self.cloud.faults.replace({"*": dict(form or {})})

    async def end_fault(self) -> None:
        form = self.fault.form(self.registry)
        if form == AWAY:
            setattr(self.world, self.registry, await self._serve(self.registry, before=self.cloud))
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
        calls_made = broken.world.calls()
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
            check_list(answer, complete, others, registry, part, fault)
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


def check_list(
    answer: Answer, complete: Answer, others: list[Any], registry: str, part: Expected, fault: Fault
) -> None:
    """All rows, fresh or stale; or those of the other registry, without an error."""
    models = answer.data["models"]
    assert models["nodes"] == (complete.data["models"]["nodes"] if part.code is None else others)
    assert models["totalCount"] == (complete.data["models"]["totalCount"] if part.code is None else None)
    healthy = Expected("COMPLETE", WITHIN if part.age == WITHIN else 0.0, None, 1)
    shares = {registry: part, OTHER[registry]: healthy}
    assert models["coverage"] == [coverage(name, shares[name], fault) for name in ("pai", "qianfan")]


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
    broken.world.calls()
    answer = await broken.send(query)
    understood = broken.fault.end.code is None
    if broken.fault.holds:
        assert without_times(answer) == without_times(failed)
        assert broken.world.calls() == {}
        return
    assert answer.body == complete.body
    assert (failed.body == complete.body) is understood
    assert broken.world.calls() == times(CALLS[query][broken.registry], 0 if understood else 1)


def without_times(answer: Answer) -> tuple[str, list[str]]:
    """Return data and codes of a response, without the times to wait, which pass."""
    return re.sub(r'"retryAfter": [0-9.]+', "", json.dumps(answer.body["data"])), answer.codes


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

    ``kind`` is ``pai`` or the generation of Qianfan.
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
)


@pytest.mark.parametrize("fault", PAGE_FAULTS, ids=lambda fault: f"{fault.name}-{fault.kind}")
async def test_a_fault_of_pages_has_its_expected_rows_state_and_number_of_calls(fault: PageFault) -> None:
    call = {"pai": "own models", "v1": "presetList", "v2": "DescribeCustomModelSets"}[fault.kind]
    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(scripted(**{call: fault.answer}))
        configured = pai(registry.url) if fault.kind == "pai" else qianfan(registry.url, api=fault.kind)
        gateway = await stack.enter_async_context(served(settings(configured)))
        page = (await gateway.query("{ models(first: 100) { nodes { id } coverage { state error { code } } } }")).data
        [part] = page["models"]["coverage"]
        assert len(page["models"]["nodes"]) == fault.rows
        assert part["state"] == fault.state
        assert part["error"] == (None if fault.state == "COMPLETE" else {"code": "LIST_INCOMPLETE"})
        assert registry.calls[call] == fault.calls
        beside = await gateway.query("{ models(first: 100) { nodes { id } } }")
        assert beside.codes == ([] if fault.state == "COMPLETE" else ["LIST_INCOMPLETE"])
        assert len(beside.body["data"]["models"]["nodes"]) == fault.rows
