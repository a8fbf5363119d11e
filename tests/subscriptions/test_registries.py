"""Every registry's versions can be watched: one call a look, and what differs from answer to answer is no change."""

from typing import Any

import pytest

from gateway import twins
from gateway.config.settings import SubscriptionSettings
from gateway.twins import QianfanModel, Twins
from tests.conftest import qianfan, served, settings
from tests.subscriptions.conftest import eventually
from tests.subscriptions.test_sockets import done, talk


def creating(cloud: Twins) -> tuple[str, dict[str, Any]]:
    """A version that is being made: its id, and the cloud's own object."""
    table = cloud.corpus.qianfan_models
    model = next(row for row in table.partition("UserCreate") if row.versions)
    version = model.versions[0] | {"state": "Creating"}
    table.insert(QianfanModel(model.id, model.head, [version], model.listed, model.legacy))
    return f"qianfan:model/{version['modelIdStr']}/version/{version['modelVersionIdStr']}", version


@pytest.mark.parametrize(("api", "call"), [("v1", "modelVersionDetail"), ("v2", "DescribeModel")])
@pytest.mark.parametrize(("state", "readiness"), [("Ready", "READY"), ("Fail", "FAILED")])
async def test_a_version_of_qianfan_is_watched_until_it_is_ready_or_failed(
    api: str, call: str, state: str, readiness: str
) -> None:
    def told(readiness: str) -> dict[str, Any]:
        data = {"modelVersionChanged": {"readiness": readiness}}
        return {"type": "next", "id": "1", "payload": {"data": data}}

    often = SubscriptionSettings(interval=0.1)
    async with (
        twins.serving() as cloud,
        served(settings(qianfan(cloud.url, api=api), subscriptions=often)) as gateway,
        talk(gateway) as client,
    ):
        id, version = creating(cloud)
        await client.subscribe("1", f'subscription {{ modelVersionChanged(id: "{id}") {{ readiness }} }}')
        assert await client.hear() == told("CREATING")
        await eventually(lambda: cloud.calls[call] >= 3)
        version["state"] = state
        assert await client.hear() == told(readiness)
        assert await client.hear() == done()
        assert set(cloud.calls) == {call}
