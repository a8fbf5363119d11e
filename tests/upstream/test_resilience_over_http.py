"""The resilient client over HTTP: the requests that the clouds receive."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from gateway import twins
from gateway.app import registries
from gateway.config.settings import Credentials, RetrySettings
from gateway.errors import RegistryForbidden, RegistryThrottled, RegistryUnavailable, RegistryUnreachable
from gateway.registries import KINDS
from gateway.telemetry.events import CallState
from gateway.twins import Twins
from gateway.upstream.caching_client import UncachedClient
from gateway.upstream.http_client import HttpClient
from gateway.upstream.messages import Destination, Request
from tests.conftest import pai, qianfan, settings
from tests.upstream.simulated import resilient_client

PROBES = {"pai": "ListModels", "qianfan": "userList"}
NO_BACKOFF = RetrySettings(backoff=0)


class Cloud:
    """The twins, and a resilient client that lists models; records the nonces of the signatures."""

    def __init__(self, served: Twins, http_client: HttpClient) -> None:
        self.twins, self.nonces = served, list[str]()
        self.client = resilient_client(http_client, retry=NO_BACKOFF)
        opened = registries(settings(pai(served.url), qianfan(served.url)), UncachedClient(http_client))
        self.destinations = {name: self.recording(one.destination) for name, one in opened.items()}

    def recording(self, destination: Destination) -> Destination:
        def sign(request: Request, host: str, key: Credentials, now: datetime, nonce: str) -> Mapping[str, str]:
            self.nonces.append(nonce)
            return destination.sign(request, host, key, now, nonce)

        return replace(destination, sign=sign)

    async def list_models(self, registry: str = "pai") -> Any:
        call = next(one.call for one in KINDS[registry].streams if one.call.name == PROBES[registry])
        return await self.client.send(self.destinations[registry], call.request(()))

    def calls(self) -> Counter[str]:
        """Return the calls since the last time."""
        made = Counter(self.twins.calls)
        self.twins.calls.clear()
        return made


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    async with twins.serving(models=20) as served, HttpClient() as http_client:
        yield Cloud(served, http_client)


async def test_each_retry_is_signed_anew(cloud: Cloud) -> None:
    cloud.twins.faults.replace({"ListModels": {"status": 503, "times": 2}})
    assert (await cloud.list_models())["Models"]
    assert cloud.calls() == {"ListModels": 3}
    assert len(set(cloud.nonces)) == 3, "the twin refuses a nonce that was used"


@pytest.mark.parametrize("registry", PROBES)
@pytest.mark.parametrize("drop", ["before", "body"])
@pytest.mark.parametrize("warm", [False, True])
async def test_dropped_connections_are_retried_and_an_idle_one_is_replaced(
    cloud: Cloud, registry: str, drop: str, warm: bool
) -> None:
    if warm:
        await cloud.list_models(registry)
        cloud.calls()
    cloud.twins.faults.replace({"*": {"drop": drop}})
    with pytest.raises(RegistryUnreachable):
        await cloud.list_models(registry)
    replaced = warm and drop == "before"
    assert cloud.calls() == {PROBES[registry]: 4 if replaced else 3}


async def test_a_dropped_idle_connection_costs_one_more_request(cloud: Cloud) -> None:
    await cloud.list_models()
    cloud.twins.faults.replace({"ListModels": {"drop": "before", "times": 1}})
    assert (await cloud.list_models())["Models"]
    assert cloud.calls() == {"ListModels": 3}


async def test_pai_reports_the_pause_in_milliseconds(cloud: Cloud) -> None:
    fault = {"status": 429, "error": "Throttling.User", "headers": {"x-acs-retry-after": "30"}, "times": 2}
    cloud.twins.faults.replace({"ListModels": fault})
    assert (await cloud.list_models())["Models"], "30 seconds would be beyond the deadline"
    assert cloud.calls() == {"ListModels": 3}


async def test_a_pause_beyond_the_deadline_is_reported(cloud: Cloud) -> None:
    fault = {"status": 400, "error": "Throttling.User", "headers": {"x-acs-retry-after": "60000"}}
    cloud.twins.faults.replace({"ListModels": fault})
    with pytest.raises(RegistryThrottled) as caught:
        await cloud.list_models()
    assert caught.value.retry_after == 60
    assert cloud.calls() == {"ListModels": 1}


async def test_a_permanent_error_is_not_retried(cloud: Cloud) -> None:
    cloud.twins.faults.replace({"ListModels": {"status": 403, "error": "NoPermission"}})
    with pytest.raises(RegistryForbidden):
        await cloud.list_models()
    assert cloud.calls() == {"ListModels": 1}


async def test_one_failing_registry_does_not_affect_the_other(cloud: Cloud) -> None:
    cloud.twins.faults.replace({"ListModels": {"status": 503}})
    for _ in range(4):
        with pytest.raises(RegistryUnavailable):
            await cloud.list_models()
    assert cloud.calls() == {"ListModels": 5}, "then the circuit breaker is open"
    assert await cloud.list_models("qianfan")
    assert cloud.calls() == {"userList": 1}


async def test_concurrent_callers_without_a_cache_share_a_call_and_do_not_depend_on_each_other(
    cloud: Cloud,
) -> None:
    client, destination = UncachedClient(cloud.client), cloud.destinations["pai"]
    call = next(one.call for one in KINDS["pai"].streams if one.call.name == PROBES["pai"])
    first, *others = [asyncio.create_task(client.fetch(destination, call.request(()), "lists")) for _ in range(4)]
    await asyncio.sleep(0)
    first.cancel()
    answers = await asyncio.gather(*others)
    assert {answer.state for answer in answers} == {CallState.SHARED}
    assert all(answer.document["Models"] for answer in answers)
    assert cloud.calls() == {"ListModels": 1}
    assert (await client.fetch(destination, call.request(()), "lists")).state is CallState.MISS
    assert cloud.calls() == {"ListModels": 1}
