"""Documents: limits of size, persisted and trusted documents, and batches."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.app import create_app
from gateway.config.settings import DocumentsSettings, LimitsSettings, ServerSettings, SettingsError
from gateway.config.watched_files import CHECK_INTERVAL
from gateway.execution.documents import Document, Documents, digest
from gateway.execution.persisted_queries import APOLLO
from gateway.memory_budget import BoundedCache
from gateway.schema.schema import GRAPHQL_SCHEMA
from tests.conftest import Client, World, served, settings, two_clouds
from tests.transports import TRANSPORTS, batch

SMALL = LimitsSettings(
    depth=5, aliases=3, directives=3, fields=20, root_fields=4, tokens=200, operations=2, characters=2_000
)
MODEL = 'model(id: "pai:model/m")'
LARGE = {
    "deep": (f"{{ {MODEL} {{ versions {{ nodes {{ model {{ versions {{ totalCount }} }} }} }} }} }}", "6 levels deep"),
    "deep in fragments": (
        f"{{ {MODEL} {{ ...A }} }} fragment A on Model {{ versions {{ nodes {{ ...B }} }} }}"
        " fragment B on ModelVersion { model { versions { totalCount } } }",
        "6 levels deep",
    ),
    "aliases": ("{ a: __typename b: __typename c: __typename d: __typename }", "4 aliases"),
    "aliases of aliases": (
        f"{{ a: {MODEL} {{ ...A }} b: {MODEL} {{ ...A }} }} fragment A on Model {{ x: id y: id }}",
        "6 aliases",
    ),
    "directives": ("{ __typename" + " @include(if: true)" * 4 + " }", "4 directives"),
    "directives of the operation": ("query" + " @a" * 4 + " { __typename }", "4 directives"),
    "fragments that double": (
        f"{{ {MODEL} {{ ...A ...A }} }} fragment A on Model {{ ...B ...B }} fragment B on Model {{ ...C ...C }}"
        " fragment C on Model { id name type }",
        "25 fields",
    ),
    "root fields": ("{ __typename registries { name } models { __typename } algorithms { __typename } r: __typename }",
                    "5 root fields"),
    "operations": ("query A { __typename } query B { __typename } query C { __typename }", "3 operations"),
    "words": ("{ " + "id " * 300 + "}", "more than 200 tokens"),
    "characters": ("{ __typename }" + "#" * 3_000, "2000"),
    "nothing but braces": ("{ a" * 2_000, "6000 characters"),
}  # fmt: skip


@pytest.mark.parametrize("case", LARGE)
def test_a_document_over_a_limit_is_refused_with_its_size(case: str) -> None:
    text, reason = LARGE[case]
    document = Documents(GRAPHQL_SCHEMA, SMALL, suggestions=False, cache=BoundedCache(10**8)).read(text)
    (error,) = document.errors
    assert error.extensions == {"code": "QUERY_TOO_COMPLEX"}
    assert reason in error.message


@pytest.mark.parametrize(
    "text",
    [
        "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
        "{ ...Unknown }",
        "{ __schema { types { fields { args { type { ofType { ofType { name } } } } } } } }",
    ],
    ids=["cycle", "unknown fragment", "introspection nests no deeper"],
)
def test_an_invalid_document_is_left_to_validation(text: str) -> None:
    document = Documents(GRAPHQL_SCHEMA, SMALL, suggestions=False, cache=BoundedCache(10**8)).read(text)
    assert {error.extensions["code"] for error in document.errors} <= {"GRAPHQL_VALIDATION_FAILED"}


def test_an_ordinary_document_passes_the_default_limits() -> None:
    from graphql import get_introspection_query

    documents = Documents(GRAPHQL_SCHEMA, LimitsSettings(), suggestions=False, cache=BoundedCache(10**8))
    assert documents.read(get_introspection_query(input_value_deprecation=True)).errors == ()


def executed(documents: Documents, text: str) -> Document:
    """Read a document and cache it, as its execution does."""
    document = documents.read(text)
    documents.store(document, digest(text))
    return document


def test_the_cache_of_documents_is_bounded_and_evicts_the_oldest() -> None:
    documents = Documents(GRAPHQL_SCHEMA, LimitsSettings(), suggestions=False, cache=BoundedCache(20_000))
    first = executed(documents, "{ __typename }")
    assert documents.read("{ __typename }") is first
    for number in range(5):
        executed(documents, f"query Q{number} {{ __typename }}")
    assert documents.read("{ __typename }") is not first
    assert 0 < documents.cache.used <= 20_000


SUGGESTIVE = ["{ registries }", "{ modell { id } }", "{ ... on Modell { id } }", '{ model(idd: "x") { id } }']


@pytest.mark.parametrize("text", SUGGESTIVE)
def test_messages_have_suggestions_in_development_only(text: str) -> None:
    for suggestions in (True, False):
        errors = Documents(GRAPHQL_SCHEMA, LimitsSettings(), suggestions, BoundedCache(10**8)).read(text).errors
        assert any("Did you mean" in error.message for error in errors) is suggestions


async def test_production_refuses_the_schema_and_raw_fields() -> None:
    async with served(settings(server=ServerSettings(profile="production"))) as gateway:
        answers = (
            await gateway.query("{ __schema { queryType { name } } }"),
            await gateway.query('{ __type(name: "Model") { name } }'),
            await gateway.request("GET", params={"query": "{ __schema { queryType { name } } }"}),
            await gateway.query('{ model(id: "pai:model/m") { raw } }'),
        )
        for answer in answers:
            assert (answer.status, answer.codes, "data" in answer.body) == (403, ["FORBIDDEN"], False)
        assert (await gateway.request("GET", "/schema.graphql")).status == 404
        assert (await gateway.query("{ __typename }")).data == {"__typename": "Query"}


async def test_an_operator_can_lower_the_limits_of_arguments() -> None:
    limits = LimitsSettings(page_rows=30, ids=2, references=3)
    async with served(settings(limits=limits)) as gateway:
        one = '{__typename: "Model", id: "pai:model/m"}'
        for query, reason in (
            ("{ models(first: 31) { totalCount } }", "between 1 and 30"),
            ('{ nodes(ids: ["a", "b", "c"]) { id } }', "at most 2 ids"),
            (f"{{ _entities(representations: [{', '.join([one] * 4)}]) {{ __typename }} }}", "at most 3"),
        ):
            answer = await gateway.query(query)
            assert answer.codes == ["BAD_USER_INPUT"]
            assert reason in answer.body["errors"][0]["message"]


# Persisted documents

QUERY = "{ registries { name } }"
HASH = hashlib.sha256(QUERY.encode()).hexdigest()


def named(hashed: str = HASH, version: int = 1, **parameters: Any) -> dict[str, Any]:
    return {"extensions": {"persistedQuery": {"version": version, "sha256Hash": hashed}}, **parameters}


async def test_a_document_is_registered_by_its_hash(world: World) -> None:
    send = world.gateway.request
    assert (await send("POST", json=named())).codes == ["PERSISTED_QUERY_NOT_FOUND"]
    assert (await send("POST", json=named(query=QUERY))).data["registries"]
    assert (await send("POST", json=named())).data == (await send("POST", json={"query": QUERY})).data
    by_get = {"extensions": json.dumps(named()["extensions"])}
    assert (await send("GET", params=by_get)).data == (await send("POST", json=named())).data


async def test_an_unknown_hash_has_the_message_that_apollo_client_expects(world: World) -> None:
    """Apollo Client sends the text after this message or code."""
    answer = await world.gateway.request("POST", json=named())
    assert (answer.status, answer.body["errors"][0]["message"]) == (200, "PersistedQueryNotFound")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (named("0" * 64, query=QUERY), "PERSISTED_QUERY_MISMATCH"),
        (named(version=2, query=QUERY), "BAD_USER_INPUT"),
        ({"extensions": {"persistedQuery": "x"}, "query": QUERY}, "BAD_USER_INPUT"),
        ({"documentId": "sha256:" + "0" * 64}, "PERSISTED_QUERY_NOT_FOUND"),
    ],
    ids=["another hash", "another version", "no object", "unknown id"],
)
async def test_a_wrong_hash_is_refused_and_registers_nothing(world: World, body: dict[str, Any], code: str) -> None:
    assert (await world.gateway.request("POST", json=body)).codes == [code]
    assert (await world.gateway.request("POST", json=named())).codes == ["PERSISTED_QUERY_NOT_FOUND"]


@pytest.mark.parametrize("document_id", [f"sha256:{HASH}", f"sha256:{HASH.upper()}", HASH, HASH.upper()])
async def test_a_document_can_be_registered_by_its_id(world: World, document_id: str) -> None:
    send = world.gateway.request
    for parameters in (
        {"documentId": document_id, "query": QUERY},
        {"documentId": document_id},
        {"documentId": document_id, "query": ""},
        named(),
        named(documentId=document_id, query=QUERY),
    ):
        assert (await send("POST", json=parameters)).data["registries"]
        assert (await send("GET", params={name: as_text(value) for name, value in parameters.items()})).data


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize(
    "parameters",
    [
        {"documentId": f"sha256:{HASH}", "query": "{ __typename }"},
        {"documentId": "sha256:" + "0" * 64, "query": QUERY},
        {"documentId": "mine", "query": QUERY},
        named("0" * 64, documentId=f"sha256:{HASH}", query=QUERY),
    ],
    ids=["the hash of another document", "no hash of a document", "an id that is no hash", "two hashes"],
)
async def test_an_id_of_another_document_is_refused(world: World, parameters: dict[str, Any]) -> None:
    assert (await world.gateway.request("POST", json=parameters)).codes == ["PERSISTED_QUERY_MISMATCH"]


async def test_a_trusted_id_with_another_text_is_refused(documents: str) -> None:
    async with served(settings(documents=DocumentsSettings(trusted=documents))) as gateway:
        for document_id in ("registry-names", f"sha256:{HASH}", f"sha256:{HASH.upper()}"):
            same = {"documentId": document_id, "query": QUERY}
            assert (await gateway.request("POST", json=same)).data == {"registries": []}
            other = {"documentId": document_id, "query": "{ __typename }"}
            assert (await gateway.request("POST", json=other)).codes == ["PERSISTED_QUERY_MISMATCH"]


async def test_an_empty_operation_name_is_none(world: World) -> None:
    parameters = {"query": "query Names { registries { name } }", "operationName": ""}
    for send in TRANSPORTS.values():
        if send is not batch:
            assert [payload["data"]["registries"] for payload in await send(world.gateway, parameters)]
    several = {"query": "query A { __typename } query B { __typename }", "operationName": ""}
    answer = await world.gateway.request("POST", json=several)
    assert answer.codes == ["OPERATION_RESOLUTION_FAILURE"]
    assert answer.body["errors"][0]["message"] == "The document has several operations: `operationName` must name one."


async def test_a_hash_alone_is_not_supported_without_automatic_registration() -> None:
    async with served(settings(documents=DocumentsSettings(automatic=False))) as gateway:
        assert (await gateway.request("POST", json=named())).codes == ["PERSISTED_QUERY_NOT_SUPPORTED"]
        assert (await gateway.request("POST", json=named(query=QUERY))).data == {"registries": []}


@pytest.fixture
def documents(tmp_path: Path) -> str:
    path = tmp_path / "documents.json"
    path.write_text(json.dumps({"registry-names": QUERY, "sha256:" + HASH: QUERY}))
    return str(path)


TRUSTED = [
    {"documentId": "registry-names"},
    {"documentId": f"sha256:{HASH}"},
    named(),
    {"query": QUERY},
]


async def test_only_trusted_documents_are_executed_if_configured(documents: str) -> None:
    sections = {"documents": DocumentsSettings(trusted=documents, only_trusted=True)}
    async with served(settings(**sections)) as gateway:
        for body in TRUSTED:
            assert (await gateway.request("POST", json=body)).data == {"registries": []}
        other = "{ __typename }"
        hashed = hashlib.sha256(other.encode()).hexdigest()
        for body in ({"query": other}, named(hashed, query=other), {"documentId": "other"}, {}):
            assert (await gateway.request("POST", json=body)).codes == ["DOCUMENT_NOT_TRUSTED"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "object of documents"),
        ("{", "JSON"),
        (None, "No such file"),
        (json.dumps({f"sha256:{HASH}": "{ __typename }"}), "is not the hash of its document"),
        (json.dumps({"format": APOLLO, "version": 2, "operations": []}), "must have version 1"),
        (json.dumps({"format": APOLLO, "version": 1, "operations": [{"id": "a"}]}), "must have an id and a body"),
    ],
)
def test_an_invalid_file_of_documents_stops_the_start(tmp_path: Path, content: str | None, reason: str) -> None:
    path = tmp_path / "documents.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match=reason):
        create_app(settings(documents=DocumentsSettings(trusted=str(path))))


async def test_the_documents_of_apollos_manifest_are_trusted(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    operation = {"id": HASH, "name": "Names", "type": "query", "body": QUERY}
    path.write_text(json.dumps({"format": APOLLO, "version": 1, "operations": [operation]}))
    async with served(settings(documents=DocumentsSettings(trusted=str(path), only_trusted=True))) as gateway:
        for body in (named(), named(f"sha256:{HASH}"), {"documentId": HASH}, {"query": QUERY}):
            assert (await gateway.request("POST", json=body)).data == {"registries": []}


def replace_file(path: str, content: str) -> None:
    Path(path).write_text(content)


async def test_trusted_documents_are_read_again_when_their_file_changes(documents: str) -> None:
    clock = [1_000_000_000.0]
    sections = {"documents": DocumentsSettings(trusted=documents, only_trusted=True)}
    async with served(settings(**sections), lambda: clock[0]) as gateway:

        async def codes(name: str) -> list[str]:
            return (await gateway.request("POST", json={"documentId": name})).codes

        for _ in range(2):  # the second one is a prepared request
            assert await codes("registry-names") == []
        assert await codes("type") == ["DOCUMENT_NOT_TRUSTED"]
        replace_file(documents, json.dumps({"type": "{ __typename }"}))
        clock[0] += CHECK_INTERVAL
        assert await codes("registry-names") == ["DOCUMENT_NOT_TRUSTED"]
        assert await codes("type") == []
        replace_file(documents, "{")
        clock[0] += CHECK_INTERVAL
        assert await codes("type") == [], "the previous documents stay in use"


# Batches


@pytest.fixture
async def batching() -> Any:
    async with two_clouds(sections={"limits": LimitsSettings(batch=3, variables_bytes=1_000)}) as world:
        yield world.gateway


async def test_operations_of_a_batch_have_separate_results_in_order(batching: Client) -> None:
    operations = [{"query": QUERY}, {"query": "{ nothing }"}, {"variables": {}}]
    answer = await batching.request("POST", json=operations)
    assert answer.status == 200
    assert [one.get("data") for one in answer.body] == [
        {"registries": [{"name": "pai"}, {"name": "qianfan"}]},
        None,
        None,
    ]
    assert [one["errors"][0]["extensions"]["code"] for one in answer.body[1:]] == [
        "GRAPHQL_VALIDATION_FAILED",
        "BAD_REQUEST",
    ]


@pytest.mark.parametrize(
    ("batch", "code"), [([], "BAD_REQUEST"), ([{"query": QUERY}] * 4, "BATCH_TOO_LARGE"), ([1], "BAD_REQUEST")]
)
async def test_an_empty_too_large_or_invalid_batch_is_refused(batching: Client, batch: Any, code: str) -> None:
    answer = await batching.request("POST", json=batch)
    assert (answer.status, answer.codes) == (400, [code])


async def test_batches_are_refused_by_default(world: World) -> None:
    answer = await world.gateway.request("POST", json=[{"query": QUERY}, {"query": QUERY}])
    assert (answer.status, answer.codes) == (400, ["BATCH_TOO_LARGE"])


async def test_variables_have_their_own_limit(batching: Client) -> None:
    answer = await batching.request("POST", json={"query": QUERY, "variables": {"x": "y" * 2_000}})
    assert (answer.status, answer.codes) == (413, ["PAYLOAD_TOO_LARGE"])


# Places of errors


async def test_an_error_has_its_place_in_the_text_that_its_client_sent(world: World) -> None:
    """One document serves texts that differ in white space."""
    query = "query Q($id: ID!) { odd: node(id: $id) { id } }"
    for lines, columns in ((50_000, 0), (0, 0), (3, 7), (50_000, 0)):
        text = "\n" * lines + " " * columns + query
        answer = await world.gateway.query(text, id="no id")
        [error] = answer.body["errors"]
        assert error["locations"] == [{"line": lines + 1, "column": columns + 1 + query.index("odd")}]


def test_a_tree_has_one_line_whatever_its_text() -> None:
    """graphql-core scans all lines before an error."""
    documents = Documents(GRAPHQL_SCHEMA, LimitsSettings(), suggestions=False, cache=BoundedCache(10**8))
    text = '\n\n{ # a comment\n  node(id: """\n    a\n    "b"\n""") { id } }\n'
    node = documents.read(text).node
    assert node.loc is not None
    assert node.loc.source.body == '{ node ( id : "a\\n\\"b\\"" ) { id } }'
