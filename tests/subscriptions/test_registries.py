"""Subscriptions to the versions of each registry: one call for each poll, and no change from varying fields."""

from typing import Any

import pytest

from gateway import twins
from gateway.config.settings import SubscriptionSettings
from gateway.twins import QianfanModel, Twins
from tests.conftest import qianfan, served, settings
from tests.subscriptions.conftest import eventually
from tests.subscriptions.test_sockets import complete_message, connect


def version_in_creation(cloud: Twins) -> tuple[str, dict[str, Any]]:
    """Return the id and the raw object of a version that is being created."""
    table = cloud.corpus.qianfan_models
    model = next(row for row in table.partition("UserCreate") if row.versions)
    version = model.versions[0] | {"state": "Creating"}
    table.insert(QianfanModel(model.id, model.head, [version], model.listed, model.legacy))
    return f"qianfan:model/{version['modelIdStr']}/version/{version['modelVersionIdStr']}", version


@pytest.mark.parametrize(("api", "call"), [("v1", "modelVersionDetail"), ("v2", "DescribeModel")])
@pytest.mark.parametrize(("state", "readiness"), [("Ready", "READY"), ("Fail", "FAILED")])
async def test_a_subscription_to_a_qianfan_version_ends_when_it_is_ready_or_failed(
    api: str, call: str, state: str, readiness: str
) -> None:
    def next_message(readiness: str) -> dict[str, Any]:
        data = {"modelVersionChanged": {"readiness": readiness}}
        return {"type": "next", "id": "1", "payload": {"data": data}}

    short_interval = SubscriptionSettings(interval=0.1)
    async with (
        twins.serving() as cloud,
        served(settings(qianfan(cloud.url, api=api), subscriptions=short_interval)) as gateway,
        connect(gateway) as client,
    ):
        id, version = version_in_creation(cloud)
        await client.subscribe("1", f'subscription {{ modelVersionChanged(id: "{id}") {{ readiness }} }}')
        assert await client.receive() == next_message("CREATING")
        await eventually(lambda: cloud.calls[call] >= 3)
        version["state"] = state
        assert await client.receive() == next_message(readiness)
        assert await client.receive() == complete_message()
        assert set(cloud.calls) == {call}
