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
from tests.subscriptions.conftest import ID, WATCH, Scene, eventually, watching

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


async def test_a_version_is_told_at_once_and_when_it_changes_until_it_is_final(scene: Scene) -> None:
    async with talk(scene.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.hear() == told("PENDING")
        await scene.look()
        await scene.look(ApprovalStatus="Approved")
        assert await client.hear() == told("APPROVED")
        assert await client.hear() == done()
        assert (scene.looks, scene.watches.size, scene.watches.watched) == (3, 0, 0)


async def test_a_change_of_any_field_is_told(scene: Scene) -> None:
    async with talk(scene.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.hear() == told("PENDING")
        await scene.look(VersionDescription="of the second epoch")
        assert await client.hear() == told("PENDING")


@pytest.mark.parametrize("cached", [True, False])
async def test_each_watcher_gets_its_own_selection_and_no_call_is_made_twice(
    monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    async with watching(monkeypatch, {}, cache=CacheSettings(enabled=cached)) as scene, talk(scene.gateway) as client:
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
                await scene.look(ApprovalStatus="Approved")
        assert scene.cloud.calls == {"GetModelVersion": 2, "GetModel": 1 if cached else 2}


async def several(client: Talk, many: int) -> list[dict[str, Any]]:
    """The next messages, but for those that say that an operation is complete."""
    found: list[dict[str, Any]] = []
    while len(found) < many:
        message = await client.hear()
        found += [message] if message["type"] != "complete" else []
    return found


async def test_a_hundred_watchers_of_one_version_cost_one_call_for_each_look(scene: Scene) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(talk(scene.gateway)) for _ in range(5)]
        for client in clients:
            for number in range(20):
                await client.subscribe(str(number), WATCH)
        for client in clients:
            assert {message["id"] for message in await several(client, 20)} == set(map(str, range(20)))
        assert (scene.watches.size, scene.watches.watched, scene.looks) == (100, 1, 1)
        await scene.look(ApprovalStatus="Rejected")
        for client in clients:
            assert all(message == told("REJECTED", message["id"]) for message in await several(client, 20))
        assert scene.looks == 2
    await eventually(lambda: scene.watches.size == 0)


async def test_a_version_that_is_not_there_is_null_and_complete(scene: Scene) -> None:
    async with talk(scene.gateway) as client:
        await client.subscribe("1", WATCH.replace("0.1.0", "9.9.9"))
        assert await client.hear() == told(None)
        assert await client.hear() == done()


async def test_a_version_that_goes_away_is_null_and_complete(scene: Scene) -> None:
    async with talk(scene.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.hear() == told("PENDING")
        scene.cloud.corpus.pai_models.remove("model-watched")
        await scene.look()
        assert await client.hear() == told(None)
        assert await client.hear() == done()


async def test_a_registry_that_does_not_let_us_look_ends_the_subscription_with_its_error(scene: Scene) -> None:
    async with talk(scene.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.hear() == told("PENDING")
        scene.cloud.faults.replace({"GetModelVersion": {"status": 403, "error": "NoPermission"}})
        await scene.look()
        heard = await client.hear()
        assert heard["payload"]["data"] == {"modelVersionChanged": None}
        assert [error["extensions"]["code"] for error in heard["payload"]["errors"]] == ["REGISTRY_FORBIDDEN"]
        assert await client.hear() == done()


async def test_a_registry_that_fails_for_a_while_is_waited_for(scene: Scene) -> None:
    async with talk(scene.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.hear() == told("PENDING")
        scene.cloud.faults.replace({"GetModelVersion": {"status": 503, "error": "ServiceUnavailable", "times": 2}})
        for _ in range(2):
            await scene.look()
        await scene.look(ApprovalStatus="Approved")
        assert await client.hear() == told("APPROVED")


async def test_queries_run_beside_subscriptions(scene: Scene) -> None:
    async with talk(scene.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.hear() == told("PENDING")
        await client.subscribe("2", "query ($id: ID!) { modelVersion(id: $id) { name } }", id=ID)
        assert (await client.hear())["payload"] == {"data": {"modelVersion": {"name": "0.1.0"}}}
        assert await client.hear() == done("2")


async def test_a_ping_is_answered_with_what_it_carries(scene: Scene) -> None:
    async with talk(scene.gateway) as client:
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
async def test_an_operation_that_cannot_start_is_an_error_and_the_connection_goes_on(scene: Scene, case: str) -> None:
    query, variables, code = REFUSED[case]
    async with talk(scene.gateway) as client:
        await client.subscribe("1", query, **variables)
        heard = await client.hear()
        assert (heard["id"], codes(heard)) == ("1", [code])
        await client.subscribe("1", "{ __typename }")
        assert (await client.hear())["payload"] == {"data": {"__typename": "Query"}}
    assert scene.cloud.calls == {}


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
    "a message that is too large": ([INIT, " " * sockets.LARGEST_MESSAGE + "{}"], 1009),
}


@pytest.mark.parametrize("case", CLOSED)
async def test_who_does_not_keep_to_the_protocol_is_told_by_the_close_code(scene: Scene, case: str) -> None:
    messages, code = CLOSED[case]
    async with talk(scene.gateway, introduced=False) as client:
        for message in messages:
            if isinstance(message, bytes):
                await client.socket.send_bytes(message)
            else:
                await client.socket.send_str(message if isinstance(message, str) else json.dumps(message))
        assert await client.closed() == code
    await eventually(lambda: scene.watches.size == 0)


async def test_a_message_is_as_large_as_it_is_when_unpacked(scene: Scene) -> None:
    async with talk(scene.gateway, compress=15) as client:
        await client.socket.send_str(" " * 50 * sockets.LARGEST_MESSAGE)
        assert await client.closed() == 1009


@pytest.mark.parametrize("protocols", [[], ["graphql-ws"]])
async def test_other_protocols_are_not_spoken(scene: Scene, protocols: list[str]) -> None:
    async with talk(scene.gateway, introduced=False, protocols=protocols) as client:
        assert await client.closed() == 4406


async def test_who_does_not_introduce_itself_in_time_is_sent_away(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "PATIENCE", 0.05)
    async with talk(scene.gateway, introduced=False) as client:
        await client.say(type="ping")
        assert await client.closed() == 4408


async def test_pages_of_other_origins_cannot_open_a_connection(scene: Scene) -> None:
    async with talk(scene.gateway, origin=scene.gateway.url):
        pass
    for origin in ("http://example.com", "http://127.0.0.1", "null"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with talk(scene.gateway, origin=origin):
                pass
        assert refused.value.status == 403


@pytest.mark.parametrize("named", ["https://a.example https://models.example.com", "*"])
async def test_pages_of_named_origins_can_open_a_connection(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    async with (
        watching(monkeypatch, {}, server=ServerSettings(cors=named)) as scene,
        talk(scene.gateway, origin="https://models.example.com"),
    ):
        pass


async def test_the_operations_of_one_connection_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watching(monkeypatch, {"per_connection": 2}) as scene, talk(scene.gateway) as client:
        for id in "12":
            await client.subscribe(id, WATCH)
            assert await client.hear() == told("PENDING", id)
        await client.subscribe("3", WATCH)
        assert codes(await client.hear()) == ["TOO_MANY_SUBSCRIPTIONS"]
        async with talk(scene.gateway) as other:
            await other.subscribe("1", WATCH)
            assert await other.hear() == told("PENDING")
        await client.say(type="complete", id="1")
        await client.subscribe("3", WATCH)
        assert await client.hear() == told("PENDING", "3")


@pytest.mark.parametrize("limits", [{"total": 1}, {"watched": 1}])
async def test_all_subscriptions_together_are_bounded(monkeypatch: pytest.MonkeyPatch, limits: dict[str, int]) -> None:
    async with watching(monkeypatch, limits) as scene, talk(scene.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.hear() == told("PENDING")
        await client.subscribe("2", WATCH.replace("0.1.0", "0.2.0"))
        assert codes(await client.hear()) == ["TOO_MANY_SUBSCRIPTIONS"]
        assert scene.looks == 1


async def test_a_client_that_completes_a_subscription_is_told_no_more_and_may_use_its_id_again(scene: Scene) -> None:
    async with talk(scene.gateway) as client:
        await client.subscribe("1", WATCH)
        assert await client.hear() == told("PENDING")
        await client.say(type="complete", id="1")
        await client.say(type="complete", id="never begun")
        await eventually(lambda: scene.watches.size == 0)
        assert scene.watches.watched == 0
        scene.version["ApprovalStatus"] = "Approved"
        await client.subscribe("1", WATCH)
        assert await client.hear() == told("APPROVED")


@pytest.mark.parametrize("rude", [True, False])
async def test_nothing_is_left_of_a_client_that_goes(scene: Scene, rude: bool) -> None:
    async with talk(scene.gateway) as stays:
        await stays.subscribe("1", WATCH)
        assert await stays.hear() == told("PENDING")
        async with talk(scene.gateway) as client:
            for id in "12":
                await client.subscribe(id, WATCH)
                assert await client.hear() == told("PENDING", id)
            assert scene.watches.size == 3
            if rude:
                client.wire.abort()
        await eventually(lambda: scene.watches.size == 1)
        await scene.look()
    await eventually(lambda: scene.watches.size == 0)
    looks = scene.looks
    scene.pauses.end()
    await asyncio.sleep(0)
    assert (scene.watches.watched, scene.looks) == (0, looks)


async def test_nothing_is_kept_for_a_client_that_does_not_read(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "PATIENCE", 0.5)
    scene.version["VersionDescription"] = "long " * 100_000
    async with talk(scene.gateway, max_msg_size=0) as client:
        for number in range(20):
            await client.subscribe(str(number), WATCH.replace("approval", "description"))
        client.wire.pause_reading()
        await eventually(lambda: scene.watches.size == 20)
        await eventually(lambda: scene.watches.size == 0)
        client.wire.abort()
