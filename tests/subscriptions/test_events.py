"""GraphQL as server-sent events on the wire: who gets them, their bytes, and what a client leaves behind."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from gateway.http import sse as events
from tests.conftest import Client
from tests.subscriptions.conftest import WATCH, Setup, eventually, watching

QUERY = "{ __typename }"
STREAM = {"Accept": "text/event-stream"}
URQL = (
    "application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed"
)
GRAPHQL = "application/graphql-response+json"


@asynccontextmanager
async def streamed(gateway: Client, query: str) -> AsyncIterator[aiohttp.StreamReader]:
    """The stream of an operation, after its first comment."""
    async with gateway.session.post(f"{gateway.url}/graphql", json={"query": query}, headers=STREAM) as response:
        assert response.status == 200
        assert await response.content.readuntil(b"\n\n") == b":\n\n"
        yield response.content


async def following(stream: aiohttp.StreamReader) -> tuple[str, Any]:
    """The name and the data of the next event."""
    block = (await stream.readuntil(b"\n\n")).decode()
    name, data = block.removesuffix("\n\n").split("\n")
    text = data.removeprefix("data:").strip()
    return name.removeprefix("event: "), json.loads(text) if text else None


def told(approval: str) -> tuple[str, Any]:
    return "next", {"data": {"modelVersionChanged": {"approval": approval}}}


async def test_the_bytes_of_a_stream(setup: Setup) -> None:
    expected = b':\n\nevent: next\ndata: {"data":{"__typename":"Query"}}\n\nevent: complete\ndata:\n\n'
    url = f"{setup.gateway.url}/graphql"
    for request in (
        setup.gateway.session.post(url, json={"query": QUERY}, headers=STREAM),
        setup.gateway.session.get(url, params={"query": QUERY}, headers=STREAM),
    ):
        async with request as response:
            assert (response.status, await response.read()) == (200, expected)
            said = {name: response.headers[name] for name in ("Content-Type", "Cache-Control", "X-Accel-Buffering")}
            assert said == {
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }


async def test_a_version_is_told_at_once_and_when_it_changes_until_it_is_final(setup: Setup) -> None:
    async with streamed(setup.gateway, WATCH) as stream:
        assert await following(stream) == told("PENDING")
        await setup.look()
        await setup.look(ApprovalStatus="Approved")
        assert await following(stream) == told("APPROVED")
        assert await following(stream) == ("complete", None)
        assert await stream.read() == b""
    assert (setup.looks, setup.watches.size) == (3, 0)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/event-stream", "text/event-stream"),
        ("text/event-stream, application/json;q=0.5", "text/event-stream"),
        ("text/event-stream, multipart/mixed", "text/event-stream"),
        ("application/json, text/event-stream", "application/json"),
        (URQL, GRAPHQL),
        ("*/*", "application/json"),
    ],
)
async def test_events_are_for_who_asks_for_them_first_or_for_nothing_else(
    setup: Setup, accept: str, expected: str
) -> None:
    answer = await setup.gateway.request("POST", json={"query": QUERY}, headers={"Accept": accept})
    assert (answer.status, answer.headers["content-type"]) == (200, f"{expected}; charset=utf-8")
    assert answer.headers["vary"].startswith("Accept")
    if expected != "text/event-stream":
        assert answer.body == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("accept", ["application/json", GRAPHQL, URQL, "*/*"])
async def test_a_subscription_has_no_answer_in_json(setup: Setup, accept: str) -> None:
    for method, place in (("POST", "json"), ("GET", "params")):
        options: dict[str, Any] = {place: {"query": WATCH}, "headers": {"Accept": accept}}
        answer = await setup.gateway.request(method, **options)
        assert (answer.status, answer.codes) == (406, ["NOT_ACCEPTABLE"])
        assert "text/event-stream" in answer.body["errors"][0]["message"]
    assert setup.looks == 0


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("subscription {", "GRAPHQL_PARSE_FAILED"),
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription ($id: ID!) { modelVersionChanged(id: $id) { name } }", "BAD_USER_INPUT"),
        ('subscription { modelVersionChanged(id: "x") { name } }', "INVALID_ID"),
    ],
)
async def test_an_operation_that_cannot_start_is_an_event_with_its_errors(setup: Setup, query: str, code: str) -> None:
    async with streamed(setup.gateway, query) as stream:
        name, told = await following(stream)
        assert (name, list(told), told["errors"][0]["extensions"]["code"]) == ("next", ["errors"], code)
        assert await following(stream) == ("complete", None)


async def test_a_request_that_is_none_of_graphql_has_its_status(setup: Setup) -> None:
    answer = await setup.gateway.request("POST", data=b"{", headers={**STREAM, "Content-Type": "application/json"})
    assert (answer.status, answer.codes) == (400, ["BAD_REQUEST"])
    answer = await setup.gateway.request("POST", data=b"{}", headers={**STREAM, "Content-Type": "text/plain"})
    assert (answer.status, answer.codes) == (415, ["UNSUPPORTED_MEDIA_TYPE"])


async def test_more_subscriptions_than_allowed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watching(monkeypatch, {"total": 1}) as setup, streamed(setup.gateway, WATCH) as stream:
        assert await following(stream) == told("PENDING")
        async with streamed(setup.gateway, WATCH) as refused:
            _, answer = await following(refused)
            assert answer["errors"][0]["extensions"]["code"] == "TOO_MANY_SUBSCRIPTIONS"


async def test_comments_show_that_a_silent_stream_is_alive(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.01)
    async with streamed(setup.gateway, WATCH) as stream:
        blocks: list[bytes] = []
        while blocks.count(b":\n\n") < 3 or len(blocks) < 4:
            blocks.append(await stream.readuntil(b"\n\n"))
        assert {block.split(b"\n")[0] for block in blocks} == {b":", b"event: next"}


async def test_nothing_is_left_of_a_client_that_goes(setup: Setup) -> None:
    async with streamed(setup.gateway, WATCH) as stays:
        assert await following(stays) == told("PENDING")
        async with streamed(setup.gateway, WATCH) as goes:
            assert await following(goes) == told("PENDING")
            assert setup.watches.size == 2
        await eventually(lambda: setup.watches.size == 1)
    await eventually(lambda: setup.watches.size == 0)
    looks = setup.looks
    setup.pauses.end()
    await asyncio.sleep(0)
    assert (setup.watches.watched, setup.looks) == (0, looks)
