"""Every fault of a registry, by what is asked and what is kept: what the client gets, and how many calls it costs.

A row of `FAULTS` is a fault and how it ends, a cell is a row with a registry, a shape and a state of the cache. The
gateway tries twice, without a pause; `table` spells the whole matrix out.
"""

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
from tests.test_cache import Time

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Faults


@dataclass(frozen=True)
class End:
    """How a fault ends: with this code (None: with a good answer), after so many tries; and whether an old answer
    is served in its place."""

    code: str | None
    tries: int
    covered: bool

    @property
    def retryable(self) -> bool:
        return self.code in ("REGISTRY_TIMEOUT", "REGISTRY_UNREACHABLE", "REGISTRY_UNAVAILABLE", "REGISTRY_THROTTLED")


TIMEOUT = End("REGISTRY_TIMEOUT", tries=2, covered=True)
UNREACHABLE = End("REGISTRY_UNREACHABLE", tries=2, covered=True)
UNAVAILABLE = End("REGISTRY_UNAVAILABLE", tries=2, covered=True)
THROTTLED = End("REGISTRY_THROTTLED", tries=2, covered=True)
THROTTLED_FOR_LONG = End("REGISTRY_THROTTLED", tries=1, covered=True)
BAD_ANSWER = End("REGISTRY_BAD_ANSWER", tries=1, covered=True)
TOO_LARGE = End("REGISTRY_ANSWER_TOO_LARGE", tries=1, covered=True)
UNAUTHENTICATED = End("REGISTRY_UNAUTHENTICATED", tries=1, covered=False)
FORBIDDEN = End("REGISTRY_FORBIDDEN", tries=1, covered=False)
REJECTED = End("REGISTRY_REJECTED", tries=1, covered=False)
UNDERSTOOD = End(None, tries=1, covered=False)

AWAY = "nobody listens on its port"
LATE = "its clock is an hour ahead"
Form = Mapping[str, Any] | str | None


@dataclass(frozen=True)
class Fault:
    """A fault, its end, and the form that it has in each registry: a switch of its twin, `AWAY` or `LATE`; None where
    there is no such thing. ``retry_after`` is what the client is told, ``timeout`` the registry's own; ``replaced``
    counts the requests that are sent again because an idle connection ended, beside the tries."""

    name: str
    end: End
    pai: Form = None
    qianfan: Form = None
    both: Form = None
    retry_after: float | None = None
    timeout: float = 8.0
    replaced: int = 0

    def form(self, registry: str) -> Form:
        return self.both or {"pai": self.pai, "qianfan": self.qianfan}[registry]


HTML: Mapping[str, Any] = {"body": "<html><h1>Hello</h1></html>", "content_type": "text/html"}
LARGEST = 1 << 20

FAULTS = (
    # The connection
    Fault("connection refused", UNREACHABLE, both=AWAY),
    Fault("reset before the answer", UNREACHABLE, both={"drop": "before"}, replaced=1),
    Fault("reset in the middle of the body", UNREACHABLE, both={"drop": "body"}),
    Fault("slow drip", TIMEOUT, both={"drip": 10}, timeout=0.2),
    Fault("hang", TIMEOUT, both={"hang": True}, timeout=0.2),
    # The status
    Fault(
        "429 that asks for 20 ms",
        THROTTLED,
        pai={"status": 429, "error": "Throttling.User", "headers": {"x-acs-retry-after": "20"}},
        retry_after=0.02,
    ),
    Fault(  # longer than the call may take: no second try
        "429 that asks for a minute",
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
    Fault("429 without a time", THROTTLED, both={"status": 429}),
    Fault("400 that means throttling", THROTTLED, pai={"status": 400, "error": "Throttling.Api"}),
    Fault("400", REJECTED, pai={"status": 400, "error": "InvalidParameter"}, qianfan={"error": "InappropriateJSON"}),
    Fault("403", FORBIDDEN, both={"status": 403}),
    Fault("500", UNAVAILABLE, both={"status": 500}),
    Fault("502 of a proxy", UNAVAILABLE, both={"status": 502, **HTML}),
    Fault("503", UNAVAILABLE, both={"status": 503}),
    Fault("504 of a proxy", UNAVAILABLE, both={"status": 504, **HTML}),
    # The body
    Fault("HTML with 200", BAD_ANSWER, both=HTML),
    Fault("JSON that is not an object", BAD_ANSWER, both={"body": "[1, 2]"}),
    Fault("truncated gzip", BAD_ANSWER, both={"truncated_gzip": True}),
    Fault("gzip bomb", TOO_LARGE, both={"gzip_bomb": 4 * LARGEST}),
    Fault("JSON as text/plain", UNDERSTOOD, both={"content_type": "text/plain"}),  # the body decides, not its label
    # The envelope in a 200 of Qianfan's first generation
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

# Shapes

COVERAGE = "coverage { registry { name } state age error { code retryable retryAfter } }"
OLDEST = "orderBy: {field: CREATED_AT, direction: ASC}"
SINGLE = "query ($one: ID!) { model(id: $one) { name } }"
LIST = f"{{ models(first: 6, {OLDEST}) {{ nodes {{ id registryName }} totalCount {COVERAGE} }} }}"
OF_ONE_REGISTRY = f"""query ($registries: [String!]) {{
  models(first: 6, filter: {{registries: $registries}}, {OLDEST}) {{ nodes {{ id registryName }} }} }}"""
NESTED = f"""query ($registries: [String!]) {{ models(first: 2, filter: {{registries: $registries}}, {OLDEST}) {{
  nodes {{ id versions(first: 3) {{ nodes {{ id }} {COVERAGE} }} }} {COVERAGE} }} }}"""

SHAPES = {"object": SINGLE, "list": LIST, "versions in a list": NESTED}
"""A single object; a list over both registries; the versions of each of two models of a kept list of one registry."""

MODELS = {"pai": "pai:model/model-rbvg5wzljzjhc9ks92", "qianfan": "qianfan:model/5862"}
OTHER = {"pai": "qianfan", "qianfan": "pai"}

CALLS = {
    "object": {"pai": {"GetModel": 1}, "qianfan": {"modelDetail": 1}},
    "list": {"pai": {"ListModels": 2}, "qianfan": {"userList": 1, "presetList": 1}},
    "versions in a list": {"pai": {"ListModelVersions": 2}, "qianfan": {"modelDetail": 2}},
}
"""The calls that each shape needs of a registry, when nothing goes wrong."""

# States

LIFETIME, WITHIN, BEYOND = 60.0, 10.0, 1000.0
"""Seconds for which an answer is fresh, and for as long again served while it is renewed; an age within that, and one
far beyond."""

STATES = ("cold", "fresh", "stale")
"""Nothing kept; an answer that is fresh; one so old that the registry is asked first."""


@dataclass(frozen=True)
class Share:
    """What a client is to see of a registry: how it covers the answer, how old that is, its error, and how often each
    call is sent."""

    state: str
    age: float | None
    code: str | None
    tries: int


def expected(end: End, state: str) -> Share:
    if state == "fresh":
        return Share("COMPLETE", WITHIN, None, 0)
    if end.code is None:
        return Share("COMPLETE", 0.0, None, end.tries)
    if state == "stale" and end.covered:
        return Share("STALE", BEYOND, None, end.tries)
    return Share("UNAVAILABLE", None, end.code, end.tries)


# The world


@dataclass
class Broken:
    """A gateway over two clouds of which one has a fault, switched on and off."""

    fault: Fault
    registry: str
    clock: Time = field(default_factory=Time)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    clouds: dict[str, AsyncExitStack] = field(default_factory=dict)
    world: World = field(init=False)

    async def open(self) -> None:
        one, other = await self._serve("pai"), await self._serve("qianfan")
        limits = {"timeout": self.fault.timeout, "max_answer_bytes": LARGEST}
        chosen = settings(
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
        self.world = World(one, other, await self.stack.enter_async_context(served(chosen, self.clock)))

    async def close(self) -> None:
        await self.stack.aclose()
        for cloud in self.clouds.values():
            await cloud.aclose()

    async def _serve(self, name: str, before: Twins | None = None) -> Twins:
        """A cloud; the same at the same address when there was one before."""
        self.clouds[name] = AsyncExitStack()
        corpus, port = (None, 0) if before is None else (before.corpus, before.port)
        return await self.clouds[name].enter_async_context(twins.serving(port=port, models=5, corpus=corpus))

    @property
    def cloud(self) -> Twins:
        return {"pai": self.world.pai, "qianfan": self.world.qianfan}[self.registry]

    async def ask(self, shape: str) -> Answer:
        return await self._query(SHAPES[shape], self.registry)

    async def nodes_of(self, registry: str) -> list[Any]:
        return list((await self._query(OF_ONE_REGISTRY, registry)).data["models"]["nodes"])

    async def _query(self, text: str, registry: str) -> Answer:
        return await self.world.gateway.query(text, one=MODELS[registry], registries=[registry])

    async def reach(self, shape: str, state: str) -> Answer:
        """Bring the cache into a state for a shape; returns the answer from which it is."""
        await self._forget()
        whole = await self.ask(shape)
        match state:
            case "cold":
                await self._forget()
            case "fresh":
                self.clock.seconds += WITHIN
                whole = await self.ask(shape)
            case "stale":
                self.clock.seconds += BEYOND
        if shape == "versions in a list":
            await self.nodes_of(self.registry)
        self.world.calls()
        return whole

    async def _forget(self) -> None:
        bearer = {"Authorization": "Bearer t"}
        assert (await self.world.gateway.request("DELETE", "/cache", headers=bearer)).status == 200

    async def go_wrong(self) -> None:
        form = self.fault.form(self.registry)
        if form == AWAY:
            await self.clouds[self.registry].aclose()
        elif form == LATE:
            self.cloud.now = lambda: datetime.now(UTC) + timedelta(hours=1)
        else:
            self.cloud.faults.replace({"*": dict(form or {})})

    async def get_well(self) -> None:
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
    """One gateway for all cells of a fault in a registry."""
    broken = Broken(*request.param)
    await broken.open()
    try:
        yield broken
    finally:
        await broken.close()


def failed_calls(log: pytest.LogCaptureFixture, registry: str) -> dict[str, int]:
    """How often each call failed by the gateway's log: nobody else sees calls to where nobody listens."""
    said = [record.args for record in log.records if record.name == "gateway.upstream"]
    return dict(Counter(args[1] for args in said if isinstance(args, tuple) and args[0] == registry))


def times(calls: Mapping[str, int], tries: int) -> dict[str, int]:
    return {call: count * tries for call, count in calls.items() if tries}


def covered(registry: str, share: Share, fault: Fault) -> dict[str, Any]:
    """The coverage of a registry."""
    error = {"code": share.code, "retryable": fault.end.retryable, "retryAfter": fault.retry_after}
    return {
        "registry": {"name": registry},
        "state": share.state,
        "age": share.age,
        "error": error if share.code else None,
    }


# The matrix


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("shape", SHAPES)
async def test_a_fault_costs_what_it_must_and_hides_what_it_may(
    broken: Broken, shape: str, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    fault, registry, end = broken.fault, broken.registry, broken.fault.end
    other, share = OTHER[registry], expected(end, state)
    others = await broken.nodes_of(other) if shape == "list" else []
    whole = await broken.reach(shape, state)

    caplog.clear()
    await broken.go_wrong()
    try:
        answer = await broken.ask(shape)
    finally:
        made = broken.world.calls()
        await broken.get_well()

    calls = times(CALLS[shape][registry], share.tries and share.tries + fault.replaced)
    if fault.form(registry) == AWAY:
        assert failed_calls(caplog, registry) == calls
        calls = {}
    if shape == "list" and state != "fresh":
        calls |= CALLS[shape][other]
    assert made == calls

    match shape:
        case "object":
            check_object(answer, whole, share, fault)
        case "list":
            check_list(answer, whole, others, registry, share, fault)
        case _:
            check_versions(answer, whole, registry, share, fault)
    if share.code is None:
        assert answer.headers["age"] == f"{share.age:.0f}"
    else:
        assert answer.headers["cache-control"] == "no-store"
    if state == "fresh":
        assert answer.body == whole.body


def check_object(answer: Answer, whole: Answer, share: Share, fault: Fault) -> None:
    """The object, new or old; or null and why."""
    if share.code is None:
        assert answer.body == whole.body
        return
    assert answer.body["data"] == {"model": None}
    check_errors(answer, [["model"]], share, fault)


def check_list(answer: Answer, whole: Answer, others: list[Any], registry: str, share: Share, fault: Fault) -> None:
    """All rows, new or old; or those of the other registry. The other is never harmed, and there is no error."""
    models = answer.data["models"]
    assert models["nodes"] == (whole.data["models"]["nodes"] if share.code is None else others)
    assert models["totalCount"] == (whole.data["models"]["totalCount"] if share.code is None else None)
    healthy = Share("COMPLETE", WITHIN if share.age == WITHIN else 0.0, None, 1)
    shares = {registry: share, OTHER[registry]: healthy}
    assert models["coverage"] == [covered(name, shares[name], fault) for name in ("pai", "qianfan")]


def check_versions(answer: Answer, whole: Answer, registry: str, share: Share, fault: Fault) -> None:
    """The kept list with its versions, new or old; or with null in the place of versions, and why."""
    models, known = answer.body["data"]["models"], whole.data["models"]
    assert [node["id"] for node in models["nodes"]] == [node["id"] for node in known["nodes"]]
    if share.code is None:
        for node, before in zip(models["nodes"], known["nodes"], strict=True):
            assert node["versions"]["nodes"] == before["versions"]["nodes"] != []
            assert node["versions"]["coverage"] == [covered(registry, share, fault)]
        assert models["coverage"] == [covered(registry, share, fault)]
        assert answer.codes == []
        return
    assert [node["versions"] for node in models["nodes"]] == [None, None]
    assert models["coverage"] == [covered(registry, Share("COMPLETE", 0.0, None, 0), fault)]
    check_errors(answer, [["models", "nodes", place, "versions"] for place in (0, 1)], share, fault)


def check_errors(answer: Answer, paths: list[list[Any]], share: Share, fault: Fault) -> None:
    errors = answer.body["errors"]
    assert [error["path"] for error in errors] == paths
    for extensions in (error["extensions"] for error in errors):
        assert (extensions["code"], extensions["retryable"]) == (share.code, fault.end.retryable)
        assert extensions.get("retryAfter") == fault.retry_after


@pytest.mark.parametrize("shape", SHAPES)
async def test_when_the_fault_is_over_the_next_question_is_answered(broken: Broken, shape: str) -> None:
    whole = await broken.reach(shape, "cold")
    await broken.go_wrong()
    failed = await broken.ask(shape)
    await broken.get_well()
    broken.world.calls()
    answer = await broken.ask(shape)
    assert answer.body == whole.body
    understood = broken.fault.end.code is None
    assert (failed.body == whole.body) is understood
    assert broken.world.calls() == times(CALLS[shape][broken.registry], 0 if understood else 1)


# The matrix as a table


def cell(case: tuple[Fault, str], shape: str, state: str) -> str:
    """What a client gets, and after how many calls to the registry that fails."""
    fault, registry = case
    share = expected(fault.end, state)
    calls = sum(times(CALLS[shape][registry], share.tries).values())
    what = {"COMPLETE": "kept" if state == "fresh" else "new", "STALE": "old", "UNAVAILABLE": "error"}[share.state]
    return f"{what}, {calls}"


def lines() -> Iterator[list[str]]:
    yield ["fault", "registry", "code", *(f"{shape}, {state}" for shape in SHAPES for state in STATES)]
    for case in CASES:
        fault, registry = case
        yield [fault.name, registry, fault.end.code or "", *(cell(case, s, at) for s in SHAPES for at in STATES)]


def table() -> str:
    """The matrix in Markdown: for each cell what a client gets, and after how many calls."""
    head, *rows = lines()
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


async def test_the_table_has_every_fault_of_every_registry_and_every_cell() -> None:
    rows = [[text.strip() for text in line.strip("|").split("|")] for line in table().splitlines()]
    assert {len(row) for row in rows} == {3 + len(SHAPES) * len(STATES)}
    assert [(row[0], row[1]) for row in rows[2:]] == [(fault.name, registry) for fault, registry in CASES]
    assert sum(len(row) - 3 for row in rows[2:]) == len(CASES) * len(SHAPES) * len(STATES)
    assert (
        "| 503 | qianfan | REGISTRY_UNAVAILABLE | error, 2 | kept, 0 | old, 2 "
        "| error, 4 | kept, 0 | old, 4 | error, 4 | kept, 0 | old, 4 |"
    ) in table()
