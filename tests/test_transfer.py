"""Compression, cross-origin requests, and bodies that arrive slowly."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.config.settings import LimitsSettings, ServerSettings
from tests.conftest import Client, World, served, settings

QUERY = {"query": "{ models(first: 50) { nodes { id name } } }"}


async def test_large_responses_are_compressed_for_clients_that_accept_gzip(world: World) -> None:
    plain = await world.gateway.request("POST", json=QUERY, headers={"Accept-Encoding": "identity"})
    small = await world.gateway.request("POST", json=QUERY, headers={"Accept-Encoding": "gzip"})
    assert small.body == plain.body
    assert small.headers["content-encoding"] == "gzip"
    assert int(small.headers["content-length"]) < int(plain.headers["content-length"]) / 2
    assert {part.strip() for part in small.headers["vary"].split(",")} == {
        "Accept",
        "Accept-Encoding",
        "X-Gateway-Cache-Tags",
        "X-Gateway-Plan",
    }


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip"])
async def test_compressed_request_bodies_are_refused(world: World, encoding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    answer = await world.gateway.request("POST", data=gzip.compress(b'{"query": "{ __typename }"}'), headers=headers)
    assert (answer.status, answer.codes) == (415, ["UNSUPPORTED_MEDIA_TYPE"])


PAGE = "https://models.example.com"


@pytest.fixture
async def open_to_page() -> AsyncIterator[Client]:
    server = ServerSettings(profile="development", cors=f"{PAGE} http://localhost:3000")
    async with served(settings(server=server)) as client:
        yield client


async def preflight(client: Client, origin: str) -> tuple[int, str | None]:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    answer = await client.request("OPTIONS", headers=headers)
    return answer.status, answer.headers.get("access-control-allow-origin")


async def test_cors_allows_the_configured_origins(open_to_page: Client) -> None:
    assert await preflight(open_to_page, PAGE) == (200, PAGE)
    assert await preflight(open_to_page, "https://evil.example.com") == (400, None)
    answer = await open_to_page.request("POST", json=QUERY, headers={"Origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-credentials" not in answer.headers
    assert "Origin" in answer.headers["vary"]


async def test_cors_can_allow_the_pages_of_the_same_machine() -> None:
    async with served(settings(server=ServerSettings(cors=f"loopback {PAGE}"))) as client:
        for origin in ("http://localhost:3000", "https://127.0.0.1:5173", "http://[::1]:8080", "https://localhost"):
            assert await preflight(client, origin) == (200, origin)
        for origin in ("http://localhost.example.com", "http://127.0.0.10", "https://evil.example/localhost", "null"):
            assert await preflight(client, origin) == (400, None)


async def test_by_default_cors_allows_no_origin(world: World) -> None:
    assert await preflight(world.gateway, PAGE) == (405, None)
    answer = await world.gateway.request("POST", json=QUERY, headers={"Origin": PAGE})
    assert "access-control-allow-origin" not in answer.headers


async def test_a_body_that_does_not_arrive_in_time_has_status_408() -> None:
    async with served(settings(limits=LimitsSettings(body_seconds=0.1))) as client:
        host, port = client.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = (
            f"POST /graphql HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        )
        writer.write(head.encode() + b'{"query"')
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"REQUEST_TIMEOUT" in answer


async def test_prepared_and_parsed_requests_have_the_same_cors_headers(open_to_page: Client, unparsed: Any) -> None:
    names = ("access-control-allow-origin", "access-control-expose-headers", "vary")
    responses = []
    for origin in (PAGE, "https://evil.example.com", None):
        headers = {} if origin is None else {"Origin": origin}
        for more in ({}, {"X-Not-On-The-List": "x"}):
            answer = await open_to_page.request("POST", json={"query": "{ __typename }"}, headers={**headers, **more})
            assert answer.status == 200
            responses.append({name: answer.headers.get(name) for name in names})
    assert responses[0] == responses[1] != responses[2]
    assert responses[2] == responses[3]
    assert responses[4] == responses[5]
    unparsed()
    answer = await open_to_page.request("POST", json={"query": "{ __typename }"}, headers={"Origin": PAGE})
    assert {name: answer.headers.get(name) for name in names} == responses[0]
