"""The reference clients of both protocols subscribe to a version until it is final."""

import json
from pathlib import Path

import pytest

from tests.npm import installed, node
from tests.subscriptions.conftest import ID, short_interval_gateway

HERE = Path(__file__).parent


@pytest.mark.parametrize("script", ["websocket.mjs", "events.mjs"])
async def test_a_client_receives_a_version_until_it_is_approved(script: str) -> None:
    folder = installed(HERE)
    async with short_interval_gateway() as (cloud, gateway):
        output = await node(folder, script, f"{gateway.url}/graphql", f"{cloud.url}/_twin/faults", ID)
    assert json.loads(output) == [
        {"data": {"modelVersionChanged": {"name": "0.1.0", "approval": "PENDING"}}},
        {"data": {"modelVersionChanged": {"name": "0.1.0", "approval": "APPROVED"}}},
        {"data": {"__typename": "Query"}},
        ["GRAPHQL_VALIDATION_FAILED"],
        ["INVALID_ID"],
    ]
