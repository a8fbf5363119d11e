"""gql: a subscription over WebSocket until the version is approved; errors have their code."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator

import aiohttp
from gql import Client, gql
from gql.transport.aiohttp_websockets import AIOHTTPWebsocketsTransport
from gql.transport.exceptions import TransportQueryError

WATCH = gql("subscription ($id: ID!) { modelVersionChanged(id: $id) { approval } }")
APPROVED = json.dumps({"VersionName": "0.1.0", "ApprovalStatus": "Approved"})


async def main(url: str, faults: str, id: str) -> None:
    transport = AIOHTTPWebsocketsTransport(url.replace("http", "ws"))
    async with aiohttp.ClientSession() as cloud, Client(transport=transport) as session:
        seen = []
        async for result in session.subscribe(WATCH, variable_values={"id": id}):
            seen.append(result["modelVersionChanged"]["approval"])
            await cloud.put(faults, json={"GetModelVersion": {"body": APPROVED}})
        assert seen == ["PENDING", "APPROVED"], seen

        assert await code(session.subscribe(WATCH, variable_values={"id": "x"})) == "INVALID_ID"


async def code(failing: AsyncGenerator[object, None]) -> str:
    try:
        await anext(failing)
    except TransportQueryError as failure:
        return str(failure.errors[0]["extensions"]["code"])
    raise AssertionError("the failure did not raise an error")


asyncio.run(main(*sys.argv[1:]))
