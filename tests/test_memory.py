"""The memory budget: every cache counts what it keeps alive, and a refused request leaves nothing behind."""

import gc
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any

import pytest
from graphql import DocumentNode, GraphQLError, Node, parse

from gateway.catalog.lists import FirstPage, MergedList
from gateway.catalog.plan_execution import PlanExecution
from gateway.catalog.query_plan import EntityPlan
from gateway.catalog.selection import interned
from gateway.config.settings import CacheSettings, LimitsSettings, Secret, ServerSettings, TelemetrySettings
from gateway.errors import GatewayError
from gateway.execution.documents import Document, Documents, unlink_tokens
from gateway.execution.prepared_operation import PreparedOperation
from gateway.http.websocket import WebSocketConnection
from gateway.memory_budget import MEMO_CHARACTERS, SHARES, BoundedCache, MemoryBudget, memo
from gateway.schema.schema import GRAPHQL_SCHEMA
from gateway.upstream.cache import MAX_DERIVED, BoundedMemory, Entry
from tests.conftest import Answer, World, two_clouds
from tests.execution.test_response_cache import LIST as MODELS
from tests.execution.test_response_cache import MODEL
from tests.execution.test_response_cache import World as CachedWorld

TOKEN = "the-token-of-the-operator-of-this-gateway"
LIST = "{ models(first: 2) { nodes { id name } } }"
BY_ID = "query ($id: ID!) { model(id: $id) { name } }"
SIZED = "query ($first: Int!) { models(first: $first) { nodes { id versions(first: $first) { nodes { name } } } } }"
LONG = "x" * 20_000
BUDGET = 1_000_000


def alive(kind: type) -> int:
    """Return the number of objects of a type that are alive."""
    gc.collect()
    return sum(isinstance(one, kind) for one in gc.get_objects())


# The cache


def test_a_cache_keeps_the_sum_of_its_sizes_within_its_bound() -> None:
    cache: BoundedCache[str, str] = BoundedCache(100)
    removed: list[str] = []
    cache.removed = lambda key, value: removed.append(f"{key}={value}")
    for key in "abc":
        cache.put(key, key.upper(), 30)
    assert cache.get("a") == "A"
    cache.put("d", "D", 30)
    assert (removed, cache.used) == (["b=B"], 90)
    cache.resize("a", 70)
    assert (removed, cache.used, [*cache]) == (["b=B", "c=C"], 100, ["a", "d"])
    cache.put("d", "larger than the cache", 101)
    assert (removed[2:], cache.used, [*cache]) == (["d=D"], 70, ["a"])
    cache.resize("a", 101)
    assert (removed[3:], cache.used, len(cache)) == (["a=A"], 0, 0)


def test_the_shares_of_all_caches_are_the_budget() -> None:
    budget = MemoryBudget(BUDGET)
    for name in SHARES:
        budget.cache(name).put("key", "value", budget.share(name))
    assert sum(SHARES.values()) == pytest.approx(1)
    assert 0 <= BUDGET - budget.sizes()["total"] < len(SHARES)


def test_a_memo_ignores_long_arguments() -> None:
    calls: list[int] = []
    count: Callable[[str], None] = memo(10, len)(lambda text: calls.append(len(text)))
    for _ in range(2):
        count("x" * MEMO_CHARACTERS)
        count("x" * (MEMO_CHARACTERS + 1))
    assert calls == [MEMO_CHARACTERS, MEMO_CHARACTERS + 1, MEMO_CHARACTERS + 1]


# Answers of registries


def test_derived_values_are_counted_with_their_answer_and_dropped_with_it() -> None:
    memory = BoundedMemory(entries=10, size=1_000)
    entry, other = Entry({}, 0.0, 100), Entry({}, 0.0, 100)
    memory.store("entry", entry)
    memory.store("other", other)
    entry.derived.store("a page", object(), 300)
    assert memory.used == 500
    entry.derived.store("more", object(), 550)
    assert ([*memory], memory.used) == (["entry"], 950) or ([*memory], memory.used) == (["other"], 100)
    memory.drop("")
    assert memory.used == 0
    entry.derived.store("of an answer that is no longer cached", object(), 300)
    assert memory.used == 0


def test_an_answer_has_a_bounded_number_of_derived_values() -> None:
    memory = BoundedMemory(entries=10, size=10**6)
    entry = Entry({}, 0.0, 100)
    memory.store("entry", entry)
    for number in range(3 * MAX_DERIVED):
        entry.derived.store(number, number, 10)
    assert memory.used == 100 + 10 * MAX_DERIVED
    assert entry.derived.get(3 * MAX_DERIVED - 1) == 3 * MAX_DERIVED - 1
    assert entry.derived.get(0) is None


async def test_rows_and_records_of_an_answer_are_counted() -> None:
    world = CachedWorld()
    await world.data("query { models(first: 2) { totalCount } }")
    before = world.cache.memory.used
    await world.data("query { models(first: 2) { nodes { id name type domain task } } }")
    assert world.cache.memory.used > before
    for prefix in [prefix for one in world.registries.values() for prefix in one.cache_prefixes()]:
        world.cache.memory.drop(prefix)
    assert world.cache.memory.used == 0


async def test_a_cached_response_does_not_keep_evicted_answers_alive() -> None:
    before = alive(Entry)
    world = CachedWorld(entries=2)
    for name in ("model-a", "model-b", "model-empty", "model-public"):
        await world.data(MODEL.replace("model-a", name))
    assert len(world.cached) == 4
    assert alive(Entry) - before == len(world.cache.memory) == 2


async def test_an_answer_does_not_keep_the_plans_of_an_evicted_document_alive() -> None:
    world = CachedWorld()
    plans: list[int] = []
    for number in range(1, 6):
        await world.data(f"{{ models(first: 2) {{ nodes {{ id versions(first: {number}) {{ totalCount }} }} }} }}")
        used = alive(EntityPlan)
        for key in documents(world):
            world.pipeline.documents.cache.remove(key)
        interned.cache_clear()
        plans.append(alive(EntityPlan))
        assert plans[-1] < used
    assert len(world.cache.memory) > 0
    assert len(set(plans)) == 1


async def test_plans_do_not_grow_with_the_values_of_arguments() -> None:
    world = CachedWorld()
    query = 'query ($first: Int!) { model(id: "pai:model/model-a") { versions(first: $first) { nodes { name } } } }'
    await world.data(query, first=1)
    plans, pages = alive(EntityPlan), alive(FirstPage)
    for first in range(2, 40):
        await world.data(query, first=first)
    assert (alive(EntityPlan), alive(FirstPage)) == (plans, pages)


# Documents


BLOCKS = (
    '{ model(id: """\n      pai:model/model-a\n   """) { name } }',
    '{model(id:"""pai:model/model-a"""){name}}',
    '{ model(id: """pai:model/model-a \n""") { name } }',
)
SPELLINGS = [
    "{ model(id: $ID) { name } }",
    "{model(id:$ID){name}}",
    "{ model(id: $ID) { name } } # a comment",
    "\n\n  {\n    model( ,, id: $ID,)\n {, name, } }",
    "\ufeff{ model(id: $ID) { name } }",
]


def spelled(text: str, id: str) -> str:
    return text.replace("$ID", f'"{id}"')


async def test_texts_that_differ_in_ignored_characters_share_one_document() -> None:
    world = CachedWorld()
    before = alive(DocumentNode)
    for text in SPELLINGS:
        assert (await world.data(spelled(text, "pai:model/model-a")))["model"]["name"] == "name of model-a, edition 1"
    assert alive(DocumentNode) - before == 1
    assert sum(isinstance(one, Document) for one in map(world.pipeline.documents.cache.get, [*documents(world)])) == 1
    assert len(world.cached) == 1


def documents(world: CachedWorld) -> list[str]:
    return [*world.pipeline.documents.cache]


def test_a_document_that_is_larger_than_the_cache_is_not_stored() -> None:
    cache: BoundedCache[str, Document | str] = BoundedCache(1_000)
    documents = Documents(GRAPHQL_SCHEMA, LimitsSettings(), suggestions=False, cache=cache)
    document = documents.read(LIST)
    documents.store(document, "the SHA-256 of its text")
    assert (document.errors, len(cache), cache.used) == ((), 0, 0)


async def test_spaces_inside_of_texts_are_not_ignored() -> None:
    world = CachedWorld()
    for id in ("pai:model/a b", "pai:model/a  b", "pai:model/a,b", "pai:model/a#b"):
        await world.query(spelled(SPELLINGS[0], id))
    assert sum(isinstance(world.pipeline.documents.cache.get(key), Document) for key in documents(world)) == 4


async def test_block_strings_are_compared_by_value() -> None:
    world = CachedWorld()
    for text in BLOCKS:
        await world.query(text)
    assert sum(isinstance(world.pipeline.documents.cache.get(key), Document) for key in documents(world)) == 2


@pytest.mark.parametrize("accept", ["application/json", "multipart/mixed"])
async def test_an_error_has_the_location_in_the_text_that_was_sent(accept: str) -> None:
    async with two_clouds(models=1) as world:
        world.pai.faults.replace({"*": {"status": 503}})
        for text in SPELLINGS:
            sent = spelled(text, "pai:model/m")
            answer = await world.gateway.request(
                "POST", json={"query": sent}, headers={"Accept": f"{accept}, */*;q=0.1"}
            )
            before = sent[: sent.index("model")]
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
            [error] = answer.body["errors"]
            assert error["locations"] == [{"line": line, "column": column}]


async def test_an_error_of_a_variable_has_the_location_in_the_text_that_was_sent() -> None:
    async with two_clouds(models=1) as world:
        for text, column in ((BY_ID, 8), (BY_ID.replace("query (", "query(,,,"), 10)):
            answer = await world.gateway.query(text, id={})
            assert answer.body["errors"][0]["locations"] == [{"line": 1, "column": column}]
            await world.gateway.query(text, id="pai:model/m")


REFUSED_DOCUMENTS: Mapping[str, Callable[[int], str]] = {
    "not GraphQL": lambda n: f"a{n:03}",
    "an unfinished text": lambda n: f'{{ model(id: "{n}',
    "an unknown field": lambda n: f"{{ field{n} }}",
    "an unknown fragment": lambda n: f"{{ ...Fragment{n} }}",
    "too many root fields": lambda n: "{ " + " ".join(f"a{n}x{m}: __typename" for m in range(40)) + " }",
    "too many tokens": lambda n: f"{{ a{n} " + "id " * 5_000 + "}",
    "too many characters": lambda n: f"{{ __typename }} # {n} {'x' * 100_000}",
    "an unknown operation": lambda n: f"query A{n} {{ __typename }} query B {{ __typename }}",
}


@pytest.mark.parametrize("case", REFUSED_DOCUMENTS)
async def test_a_refused_document_leaves_no_object_behind(case: str) -> None:
    world, text = CachedWorld(), REFUSED_DOCUMENTS[case]
    kinds = (Document, DocumentNode, GraphQLError, TracebackType)
    assert (await world.query(text(0))).codes
    before = [alive(kind) for kind in kinds]
    for number in range(1, 20):
        assert (await world.query(text(number))).codes
    assert [alive(kind) for kind in kinds] == before
    assert (len(world.pipeline.documents.cache), world.pipeline.documents.cache.used) == (0, 0)


def test_the_memory_of_a_tree_is_free_without_a_garbage_collection() -> None:
    before = alive(Node)
    gc.disable()
    try:
        for number in range(10):
            text = f"query A{number} {LIST}"
            unlink_tokens(parse(text))
        assert sum(isinstance(one, Node) for one in gc.get_objects()) == before
    finally:
        gc.enable()


async def test_a_refused_argument_leaves_nothing_to_a_garbage_collection() -> None:
    world = CachedWorld()
    queries = [
        lambda n: (BY_ID, {"id": f"pai:model/{n}{LONG}"}),
        lambda n: (MODELS, {"first": 1000 + n}),
        lambda n: (BY_ID, {"id": f"pai:model/missing-{n}"}),
    ]
    for query in queries:
        text, variables = query(0)
        await world.query(text, **variables)
        before = alive(PlanExecution), alive(GatewayError)
        gc.disable()
        try:
            for number in range(1, 10):
                text, variables = query(number)
                await world.query(text, **variables)
            objects = gc.get_objects()
        finally:
            gc.enable()
        left = [sum(isinstance(one, kind) for one in objects) for kind in (PlanExecution, GatewayError)]
        assert tuple(left) == before


async def test_a_page_leaves_nothing_to_a_garbage_collection() -> None:
    world = CachedWorld()
    for text in (MODELS, SIZED):
        await world.query(text, first=1)
        before = alive(MergedList), alive(PlanExecution)
        gc.disable()
        try:
            for number in range(2, 8):
                assert not (await world.query(text, first=number)).codes
            objects = gc.get_objects()
        finally:
            gc.enable()
        assert tuple(sum(isinstance(one, kind) for one in objects) for kind in (MergedList, PlanExecution)) == before


# A gateway under a flood


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A gateway in production with the smallest budget."""
    cache = CacheSettings(megabytes=1, lists=600.0, objects=600.0, jitter=0.0, admin_token=Secret(TOKEN))
    sections = {"cache": cache, "server": ServerSettings(profile="production"), "limits": LimitsSettings(calls=100)}
    async with two_clouds(models=20, sections=sections) as world:
        yield world


async def sizes(world: World) -> dict[str, int]:
    """Return the memory that the caches count."""
    answer = await world.gateway.request("GET", "/cache", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status == 200
    assert {"entries", "bytes"} <= answer.body.keys()
    memory: dict[str, int] = answer.body["memory"]
    assert memory["total"] == sum(memory[name] for name in SHARES)
    assert answer.body["bytes"] == memory["answers"]
    return memory


Send = Callable[[World, int], Any]


def post(body: Callable[[int], Any], headers: Callable[[int], Mapping[str, str]] = lambda n: {}) -> Send:
    return lambda world, n: world.gateway.request("POST", json=body(n), headers=headers(n))


def persisted(text: str, hash: str | None = None) -> dict[str, Any]:
    hash = hashlib.sha256(text.encode()).hexdigest() if hash is None else hash
    return {"query": text, "extensions": {"persistedQuery": {"version": 1, "sha256Hash": hash}}}


NESTED = "{ models(first: 2) { nodes { versions(first: NUMBER) { totalCount } } } }"
EXPENSIVE = "{ models(first: 100) { nodes { versions { nodes { name } } } } }"

REFUSED: Mapping[str, Send] = {
    **{case: post(lambda n, text=text: {"query": text(n)}) for case, text in REFUSED_DOCUMENTS.items()},  # type: ignore[misc]
    "an invalid document with its hash": post(lambda n: persisted(f"{{ field{n} }}")),
    "a document with another hash": post(lambda n: persisted(f"query A{n} {LIST}", f"{n:064x}")),
    "an unknown hash": post(lambda n: {**persisted("", f"{n:064x}"), "query": None}),
    "an unknown id of a document": post(lambda n: {"documentId": f"{n}{LONG}"}),
    "an expensive document": post(lambda n: {"query": f"query A{n} {EXPENSIVE}"}),
    "an expensive document with its hash": post(lambda n: persisted(f"query A{n} {EXPENSIVE}")),
    "an invalid variable": post(lambda n: {"query": f"query A{n} ($n: Int!) {{ models(first: $n) {{ totalCount }} }}"}),
    "the schema": post(lambda n: {"query": f"query A{n} {{ __schema {{ queryType {{ name }} }} }}"}),
    "the raw object": post(lambda n: {"query": f'query A{n} {{ model(id: "pai:model/m") {{ raw }} }}'}),
    "JSON that is no request": post(lambda n: [n]),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_refused_request_leaves_nothing_in_any_cache(world: World, case: str) -> None:
    await world.gateway.query(LIST)
    before = await sizes(world)
    for number in range(5):
        answer: Answer = await REFUSED[case](world, number)
        assert answer.codes
    assert await sizes(world) == before


ACCEPTED: Mapping[str, Send] = {
    "variables that no operation declares": post(lambda n: {"query": LIST, "variables": {"j": n}}),
    "request ids": post(lambda n: {"query": LIST}, lambda n: {"X-Request-Id": f"{n}"}),
    "names of clients": post(lambda n: {"query": LIST}, lambda n: {"apollographql-client-name": f"{n}"}),
    "unknown headers": post(lambda n: {"query": LIST}, lambda n: {f"X-{n}": f"{n}"}),
    "operation names of a request that is refused": post(lambda n: {"query": LIST, "operationName": f"{n}"}),
}


@pytest.mark.parametrize("case", ACCEPTED)
async def test_what_changes_no_answer_is_part_of_no_key(world: World, case: str) -> None:
    for _ in range(2):
        await world.gateway.query(LIST)
        await ACCEPTED[case](world, 0)
    before = await sizes(world)
    for number in range(1, 20):
        await ACCEPTED[case](world, number)
    assert await sizes(world) == before


FLOODS: Mapping[str, Send] = {
    "comments": post(lambda n: {"query": f"{LIST} # {n}"}),
    "white space": post(lambda n: {"query": LIST + " " * n}),
    "operation names": post(lambda n: {"query": f"query A{n} {LIST}"}),
    "aliases": post(lambda n: {"query": LIST.replace("id", f"a{n}: id")}),
    "nested arguments": post(lambda n: {"query": NESTED.replace("NUMBER", f"{n + 1}")}),
    "variables": post(lambda n: {"query": SIZED, "variables": {"first": 1 + n % 20}}),
    "ids of 20 kB": post(lambda n: {"query": BY_ID, "variables": {"id": f"pai:model/{n}{LONG}"}}),
    "ids of 20 kB in the document": post(lambda n: {"query": f'{{ model(id: "{n}{LONG}") {{ name }} }}'}),
    "ids without an object": post(lambda n: {"query": BY_ID, "variables": {"id": f"pai:model/missing-{n}"}}),
    "members of the body": post(lambda n: {"query": LIST, f"x{n}": LONG}),
    "extensions": post(lambda n: {"query": LIST, "extensions": {f"x{n}": LONG}}),
    "media types": post(lambda n: {"query": LIST}, lambda n: {"Accept": f"application/json;x={n}"}),
    "registered documents": post(lambda n: persisted(f"query A{n} {LIST}")),
}  # fmt: skip


@pytest.mark.parametrize("case", FLOODS)
async def test_all_caches_stay_within_the_budget_together(world: World, case: str) -> None:
    largest = 0
    for number in range(40):
        await FLOODS[case](world, number)
        if number % 10 == 9:
            memory = await sizes(world)
            largest = max(largest, memory["total"])
            for name, share in SHARES.items():
                assert memory[name] <= share * BUDGET
    assert 0 < largest <= BUDGET


async def test_prepared_requests_are_dropped_with_their_document(world: World) -> None:
    before, documents_before = alive(PreparedOperation), alive(Document)
    for number in range(60):
        await FLOODS["operation names"](world, number)
    memory = await sizes(world)
    assert 0 < memory["documents"] <= SHARES["documents"] * BUDGET
    kept = alive(PreparedOperation) - before
    assert 0 < kept < 20
    assert alive(Document) - documents_before - kept < 20


async def test_a_document_that_was_refused_is_not_registered(world: World) -> None:
    for text in ("{ unknown }", EXPENSIVE):
        named = persisted(text)
        assert (await world.gateway.request("POST", json=named)).codes
        answer = await world.gateway.request("POST", json={"extensions": named["extensions"]})
        assert answer.codes == ["PERSISTED_QUERY_NOT_FOUND"]


async def test_a_connection_keeps_only_the_headers_that_authenticate_it(world: World) -> None:
    url = f"{world.gateway.url}/graphql"
    async with world.gateway.session.ws_connect(url, protocols=["graphql-transport-ws"]) as socket:
        await socket.send_json({"type": "connection_init", "payload": {"Authorization": "Bearer x", "junk": LONG}})
        assert (await socket.receive_json())["type"] == "connection_ack"
        [connection] = [one for one in gc.get_objects() if isinstance(one, WebSocketConnection)]
        assert connection.headers == {"authorization": "Bearer x"}


async def test_metrics_have_the_memory_of_each_cache() -> None:
    async with two_clouds(models=5, sections={"telemetry": TelemetrySettings(metrics="path")}) as world:
        await world.gateway.query(LIST)
        text = (await world.gateway.request("GET", "/metrics")).body
        shown = dict(
            line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("gateway_memory_budget_bytes{")
        )
        total = shown.pop('gateway_memory_budget_bytes{cache="total"}')
        assert float(total) == sum(map(float, shown.values())) > 0
        assert len(shown) == len(SHARES)


async def test_a_repeated_request_with_an_unknown_variable_has_the_same_answer(world: World) -> None:
    expected = (await world.gateway.query(LIST)).body
    for number in range(3):
        content = json.dumps({"query": LIST, "variables": {"unknown": number}}).encode()
        answer = await world.gateway.request("POST", data=content, headers={"Content-Type": "application/json"})
        assert answer.body == expected
    assert world.calls()["ListModels"] <= 2
