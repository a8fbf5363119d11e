"""GraphQL over HTTP: methods, bodies, media types, statuses."""

import json
from io import BytesIO
from typing import Any

import pytest

from tests.conftest import World

GRAPHQL = "application/graphql-response+json"
QUERY = {"query": "{ __typename }"}


async def test_a_query_by_post_and_by_get(world: World) -> None:
    for answer in (
        await world.gateway.request("POST", json=QUERY),
        await world.gateway.request("GET", params=QUERY),
    ):
        assert (answer.status, answer.body) == (200, {"data": {"__typename": "Query"}})
        assert answer.headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/json", "application/json"),
        (GRAPHQL, GRAPHQL),
        (f"{GRAPHQL}; charset=utf-8, application/json; charset=utf-8", GRAPHQL),
        (f"{GRAPHQL};q=0.2, application/json", "application/json"),
        (f"{GRAPHQL}, application/json;q=0.9, text/event-stream, multipart/mixed", GRAPHQL),
        (f"{GRAPHQL};q=0, */*", "application/json"),
    ],
)
async def test_the_client_chooses_the_media_type(world: World, accept: str, expected: str) -> None:
    answer = await world.gateway.request("POST", json=QUERY, headers={"Accept": accept})
    assert answer.status == 200
    assert answer.headers["content-type"].startswith(expected)
    assert answer.headers["vary"] == "Accept, X-Gateway-Plan, X-Gateway-Cache-Tags"


async def test_a_client_that_accepts_neither_media_type_gets_406(world: World) -> None:
    answer = await world.gateway.request("POST", json=QUERY, headers={"Accept": "text/html"})
    assert (answer.status, answer.codes) == (406, ["NOT_ACCEPTABLE"])


PARSE, VALIDATION = "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED"
REFUSED: dict[str, tuple[str, str]] = {
    "syntax": ("{ models(", PARSE),
    "nothing": (" ", PARSE),
    "a comment": ("# { __typename }", PARSE),
    "empty selection": ("{ models { } }", PARSE),
    "no such character": ("{ __typename }\0", PARSE),
    "half a surrogate": ('{ model(id: "\\ud800") { id } }', PARSE),
    "unknown field": ("{ nothing }", VALIDATION),
    "unknown argument": ("{ models(last: 3) { totalCount } }", VALIDATION),
    "unknown directive": ("{ __typename @nothing }", VALIDATION),
    "unknown fragment": ("{ ...Nothing }", VALIDATION),
    "unknown type": ("{ ...F } fragment F on Nothing { id }", VALIDATION),
    "missing argument": ("{ model { id } }", VALIDATION),
    "argument of another type": ('{ models(first: "10") { totalCount } }', VALIDATION),
    "argument of no known word": ("{ models(filter: {ownership: MINE}) { totalCount } }", VALIDATION),
    "argument twice": ("{ models(first: 1, first: 2) { totalCount } }", VALIDATION),
    "variable of another type": ("query ($id: Int!) { model(id: $id) { id } }", VALIDATION),
    "variable that is not declared": ("{ model(id: $id) { id } }", VALIDATION),
    "variable that is not used": ("query ($id: ID!) { __typename }", VALIDATION),
    "object without fields": ("{ models }", VALIDATION),
    "fields of a scalar": ("{ registries { name { length } } }", VALIDATION),
    "fields that differ": ("{ a: __typename a: models { totalCount } }", VALIDATION),
    "fragment of an impossible type": ("{ registries { ... on Model { id } } }", VALIDATION),
    "fragment in itself": ("{ ...F } fragment F on Query { ...F }", VALIDATION),
    "two operations of one name": ("query A { __typename } query A { __typename }", VALIDATION),
    "only a fragment": ("fragment F on Query { __typename }", VALIDATION),
    "a type": ("{ __typename } type T { a: Int }", VALIDATION),
    "two operations": ("query A { __typename } query B { __typename }", "OPERATION_RESOLUTION_FAILURE"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_refused_operation_has_no_data_and_a_status_of_its_media_type(world: World, case: str) -> None:
    query, code = REFUSED[case]
    await is_refused(world, {"query": query}, code)


async def test_an_operation_that_the_document_lacks_is_refused(world: World) -> None:
    await is_refused(world, {"query": "query A { __typename }", "operationName": "Z"}, "OPERATION_RESOLUTION_FAILURE")


MODELS = """query ($first: Int!, $filter: ModelFilter, $orderBy: ModelOrder) {
  models(first: $first, filter: $filter, orderBy: $orderBy) { totalCount }
}"""
VARIABLES: list[dict[str, Any]] = [
    {},
    {"first": None},
    {"first": "1"},
    {"first": 1.5},
    {"first": True},
    {"first": [1]},
    {"first": 2**31},
    {"first": 10**30},
    {"first": 1, "filter": []},
    {"first": 1, "filter": "OWN"},
    {"first": 1, "filter": {"nothing": 1}},
    {"first": 1, "filter": {"ownership": "MINE"}},
    {"first": 1, "filter": {"ownership": 1}},
    {"first": 1, "filter": {"nameContains": 5}},
    {"first": 1, "filter": {"registries": [None]}},
    {"first": 1, "filter": {"label": {}}},
    {"first": 1, "filter": {"createdAt": {"from": "yesterday"}}},
    {"first": 1, "orderBy": {"field": "NAME"}},
]


@pytest.mark.parametrize("variables", VARIABLES, ids=json.dumps)
async def test_invalid_variables_are_refused_before_any_call(world: World, variables: dict[str, Any]) -> None:
    await is_refused(world, {"query": MODELS, "variables": variables}, "BAD_USER_INPUT")
    assert world.calls() == {}


async def is_refused(world: World, body: dict[str, Any], code: str) -> None:
    """Without `data`, by both methods, in both media types."""
    params = {name: value if isinstance(value, str) else json.dumps(value) for name, value in body.items()}
    for accept, status in ((GRAPHQL, 400), ("application/json", 200)):
        headers = {"Accept": accept}
        for answer in (
            await world.gateway.request("POST", json=body, headers=headers),
            await world.gateway.request("GET", params=params, headers=headers),
        ):
            assert (answer.status, set(answer.codes), set(answer.body)) == (status, {code}, {"errors"})
            assert answer.headers["content-type"] == f"{accept}; charset=utf-8"
            assert answer.headers["cache-control"] == "no-store"


PARAMETERS: list[dict[str, str]] = [
    {},
    {"query": ""},
    {**QUERY, "variables": "{"},
    {**QUERY, "variables": "[]"},
    {**QUERY, "variables": '{"first": NaN}'},
    {**QUERY, "extensions": "1"},
]


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
async def test_invalid_parameters_are_refused(world: World, parameters: dict[str, str]) -> None:
    answer = await world.gateway.request("GET", params=parameters)
    assert (answer.status, answer.codes, set(answer.body)) == (400, ["BAD_REQUEST"], {"errors"})


async def test_a_field_error_keeps_status_200_in_both_types(world: World) -> None:
    for accept in (GRAPHQL, "application/json"):
        answer = await world.gateway.request(
            "POST", json={"query": '{ node(id: "x") { id } }'}, headers={"Accept": accept}
        )
        assert (answer.status, answer.body["data"], answer.codes) == (200, {"node": None}, ["INVALID_ID"])


BODIES: list[Any] = [
    b"",
    b"1",
    b"null",
    b'"x"',
    b"true",
    b"[1]",
    b"[]",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"query": NaN}',
    b'{"query": "{ __typename }", "variables": {"a": Infinity}}',
    b'{"query": "{ __typename }", "variables": {"a": "\\ud800"}}',
    b'{"query": "{ __typename }"} {"query": "{ __typename }"}',
    b'{"query": ' + b"9" * 5000 + b"}",
    b'{"query": 1}',
    b'{"query": null}',
    b"{}",
    b'{"query": "{ __typename }", "variables": 1}',
    b'{"query": "{ __typename }", "operationName": 1}',
    b'{"query": "{ __typename }", "extensions": []}',
    b'{"query": "\\ud800"}',
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:30]))
async def test_no_body_is_a_server_error(world: World, body: bytes) -> None:
    answer = await world.gateway.request("POST", data=body, headers={"Content-Type": "application/json"})
    assert answer.status == 400
    assert answer.codes == ["BAD_REQUEST"]


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/plain, application/json",
        "text/plain+application/json",
        "application/json, text/plain",
        "application/json-patch+json",
        "application/graphql",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json; charset=latin-1",
    ],
)
async def test_other_content_types_are_not_executed(world: World, content_type: str) -> None:
    answer = await world.gateway.request(
        "POST", data=b'{"query": "{ __typename }"}', headers={"Content-Type": content_type}
    )
    assert (answer.status, answer.codes) == (415, ["UNSUPPORTED_MEDIA_TYPE"])


@pytest.mark.parametrize(
    "content_type", ["Application/JSON", "application/json; charset=UTF-8", 'application/json;charset="utf-8"']
)
async def test_spellings_of_the_json_content_type_are_accepted(world: World, content_type: str) -> None:
    answer = await world.gateway.request(
        "POST", data=b'{"query": "{ __typename }"}', headers={"Content-Type": content_type}
    )
    assert answer.status == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_other_methods_are_refused_with_those_allowed(world: World, method: str) -> None:
    answer = await world.gateway.request(method, json=QUERY)
    assert (answer.status, answer.headers["allow"], answer.codes) == (405, "GET, HEAD, POST", ["METHOD_NOT_ALLOWED"])


async def test_a_body_over_the_limit_is_refused(world: World) -> None:
    body = BytesIO(b" " * 2_100_000)
    answer = await world.gateway.request("POST", data=body, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.codes) == (413, ["PAYLOAD_TOO_LARGE"])


async def test_an_unexpected_error_is_masked_and_its_id_is_logged(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr("gateway.catalog.plan_execution.PlanExecution.entity", broken)
    answer = await world.gateway.query('{ model(id: "pai:model/m") { id } }')
    assert answer.codes == ["INTERNAL_SERVER_ERROR"]
    assert "secret" not in str(answer.body)
    assert answer.body["errors"][0]["extensions"]["errorId"] in caplog.text


async def test_health_readiness_and_schema(world: World) -> None:
    assert (await world.gateway.request("GET", "/healthz")).body == {"status": "ok"}
    ready = await world.gateway.request("GET", "/readyz")
    assert (ready.status, ready.body["registries"]) == (200, {"pai": "UNKNOWN", "qianfan": "UNKNOWN"})
    assert (await world.gateway.request("GET", "/schema.graphql")).body.startswith('"""')

    for cloud in (world.pai, world.qianfan):
        cloud.faults.replace({"*": {"status": 503}})
    await world.gateway.query("{ models { totalCount } }")
    ready = await world.gateway.request("GET", "/readyz")
    assert (ready.status, ready.body) == (
        200,
        {"status": "degraded", "registries": {"pai": "UNAVAILABLE", "qianfan": "UNAVAILABLE"}},
    )
