"""Hostile names in every argument: none changes the path or the host of an upstream call."""

import re
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import orjson
import pytest
from aiohttp import web

from gateway.catalog.cursors import CHECK_BYTES, VERSION, CursorScope, in_base64
from gateway.catalog.orders import Order
from gateway.twins import Twins
from tests.conftest import Answer, World, two_clouds

HOSTILE = [
    "", " ", ".", "..", "...", "/", "//", "\\", "?", "#", "%", "&", "=", ";", ":", "@", "*", "~", "'", '"', "`",
    "../..", "../admin", "..%2f..", "%2e%2e", "%2E%2E%2F", "%252e%252e", ".%2e", "..;/", "..\\..", "./x", "x/..",
    "a/b", "a%2fb", "a%5cb", "a?b=c", "a#b", "a&ModelName=b", "a%26b", "a;b", "%00", "a\0b", "a%0d%0aX: y",
    "a\r\nHost: evil.example", "a\nb", "a\tb", "\x7f", "\x85", "\u2028", "\u202eabc", "\ufeff", "\uff0e\uff0e",
    "\uff0f", "\u0661\u0662\u0663", "e\u0301", "\U0001f4a9", "\ufffd", "null", "undefined", "-1", "0", "9" * 400,
    "x" * 1_000, "http://169.254.169.254/", "//evil.example/x", "file:///etc/passwd", "${jndi:ldap://x}", "{{7*7}}",
    "' OR '1'='1", "<script>", "$(id)", "gopher://x", "x" * 30_000,
]  # fmt: skip

PREFIXES = ["", "pai:model/", "pai:model/m/version/", "pai:algorithm/", "pai:algorithm/a/version/", "qianfan:model/",
            "qianfan:model/am-gggg4444hhhh/version/", "qianfan:algorithm/", "nowhere:model/"]  # fmt: skip

QUERY_BY_ID = """query ($id: ID!, $all: [_Any!]!) {
  node(id: $id) { id } nodes(ids: [$id]) { id } model(id: $id) { id } modelVersion(id: $id) { id }
  algorithm(id: $id) { id } algorithmVersion(id: $id) { id } _entities(representations: $all) { __typename }
}"""

FILTERS = [
    "search",
    "nameContains",
    "nameEquals",
    "type",
    "domain",
    "task",
    "origin",
    "provider",
    "workspaceId",
    "owner",
]

SEGMENT = r"[A-Za-z0-9._~%:-]+"
PATHS = re.compile(
    rf"/api/v1/(models|algorithms)(/{SEGMENT}(/versions(/{SEGMENT})?)?)?"
    r"|/wenxinworkshop/modelrepo/[A-Za-z/]+|/wenxinworkshop/[A-Za-z/]+"
)
"""The paths of all calls of both clouds."""


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The requests of the clouds, as (raw target, Host header)."""
    seen: list[tuple[str, str]] = []
    handle = Twins.handle

    async def noted(twins: Twins, request: web.BaseRequest) -> web.StreamResponse:
        seen.append((request.raw_path, request.headers["host"]))
        return await handle(twins, request)

    monkeypatch.setattr(Twins, "handle", noted)
    return seen


@pytest.fixture
async def watched(targets: list[tuple[str, str]]) -> AsyncIterator[World]:
    """Both clouds and a gateway. At the end, every request must be one of the known calls."""
    async with two_clouds(models=10) as world:
        hosts = {cloud.url.removeprefix("http://") for cloud in (world.pai, world.qianfan)}
        yield world
        for target, host in targets:
            path, _, _ = target.partition("?")
            assert PATHS.fullmatch(path), target
            segments = [unquote(segment) for segment in path.split("/")[1:]]
            assert not {".", "..", ""} & set(segments), target
            assert not any(set("/\\?#\0\r\n") & set(segment) for segment in segments), target
            assert host in hosts


def check(answer: Answer) -> None:
    """Check that every error is one of the caller, with a short message."""
    for error in answer.body.get("errors", ()):
        assert error["extensions"]["code"] in ("INVALID_ID", "BAD_USER_INPUT", "INVALID_CURSOR", "REGISTRY_REJECTED")
        assert len(error["message"]) < 300


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_hostile_id_finds_nothing(watched: World, prefix: str) -> None:
    for text in HOSTILE:
        for id in dict.fromkeys((prefix + text, prefix + quote(text, safe=""), prefix + quote(text))):
            registry, _, rest = id.partition(":")
            references = [
                {"__typename": "Model", "id": id},
                {"__typename": "Model", "registryName": registry, "nativeId": text},
                {"__typename": text, "id": rest},
            ]
            answer = await watched.gateway.query(QUERY_BY_ID, id=id, all=references)
            check(answer)
            values = [value for value in answer.body["data"].values() if value is not None]
            assert all(value in ([None], [None] * 3) for value in values), f"something has the id {id!r}"


@pytest.mark.parametrize("name", FILTERS)
async def test_a_hostile_filter_stays_one_parameter(watched: World, targets: list[tuple[str, str]], name: str) -> None:
    kind = "ID" if name in ("workspaceId", "owner") else "String"
    query = f"query ($value: {kind}!) {{ models(first: 1, filter: {{{name}: $value}}) {{ nodes {{ id }} }} }}"
    for text in HOSTILE:
        targets.clear()
        check(await watched.gateway.query(query, value=text))
        for target, _ in targets:
            sent = parse_qsl(target.partition("?")[2], keep_blank_values=True)
            assert {key for key, _ in sent} <= QUERY_PARAMETERS, f"{text!r} added a parameter"
            assert len({key for key, _ in sent}) == len(sent), f"{text!r} repeated a parameter"


async def test_a_hostile_name_of_a_version_finds_nothing(watched: World) -> None:
    listed = await watched.gateway.query("{ models(first: 1, filter: {kinds: [PAI]}) { nodes { id } } }")
    (node,) = listed.data["models"]["nodes"]
    query = """query ($id: ID!, $name: String!) {
      model(id: $id) { version(name: $name) { id } versions(after: $name) { totalCount nodes { id } } } }"""
    for text in HOSTILE:
        answer = await watched.gateway.query(query, id=node["id"], name=text)
        check(answer)
        assert (answer.body["data"]["model"] or {}).get("version") is None, text


QUERY_PARAMETERS = {
    "PageNumber", "PageSize", "SortBy", "Order", "Verbose", "Query", "ModelName", "ModelType", "Domain", "Task",
    "Origin", "Provider", "WorkspaceId",
}  # fmt: skip
"""The query parameters of PAI's lists."""


# Cursors


REFUSED: list[Any] = [
    None, 1, "x", [], {}, [[0, 0, ""], {}], [[0, 0, ""], {}, {}, {}], [[0, "x", ""], {}, {}], [[0, 0, 0], {}, {}],
    [[2, 0, ""], {}, {}], [[0, 1e308, ""], {}, {}], [[0, 0, ""], {"pai": 0}, {}], [[0, 0, ""], {"pai": [1, 0]}, {}],
    [[0, 0, ""], {"pai": [0, 0, 0, 0]}, {}],
    [[0, 0, ""], {"pai": [1, -1, 0, 0]}, {}], [[0, 0, ""], {"pai": [1, 0, "0", 0]}, {}],
    [[0, 0, ""], [], {}], [[0, 0, ""], {}, []], [[0, 0, ""], {}, {"pai": 1}], [None, {}, {}],
]  # fmt: skip

ACCEPTED: list[Any] = [
    [[0, 0, ""], {}, {}], [[1, 0, ""], {}, {}], [[0, 2**62, ""], {}, {}], [[0, 0, "x" * 50_000], {}, {}],
    [[0, 0, ""], {"nowhere": [1, 0, 0, 0]}, {}], [[0, 0, ""], {}, {"nowhere": [0, 0, ""]}],
]  # fmt: skip

PAGE = "query ($n: Int!, $after: String) { models(first: $n, after: $after) { nodes { registryName } %s } }"


def forged(body: Any) -> str:
    """Return a cursor of all models in the default order, with a valid checksum."""
    content = bytes([VERSION]) + orjson.dumps(body)
    return in_base64(CursorScope("Model ()", Order())._check(content) + content)


async def test_a_forged_cursor_is_refused_or_returns_only_visible_rows(watched: World) -> None:
    for body in (*REFUSED, *ACCEPTED):
        answer = await watched.gateway.query(PAGE % "", n=3, after=forged(body))
        check(answer)
        assert answer.codes == (["INVALID_CURSOR"] if body in REFUSED else []), body


async def test_a_page_beyond_the_end_of_a_list_costs_few_calls(watched: World) -> None:
    first = await watched.gateway.query(PAGE % "pageInfo { endCursor }", n=20)
    content = urlsafe_b64decode(first.data["models"]["pageInfo"]["endCursor"] + "==")[CHECK_BYTES:]
    last, pages, own = orjson.loads(content[1:])
    watched.calls()
    for page in (1_000_000, 2**31, 2**62):
        answer = await watched.gateway.query(
            PAGE % "", n=3, after=forged([last, {name: [page, page, 0, 0] for name in pages}, own])
        )
        check(answer)
        assert sum(watched.calls().values()) < 10
