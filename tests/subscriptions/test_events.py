"""GraphQL over server-sent events: content negotiation, bytes, and the end of streams."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from gateway.http import sse as events
from tests.conftest import Client
from tests.subscriptions.conftest import WATCH, Setup, eventually, setup_with

QUERY = "{ __typename }"
STREAM = {"Accept": "text/event-stream"}
URQL = (
    "application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed"
)
GRAPHQL = "application/graphql-response+json"


@asynccontextmanager
async def open_stream(gateway: Client, query: str) -> AsyncIterator[aiohttp.StreamReader]:
    """Open the stream of an operation, and read its first comment."""
    async with gateway.session.post(f"{gateway.url}/graphql", json={"query": query}, headers=STREAM) as response:
        assert response.status == 200
        assert await response.content.readuntil(b"\n\n") == b":\n\n"
        yield response.content


async def next_event(stream: aiohttp.StreamReader) -> tuple[str, Any]:
    """Return the name and the data of the next event."""
    block = (await stream.readuntil(b"\n\n")).decode()
    name, data = block.removesuffix("\n\n").split("\n")
    text = data.removeprefix("data:").strip()
    return name.removeprefix("event: "), json.loads(text) if text else None


def version_event(approval: str) -> tuple[str, Any]:
    return "next", {"data": {"modelVersionChanged": {"approval": approval}}}


async def test_a_stream_has_exactly_these_bytes(setup: Setup) -> None:
    expected = b':\n\nevent: next\ndata: {"data":{"__typename":"Query"}}\n\nevent: complete\ndata:\n\n'
    url = f"{setup.gateway.url}/graphql"
    for request in (
        setup.gateway.session.post(url, json={"query": QUERY}, headers=STREAM),
        setup.gateway.session.get(url, params={"query": QUERY}, headers=STREAM),
    ):
        async with request as response:
            assert (response.status, await response.read()) == (200, expected)
            headers = {name: response.headers[name] for name in ("Content-Type", "Cache-Control", "X-Accel-Buffering")}
            assert headers == {
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }


async def test_a_version_is_sent_at_once_and_after_each_change_until_it_is_final(setup: Setup) -> None:
    async with open_stream(setup.gateway, WATCH) as stream:
        assert await next_event(stream) == version_event("PENDING")
        await setup.poll()
        await setup.poll(ApprovalStatus="Approved")
        assert await next_event(stream) == version_event("APPROVED")
        assert await next_event(stream) == ("complete", None)
        assert await stream.read() == b""
    assert (setup.polls, setup.pollers.size) == (3, 0)


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
async def test_events_are_sent_if_the_client_prefers_them(setup: Setup, accept: str, expected: str) -> None:
    answer = await setup.gateway.request("POST", json={"query": QUERY}, headers={"Accept": accept})
    assert (answer.status, answer.headers["content-type"]) == (200, f"{expected}; charset=utf-8")
    assert answer.headers["vary"].startswith("Accept")
    if expected != "text/event-stream":
        assert answer.body == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("accept", ["application/json", GRAPHQL, URQL, "*/*"])
async def test_a_subscription_is_not_acceptable_as_json(setup: Setup, accept: str) -> None:
    for method, place in (("POST", "json"), ("GET", "params")):
        options: dict[str, Any] = {place: {"query": WATCH}, "headers": {"Accept": accept}}
        answer = await setup.gateway.request(method, **options)
        assert (answer.status, answer.codes) == (406, ["NOT_ACCEPTABLE"])
        assert "text/event-stream" in answer.body["errors"][0]["message"]
    assert setup.polls == 0


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
    async with open_stream(setup.gateway, query) as stream:
        name, data = await next_event(stream)
        assert (name, list(data), data["errors"][0]["extensions"]["code"]) == ("next", ["errors"], code)
        assert await next_event(stream) == ("complete", None)


async def test_an_invalid_request_has_an_error_status(setup: Setup) -> None:
    answer = await setup.gateway.request("POST", data=b"{", headers={**STREAM, "Content-Type": "application/json"})
    assert (answer.status, answer.codes) == (400, ["BAD_REQUEST"])
    answer = await setup.gateway.request("POST", data=b"{}", headers={**STREAM, "Content-Type": "text/plain"})
    assert (answer.status, answer.codes) == (415, ["UNSUPPORTED_MEDIA_TYPE"])


async def test_more_subscriptions_than_allowed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with setup_with(monkeypatch, {"total": 1}) as setup, open_stream(setup.gateway, WATCH) as stream:
        assert await next_event(stream) == version_event("PENDING")
        async with open_stream(setup.gateway, WATCH) as refused:
            _, answer = await next_event(refused)
            assert answer["errors"][0]["extensions"]["code"] == "TOO_MANY_SUBSCRIPTIONS"


async def test_an_idle_stream_has_comments(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.01)
    async with open_stream(setup.gateway, WATCH) as stream:
        blocks: list[bytes] = []
        while blocks.count(b":\n\n") < 3 or len(blocks) < 4:
            blocks.append(await stream.readuntil(b"\n\n"))
        assert {block.split(b"\n")[0] for block in blocks} == {b":", b"event: next"}


async def test_a_disconnected_client_leaves_no_subscriptions(setup: Setup) -> None:
    async with open_stream(setup.gateway, WATCH) as stays:
        assert await next_event(stays) == version_event("PENDING")
        async with open_stream(setup.gateway, WATCH) as goes:
            assert await next_event(goes) == version_event("PENDING")
            assert setup.pollers.size == 2
        await eventually(lambda: setup.pollers.size == 1)
    await eventually(lambda: setup.pollers.size == 0)
    polls = setup.polls
    setup.pauses.end()
    await asyncio.sleep(0)
    assert (setup.pollers.watched, setup.polls) == (0, polls)
