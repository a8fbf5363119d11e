"""Weighted headers over raw connections: media types, content codings, and entity tags."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from gateway.config.settings import CacheSettings, LimitsSettings, ServerSettings
from tests.conftest import Client, World, two_clouds
from tests.transports import multipart_payloads

JSON, GRAPHQL = "application/json", "application/graphql-response+json"
MULTIPART, EVENTS = "multipart/mixed", "text/event-stream"
SMALL = "{ __typename }"
LARGE = "{ models(first: 20) { nodes { id name } } }"
DEFERRED = "{ models(first: 2) { totalCount ... @defer { nodes { id } } } }"


class Received:
    """One response: its status, headers and body."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.raw = status, headers, body
        self.compressed = headers.get("content-encoding") == "gzip"
        self.body = gzip.decompress(body) if self.compressed else body

    @property
    def media_type(self) -> str:
        return self.headers["content-type"].partition(";")[0]

    @property
    def codes(self) -> list[str]:
        return [error["extensions"]["code"] for error in json.loads(self.body).get("errors", ())]


async def send(gateway: Client, method: str, path: str, *lines: str, body: bytes = b"") -> Received:
    """Send one request on a connection of its own, with exactly these header lines."""
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", f"Content-Length: {len(body)}", *lines]
    writer.write("\r\n".join([*head, "", ""]).encode() + body)
    response = await reader.read()
    writer.close()
    top, _, rest = response.partition(b"\r\n\r\n")
    status, *fields = top.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in fields)}
    if headers.get("transfer-encoding") == "chunked":
        rest = b"".join(chunks(rest))
    return Received(int(status.split()[1]), headers, rest)


def chunks(body: bytes) -> Any:
    while body:
        size, _, body = body.partition(b"\r\n")
        yield body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]


async def post(gateway: Client, query: str, *lines: str) -> Received:
    body = json.dumps({"query": query}).encode()
    return await send(gateway, "POST", "/graphql", "Content-Type: application/json", *lines, body=body)


async def get(gateway: Client, query: str, *lines: str) -> Received:
    return await send(gateway, "GET", f"/graphql?query={quote(query)}", *lines)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    sections = {
        "cache": CacheSettings(lists=600.0, jitter=0.0),
        "limits": LimitsSettings(batch=2),
        "server": ServerSettings(profile="development", cors="https://models.example.com"),
    }
    async with two_clouds(models=20, sections=sections) as world:
        yield world


# Accept

MEDIA_TYPES: dict[str, str | None] = {
    "": JSON,
    ", ,": JSON,
    "*/*;q=0.1": JSON,
    "application/*": JSON,
    "APPLICATION/JSON": JSON,
    f"{GRAPHQL};q=1.000": GRAPHQL,
    f"{JSON};q=0.5,{GRAPHQL} ; Q=0.5": GRAPHQL,
    f"{JSON};q=0.51,{GRAPHQL};q=0.5": JSON,
    f'{GRAPHQL};charset="a,b;q=0";q=0.4, {JSON};q=0.3': GRAPHQL,
    f"{JSON};q=0": None,
    f"{JSON};q=0, */*": GRAPHQL,
    f"{JSON};q=0, application/*;q=0.1": GRAPHQL,
    f"{GRAPHQL};q=0, {JSON};q=0": None,
    f"{GRAPHQL};q=0, */*": JSON,
    "application/*;q=0, */*": None,
    f"application/*;q=0, {JSON}": JSON,
    f"*/*;q=0, {GRAPHQL}": GRAPHQL,
    "*/*;q=0": None,
    "text/html": None,
    "application/graphql+json": None,
    f"{JSON};q=2": None,
    f"{JSON};q=-1": None,
    f"{JSON};q=nan": None,
    f"{JSON};q=abc, {GRAPHQL}": GRAPHQL,
    f"{EVENTS};q=0, {JSON}": JSON,
    f"{EVENTS};q=0.5, {JSON}": JSON,
    f"{JSON};q=0.5, {EVENTS}": EVENTS,
    f"{EVENTS}, */*": EVENTS,
    f"{EVENTS};q=0": None,
    f"{MULTIPART};q=0": None,
    f"{MULTIPART};q=0, {JSON}": JSON,
    MULTIPART: MULTIPART,
    f"{MULTIPART};deferSpec=20220824": MULTIPART,
}


@pytest.mark.parametrize(("accept", "expected"), MEDIA_TYPES.items())
async def test_the_weights_of_media_types_decide(world: World, accept: str, expected: str | None) -> None:
    for query in (SMALL, LARGE):
        for answer in (
            await post(world.gateway, query, f"Accept: {accept}"),
            await get(world.gateway, query, f"Accept: {accept}"),
            await post(world.gateway, query, f"Accept: {accept}"),  # again: prepared
        ):
            if expected is None:
                assert (answer.status, answer.codes) == (406, ["NOT_ACCEPTABLE"])
            else:
                assert (answer.status, answer.media_type) == (200, expected)


async def test_the_lines_of_a_header_are_one_list(world: World) -> None:
    answer = await post(world.gateway, SMALL, f"Accept: {JSON};q=0.2", f"Accept: {GRAPHQL}")
    assert answer.media_type == GRAPHQL
    answer = await post(world.gateway, LARGE, "Accept-Encoding: gzip", "Accept-Encoding: identity;q=0.5")
    assert answer.compressed
    answer = await post(world.gateway, LARGE, "Accept-Encoding: br", "Accept-Encoding: gzip;q=0")
    assert not answer.compressed
    world.calls()
    await post(world.gateway, LARGE, "Cache-Control: max-age=600", "Cache-Control: no-cache")
    assert world.calls()["ListModels"] == 2


@pytest.mark.parametrize("accept", [MULTIPART, f"{MULTIPART};q=0.1", "multipart/*", f"{MULTIPART}, {JSON};q=0"])
async def test_a_client_that_accepts_only_multipart_gets_parts(world: World, accept: str) -> None:
    lines = f"Accept: {accept}"
    for answer in (await post(world.gateway, DEFERRED, lines), await get(world.gateway, DEFERRED, lines)):
        assert (answer.status, answer.media_type) == (200, MULTIPART)
        first, *later = multipart_payloads(answer.body)
        assert first["data"] == {"models": {"totalCount": 28}}
        assert len(later[0]["incremental"][0]["data"]["nodes"]) == 2
    whole = await post(world.gateway, "{ models(first: 1) { totalCount } }", lines)
    assert multipart_payloads(whole.body) == [{"data": {"models": {"totalCount": 28}}}]


async def test_errors_for_a_client_that_accepts_only_multipart_are_single_responses(world: World) -> None:
    for query, code in (
        ("{ nothing ... @defer { __typename } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ models(first: 2) { nodes @stream(initialCount: -1) { id } } }", "GRAPHQL_VALIDATION_FAILED"),
        ("query ($n: Int! = 0) { models { nodes @stream(initialCount: $x) { id } } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{", "GRAPHQL_PARSE_FAILED"),
    ):
        answer = await post(world.gateway, query, f"Accept: {MULTIPART}")
        assert (answer.status, answer.media_type, set(answer.codes)) == (400, GRAPHQL, {code})
    body = json.dumps([{"query": SMALL}] * 2).encode()
    content_type = "Content-Type: application/json"
    answer = await send(world.gateway, "POST", "/graphql", content_type, f"Accept: {MULTIPART}", body=body)
    assert (answer.status, answer.codes) == (406, ["NOT_ACCEPTABLE"])


async def test_multipart_counts_only_if_the_client_accepts_it(world: World) -> None:
    for accept in (f"{MULTIPART};q=0, {JSON}", f"{MULTIPART};q=0, */*", JSON):
        assert (await post(world.gateway, DEFERRED, f"Accept: {accept}")).media_type == JSON


async def test_a_browser_is_redirected_only_if_it_accepts_html(world: World) -> None:
    for accept, status in (("text/html, */*;q=0.8", 303), ("text/html;q=0, */*", 400), ("*/*", 400)):
        assert (await send(world.gateway, "GET", "/graphql", f"Accept: {accept}")).status == status


# Accept-Encoding

CODINGS: dict[str, bool] = {
    "gzip": True,
    "GZIP": True,
    "x-gzip": True,
    "*": True,
    "gzip;q=0.001": True,
    "br, gzip;q=0.5": True,
    "gzip;q=1.0, identity; q=0.5, *;q=0": True,
    "identity;q=0, gzip;q=0.1": True,
    "gzip;foo=1;q=0.5": True,
    "": False,
    "br": False,
    "identity": False,
    "gzip;q=0": False,
    "gzip;q=0.0": False,
    "gzip ; q=0.000": False,
    "gzip;Q=0": False,
    "gzip;q=0, *": False,
    "*;q=0": False,
    "*;q=0, identity": False,
    "identity;q=0": False,
    "gzip;q=0.5, identity": False,
    "identity;q=0, gzip;q=0": False,
    "notgzip": False,
    "gzipped, bgzip": False,
    "gzip;q=x": False,
}


@pytest.mark.parametrize(("accept_encoding", "expected"), CODINGS.items())
async def test_a_body_is_compressed_only_if_the_client_accepts_it(
    world: World, accept_encoding: str, expected: bool
) -> None:
    line = f"Accept-Encoding: {accept_encoding}"
    plain = json.loads((await post(world.gateway, LARGE)).body)
    for answer in (
        await post(world.gateway, LARGE, line),
        await post(world.gateway, LARGE, line),
        await get(world.gateway, LARGE, line),
    ):
        assert (answer.status, answer.compressed, json.loads(answer.body)) == (200, expected, plain)
        assert "Accept-Encoding" in answer.headers["vary"]
    for path in ("/", "/schema.graphql"):
        assert (await send(world.gateway, "GET", path, line)).compressed is expected


async def test_a_small_body_is_compressed_only_for_a_client_that_refuses_others(world: World) -> None:
    for line, compressed in (("gzip", False), ("gzip, identity;q=0", True), ("gzip, *;q=0", True)):
        answer = await post(world.gateway, SMALL, f"Accept-Encoding: {line}")
        assert (answer.compressed, answer.body) == (compressed, b'{"data":{"__typename":"Query"}}')


# Entity tags


async def test_both_codings_share_a_weak_tag(world: World) -> None:
    plain = await get(world.gateway, LARGE)
    compressed = await get(world.gateway, LARGE, "Accept-Encoding: gzip")
    assert compressed.compressed
    assert plain.headers["etag"] == compressed.headers["etag"]
    assert plain.headers["etag"].startswith('W/"')
    for lines in ([], ["Accept-Encoding: gzip"]):
        for known in (plain, compressed):
            answer = await get(world.gateway, LARGE, f"If-None-Match: {known.headers['etag']}", *lines)
            assert (answer.status, answer.raw, answer.headers["etag"]) == (304, b"", plain.headers["etag"])
            assert answer.headers["vary"] == plain.headers["vary"]


async def test_if_none_match_is_a_list_of_tags_compared_weakly(world: World) -> None:
    tag = (await get(world.gateway, LARGE)).headers["etag"]
    strong = tag.removeprefix("W/")
    for value, status in (
        (tag, 304),
        (strong, 304),
        ("*", 304),
        (f'"other", {tag}', 304),
        (f'W/"a,b" , {strong},"c"', 304),
        ('"other"', 200),
        (strong.strip('"'), 200),
        (f'"{strong[1:-2]}"', 200),
        ('"*"', 200),
        ("", 200),
    ):
        assert (await get(world.gateway, LARGE, f"If-None-Match: {value}")).status == status, value
    answer = await get(world.gateway, LARGE, 'If-None-Match: "other"', f"If-None-Match: {tag}")
    assert answer.status == 304


async def test_the_files_of_the_playground_have_weak_tags(world: World) -> None:
    page = (await send(world.gateway, "GET", "/")).body.decode()
    file = page.partition('href="assets/')[2].partition('"')[0]
    tags = {
        (await send(world.gateway, "GET", f"/assets/{file}", *lines)).headers["etag"]
        for lines in ([], ["Accept-Encoding: gzip"])
    }
    assert tags == {f'W/"{file}"'}


# CORS


@pytest.mark.parametrize("origin", ["https://models.example.com", "https://other.example.com", None])
async def test_every_response_varies_by_origin(world: World, origin: str | None) -> None:
    """Also that of a prepared request: a cache must not serve it to another origin."""
    lines = [] if origin is None else [f"Origin: {origin}"]
    allowed = origin if origin == "https://models.example.com" else None
    answers = [await post(world.gateway, LARGE, *lines) for _ in range(3)]
    answers += [await post(world.gateway, query, *lines) for query in (SMALL, "{", DEFERRED)]
    tag = f"If-None-Match: {(await get(world.gateway, LARGE)).headers['etag']}"
    answers += [await get(world.gateway, LARGE, *lines), await get(world.gateway, LARGE, tag, *lines)]
    answers += [await post(world.gateway, SMALL, f"Accept: {accept}", *lines) for accept in (EVENTS, MULTIPART, "a/b")]
    for answer in answers:
        assert "Origin" in answer.headers["vary"].split(", ")
        assert answer.headers.get("access-control-allow-origin") == allowed
    varying = {"date", "age", "cache-control", "x-request-id", "traceparent"}
    first, repeated = (
        {name: answer.headers[name] for name in answer.headers.keys() - varying} for answer in answers[:2]
    )
    assert first == repeated
