"""GraphQL over WebSocket: messages, close codes, limits, and the end of connections."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType

from gateway.config.settings import CacheSettings, ServerSettings
from gateway.http import websocket as sockets
from tests.conftest import Client
from tests.flood_connections import frame, handshake, subscribe
from tests.subscriptions.conftest import ID, WATCH, Setup, eventually, setup_with

PROTOCOL = "graphql-transport-ws"
INIT = {"type": "connection_init"}


@dataclass
class Connection:
    """The client side of one connection."""

    socket: ClientWebSocketResponse

    @property
    def transport(self) -> asyncio.Transport:
        """The transport below, for clients that break the protocol."""
        connection = self.socket._response.connection
        assert connection is not None
        assert isinstance(connection.transport, asyncio.Transport)
        return connection.transport

    async def send(self, **message: Any) -> None:
        await self.socket.send_json(message)

    async def subscribe(self, id: str, query: str, /, **variables: Any) -> None:
        await self.send(type="subscribe", id=id, payload={"query": query, "variables": variables})

    async def receive(self) -> dict[str, Any]:
        message = await self.socket.receive()
        assert message.type is WSMsgType.TEXT, message
        content: dict[str, Any] = json.loads(message.data)
        return content

    async def close_code(self) -> int | None:
        """Wait until the server closes the connection, and return the close code; earlier messages are ignored."""
        while not self.socket.closed:
            await self.socket.receive()
        return self.socket.close_code


@asynccontextmanager
async def connect(gateway: Client, initialized: bool = True, **options: Any) -> AsyncIterator[Connection]:
    options = {"protocols": [PROTOCOL], **options}
    async with gateway.session.ws_connect(f"{gateway.url}/graphql", **options) as socket:
        connection = Connection(socket)
        if initialized:
            await connection.send(**INIT)
            assert await connection.receive() == {"type": "connection_ack"}
        yield connection


def next_message(approval: str | None, id: str = "1") -> dict[str, Any]:
    version = None if approval is None else {"approval": approval}
    return {"type": "next", "id": id, "payload": {"data": {"modelVersionChanged": version}}}


def complete_message(id: str = "1") -> dict[str, Any]:
    return {"type": "complete", "id": id}


def codes(message: dict[str, Any]) -> list[str]:
    """Return the codes of an ``error`` message."""
    assert message["type"] == "error", message
    return [error["extensions"]["code"] for error in message["payload"]]


async def test_a_version_is_sent_at_once_and_after_each_change_until_it_is_final(setup: Setup) -> None:
    async with connect(setup.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.receive() == next_message("PENDING")
        await setup.poll()
        await setup.poll(ApprovalStatus="Approved")
        assert await client.receive() == next_message("APPROVED")
        assert await client.receive() == complete_message()
        assert (setup.polls, setup.pollers.size, setup.pollers.watched) == (3, 0, 0)


async def test_a_change_of_any_field_is_sent(setup: Setup) -> None:
    async with connect(setup.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.receive() == next_message("PENDING")
        await setup.poll(VersionDescription="of the second epoch")
        assert await client.receive() == next_message("PENDING")


@pytest.mark.parametrize("cached", [True, False])
async def test_subscribers_have_their_own_selections_and_share_the_calls(
    monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    async with (
        setup_with(monkeypatch, {}, cache=CacheSettings(enabled=cached)) as setup,
        connect(setup.gateway) as client,
    ):
        head = f'subscription {{ changed: modelVersionChanged(id: "{ID}")'
        for id in "abc":
            await client.subscribe(id, f"{head} {{ name state: approval }} }}")
        for id in "def":
            await client.subscribe(id, f"{head} {{ model {{ name }} frameworkName }} }}")
        for approval in ("PENDING", "APPROVED"):
            results = {
                message["id"]: message["payload"]["data"]["changed"] for message in await receive_results(client, 6)
            }
            one, other = (
                {"name": "0.1.0", "state": approval},
                {"model": {"name": "watched"}, "frameworkName": "PyTorch"},
            )
            assert results == {"a": one, "b": one, "c": one, "d": other, "e": other, "f": other}
            if approval == "PENDING":
                await setup.poll(ApprovalStatus="Approved")
        assert setup.cloud.calls == {"GetModelVersion": 2, "GetModel": 1 if cached else 2}


async def receive_results(client: Connection, many: int) -> list[dict[str, Any]]:
    """Receive this many messages other than ``complete``."""
    found: list[dict[str, Any]] = []
    while len(found) < many:
        message = await client.receive()
        found += [message] if message["type"] != "complete" else []
    return found


async def test_a_hundred_subscribers_of_one_version_cost_one_call_for_each_poll(setup: Setup) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(setup.gateway)) for _ in range(5)]
        for client in clients:
            for number in range(20):
                await client.subscribe(str(number), WATCH)
        for client in clients:
            assert {message["id"] for message in await receive_results(client, 20)} == set(map(str, range(20)))
        assert (setup.pollers.size, setup.pollers.watched, setup.polls) == (100, 1, 1)
        await setup.poll(ApprovalStatus="Rejected")
        for client in clients:
            assert all(
                message == next_message("REJECTED", message["id"]) for message in await receive_results(client, 20)
            )
        assert setup.polls == 2
    await eventually(lambda: setup.pollers.size == 0)


async def test_a_version_that_does_not_exist_is_null_and_complete(setup: Setup) -> None:
    async with connect(setup.gateway) as client:
        await client.subscribe("1", WATCH.replace("0.1.0", "9.9.9"))
        assert await client.receive() == next_message(None)
        assert await client.receive() == complete_message()


async def test_a_deleted_version_is_null_and_complete(setup: Setup) -> None:
    async with connect(setup.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.receive() == next_message("PENDING")
        setup.cloud.corpus.pai_models.remove("model-watched")
        await setup.poll()
        assert await client.receive() == next_message(None)
        assert await client.receive() == complete_message()


async def test_a_forbidden_call_ends_the_subscription_with_an_error(setup: Setup) -> None:
    async with connect(setup.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.receive() == next_message("PENDING")
        setup.cloud.faults.replace({"GetModelVersion": {"status": 403, "error": "NoPermission"}})
        await setup.poll()
        message = await client.receive()
        assert message["payload"]["data"] == {"modelVersionChanged": None}
        assert [error["extensions"]["code"] for error in message["payload"]["errors"]] == ["REGISTRY_FORBIDDEN"]
        assert await client.receive() == complete_message()


async def test_a_subscription_survives_temporary_failures_of_the_registry(setup: Setup) -> None:
    async with connect(setup.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.receive() == next_message("PENDING")
        setup.cloud.faults.replace({"GetModelVersion": {"status": 503, "error": "ServiceUnavailable", "times": 2}})
        for _ in range(2):
            await setup.poll()
        await setup.poll(ApprovalStatus="Approved")
        assert await client.receive() == next_message("APPROVED")


async def test_queries_run_on_the_same_connection_as_subscriptions(setup: Setup) -> None:
    async with connect(setup.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.receive() == next_message("PENDING")
        await client.subscribe("2", "query ($id: ID!) { modelVersion(id: $id) { name } }", id=ID)
        assert (await client.receive())["payload"] == {"data": {"modelVersion": {"name": "0.1.0"}}}
        assert await client.receive() == complete_message("2")


async def test_a_pong_has_the_payload_of_its_ping(setup: Setup) -> None:
    async with connect(setup.gateway) as client:
        await client.send(type="ping")
        assert await client.receive() == {"type": "pong"}
        await client.send(type="ping", payload={"sent": 1})
        assert await client.receive() == {"type": "pong", "payload": {"sent": 1}}
        await client.send(type="pong")
        await client.send(type="ping")
        assert await client.receive() == {"type": "pong"}


REFUSED = {
    "syntax": ("subscription {", {}, "GRAPHQL_PARSE_FAILED"),
    "unknown field": ("subscription { nothing }", {}, "GRAPHQL_VALIDATION_FAILED"),
    "two root fields": (
        f'subscription {{ modelVersionChanged(id: "{ID}") {{ name }} b: modelVersionChanged(id: "{ID}") {{ id }} }}',
        {},
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "missing variable": ("subscription ($id: ID!) { modelVersionChanged(id: $id) { name } }", {}, "BAD_USER_INPUT"),
    "wrong variable": (
        "subscription ($id: ID!) { modelVersionChanged(id: $id) { name } }",
        {"id": [1]},
        "BAD_USER_INPUT",
    ),
    "no id": ('subscription { modelVersionChanged(id: "x") { name } }', {}, "INVALID_ID"),
    "id of a model": ('subscription { modelVersionChanged(id: "pai:model/m") { name } }', {}, "INVALID_ID"),
    "unknown registry": ('subscription { modelVersionChanged(id: "a:model/m/version/1") { name } }', {}, "INVALID_ID"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_an_operation_that_cannot_start_is_an_error_and_the_connection_stays_open(
    setup: Setup, case: str
) -> None:
    query, variables, code = REFUSED[case]
    async with connect(setup.gateway) as client:
        await client.subscribe("1", query, **variables)
        message = await client.receive()
        assert (message["id"], codes(message)) == ("1", [code])
        await client.subscribe("1", "{ __typename }")
        assert (await client.receive())["payload"] == {"data": {"__typename": "Query"}}
    assert setup.cloud.calls == {}


SUBSCRIBE = {"type": "subscribe", "id": "1", "payload": {"query": WATCH}}

CLOSED: dict[str, tuple[list[Any], int]] = {
    "no JSON": (["{"], 4400),
    "bytes": ([b"{}"], 4400),
    "a list": ([[1]], 4400),
    "null": ([None], 4400),
    "a text": (['"x"'], 4400),
    "a number": ([1], 4400),
    "deeply nested": (["[" * 100_000], 4400),
    "no type": ([{}], 4400),
    "a type that is a list": ([{"type": []}], 4400),
    "an unknown type": ([{"type": "start", "id": "1", "payload": {}}], 4400),
    "a payload of text": ([{**INIT, "payload": "x"}], 4400),
    "two initializations": ([INIT, INIT], 4429),
    "an operation before the initialization": ([SUBSCRIBE], 4401),
    "an operation without an id": ([INIT, {"type": "subscribe", "payload": {"query": WATCH}}], 4400),
    "an operation with a number as its id": ([INIT, {**SUBSCRIBE, "id": 1}], 4400),
    "an operation with an empty id": ([INIT, {**SUBSCRIBE, "id": ""}], 4400),
    "an operation without a payload": ([INIT, {"type": "subscribe", "id": "1"}], 4400),
    "an operation with text for a payload": ([INIT, {**SUBSCRIBE, "payload": WATCH}], 4400),
    "an operation without a document": ([INIT, {**SUBSCRIBE, "payload": {}}], 4400),
    "a document that is no text": ([INIT, {**SUBSCRIBE, "payload": {"query": 1}}], 4400),
    "variables that are a list": ([INIT, {**SUBSCRIBE, "payload": {"query": WATCH, "variables": [1]}}], 4400),
    "the same id twice": ([INIT, SUBSCRIBE, SUBSCRIBE], 4409),
    "the same long id twice": ([INIT, {**SUBSCRIBE, "id": "模" * 100}, {**SUBSCRIBE, "id": "模" * 100}], 4409),
    "a message that is too large": ([INIT, " " * sockets.MAX_MESSAGE_BYTES + "{}"], 1009),
}


@pytest.mark.parametrize("case", CLOSED)
async def test_a_violation_of_the_protocol_closes_the_connection_with_its_code(setup: Setup, case: str) -> None:
    messages, code = CLOSED[case]
    async with connect(setup.gateway, initialized=False) as client:
        for message in messages:
            if isinstance(message, bytes):
                await client.socket.send_bytes(message)
            else:
                await client.socket.send_str(message if isinstance(message, str) else json.dumps(message))
        assert await client.close_code() == code
    await eventually(lambda: setup.pollers.size == 0)


async def test_the_limit_of_messages_is_on_their_decompressed_size(setup: Setup) -> None:
    async with connect(setup.gateway, compress=15) as client:
        await client.socket.send_str(" " * 50 * sockets.MAX_MESSAGE_BYTES)
        assert await client.close_code() == 1009


@pytest.mark.parametrize("protocols", [[], ["graphql-ws"]])
async def test_other_protocols_are_refused(setup: Setup, protocols: list[str]) -> None:
    async with connect(setup.gateway, initialized=False, protocols=protocols) as client:
        assert await client.close_code() == 4406


async def test_a_connection_without_initialization_is_closed_after_the_timeout(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "TIMEOUT", 0.05)
    async with connect(setup.gateway, initialized=False) as client:
        await client.send(type="ping")
        assert await client.close_code() == 4408


async def test_connections_from_other_origins_are_refused(setup: Setup) -> None:
    async with connect(setup.gateway, origin=setup.gateway.url):
        pass
    for origin in ("http://example.com", "http://127.0.0.1", "null"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with connect(setup.gateway, origin=origin):
                pass
        assert refused.value.status == 403
        assert refused.value.headers is not None
        assert refused.value.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("origins", "origin"),
    [
        ("https://a.example https://models.example.com", "https://models.example.com"),
        ("*", "https://models.example.com"),
        ("*", "null"),
        ("https://a.example loopback", "http://localhost:3000"),
    ],
)
async def test_connections_from_allowed_origins_are_accepted(
    monkeypatch: pytest.MonkeyPatch, origins: str, origin: str
) -> None:
    async with (
        setup_with(monkeypatch, {}, server=ServerSettings(cors=origins)) as setup,
        connect(setup.gateway, origin=origin),
    ):
        pass


async def test_loopback_origins_are_those_of_the_same_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with setup_with(monkeypatch, {}, server=ServerSettings(cors="loopback")) as setup:
        for origin in ("http://localhost.example.com:3000", "null"):
            with pytest.raises(aiohttp.WSServerHandshakeError):
                async with connect(setup.gateway, origin=origin):
                    pass


async def test_the_operations_of_one_connection_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with setup_with(monkeypatch, {"per_connection": 2}) as setup, connect(setup.gateway) as client:
        for id in "12":
            await client.subscribe(id, WATCH)
            assert await client.receive() == next_message("PENDING", id)
        await client.subscribe("3", WATCH)
        assert codes(await client.receive()) == ["TOO_MANY_SUBSCRIPTIONS"]
        async with connect(setup.gateway) as other:
            await other.subscribe("1", WATCH)
            assert await other.receive() == next_message("PENDING")
        await client.send(type="complete", id="1")
        await client.subscribe("3", WATCH)
        assert await client.receive() == next_message("PENDING", "3")


@pytest.mark.parametrize("limits", [{"total": 1}, {"watched": 1}])
async def test_the_subscriptions_of_all_connections_are_bounded(
    monkeypatch: pytest.MonkeyPatch, limits: dict[str, int]
) -> None:
    async with setup_with(monkeypatch, limits) as setup, connect(setup.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.receive() == next_message("PENDING")
        await client.subscribe("2", WATCH.replace("0.1.0", "0.2.0"))
        assert codes(await client.receive()) == ["TOO_MANY_SUBSCRIPTIONS"]
        assert setup.polls == 1


async def test_a_completed_subscription_ends_and_its_id_can_be_used_again(setup: Setup) -> None:
    async with connect(setup.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.receive() == next_message("PENDING")
        await client.send(type="complete", id="1")
        await client.send(type="complete", id="never started")
        await eventually(lambda: setup.pollers.size == 0)
        assert setup.pollers.watched == 0
        setup.version["ApprovalStatus"] = "Approved"
        await client.subscribe("1", WATCH)
        assert await client.receive() == next_message("APPROVED")


@pytest.mark.parametrize("aborts", [True, False])
async def test_a_disconnected_client_leaves_no_subscriptions(setup: Setup, aborts: bool) -> None:
    async with connect(setup.gateway) as stays:
        await stays.subscribe("1", WATCH)
        assert await stays.receive() == next_message("PENDING")
        async with connect(setup.gateway) as client:
            for id in "12":
                await client.subscribe(id, WATCH)
                assert await client.receive() == next_message("PENDING", id)
            assert setup.pollers.size == 3
            if aborts:
                client.transport.abort()
        await eventually(lambda: setup.pollers.size == 1)
        await setup.poll()
    await eventually(lambda: setup.pollers.size == 0)
    polls = setup.polls
    setup.pauses.end()
    await asyncio.sleep(0)
    assert (setup.pollers.watched, setup.polls) == (0, polls)


async def test_a_client_that_does_not_read_is_disconnected(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "TIMEOUT", 0.5)
    async with connect(setup.gateway, max_msg_size=0) as client:
        for number in range(20):
            await client.subscribe(str(number), WATCH.replace("approval", "description"))
        await eventually(lambda: setup.pollers.size == 20)
        client.transport.pause_reading()
        await setup.poll(VersionDescription="long " * 100_000)
        await eventually(lambda: setup.pollers.size == 0)
        client.transport.abort()


@pytest.mark.parametrize("message", [b"\xff\xfe", b"\xed\xa0\x80"])
async def test_text_that_is_not_utf_8_ends_the_connection_and_is_no_error_of_the_gateway(
    setup: Setup, message: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = setup.gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(handshake() + frame(message) + subscribe(1))
    content = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert (1007).to_bytes(2, "big") in content
    async with setup.gateway.session.get(f"{setup.gateway.url}/healthz") as response:
        assert response.status == 200
    errors = [record.name for record in caplog.records if record.levelno >= logging.ERROR]
    assert errors == ["uvicorn.error"]  # uvicorn's own line
