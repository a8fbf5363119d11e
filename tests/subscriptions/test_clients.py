"""The reference clients of both protocols watch a version to its end."""

import json
from pathlib import Path

import pytest

from gateway import twins
from gateway.settings import SubscriptionSettings
from tests.conftest import pai, served, settings
from tests.npm import installed, node
from tests.subscriptions.conftest import ID

HERE = Path(__file__).parent


@pytest.mark.parametrize("script", ["websocket.mjs", "events.mjs"])
async def test_a_client_watches_a_version_until_it_is_approved(script: str) -> None:
    folder = installed(HERE)
    version = {"VersionName": "0.1.0", "ApprovalStatus": "Pending"}
    async with twins.serving(models=0) as cloud:
        cloud.corpus.pai_models.insert({"ModelId": "model-watched", "ModelName": "watched", "Versions": [version]})
        often = SubscriptionSettings(interval=0.1)
        async with served(settings(pai(cloud.url), subscriptions=often)) as gateway:
            said = await node(folder, script, f"{gateway.url}/graphql", f"{cloud.url}/_twin/faults", ID)
    assert json.loads(said) == [
        {"data": {"modelVersionChanged": {"name": "0.1.0", "approval": "PENDING"}}},
        {"data": {"modelVersionChanged": {"name": "0.1.0", "approval": "APPROVED"}}},
        {"data": {"__typename": "Query"}},
        ["GRAPHQL_VALIDATION_FAILED"],
        ["INVALID_ID"],
    ]
