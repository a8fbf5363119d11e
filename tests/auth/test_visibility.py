"""Isolation of callers: a registry that a caller may not read does not exist for that caller.

Two callers share one gateway. Each also has a separate gateway with only its own registries. For any sequence of
queries from both callers, the shared gateway and the caller's own gateway return the same bytes.
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
from tests.auth.gateways import NAMES, Clock, KeyFile
from tests.conftest import Answer, Client, mlflow, pai, qianfan, served
from tests.conftest import settings as plain
from tests.sagemaker.conftest import sagemaker
from tests.sagemaker.fixture_registry import fixture_registry

TENANTS = {
    "alice": ("pai", "qianfan", "mlflow", "aws"),
    "bob": ("pai-two", "qianfan-two", "mlflow-two", "aws-two"),
}
NOWHERE = "pai-three"
"""A registry that no gateway has. An id of the other caller's registry must get the same answer as one of these."""

EXAMPLES = int(os.environ.get("VISIBILITY_EXAMPLES", "40"))
"""Sequences of up to ten queries; raise it for a longer run."""

# `latency` and `lastSuccess` are left out: each process measures its own.
STATUS = "status { state circuit error { code message } }"
MODEL = [
    "id", "nativeId", "name", "registryName", "createdAt", "owner", "extra", "raw", "labels { key value }",
    "latestVersion { id name model { id } }", "versions(first: 2) { totalCount nodes { id name } }",
    f"registry {{ name kind {STATUS} }}",
]  # fmt: skip
ALGORITHM = ["id", "name", "registryName", "versions(first: 1) { totalCount nodes { id } }", f"registry {{ {STATUS} }}"]
LIST = [
    "total { count relation }",
    "facets(fields: [REGISTRY, KIND, PROVIDER]) { field exact values { value count } }",
    "totalCount", "nodes { %s }", "edges { cursor node { id } }",
    "pageInfo { hasNextPage hasPreviousPage startCursor endCursor }",
    "coverage { registry { name } state totalCount rowsRead age error { code message } }",
]  # fmt: skip
FILTERS = [
    "{}", "{ownership: OWN}", "{ownership: PLATFORM}", '{nameContains: "a"}', "{kinds: [PAI]}", "{kinds: [QIANFAN]}",
    "{kinds: [MLFLOW]}", "{kinds: [SAGEMAKER]}", '{label: {key: "team", value: "nlp"}}',
    "{framework: PYTORCH}", *(f'{{registries: ["{name}"]}}' for names in TENANTS.values() for name in names),
    f'{{registries: ["{NOWHERE}"]}}', '{registries: ["pai", "pai-two"]}',
]  # fmt: skip
ORDERS = ["{field: CREATED_AT, direction: DESC}", "{field: NAME, direction: ASC}"]


@dataclass
class World:
    """The shared gateway, each caller's own gateway, and the ids and cursors that clients can learn from answers."""

    shared: Client
    alone: Mapping[str, Client]
    keys: Mapping[str, str]
    clocks: list[Clock]
    ids: list[str] = field(default_factory=list)
    cursors: list[str] = field(default_factory=list)

    async def both(self, caller: str, query: str, headers: Mapping[str, str]) -> tuple[Answer, Answer]:
        """The answers of the shared gateway and of the caller's own."""
        # Uncompressed, because random ids compress to different lengths.
        sent = {**headers, "X-API-Key": self.keys[caller], "Accept-Encoding": "identity"}
        options: Any = {"json": {"query": query}, "headers": sent}
        return await self.shared.request("POST", **options), await self.alone[caller].request("POST", **options)


PER_REQUEST_HEADERS = {"date", "x-request-id", "traceparent"}
"""Headers that differ between any two requests to the same gateway: the time and random ids."""

CLOUD_REQUEST_ID = re.compile(r'(?<="RequestId": ")[0-9A-F-]{36}(?=")')
"""The cloud's random id of the call that returned a `raw` object."""


def comparable(answer: Answer) -> tuple[int, str, dict[str, str]]:
    """The status, body and headers of an answer, without random ids and the time."""
    headers = {name: value for name, value in answer.headers.items() if name not in PER_REQUEST_HEADERS}
    return answer.status, CLOUD_REQUEST_ID.sub("", json.dumps(answer.body)), headers


@asynccontextmanager
async def world(folder: Path, cache: CacheSettings) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        corpora = twins.Corpus(16, mlflow_models=7), twins.Corpus(23, mlflow_models=9)
        one, two = [await stack.enter_async_context(twins.serving(corpus=corpus)) for corpus in corpora]
        first, second = [await stack.enter_async_context(fixture_registry(groups=groups)) for groups in (4, 6)]
        key = ("AKIATESTKEY", "secret", "")
        registries_of = {
            "alice": (pai(one.url), qianfan(one.url), mlflow(one.url), sagemaker(first.url, key)),
            "bob": (
                pai(two.url, "pai-two"),
                qianfan(two.url, "qianfan-two"),
                mlflow(two.url, "mlflow-two"),
                sagemaker(second.url, key, name="aws-two"),
            ),
        }
        key_file = KeyFile(folder / "keys.toml")
        keys = {caller: key_file.add(caller, names, ("read", "raw", "explain")) for caller, names in TENANTS.items()}
        clocks = [Clock() for _ in range(3)]
        limits = LimitsSettings(requests_per_second=1_000_000)
        common: dict[str, Any] = {"cache": cache, "limits": limits}
        access = AccessSettings(mode="callers", keys=str(key_file.path))
        mixed = (registries_of["bob"][0], *registries_of["alice"], *registries_of["bob"][1:])
        shared = await stack.enter_async_context(served(plain(*mixed, access=access, **common), clocks[0]))
        alone = {
            caller: await stack.enter_async_context(served(plain(*registries, access=access, **common), clock))
            for (caller, registries), clock in zip(registries_of.items(), clocks[1:], strict=True)
        }
        yield World(shared, alone, keys, clocks)


LISTED = """{ models(first: 12) { nodes { id latestVersion { id } } edges { cursor } }
  algorithms(first: 6) { nodes { id latestVersion { id } } edges { cursor } } }"""


async def collect_ids(world: World) -> World:
    """Add the ids and cursors of both callers to the world, and ids that resemble them."""
    for caller, names in TENANTS.items():
        shared, answer = await world.both(caller, LISTED, {})
        assert comparable(shared) == comparable(answer)
        for connection in answer.data.values():
            world.cursors += [edge["cursor"] for edge in connection["edges"]][::4]
            for node in connection["nodes"]:
                world.ids += [node["id"], *([node["latestVersion"]["id"]] if node["latestVersion"] else [])]
        world.ids += [f"{name}:model/nothing" for name in names]
    some = random.Random(1).sample(world.ids, 6)  # noqa: S311
    world.ids += [str(parse(id)._replace(registry=NOWHERE)) for id in some] + ["pai-two:model/..", "nonsense"]
    return world


# Queries


def selections(fields: list[str]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(fields), min_size=1, max_size=4, unique=True).map(" ".join)


def queries(world: World) -> st.SearchStrategy[str]:
    """Any query with the ids and cursors of both callers."""
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
        shown = st.tuples(selections(LIST), selections(fields)).map(lambda both: both[0].replace("%s", both[1]))
        return st.tuples(arguments, shown).map(
            lambda parts: f"{name}({', '.join(f'{n}: {v}' for n, v in parts[0].items())}) {{ {parts[1]} }}"
        )

    models_only = ("orderBy", "framework", "ownership")
    algorithms = listing("algorithms", ALGORITHM).filter(lambda text: not any(word in text for word in models_only))
    node = st.tuples(ids, selections(MODEL[:4])).map(
        lambda both: f"node(id: {quoted(both[0])}) {{ id __typename ... on Model {{ {both[1]} }} }}"
    )
    nodes = st.lists(ids, max_size=5).map(lambda some: f"nodes(ids: {quoted(some)}) {{ id __typename }}")
    model = st.tuples(ids, selections(MODEL)).map(lambda both: f"model(id: {quoted(both[0])}) {{ {both[1]} }}")
    version = ids.map(lambda id: f"modelVersion(id: {quoted(id)}) {{ id name model {{ name }} }}")
    algorithm = st.tuples(ids, selections(ALGORITHM)).map(
        lambda both: f"algorithm(id: {quoted(both[0])}) {{ {both[1]} }}"
    )
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
        lambda fields: "{ " + " ".join(f"f{place}: {root}" for place, root in enumerate(fields)) + " }"
    )


CACHE_CONTROL = st.sampled_from([{}, {}, {}, {"Cache-Control": "no-cache"}, {"Cache-Control": "only-if-cached"}])


@dataclass
class Running:
    """A world that all examples share, and its event loop."""

    runner: asyncio.Runner
    world: World


@pytest.fixture(scope="module", params=["cached", "uncached"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    # Background refreshes are off: they end at different times on different gateways.
    cache = CacheSettings(jitter=0.0, stale=0.0, enabled=request.param == "cached")
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        made = runner.run(stack.enter_async_context(world(tmp_path_factory.mktemp("ring"), cache)))
        yield Running(runner, runner.run(collect_ids(made)))
        runner.run(stack.aclose())


@pytest.mark.timeout(600)
def test_no_answer_reveals_other_callers_or_their_registries(running: Running) -> None:
    requests = st.tuples(st.sampled_from(sorted(TENANTS)), queries(running.world), CACHE_CONTROL)
    seen: dict[str, int] = {}

    async def compare(caller: str, query: str, headers: Mapping[str, str]) -> None:
        shared, alone = await running.world.both(caller, query, headers)
        assert comparable(shared) == comparable(alone)
        for code in shared.codes or ["data"]:
            seen[code] = seen.get(code, 0) + 1

    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=EXAMPLES == 40)
    @given(st.lists(requests, min_size=1, max_size=10), st.sampled_from([0.0, 20.0, 100.0]))
    def compare_all(sequence: list[tuple[str, str, Mapping[str, str]]], seconds: float) -> None:
        for clock in running.world.clocks:
            clock.seconds += seconds
        for request in sequence:
            running.runner.run(compare(*request))

    compare_all()
    assert {"data", "INVALID_ID", "INVALID_CURSOR", "BAD_USER_INPUT"} <= seen.keys()
    assert min(seen["data"], seen["INVALID_ID"]) > 20, "too few queries of each outcome"


@pytest.mark.parametrize("query", [
    'model(id: "%s:model/model-1") { name }', 'node(id: "%s:model/m-1") { id }', 'nodes(ids: ["%s:model/m"]) { id }',
    'models(filter: {registries: ["%s"]}) { totalCount }', 'algorithms(filter: {registries: ["%s"]}) { totalCount }',
])  # fmt: skip
def test_a_hidden_registry_gets_the_same_answer_as_one_that_does_not_exist(query: str, running: Running) -> None:
    async def run() -> None:
        hidden, nowhere = [
            (await running.world.both("alice", f"{{ {query % n} }}", {}))[0] for n in ("pai-two", NOWHERE)
        ]
        assert hidden.codes
        assert json.dumps(hidden.body).replace("pai-two", NOWHERE) == json.dumps(nowhere.body)
        assert hidden.status == nowhere.status

    running.runner.run(run())


def test_a_persisted_query_of_one_caller_does_not_exist_for_another(running: Running) -> None:
    persisted = {"persistedQuery": {"version": 1, "sha256Hash": hashlib.sha256(NAMES.encode()).hexdigest()}}

    async def send_query(caller: str, **body: Any) -> Answer:
        headers = {"X-API-Key": running.world.keys[caller]}
        return await running.world.shared.request("POST", json={"extensions": persisted, **body}, headers=headers)

    async def run() -> None:
        assert (await send_query("alice", query=NAMES)).codes == []
        assert (await send_query("alice")).codes == []
        assert (await send_query("bob")).codes == ["PERSISTED_QUERY_NOT_FOUND"]

    running.runner.run(run())


def test_a_caller_sees_only_its_own_registries_in_the_configured_order(running: Running) -> None:
    async def run() -> None:
        for caller, names in TENANTS.items():
            shared, _ = await running.world.both(caller, NAMES, {})
            assert tuple(registry["name"] for registry in shared.data["registries"]) == names

    running.runner.run(run())
