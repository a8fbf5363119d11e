"""What the table format can say beyond the built-in kinds, proved with an imaginary one over a real socket."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.catalog.ids import Ref
from gateway.catalog.registry import Registry
from gateway.config.settings import Secret
from gateway.registries import KINDS
from gateway.registries.fields import as_milliseconds, as_seconds
from gateway.registries.kind import Call, Kind, Paging, Stream, holds_list_if_any
from gateway.schema.field_sources import supplied_fields
from gateway.upstream.caching_client import UncachedClient
from tests.conftest import Client, served
from tests.conftest import settings as gateway_settings
from tests.registries import ledger
from tests.registries.ledger import LedgerServer, ledger_server
from tests.registries.samples import COMPUTED, ENTITIES, RELATIONS, schema_fields


def ledger_kind() -> Kind:
    """Return the imaginary kind, with every field of the schema that it does not supply declared absent."""
    bare = ledger.ledger({})
    return ledger.ledger(
        {
            entity: frozenset({*schema_fields(entity)} - supplied - COMPUTED - RELATIONS[entity] if supplied else ())
            for entity in ENTITIES
            for supplied in [supplied_fields(bare, entity)]
        }
    )


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LedgerServer]:
    monkeypatch.setitem(KINDS, "ledger", ledger_kind())  # type: ignore[arg-type]
    async with ledger_server() as running:
        yield running


@asynccontextmanager
async def gateway_over(server: LedgerServer, **options: Any) -> AsyncIterator[Client]:
    async with served(gateway_settings(ledger.registry(server.url, **options))) as gateway:
        yield gateway


def created(number: int) -> int:
    """Return a time in milliseconds that is later for a higher number. Every third row has that of the one before."""
    return 1_700_000_000_000 + 1_001 * (number - (number % 3 == 0))


def model(number: int, **more: Any) -> ledger.Row:
    return {"name": f"m{number:03}", "created": created(number), **more}


def version(model: str, number: int, **more: Any) -> ledger.Row:
    return {"model": model, "number": str(number), "created": created(number), **more}


async def pages(gateway: Client, query: str, *path: str) -> tuple[list[Any], int]:
    """Read a list page by page. Returns its rows and the number of pages."""
    rows: list[Any] = []
    after, number = None, 0
    while True:
        page = (await gateway.query(query, after=after)).data
        for step in path:
            page = page[step]
        rows += page["nodes"]
        number += 1
        if not page["pageInfo"]["hasNextPage"]:
            return rows, number
        assert page["pageInfo"]["endCursor"] != after
        after = page["pageInfo"]["endCursor"]


PAGE_INFO = "pageInfo { hasNextPage endCursor }"


@pytest.mark.parametrize("direction", ["DESC", "ASC"])
@pytest.mark.parametrize("size", [1, 7, 10, 30])
async def test_a_list_with_page_tokens_in_the_requested_order_is_read_as_far_as_needed(
    server: LedgerServer, direction: str, size: int
) -> None:
    server.models = [model(number) for number in range(40)]
    order = f"orderBy: {{field: CREATED_AT, direction: {direction}}}"
    query = (
        f"query ($after: String) {{ models(first: {size}, after: $after, {order}) {{ nodes {{ name }} {PAGE_INFO} }} }}"
    )
    expected = sorted(server.models, key=lambda row: (row["created"] * (-1 if direction == "DESC" else 1), row["name"]))
    async with gateway_over(server) as gateway:
        await gateway.query(query)
        assert len(server.requests) <= -(-(size + 1) // 10) + 1
        rows, number = await pages(gateway, query, "models")
    assert [row["name"] for row in rows] == [row["name"] for row in expected]
    assert number == -(-40 // size)
    assert {query.get("token") for _, query in server.requests} == {None, "t10", "t20", "t30"}


@pytest.mark.parametrize("size", [1, 7, 10, 30])
async def test_versions_in_pages_with_markers_are_read_as_far_as_needed(server: LedgerServer, size: int) -> None:
    server.models = [model(1), model(2)]
    server.versions = [version(name, number) for name in ("m001", "m002") for number in range(35)]
    query = f"""query ($after: String) {{ model(id: "ledger:model/m001") {{
        versions(first: {size}, after: $after) {{ nodes {{ id }} {PAGE_INFO} }} }} }}"""
    expected = sorted(range(35), key=lambda number: (-created(number), f"ledger:model/m001/version/{number}"))
    async with gateway_over(server) as gateway:
        await gateway.query(query)
        assert len(server.requests) <= 1 + -(-(size + 1) // 10) + 1
        rows, _ = await pages(gateway, query, "model", "versions")
    assert [row["id"] for row in rows] == [f"ledger:model/m001/version/{number}" for number in expected]


async def test_a_filter_is_added_to_the_condition_that_selects_the_versions_of_the_model(server: LedgerServer) -> None:
    tags = [{"key": "team", "value": "a"}]
    server.models = [model(1), model(2)]
    server.versions = [version("m001", 1, tags=tags), version("m001", 2), version("m002", 3, tags=tags)]
    async with gateway_over(server) as gateway:
        answer = await gateway.query(
            """{ model(id: "ledger:model/m001") {
                versions(filter: {label: {key: "team", value: "a"}}) { totalCount nodes { id } } } }"""
        )
    assert answer.data["model"]["versions"] == {"totalCount": 1, "nodes": [{"id": "ledger:model/m001/version/1"}]}
    assert [query["where"] for path, query in server.requests if path == "/v2/versions"] == [
        "model = 'm001' AND tag 'team' = 'a'"
    ]


async def test_several_filters_in_one_parameter_are_combined(server: LedgerServer) -> None:
    tags = [{"key": "team", "value": "a"}]
    server.models = [model(1, tags=tags), model(2, tags=tags), model(3)]
    async with gateway_over(server) as gateway:
        answer = await gateway.query(
            """{ models(filter: {nameEquals: "m001", label: {key: "team", value: "a"}}) {
                totalCount nodes { name } } }"""
        )
    assert answer.data["models"] == {"totalCount": 1, "nodes": [{"name": "m001"}]}
    [(_, query)] = server.requests
    assert sorted(query["where"].split(" AND ")) == ["name = 'm001'", "tag 'team' = 'a'"]


async def test_an_object_without_members_is_an_empty_list_and_another_one_is_a_bad_answer(server: LedgerServer) -> None:
    query = "{ models { totalCount nodes { name } coverage { state } } }"
    async with gateway_over(server) as gateway:
        answer = await gateway.query(query)
        assert answer.data["models"] == {"totalCount": 0, "nodes": [], "coverage": [{"state": "COMPLETE"}]}
    server.odd = lambda path: {"hello": "world"}
    async with gateway_over(server) as gateway:
        answer = await gateway.query(query)
        [failure] = answer.body["errors"][0]["extensions"]["registries"]
        assert failure["code"] == "REGISTRY_BAD_ANSWER"


async def test_a_model_without_versions_has_an_empty_list_of_them(server: LedgerServer) -> None:
    server.models = [model(1)]
    async with gateway_over(server) as gateway:
        answer = await gateway.query(
            '{ model(id: "ledger:model/m001") { latestVersion { id } versions { totalCount nodes { id } } } }'
        )
    assert answer.data["model"] == {"latestVersion": None, "versions": {"totalCount": 0, "nodes": []}}


@pytest.mark.parametrize(("count", "total"), [(25, None), (10, 10), (3, 3)])
async def test_a_total_that_is_never_told_is_null_unless_the_list_has_one_page(
    server: LedgerServer, count: int, total: int | None
) -> None:
    server.models = [model(number) for number in range(count)]
    query = "{ models(first: %d) { totalCount coverage { state totalCount } } }"
    async with gateway_over(server) as gateway:
        for size in (2, 5, 25):
            models = (await gateway.query(query % size)).data["models"]
            assert models == {"totalCount": total, "coverage": [{"state": "COMPLETE", "totalCount": total}]}


async def test_times_may_be_numbers_of_milliseconds_or_seconds(server: LedgerServer) -> None:
    server.models = [model(1, updated=1_700_000_000.25)]
    async with gateway_over(server) as gateway:
        answer = await gateway.query("{ models { nodes { createdAt updatedAt } } }")
    assert answer.data["models"]["nodes"] == [
        {"createdAt": "2023-11-14T22:13:21.001Z", "updatedAt": "2023-11-14T22:13:20.25Z"}
    ]


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)))
def test_a_time_in_milliseconds_is_converted_without_loss(moment: datetime) -> None:
    exact = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
    number = (exact - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    for value in (number, str(number)):
        text = as_milliseconds(value)
        assert text is not None
        assert datetime.fromisoformat(text) == exact


@given(st.none() | st.booleans() | st.text() | st.integers() | st.floats() | st.lists(st.integers()))
@settings(max_examples=300)
def test_any_value_of_a_time_is_a_time_or_null(value: Any) -> None:
    for convert in (as_milliseconds, as_seconds):
        text = convert(value)
        assert text is None or datetime.fromisoformat(text).tzinfo is UTC


ODD_NAMES = [
    "团队/模型",
    "a/b/c",
    "what? #1 100% \\ 'x' \"y\" `z` & +=;",
    "模" * 256,
    "\U0001f600" * 256,
    "é",
    "..a",
]


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_a_name_of_256_characters_with_any_of_them_is_a_key(server: LedgerServer, name: str) -> None:
    server.models = [{"name": name, "created": 1}]
    server.versions = [version(name, 1), version("other", 1)]
    async with gateway_over(server) as gateway:
        [node] = (await gateway.query("{ models { nodes { id } } }")).data["models"]["nodes"]
        text = "query ($id: ID!) { model(id: $id) { name version(name: %s) { id createdAt } } }"
        model = (await gateway.query(text % '"1"', id=node["id"])).data["model"]
        assert model["name"] == name
        again = (await gateway.query("query ($id: ID!) { node(id: $id) { id } }", id=model["version"]["id"])).data
        assert again["node"] == {"id": f"{node['id']}/version/1"}


@pytest.mark.parametrize("id", ["a%2F..%2Fb", "a%2F%2Fb", "..", "%2Fa", "a%2F.", "a%00", "a" * 257])
async def test_a_key_that_leaves_its_place_in_a_path_is_no_id(server: LedgerServer, id: str) -> None:
    async with gateway_over(server) as gateway:
        assert (await gateway.query(f'{{ model(id: "ledger:model/{id}") {{ name }} }}')).codes == ["INVALID_ID"]
    assert server.requests == []


async def test_every_request_has_the_credentials_and_the_headers_of_the_settings(server: LedgerServer) -> None:
    server.models = [model(1)]
    async with gateway_over(server, room="north") as gateway:
        assert len((await gateway.query("{ models { nodes { name } } }")).data["models"]["nodes"]) == 1
    assert server.rooms == {"north"}
    wrong = ledger.LedgerSettings(
        name="ledger", kind="ledger", endpoint=server.url, username=ledger.USER, password=Secret("guessed")
    )
    async with served(gateway_settings(wrong)) as gateway:
        answer = await gateway.query("{ models { nodes { name } } }")
        assert answer.body["errors"][0]["extensions"]["registries"][0]["code"] == "REGISTRY_UNAUTHENTICATED"


# Aliases, and what versions refer to


def aliased(number: int, *aliases: tuple[str, str]) -> ledger.Row:
    return model(number, aliases=[{"alias": alias, "number": version} for alias, version in aliases])


@pytest.fixture
def aliases(server: LedgerServer) -> LedgerServer:
    """A server with two models, whose versions have aliases and jobs."""
    server.models = [aliased(1, ("best", "2"), ("new", "4"), ("old", "2"), ("lost", "9")), aliased(2, ("best", "1"))]
    server.versions = [
        version("m001", 1, job="j1"),
        version("m001", 2, note="second", job="j 2/é"),
        version("m001", 4),
        version("m002", 1, note="other", job="gone"),
    ]
    server.jobs = [
        {"id": "j1", "settings": [{"name": "lr", "value": "0.1"}]},
        {"id": "j 2/é", "settings": [{"name": "lr", "value": "0.2"}]},
    ]
    return server


def paths(server: LedgerServer) -> list[str]:
    return [path for path, _ in server.requests]


async def test_a_page_of_models_has_the_aliases_and_the_names_of_their_versions(aliases: LedgerServer) -> None:
    async with gateway_over(aliases) as gateway:
        answer = await gateway.query("{ models { nodes { aliases { name version { name nativeId id } } } } }")
    found = [
        [(alias["name"], alias["version"]["name"], alias["version"]["id"]) for alias in node["aliases"]]
        for node in answer.data["models"]["nodes"]
    ]
    first = [("best", "2"), ("new", "4"), ("old", "2"), ("lost", "9")]
    assert found == [
        [("best", "1", "ledger:model/m002/version/1")],
        [(alias, number, f"ledger:model/m001/version/{number}") for alias, number in first],
    ]
    assert paths(aliases) == ["/v2/list"]


async def test_the_version_of_an_alias_has_all_of_its_fields(aliases: LedgerServer) -> None:
    async with gateway_over(aliases) as gateway:
        answer = await gateway.query("""{ models(filter: {nameEquals: "m001"}) { nodes {
            aliases { name version { description parameters { value } } } } } }""")
    [node] = answer.data["models"]["nodes"]
    second = {"description": "second", "parameters": [{"value": "0.2"}]}
    nothing = {"description": None, "parameters": None}
    assert node["aliases"] == [
        {"name": "best", "version": second},
        {"name": "new", "version": nothing},
        {"name": "old", "version": second},
        {"name": "lost", "version": nothing},
    ]
    assert sorted(paths(aliases)) == [
        "/v2/jobs/j%202%2F%C3%A9",
        "/v2/list",
        *(f"/v2/models/m001/versions/{number}" for number in (2, 4, 9)),
    ]


async def test_the_aliases_of_versions_come_from_their_model(aliases: LedgerServer) -> None:
    async with gateway_over(aliases) as gateway:
        answer = await gateway.query("""{
            models { nodes { latestVersion { name aliases } versions { nodes { name aliases } } } }
            modelVersion(id: "ledger:model/m001/version/2") { aliases } }""")
    nodes = [
        ({row["name"]: row["aliases"] for row in node["versions"]["nodes"]}, node["latestVersion"]["aliases"])
        for node in answer.data["models"]["nodes"]
    ]
    assert nodes == [({"1": ["best"]}, ["best"]), ({"4": ["new"], "2": ["best", "old"], "1": []}, ["new"])]
    assert answer.data["modelVersion"] == {"aliases": ["best", "old"]}
    # The version that is requested by its id needs its own call and its model; no version in a list needs one.
    assert sorted(paths(aliases)) == [
        "/v2/get", "/v2/list", "/v2/models/m001/versions/2", "/v2/versions", "/v2/versions"
    ]  # fmt: skip


VERSIONS_BY_ALIAS = """query ($id: ID!, $alias: String, $name: String) {
    model(id: $id) { version(alias: $alias, name: $name) { name description } } }"""


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"alias": "best"}, {"name": "2", "description": "second"}),
        ({"alias": "nobody"}, None),
        ({"alias": ""}, None),
        ({"name": "2"}, {"name": "2", "description": "second"}),
        ({"alias": None, "name": "2"}, {"name": "2", "description": "second"}),
    ],
)
async def test_a_version_is_found_by_its_alias_or_its_name(
    aliases: LedgerServer, arguments: dict[str, Any], found: Any
) -> None:
    async with gateway_over(aliases) as gateway:
        answer = await gateway.query(VERSIONS_BY_ALIAS, id="ledger:model/m001", **arguments)
        assert answer.data["model"]["version"] == found
        literals = ", ".join(f"{name}: {json.dumps(value)}" for name, value in arguments.items())
        text = f'{{ model(id: "ledger:model/m001") {{ version({literals}) {{ name description }} }} }}'
        assert (await gateway.query(text)).data["model"]["version"] == found


@pytest.mark.parametrize("arguments", [{}, {"alias": "best", "name": "2"}, {"alias": None, "name": None}])
async def test_a_version_needs_either_a_name_or_an_alias(aliases: LedgerServer, arguments: dict[str, Any]) -> None:
    async with gateway_over(aliases) as gateway:
        answer = await gateway.query(VERSIONS_BY_ALIAS, id="ledger:model/m001", **arguments)
    assert answer.codes == ["BAD_USER_INPUT"]
    assert answer.body["data"] == {"model": {"version": None}}


async def test_what_a_version_refers_to_costs_at_most_one_call_for_each(aliases: LedgerServer) -> None:
    query = """{ models(first: 2) { nodes { name
        latestVersion { parameters { name value } } versions(first: 3) { nodes { parameters { value } } } } } }"""
    async with gateway_over(aliases) as gateway:
        plan = await gateway.request("POST", json={"query": query}, headers={"X-Gateway-Plan": "only"})
        assert aliases.requests == []
        answer = await gateway.query(query)
    assert answer.data["models"]["nodes"] == [
        {"name": "m002", "latestVersion": {"parameters": None}, "versions": {"nodes": [{"parameters": None}]}},
        {
            "name": "m001",
            "latestVersion": {"parameters": None},
            "versions": {
                "nodes": [
                    {"parameters": None},
                    {"parameters": [{"value": "0.2"}]},
                    {"parameters": [{"value": "0.1"}]},
                ]
            },
        },
    ]
    assert sorted(paths(aliases)) == [
        "/v2/jobs/gone", "/v2/jobs/j%202%2F%C3%A9", "/v2/jobs/j1", "/v2/list", "/v2/versions", "/v2/versions"
    ]  # fmt: skip
    assert [(line["path"], line["call"], line["times"]) for line in plan.body["extensions"]["plan"]] == [
        ("models", "List", 1),
        ("models.nodes", "Versions", 2),
        ("models.nodes.latestVersion", "GetJob", 2),
        ("models.nodes.versions.nodes", "GetJob", 6),
    ]


async def test_a_failure_of_what_a_version_refers_to_is_an_error_of_its_fields_only(aliases: LedgerServer) -> None:
    aliases.odd = lambda path: {"job": {}} if "jobs" in path else None
    async with gateway_over(aliases) as gateway:
        answer = await gateway.query('{ modelVersion(id: "ledger:model/m001/version/1") { name parameters { name } } }')
    assert answer.codes == ["REGISTRY_BAD_ANSWER"]
    assert answer.body["data"] == {"modelVersion": {"name": "1", "parameters": None}}


def test_a_purge_of_a_version_includes_what_it_refers_to() -> None:
    registry = Registry(ledger_kind(), ledger.registry("http://127.0.0.1:9"), UncachedClient(None))  # type: ignore[arg-type]
    version = Ref("ledger", "ModelVersion", ("m001", "1"))
    digest = registry.destination.scope.digest
    job = str(registry.destination.scope.key(ledger.GET_JOB.request(("j1",))))
    assert any(job.startswith(prefix) for prefix in registry.cache_prefixes(version))
    assert not any(job.startswith(prefix) for prefix in registry.cache_prefixes(version.owner))
    assert f"{digest}:List:" in [*registry.cache_prefixes(version)]


async def test_aliases_can_be_deferred(aliases: LedgerServer) -> None:
    query = """{ model(id: "ledger:model/m002") { name
        ... @defer { aliases { name version { description } } latest: version(alias: "best") { description } } } }"""
    async with gateway_over(aliases) as gateway:
        headers = {"Accept": "multipart/mixed; deferSpec=20220824"}
        async with gateway.session.post(f"{gateway.url}/graphql", json={"query": query}, headers=headers) as response:
            text = await response.text()
    parts = [json.loads(part[part.index("{") : part.rindex("}") + 1]) for part in text.split("---") if "{" in part]
    assert parts[0]["data"] == {"model": {"name": "m002"}}
    [later] = [one["data"] for part in parts[1:] for one in part["incremental"]]
    assert later == {
        "aliases": [{"name": "best", "version": {"description": "other"}}],
        "latest": {"description": "other"},
    }


# Parameters

PLAIN = Call(name="Plain", service="s", path="/", paging=Paging("page", "size"))


@pytest.mark.parametrize("name", ["page", "size", "key"])
def test_no_parameter_replaces_another(name: str) -> None:
    call = Call(name="List", service="s", path="/", parameters=lambda keys: {"key": 1}, paging=Paging("page", "size"))
    with pytest.raises(ValueError, match=f"List has two values for {name}"):
        call.request((), [(name, 7)])


def test_a_default_of_a_list_gives_way_to_a_filter_and_a_fixed_parameter_does_not() -> None:
    assert Stream("s", "Model", PLAIN, defaults=(("owner", "a"),)).parameters({}, {"owner": "b"}) == {"owner": "b"}
    assert Stream("s", "Model", PLAIN, defaults=(("owner", "a"),)).parameters({}, {}) == {"owner": "a"}
    with pytest.raises(ValueError, match="two values for owner"):
        Stream("s", "Model", PLAIN, fixed=(("owner", "a"),)).parameters({}, {"owner": "b"})


@pytest.mark.parametrize(
    ("document", "complete"),
    [
        ({}, True),
        ({"rows": []}, True),
        ({"next": "t"}, True),
        ({"rows": [], "more": 1}, True),
        ({"rows": None}, False),
        ({"rows": {}}, False),
        ({"more": 1}, False),
        ([], False),
        (None, False),
    ],
)
def test_an_empty_list_may_be_left_out(document: Any, complete: bool) -> None:
    assert holds_list_if_any("rows", "next")(document) is complete
