"""Answers whose headers matter, proved with an imaginary OCI registry: next pages, digests, errors, and raw slashes."""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.query_plan import BoundCall
from gateway.catalog.registry import Registry
from gateway.config.settings import CacheSettings
from gateway.registries import KINDS
from gateway.registries.fields import at
from gateway.registries.kind import Kind
from gateway.registries.links import linked_page
from gateway.registries.qianfan import QIANFAN_V2
from gateway.schema.field_sources import supplied_fields
from gateway.upstream.cache import Entry, packed
from gateway.upstream.caching_client import UncachedClient
from gateway.upstream.messages import Request, Response, document_of
from tests.conftest import Client, served, settings
from tests.registries import dock
from tests.registries.dock import DockServer, dock_server
from tests.registries.samples import COMPUTED, ENTITIES, RELATIONS, schema_fields

MANY = {f"library/m{number:02}": [f"v{tag}" for tag in range(25)] for number in range(23)}


def dock_kind() -> Kind:
    """Return the imaginary kind, with every field of the schema that it does not supply declared absent."""
    bare = dock.dock({})
    return dock.dock(
        {
            entity: frozenset({*schema_fields(entity)} - supplied - COMPUTED - RELATIONS[entity] if supplied else ())
            for entity in ENTITIES
            for supplied in [supplied_fields(bare, entity)]
        }
    )


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DockServer]:
    monkeypatch.setitem(KINDS, "dock", dock_kind())  # type: ignore[arg-type]
    async with dock_server() as running:
        running.repositories = dict(MANY)
        yield running


@pytest.fixture
async def gateway(server: DockServer) -> AsyncIterator[Client]:
    async with served(settings(dock.registry(server.url), cache=CacheSettings())) as running:
        yield running


LIST = "{ models(first: 100) { totalCount nodes { name } coverage { state rowsRead error { code } } } }"


# Next pages

NEXT: dict[str, Callable[[str, str, int], str | Sequence[str]]] = {
    "relative": dock.relative,
    "absolute, on another host": lambda path, last, size: f'<http://10.0.0.1:1{path}?n={size}&last={last}>; rel="next"',
    "encoded": lambda path, last, size: f"<{path}?n={size}&last={last.replace('/', '%2F')}#f>;rel=next",
    "among others": lambda path, last, size: (
        f'</first?last=x>; rel="first", <{path}?last={last}>; title="a, <b>; rel=prev"; REL="last NEXT"'
    ),
    "in a second header": lambda path, last, size: ["</up>; rel=up", f"<{path}?last={last}>; rel=next"],
    "twice in its own link": lambda path, last, size: f"<{path}?last={last}>; rel=next; rel=prev",
}


@pytest.mark.parametrize("link", NEXT)
async def test_a_list_goes_on_where_the_header_says(server: DockServer, gateway: Client, link: str) -> None:
    server.link = NEXT[link]
    models = (await gateway.query(LIST)).data["models"]
    assert [node["name"] for node in models["nodes"]] == sorted(MANY)
    assert models["coverage"] == [{"state": "COMPLETE", "rowsRead": 23, "error": None}]
    assert server.requests == [("/v2/_catalog", last) for last in (None, "library/m09", "library/m19")]
    assert (await gateway.query(LIST)).data["models"] == models
    assert len(server.requests) == 3, "cached pages know the next one"


@pytest.mark.parametrize(
    "link",
    [
        "</v2/_catalog?n=10>; rel=next",
        "</v2/_catalog?last=>; rel=next",
        "<>; rel=next",
        "<?last=library/m09>; rel=next",
    ],
)
async def test_a_list_whose_next_page_cannot_be_requested_is_partial(
    server: DockServer, gateway: Client, link: str
) -> None:
    server.link = lambda *_: link
    models = (await gateway.query(LIST)).data["models"]
    [part] = models["coverage"]
    assert part == {
        "state": "PARTIAL",
        "rowsRead": 10 if "m09" not in link else 20,
        "error": {"code": "LIST_INCOMPLETE"},
    }


@pytest.mark.parametrize(
    "link", ["", "</v2/_catalog?last=library/m09>; rel=prev", "</x?last=y>", "next", 'a="<b>"; rel=next']
)
async def test_a_list_without_a_next_page_ends(server: DockServer, gateway: Client, link: str) -> None:
    server.link = lambda *_: link
    models = (await gateway.query(LIST)).data["models"]
    assert models["coverage"] == [{"state": "COMPLETE", "rowsRead": 10, "error": None}]
    assert models["totalCount"] == 10


async def test_versions_go_on_where_the_header_says(server: DockServer, gateway: Client) -> None:
    query = """query ($after: String) { model(id: "dock:model/library%2Fm01") { name
        versions(first: 8, after: $after) { nodes { name } pageInfo { hasNextPage endCursor } } } }"""
    names, after = [], None
    while True:
        page = (await gateway.query(query, after=after)).data["model"]["versions"]
        names += [node["name"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert sorted(names) == sorted(MANY["library/m01"])
    assert server.calls == {"/v2/library/m01/tags/list": 3}


@given(st.text() | st.text(alphabet='<>;,="\\ relnxt?&/a') | st.none() | st.integers())
def test_any_header_names_a_page_or_none(value: Any) -> None:
    marker, truncated = linked_page(value, "a")
    assert marker is None or (isinstance(marker, str) and marker and not truncated)


def test_a_long_header_is_read_in_linear_time() -> None:
    for part in ("<", "<>;", '<>"', ";", " ", '<a>; rel="', "<a>;rel ", '\\"', "<a>;" + " " * 50):
        assert linked_page(part * 20_000, "a") == (None, False)


# Objects, names with slashes, and bodies that are lists


async def test_a_header_can_be_a_value_of_an_object(server: DockServer, gateway: Client) -> None:
    query = '{ modelVersion(id: "dock:model/library%2Fm01/version/v7") { name uri description model { name } } }'
    assert (await gateway.query(query)).data["modelVersion"] == {
        "name": "v7",
        "uri": "sha256:v7",
        "description": "application/vnd.oci.image.manifest.v1+json",
        "model": {"name": "library/m01"},
    }
    assert server.calls == {"/v2/library/m01/manifests/v7": 1, "/v2/library/m01/tags/list": 1}


def test_slashes_in_keys_stay_only_where_the_call_says_so() -> None:
    assert dock.TAGS.request(("a/b",)).path == "/v2/a/b/tags/list"
    assert dock.GET_MANIFEST.request(("a/b", "%2F?#é")).path == "/v2/a/b/manifests/%252F%3F%23%C3%A9"


@pytest.mark.parametrize("id", ["a%2F..%2Fb", "a%2F%2Fb", "%2Fa", "a%2F", "..", "a%2F.%2Fb", "a%2F%2e%2e"])
async def test_a_name_that_leaves_its_place_in_a_path_is_no_id(server: DockServer, gateway: Client, id: str) -> None:
    assert (await gateway.query(f'{{ model(id: "dock:model/{id}") {{ name }} }}')).codes == ["INVALID_ID"]
    assert server.requests == []


async def test_an_answer_that_is_a_list_has_rows(server: DockServer, gateway: Client) -> None:
    answer = await gateway.query("{ algorithms { totalCount nodes { name } coverage { state } } }")
    assert answer.data["algorithms"] == {
        "totalCount": 2,
        "nodes": [{"name": "bake"}, {"name": "boil"}],
        "coverage": [{"state": "COMPLETE"}],
    }


# Errors in a list


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "NAME_UNKNOWN", None),
        (401, "UNAUTHORIZED", "REGISTRY_UNAUTHENTICATED"),
        (403, "DENIED", "REGISTRY_FORBIDDEN"),
        (429, "TOOMANYREQUESTS", "REGISTRY_THROTTLED"),
        (404, "SOMETHING_ELSE", "REGISTRY_BAD_ANSWER"),
        (503, "SOMETHING_ELSE", "REGISTRY_UNAVAILABLE"),
    ],
)
async def test_the_code_of_an_error_may_be_in_a_list(
    server: DockServer, gateway: Client, status: int, code: str, expected: str | None
) -> None:
    server.error = status, code
    answer = await gateway.query('{ model(id: "dock:model/library%2Fm01") { name } }')
    assert answer.body["data"] == {"model": None}
    assert answer.codes == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("errors", 0, "code"), "A"),
        (("errors", 1, "code"), "B"),
        (("errors", 2, "code"), None),
        (("errors", "0", "code"), None),
        (("errors", "code"), None),
        (("errors", 0, 0), None),
        (("text", 0), None),
        ((0,), None),
    ],
)
def test_a_path_may_have_positions(path: tuple[str | int, ...], value: Any) -> None:
    assert at({"errors": [{"code": "A"}, {"code": "B"}], "text": "abc"}, path) == value
    assert at([{"errors": []}], (0, *path)) is None


# The document and the cache


def request_of(*headers: str) -> Request:
    return Request("Call", "s", "GET", "/", response_headers=headers)


@pytest.mark.parametrize(
    ("headers", "body", "document"),
    [
        ((), {"a": 1}, {"a": 1}),
        ((), [1], {"body": [1]}),
        ((), "text", None),
        ((), None, None),
        (("link",), {"a": 1}, {"headers": {"link": "x, y"}, "body": {"a": 1}}),
        (("link", "x-total"), [1], {"headers": {"link": "x, y", "x-total": "7"}, "body": [1]}),
        (("other",), {"headers": 1}, {"headers": {}, "body": {"headers": 1}}),
        (("link",), 7, None),
    ],
)
def test_a_document_has_the_headers_that_the_call_reads(headers: tuple[str, ...], body: Any, document: Any) -> None:
    class Repeated(dict[str, str]):
        def items(self) -> Any:
            return [("Link", "x"), ("X-Total", "7"), ("link", "y")]

    assert request_of(*headers).document(Response(200, Repeated(), b"", body)) == document


def test_an_answer_with_headers_is_cached_as_any_other() -> None:
    document = document_of([1], {"link": "<a>"})
    entry = Entry.unpacked(packed(1.0, document))
    assert entry is not None
    assert entry.document == document


def test_an_answer_without_the_headers_is_not_used_for_a_call_that_reads_them() -> None:
    assert len({request_of().digest, request_of("link").digest, request_of("link", "etag").digest}) == 3
    without = orjson.dumps(["s", "GET", "/", (), ""])
    assert request_of().digest == hashlib.blake2b(without, digest_size=16).hexdigest(), "other answers stay valid"


def test_an_object_is_purged_with_the_call_that_reads_headers() -> None:
    registry = Registry(dock_kind(), dock.registry("http://127.0.0.1:9"), UncachedClient(None))  # type: ignore[arg-type]
    request, key, _ = registry._request_and_key(BoundCall("dock", dock.GET_MANIFEST, ("a/b", "v1")))
    assert request.response_headers == ("docker-content-digest", "x-absent")
    assert str(registry.destination.scope.key(dock.GET_MANIFEST.request(("a/b", "v1")))) == str(key)


@pytest.mark.parametrize("kind", [*KINDS.values(), QIANFAN_V2], ids=lambda kind: kind.name)
def test_a_list_is_no_answer_of_the_built_in_kinds(kind: Kind) -> None:
    calls = {*kind.calls, *(stream.call for stream in kind.streams), kind.probe}
    calls |= {lookup.call for lookup in kind.lookups.values()}
    for body in ([], [{}], [{"name": "a"}], ["a"]):
        assert [call.name for call in calls if call.is_complete(document_of(body))] == []
