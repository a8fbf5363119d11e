"""What the table format can say beyond the built-in kinds, proved with an imaginary one over a real socket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.settings import Secret
from gateway.registries import KINDS
from gateway.registries.fields import as_milliseconds, as_seconds
from gateway.registries.kind import Call, Kind, Paging, Stream, holds_list_if_any
from gateway.schema.field_sources import supplied_fields
from tests.conftest import Client, served
from tests.conftest import settings as gateway_settings
from tests.registries import ledger
from tests.registries.ledger import LedgerServer, ledger_server
from tests.registries.samples import ENTITIES, schema_fields
from tests.registries.test_contract import COMPUTED, RELATIONS


def ledger_kind() -> Kind:
    """Return the imaginary kind, with every field of the schema that it does not supply declared absent."""
    bare = ledger.ledger({})
    return ledger.ledger(
        {
            entity: frozenset({*schema_fields(entity)} - supplied_fields(bare, entity) - COMPUTED - RELATIONS[entity])
            for entity in ENTITIES
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


async def test_a_total_that_is_never_told_is_null_until_the_whole_list_is_read(server: LedgerServer) -> None:
    server.models = [model(number) for number in range(25)]
    query = "{ models(first: %d) { totalCount coverage { state totalCount } } }"
    async with gateway_over(server) as gateway:
        for size, total in ((5, None), (25, 25)):
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
