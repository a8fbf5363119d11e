"""GraphQL over WebSockets on the wire: messages, close codes, limits, and what a client leaves behind."""

import asyncio
import json
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
from tests.subscriptions.conftest import ID, WATCH, Setup, eventually, watching

PROTOCOL = "graphql-transport-ws"
INIT = {"type": "connection_init"}


@dataclass
class Talk:
    """A client's end of one connection."""

    socket: ClientWebSocketResponse

    @property
    def wire(self) -> asyncio.Transport:
        """The connection below, for a client that does not behave."""
        connection = self.socket._response.connection
        assert connection is not None
        assert isinstance(connection.transport, asyncio.Transport)
        return connection.transport

    async def say(self, **message: Any) -> None:
        await self.socket.send_json(message)

    async def subscribe(self, id: str, query: str, /, **variables: Any) -> None:
        await self.say(type="subscribe", id=id, payload={"query": query, "variables": variables})

    async def hear(self) -> dict[str, Any]:
        message = await self.socket.receive()
        assert message.type is WSMsgType.TEXT, message
        heard: dict[str, Any] = json.loads(message.data)
        return heard

    async def closed(self) -> int | None:
        """The code with which the server closes the connection; what it says before that is passed over."""
        while not self.socket.closed:
            await self.socket.receive()
        return self.socket.close_code


@asynccontextmanager
async def talk(gateway: Client, introduced: bool = True, **options: Any) -> AsyncIterator[Talk]:
    options = {"protocols": [PROTOCOL], **options}
    async with gateway.session.ws_connect(f"{gateway.url}/graphql", **options) as socket:
        talk = Talk(socket)
        if introduced:
            await talk.say(**INIT)
            assert await talk.hear() == {"type": "connection_ack"}
        yield talk


def told(approval: str | None, id: str = "1") -> dict[str, Any]:
    version = None if approval is None else {"approval": approval}
    return {"type": "next", "id": id, "payload": {"data": {"modelVersionChanged": version}}}


def done(id: str = "1") -> dict[str, Any]:
    return {"type": "complete", "id": id}


def codes(message: dict[str, Any]) -> list[str]:
    """The codes of an ``error`` message."""
    assert message["type"] == "error", message
    return [error["extensions"]["code"] for error in message["payload"]]


async def test_a_version_is_told_at_once_and_when_it_changes_until_it_is_final(setup: Setup) -> None:
    async with talk(setup.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.hear() == told("PENDING")
        await setup.look()
        await setup.look(ApprovalStatus="Approved")
        assert await client.hear() == told("APPROVED")
        assert await client.hear() == done()
        assert (setup.looks, setup.watches.size, setup.watches.watched) == (3, 0, 0)


async def test_a_change_of_any_field_is_told(setup: Setup) -> None:
    async with talk(setup.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.hear() == told("PENDING")
        await setup.look(VersionDescription="of the second epoch")
        assert await client.hear() == told("PENDING")


@pytest.mark.parametrize("cached", [True, False])
async def test_each_watcher_gets_its_own_selection_and_no_call_is_made_twice(
    monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    async with watching(monkeypatch, {}, cache=CacheSettings(enabled=cached)) as setup, talk(setup.gateway) as client:
        head = f'subscription {{ changed: modelVersionChanged(id: "{ID}")'
        for id in "abc":
            await client.subscribe(id, f"{head} {{ name said: approval }} }}")
        for id in "def":
            await client.subscribe(id, f"{head} {{ model {{ name }} frameworkName }} }}")
        for approval in ("PENDING", "APPROVED"):
            heard = {message["id"]: message["payload"]["data"]["changed"] for message in await several(client, 6)}
            one, other = {"name": "0.1.0", "said": approval}, {"model": {"name": "watched"}, "frameworkName": "PyTorch"}
            assert heard == {"a": one, "b": one, "c": one, "d": other, "e": other, "f": other}
            if approval == "PENDING":
                await setup.look(ApprovalStatus="Approved")
        assert setup.cloud.calls == {"GetModelVersion": 2, "GetModel": 1 if cached else 2}


async def several(client: Talk, many: int) -> list[dict[str, Any]]:
    """The next messages, but for those that say that an operation is complete."""
    found: list[dict[str, Any]] = []
    while len(found) < many:
        message = await client.hear()
        found += [message] if message["type"] != "complete" else []
    return found


async def test_a_hundred_watchers_of_one_version_cost_one_call_for_each_look(setup: Setup) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(talk(setup.gateway)) for _ in range(5)]
        for client in clients:
            for number in range(20):
                await client.subscribe(str(number), WATCH)
        for client in clients:
            assert {message["id"] for message in await several(client, 20)} == set(map(str, range(20)))
        assert (setup.watches.size, setup.watches.watched, setup.looks) == (100, 1, 1)
        await setup.look(ApprovalStatus="Rejected")
        for client in clients:
            assert all(message == told("REJECTED", message["id"]) for message in await several(client, 20))
        assert setup.looks == 2
    await eventually(lambda: setup.watches.size == 0)


async def test_a_version_that_is_not_there_is_null_and_complete(setup: Setup) -> None:
    async with talk(setup.gateway) as client:
        await client.subscribe("1", WATCH.replace("0.1.0", "9.9.9"))
        assert await client.hear() == told(None)
        assert await client.hear() == done()


async def test_a_version_that_goes_away_is_null_and_complete(setup: Setup) -> None:
    async with talk(setup.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.hear() == told("PENDING")
        setup.cloud.corpus.pai_models.remove("model-watched")
        await setup.look()
        assert await client.hear() == told(None)
        assert await client.hear() == done()


async def test_a_registry_that_does_not_let_us_look_ends_the_subscription_with_its_error(setup: Setup) -> None:
    async with talk(setup.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.hear() == told("PENDING")
        setup.cloud.faults.replace({"GetModelVersion": {"status": 403, "error": "NoPermission"}})
        await setup.look()
        heard = await client.hear()
        assert heard["payload"]["data"] == {"modelVersionChanged": None}
        assert [error["extensions"]["code"] for error in heard["payload"]["errors"]] == ["REGISTRY_FORBIDDEN"]
        assert await client.hear() == done()


async def test_a_registry_that_fails_for_a_while_is_waited_for(setup: Setup) -> None:
    async with talk(setup.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.hear() == told("PENDING")
        setup.cloud.faults.replace({"GetModelVersion": {"status": 503, "error": "ServiceUnavailable", "times": 2}})
        for _ in range(2):
            await setup.look()
        await setup.look(ApprovalStatus="Approved")
        assert await client.hear() == told("APPROVED")


async def test_queries_run_beside_subscriptions(setup: Setup) -> None:
    async with talk(setup.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.hear() == told("PENDING")
        await client.subscribe("2", "query ($id: ID!) { modelVersion(id: $id) { name } }", id=ID)
        assert (await client.hear())["payload"] == {"data": {"modelVersion": {"name": "0.1.0"}}}
        assert await client.hear() == done("2")


async def test_a_ping_is_answered_with_what_it_carries(setup: Setup) -> None:
    async with talk(setup.gateway) as client:
        await client.say(type="ping")
        assert await client.hear() == {"type": "pong"}
        await client.say(type="ping", payload={"sent": 1})
        assert await client.hear() == {"type": "pong", "payload": {"sent": 1}}
        await client.say(type="pong")
        await client.say(type="ping")
        assert await client.hear() == {"type": "pong"}


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
async def test_an_operation_that_cannot_start_is_an_error_and_the_connection_goes_on(setup: Setup, case: str) -> None:
    query, variables, code = REFUSED[case]
    async with talk(setup.gateway) as client:
        await client.subscribe("1", query, **variables)
        heard = await client.hear()
        assert (heard["id"], codes(heard)) == ("1", [code])
        await client.subscribe("1", "{ __typename }")
        assert (await client.hear())["payload"] == {"data": {"__typename": "Query"}}
    assert setup.cloud.calls == {}


SUBSCRIBE = {"type": "subscribe", "id": "1", "payload": {"query": WATCH}}

CLOSED: dict[str, tuple[list[Any], int]] = {
    "no JSON": (["{"], 4400),
    "bytes": ([b"{}"], 4400),
    "a list": ([[1]], 4400),
    "null": ([None], 4400),
    "a text": (['"x"'], 4400),
    "a number": ([1], 4400),
    "nested beyond measure": (["[" * 100_000], 4400),
    "no type": ([{}], 4400),
    "a type that is a list": ([{"type": []}], 4400),
    "an unknown type": ([{"type": "start", "id": "1", "payload": {}}], 4400),
    "a payload of text": ([{**INIT, "payload": "x"}], 4400),
    "two introductions": ([INIT, INIT], 4429),
    "an operation before the introduction": ([SUBSCRIBE], 4401),
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
async def test_who_does_not_keep_to_the_protocol_is_told_by_the_close_code(setup: Setup, case: str) -> None:
    messages, code = CLOSED[case]
    async with talk(setup.gateway, introduced=False) as client:
        for message in messages:
            if isinstance(message, bytes):
                await client.socket.send_bytes(message)
            else:
                await client.socket.send_str(message if isinstance(message, str) else json.dumps(message))
        assert await client.closed() == code
    await eventually(lambda: setup.watches.size == 0)


async def test_a_message_is_as_large_as_it_is_when_unpacked(setup: Setup) -> None:
    async with talk(setup.gateway, compress=15) as client:
        await client.socket.send_str(" " * 50 * sockets.MAX_MESSAGE_BYTES)
        assert await client.closed() == 1009


@pytest.mark.parametrize("protocols", [[], ["graphql-ws"]])
async def test_other_protocols_are_not_spoken(setup: Setup, protocols: list[str]) -> None:
    async with talk(setup.gateway, introduced=False, protocols=protocols) as client:
        assert await client.closed() == 4406


async def test_who_does_not_introduce_itself_in_time_is_sent_away(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "TIMEOUT", 0.05)
    async with talk(setup.gateway, introduced=False) as client:
        await client.say(type="ping")
        assert await client.closed() == 4408


async def test_pages_of_other_origins_cannot_open_a_connection(setup: Setup) -> None:
    async with talk(setup.gateway, origin=setup.gateway.url):
        pass
    for origin in ("http://example.com", "http://127.0.0.1", "null"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with talk(setup.gateway, origin=origin):
                pass
        assert refused.value.status == 403


@pytest.mark.parametrize("named", ["https://a.example https://models.example.com", "*"])
async def test_pages_of_named_origins_can_open_a_connection(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    async with (
        watching(monkeypatch, {}, server=ServerSettings(cors=named)) as setup,
        talk(setup.gateway, origin="https://models.example.com"),
    ):
        pass


async def test_the_operations_of_one_connection_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watching(monkeypatch, {"per_connection": 2}) as setup, talk(setup.gateway) as client:
        for id in "12":
            await client.subscribe(id, WATCH)
            assert await client.hear() == told("PENDING", id)
        await client.subscribe("3", WATCH)
        assert codes(await client.hear()) == ["TOO_MANY_SUBSCRIPTIONS"]
        async with talk(setup.gateway) as other:
            await other.subscribe("1", WATCH)
            assert await other.hear() == told("PENDING")
        await client.say(type="complete", id="1")
        await client.subscribe("3", WATCH)
        assert await client.hear() == told("PENDING", "3")


@pytest.mark.parametrize("limits", [{"total": 1}, {"watched": 1}])
async def test_all_subscriptions_together_are_bounded(monkeypatch: pytest.MonkeyPatch, limits: dict[str, int]) -> None:
    async with watching(monkeypatch, limits) as setup, talk(setup.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.hear() == told("PENDING")
        await client.subscribe("2", WATCH.replace("0.1.0", "0.2.0"))
        assert codes(await client.hear()) == ["TOO_MANY_SUBSCRIPTIONS"]
        assert setup.looks == 1


async def test_a_client_that_completes_a_subscription_is_told_no_more_and_may_use_its_id_again(setup: Setup) -> None:
    async with talk(setup.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.hear() == told("PENDING")
        await client.say(type="complete", id="1")
        await client.say(type="complete", id="never begun")
        await eventually(lambda: setup.watches.size == 0)
        assert setup.watches.watched == 0
        setup.version["ApprovalStatus"] = "Approved"
        await client.subscribe("1", WATCH)
        assert await client.hear() == told("APPROVED")


@pytest.mark.parametrize("rude", [True, False])
async def test_nothing_is_left_of_a_client_that_goes(setup: Setup, rude: bool) -> None:
    async with talk(setup.gateway) as stays:
        await stays.subscribe("1", WATCH)
        assert await stays.hear() == told("PENDING")
        async with talk(setup.gateway) as client:
            for id in "12":
                await client.subscribe(id, WATCH)
                assert await client.hear() == told("PENDING", id)
            assert setup.watches.size == 3
            if rude:
                client.wire.abort()
        await eventually(lambda: setup.watches.size == 1)
        await setup.look()
    await eventually(lambda: setup.watches.size == 0)
    looks = setup.looks
    setup.pauses.end()
    await asyncio.sleep(0)
    assert (setup.watches.watched, setup.looks) == (0, looks)


async def test_nothing_is_kept_for_a_client_that_does_not_read(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "TIMEOUT", 0.5)
    setup.version["VersionDescription"] = "long " * 100_000
    async with talk(setup.gateway, max_msg_size=0) as client:
        for number in range(20):
            await client.subscribe(str(number), WATCH.replace("approval", "description"))
        client.wire.pause_reading()
        await eventually(lambda: setup.watches.size == 20)
        await eventually(lambda: setup.watches.size == 0)
        client.wire.abort()
