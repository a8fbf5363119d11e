"""What a caller may not read does not exist for it: every answer is the one of a gateway that has nothing else.

Two callers share one gateway; beside it stands, for each of them, a gateway that has only that caller's registries.
Whatever is asked, in whatever order and by whomever before, both say the same bytes.
"""

import asyncio
import hashlib
import json
import os
import random
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import twins
from gateway.catalog.ids import parse
from gateway.config.settings import AccessSettings, CacheSettings, LimitsSettings
from tests.access.doors import NAMES, Clock, Ring
from tests.conftest import Answer, Client, pai, qianfan, served
from tests.conftest import settings as plain

TENANTS = {"alice": ("pai", "qianfan"), "bob": ("pai-two", "qianfan-two")}
NOWHERE = "pai-three"
"""A registry that neither has: ids of the other's must be answered as its are."""

EXAMPLES = int(os.environ.get("VISIBILITY_EXAMPLES", "40"))
"""Lists of up to ten questions that are asked; set it higher for a longer run."""

# What is measured in seconds by the process itself differs between any two: `latency` and `lastSuccess`.
STATUS = "status { state circuit error { code message } }"
MODEL = [
    "id", "nativeId", "name", "registryName", "createdAt", "owner", "extra", "raw", "labels { key value }",
    "latestVersion { id name model { id } }", "versions(first: 2) { totalCount nodes { id name } }",
    f"registry {{ name kind {STATUS} }}",
]  # fmt: skip
ALGORITHM = ["id", "name", "registryName", "versions(first: 1) { totalCount nodes { id } }", f"registry {{ {STATUS} }}"]
LIST = [
    "totalCount", "nodes { %s }", "edges { cursor node { id } }",
    "pageInfo { hasNextPage hasPreviousPage startCursor endCursor }",
    "coverage { registry { name } state totalCount rowsRead age error { code message } }",
]  # fmt: skip
FILTERS = [
    "{}", "{ownership: OWN}", "{ownership: PLATFORM}", '{nameContains: "a"}', "{kinds: [PAI]}", "{kinds: [QIANFAN]}",
    "{framework: PYTORCH}", *(f'{{registries: ["{name}"]}}' for names in TENANTS.values() for name in names),
    f'{{registries: ["{NOWHERE}"]}}', '{registries: ["pai", "pai-two"]}',
]  # fmt: skip
ORDERS = ["{field: CREATED_AT, direction: DESC}", "{field: NAME, direction: ASC}"]


@dataclass
class World:
    """The shared gateway, the gateways that each caller has alone, and what clients can know by asking."""

    shared: Client
    alone: Mapping[str, Client]
    keys: Mapping[str, str]
    clocks: list[Clock]
    ids: list[str] = field(default_factory=list)
    cursors: list[str] = field(default_factory=list)

    async def both(self, caller: str, query: str, headers: Mapping[str, str]) -> tuple[Answer, Answer]:
        """The answer of the shared gateway and of the caller's own."""
        sent = {**headers, "X-API-Key": self.keys[caller], "Accept-Encoding": "identity"}  # ids differ in packed size
        options: Any = {"json": {"query": query}, "headers": sent}
        return await self.shared.request("POST", **options), await self.alone[caller].request("POST", **options)


OF_THE_REQUEST = {"date", "x-request-id", "traceparent"}
"""Headers that differ between any two requests, also to one gateway: the time and random ids, nothing of registries."""

OF_THE_CALL = re.compile(r'(?<="RequestId": ")[0-9A-F-]{36}(?=")')
"""What a cloud names the call that brought a `raw` object: a random id, too."""


def said(answer: Answer) -> tuple[int, str, dict[str, str]]:
    """All of an answer: its status, its text, its headers but for what names one request."""
    headers = {name: value for name, value in answer.headers.items() if name not in OF_THE_REQUEST}
    return answer.status, OF_THE_CALL.sub("", json.dumps(answer.body)), headers


@asynccontextmanager
async def world(folder: Path, cache: CacheSettings) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(twins.serving(models=models)) for models in (16, 23)]
        theirs = {
            "alice": (pai(one.url), qianfan(one.url)),
            "bob": (pai(two.url, "pai-two"), qianfan(two.url, "qianfan-two")),
        }
        ring = Ring(folder / "keys.toml")
        keys = {who: ring.add(who, TENANTS[who], ("read", "raw", "explain")) for who in TENANTS}
        clocks = [Clock() for _ in range(3)]
        limits = LimitsSettings(requests_per_second=1_000_000)
        common: dict[str, Any] = {"cache": cache, "limits": limits}
        access = AccessSettings(mode="callers", keys=str(ring.path))
        mixed = (theirs["bob"][0], *theirs["alice"], theirs["bob"][1])
        shared = await stack.enter_async_context(served(plain(*mixed, access=access, **common), clocks[0]))
        alone = {
            who: await stack.enter_async_context(served(plain(*registries, access=access, **common), clock))
            for (who, registries), clock in zip(theirs.items(), clocks[1:], strict=True)
        }
        yield World(shared, alone, keys, clocks)


LISTED = """{ models(first: 12) { nodes { id latestVersion { id } } edges { cursor } }
  algorithms(first: 6) { nodes { id latestVersion { id } } edges { cursor } } }"""


async def explored(world: World) -> World:
    """With ids and cursors of both callers, and ids that look like them."""
    for who, names in TENANTS.items():
        shared, answer = await world.both(who, LISTED, {})
        assert said(shared) == said(answer)
        for connection in answer.data.values():
            world.cursors += [edge["cursor"] for edge in connection["edges"]][::4]
            for node in connection["nodes"]:
                world.ids += [node["id"], *([node["latestVersion"]["id"]] if node["latestVersion"] else [])]
        world.ids += [f"{name}:model/nothing" for name in names]
    some = random.Random(1).sample(world.ids, 6)  # noqa: S311
    world.ids += [str(parse(id)._replace(registry=NOWHERE)) for id in some] + ["pai-two:model/..", "nonsense"]
    return world


# Questions


def chosen(fields: list[str]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(fields), min_size=1, max_size=4, unique=True).map(" ".join)


def question(world: World) -> st.SearchStrategy[str]:
    """Any query over what both callers know of."""
    ids, quoted = st.sampled_from(world.ids), json.dumps
    after = st.one_of(st.none(), st.sampled_from(world.cursors), st.just("nonsense"))
    arguments = st.fixed_dictionaries(
        {"first": st.integers(0, 7).map(str)},
        optional={
            "after": after.map(quoted),
            "filter": st.sampled_from(FILTERS),
            "orderBy": st.sampled_from(ORDERS),
        },
    )

    def listing(name: str, fields: list[str]) -> st.SearchStrategy[str]:
        shown = st.tuples(chosen(LIST), chosen(fields)).map(lambda both: both[0].replace("%s", both[1]))
        return st.tuples(arguments, shown).map(
            lambda parts: f"{name}({', '.join(f'{n}: {v}' for n, v in parts[0].items())}) {{ {parts[1]} }}"
        )

    models_only = ("orderBy", "framework", "ownership")
    algorithms = listing("algorithms", ALGORITHM).filter(lambda text: not any(word in text for word in models_only))
    node = st.tuples(ids, chosen(MODEL[:4])).map(
        lambda both: f"node(id: {quoted(both[0])}) {{ id __typename ... on Model {{ {both[1]} }} }}"
    )
    nodes = st.lists(ids, max_size=5).map(lambda some: f"nodes(ids: {quoted(some)}) {{ id __typename }}")
    model = st.tuples(ids, chosen(MODEL)).map(lambda both: f"model(id: {quoted(both[0])}) {{ {both[1]} }}")
    version = ids.map(lambda id: f"modelVersion(id: {quoted(id)}) {{ id name model {{ name }} }}")
    algorithm = st.tuples(ids, chosen(ALGORITHM)).map(lambda both: f"algorithm(id: {quoted(both[0])}) {{ {both[1]} }}")
    referred = ids.map(lambda id: f'{{__typename: "Model", id: {quoted(id)}}}')
    natively = ids.map(lambda id: (quoted(id.partition(":")[0]), quoted(id.rpartition("/")[2]))).map(
        lambda keys: f'{{__typename: "Model", registryName: {keys[0]}, nativeId: {keys[1]}}}'
    )
    entities = st.lists(st.one_of(referred, natively), max_size=4).map(
        lambda some: f"_entities(representations: [{', '.join(some)}]) {{ __typename ... on Model {{ id name raw }} }}"
    )
    registries = st.just(f"registries {{ name kind region capabilities {STATUS} }}")
    objects = st.one_of(node, nodes, model, version, algorithm, entities)
    roots = st.one_of(listing("models", MODEL), algorithms, objects, registries)
    return st.lists(roots, min_size=1, max_size=3).map(
        lambda asked: "{ " + " ".join(f"f{place}: {root}" for place, root in enumerate(asked)) + " }"
    )


CACHE_CONTROL = st.sampled_from([{}, {}, {}, {"Cache-Control": "no-cache"}, {"Cache-Control": "only-if-cached"}])


@dataclass
class Running:
    """A world that goes on between examples, and the loop that it runs in."""

    runner: asyncio.Runner
    world: World


@pytest.fixture(scope="module", params=["cached", "uncached"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    # No refresh runs behind an answer: when it ends differs between any two gateways.
    cache = CacheSettings(jitter=0.0, stale=0.0, enabled=request.param == "cached")
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        made = runner.run(stack.enter_async_context(world(tmp_path_factory.mktemp("ring"), cache)))
        yield Running(runner, runner.run(explored(made)))
        runner.run(stack.aclose())


@pytest.mark.timeout(600)
def test_no_answer_tells_that_there_are_others(running: Running) -> None:
    asked = st.tuples(st.sampled_from(sorted(TENANTS)), question(running.world), CACHE_CONTROL)
    seen: dict[str, int] = {}

    async def compare(caller: str, query: str, headers: Mapping[str, str]) -> None:
        shared, alone = await running.world.both(caller, query, headers)
        assert said(shared) == said(alone)
        for code in shared.codes or ["data"]:
            seen[code] = seen.get(code, 0) + 1

    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=EXAMPLES == 40)
    @given(st.lists(asked, min_size=1, max_size=10), st.sampled_from([0.0, 20.0, 100.0]))
    def whatever_is_asked(questions: list[tuple[str, str, Mapping[str, str]]], seconds: float) -> None:
        for clock in running.world.clocks:
            clock.seconds += seconds
        for one in questions:
            running.runner.run(compare(*one))

    whatever_is_asked()
    assert {"data", "INVALID_ID", "INVALID_CURSOR", "BAD_USER_INPUT"} <= seen.keys()
    assert min(seen["data"], seen["INVALID_ID"]) > 20, "the questions lost their point"


@pytest.mark.parametrize("query", [
    'model(id: "%s:model/model-1") { name }', 'node(id: "%s:model/m-1") { id }', 'nodes(ids: ["%s:model/m"]) { id }',
    'models(filter: {registries: ["%s"]}) { totalCount }', 'algorithms(filter: {registries: ["%s"]}) { totalCount }',
])  # fmt: skip
def test_a_registry_of_others_is_answered_as_one_that_nobody_has(query: str, running: Running) -> None:
    async def run() -> None:
        hidden, nowhere = [
            (await running.world.both("alice", f"{{ {query % n} }}", {}))[0] for n in ("pai-two", NOWHERE)
        ]
        assert hidden.codes
        assert json.dumps(hidden.body).replace("pai-two", NOWHERE) == json.dumps(nowhere.body)
        assert hidden.status == nowhere.status

    running.runner.run(run())


def test_a_document_that_one_registered_is_not_there_for_another(running: Running) -> None:
    named = {"persistedQuery": {"version": 1, "sha256Hash": hashlib.sha256(NAMES.encode()).hexdigest()}}

    async def ask(who: str, **said: Any) -> Answer:
        headers = {"X-API-Key": running.world.keys[who]}
        return await running.world.shared.request("POST", json={"extensions": named, **said}, headers=headers)

    async def run() -> None:
        assert (await ask("alice", query=NAMES)).codes == []
        assert (await ask("alice")).codes == []
        assert (await ask("bob")).codes == ["PERSISTED_QUERY_NOT_FOUND"]

    running.runner.run(run())


def test_each_sees_only_their_own_in_the_configured_order(running: Running) -> None:
    async def run() -> None:
        for who, names in TENANTS.items():
            shared, _ = await running.world.both(who, NAMES, {})
            assert tuple(one["name"] for one in shared.data["registries"]) == names

    running.runner.run(run())
