"""Three gateways with one Redis behind HAProxy, as in compose.replicas.yaml, while gateways and registries fail."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.docker.deployment import Deployment, deployed
from tests.subscriptions.conftest import WATCH
from tests.subscriptions.test_events import next_event, open_stream
from tests.subscriptions.test_sockets import complete_message, connect
from tests.test_incremental import MODEL, PARTS, SLOW, parts

QUERY: Final = "{ models(first: 1) { totalCount } }"
ENVIRON: Final = {
    "GATEWAY_BREAKER_OPEN_FOR": "0.1",
    "GATEWAY_RETRY_ATTEMPTS": "1",
    "GATEWAY_SUBSCRIPTIONS_INTERVAL": "0.1",
}


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path, ENVIRON) as running:
        yield running


async def count(deployment: Deployment) -> int:
    """Return the number of models in one answer. A client repeats a request whose gateway is killed midway."""
    try:
        answer = await deployment.client.query(QUERY)
    except aiohttp.ClientPayloadError:
        answer = await deployment.client.query(QUERY)
    total: int = answer.data["models"]["totalCount"]
    return total


async def counts_during(deployment: Deployment, number: int, action: Callable[[], None]) -> set[int]:
    """Return the numbers of models that eight concurrent clients receive while the action happens."""

    async def client() -> list[int]:
        return [await count(deployment) for _ in range(number)]

    clients = [asyncio.create_task(client()) for _ in range(8)]
    await count(deployment)
    action()
    return {total for totals in await asyncio.gather(*clients) for total in totals}


async def test_requests_succeed_while_one_gateway_is_left(deployment: Deployment) -> None:
    killed, stopped, _ = deployment.gateways
    assert await counts_during(deployment, 20, killed.kill) == {307}
    assert await counts_during(deployment, 20, stopped.terminate) == {307}
    assert await stopped.wait() == 0
    assert await counts_during(deployment, 20, lambda: None) == {307}


def approval_event(approval: str) -> dict[str, Any]:
    return {"data": {"modelVersionChanged": {"approval": approval}}}


async def test_streamed_responses_are_not_buffered(deployment: Deployment) -> None:
    version = {"VersionName": "0.1.0", "ApprovalStatus": "Pending", "FrameworkType": "PyTorch"}
    deployment.twin.corpus.pai_models.insert(
        {"ModelId": "model-watched", "ModelName": "watched", "Versions": [version]}
    )
    client, body = deployment.client, {"query": SLOW, "variables": {"id": MODEL}}
    async with connect(client) as socket, open_stream(client, WATCH) as stream:
        await socket.subscribe("1", WATCH)
        assert (await socket.receive())["payload"] == approval_event("PENDING")
        assert await next_event(stream) == ("next", approval_event("PENDING"))
        version["ApprovalStatus"] = "Approved"
        assert (await socket.receive())["payload"] == approval_event("APPROVED")
        assert await next_event(stream) == ("next", approval_event("APPROVED"))
        assert (await socket.receive(), await next_event(stream)) == (complete_message(), ("complete", None))
    deployment.twin.faults.replace({"ListModelVersions": {"hang": True}})
    async with client.session.post(client.url + "/graphql", json=body, headers={"Accept": PARTS}) as response:
        received = parts(response)
        assert (await anext(received))["hasNext"]
        deployment.twin.faults.clear()
        assert not [part async for part in received][-1]["hasNext"]


async def test_gateways_without_a_working_registry_stay_ready_and_recover(deployment: Deployment) -> None:
    deployment.twin.faults.replace({"*": {"status": 503, "error": "ServiceUnavailable"}})
    for _ in range(6):  # two for each gateway
        answer = await deployment.client.query(QUERY)
        assert (answer.status, answer.codes) == (200, ["NO_REGISTRY_ANSWERED"])
    for _ in range(3):
        ready = await deployment.client.request("GET", "/readyz")
        assert (ready.status, ready.body["status"]) == (200, "degraded")
    deployment.twin.faults.clear()
    while (await deployment.client.query(QUERY)).codes:
        pass
