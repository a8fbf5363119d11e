"""gql: documents are validated against the introspected schema, and errors have their code."""

import asyncio
import sys
from collections.abc import Awaitable

from gql import Client, gql
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.exceptions import TransportQueryError
from graphql import GraphQLError

PAGE = gql("query ($after: String) { models(first: 10, after: $after) { nodes { id } pageInfo { endCursor } } }")
ONE = gql("query ($id: ID!) { model(id: $id) { id name createdAt } }")
UNKNOWN_FIELD = gql('{ model(id: "pai:model/m") { nothing } }')


async def main(url: str) -> None:
    async with Client(transport=AIOHTTPTransport(url), fetch_schema_from_transport=True) as session:
        ids: list[str] = []
        after = None
        for _ in range(3):
            page = (await session.execute(PAGE, variable_values={"after": after}))["models"]
            ids += [node["id"] for node in page["nodes"]]
            after = page["pageInfo"]["endCursor"]
        assert len(set(ids)) == 30

        model = (await session.execute(ONE, variable_values={"id": ids[0]}))["model"]
        assert model["id"] == ids[0]

        by_gateway = await failure(session.execute(ONE, variable_values={"id": "nobody:model/x"}))
        assert isinstance(by_gateway, TransportQueryError)
        assert by_gateway.errors[0]["extensions"]["code"] == "INVALID_ID"

        by_client = await failure(session.execute(UNKNOWN_FIELD))
        assert isinstance(by_client, GraphQLError)


async def failure(answer: Awaitable[object]) -> Exception:
    try:
        await answer
    except Exception as error:
        return error
    raise AssertionError("the failure did not raise an error")


asyncio.run(main(sys.argv[1]))
