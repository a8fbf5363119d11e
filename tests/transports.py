"""One operation over every transport, on real sockets."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp

from tests.conftest import Client

PROTOCOL = "graphql-transport-ws"

Payloads = list[dict[str, Any]]
Transport = Callable[[Client, dict[str, Any]], Awaitable[Payloads]]
"""Sends the parameters of one operation, and returns all payloads of its response."""


async def post(gateway: Client, parameters: dict[str, Any]) -> Payloads:
    return [(await gateway.request("POST", json=parameters)).body]


async def get(gateway: Client, parameters: dict[str, Any]) -> Payloads:
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()}
    return [(await gateway.request("GET", params=texts)).body]


async def batch(gateway: Client, parameters: dict[str, Any]) -> Payloads:
    """As the first of two operations."""
    first, _ = (await gateway.request("POST", json=[parameters, {"query": "{ __typename }"}])).body
    return [first]


async def multipart(gateway: Client, parameters: dict[str, Any]) -> Payloads:
    headers = {"Accept": "multipart/mixed, application/json"}
    async with gateway.session.post(f"{gateway.url}/graphql", json=parameters, headers=headers) as response:
        if response.content_type == "application/json":
            return [await response.json()]
        return multipart_payloads(await response.read())


def multipart_payloads(body: bytes) -> Payloads:
    """Return the payloads of a multipart body."""
    assert body.endswith(b"-----\r\n"), body
    parts = body.removesuffix(b"--\r\n").split(b"\r\n---")
    return [json.loads(part.partition(b"\r\n\r\n")[2]) for part in parts if b"{" in part]


async def server_sent_events(gateway: Client, parameters: dict[str, Any]) -> Payloads:
    headers = {"Accept": "text/event-stream"}
    async with gateway.session.post(f"{gateway.url}/graphql", json=parameters, headers=headers) as response:
        lines = (await response.text()).split("\n")
        return [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data: ")]


async def websocket(gateway: Client, parameters: dict[str, Any]) -> Payloads:
    async with gateway.session.ws_connect(f"{gateway.url}/graphql", protocols=[PROTOCOL]) as socket:
        await socket.send_json({"type": "connection_init"})
        assert await socket.receive_json() == {"type": "connection_ack"}
        await socket.send_json({"type": "subscribe", "id": "1", "payload": parameters})
        payloads: Payloads = []
        while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            received = json.loads(message.data)
            if received["type"] == "complete":
                break
            if received["type"] == "error":
                payloads.append({"errors": received["payload"]})
                break
            payloads.append(received["payload"])
        return payloads


TRANSPORTS: Mapping[str, Transport] = {
    "POST": post,
    "GET": get,
    "batch": batch,
    "multipart": multipart,
    "server-sent events": server_sent_events,
    "WebSocket": websocket,
}


def codes(payloads: Payloads) -> set[str]:
    """Return the codes of all errors in the payloads."""
    parts = [part for payload in payloads for part in (payload, *payload.get("incremental", ()))]
    parts += [part for payload in payloads for part in payload.get("completed", ())]
    return {error["extensions"]["code"] for part in parts for error in part.get("errors") or ()}
