"""The guard before real sockets: what the clouds see of it."""

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
from gateway.telemetry.events import State
from gateway.twins import Twins
from gateway.upstream.caching_client import UncachedClient
from gateway.upstream.http_client import HttpClient
from gateway.upstream.messages import Destination, Request
from tests.conftest import pai, qianfan, settings
from tests.upstream.simulated import guard

PROBES = {"pai": "ListModels", "qianfan": "userList"}
AT_ONCE = RetrySettings(backoff=0)


class Cloud:
    """The twins, and a guarded way to ask a registry's list of models; keeps the nonces that went out."""

    def __init__(self, served: Twins, transport: HttpClient) -> None:
        self.twins, self.nonces = served, list[str]()
        self.guard = guard(transport, retry=AT_ONCE)
        ways = registries(settings(pai(served.url), qianfan(served.url)), UncachedClient(transport))
        self.destinations = {name: self.noting(way.destination) for name, way in ways.items()}

    def noting(self, destination: Destination) -> Destination:
        def sign(request: Request, host: str, key: Credentials, now: datetime, nonce: str) -> Mapping[str, str]:
            self.nonces.append(nonce)
            return destination.sign(request, host, key, now, nonce)

        return replace(destination, sign=sign)

    async def ask(self, registry: str = "pai") -> Any:
        call = next(one.call for one in KINDS[registry].streams if one.call.name == PROBES[registry])
        return await self.guard.send(self.destinations[registry], call.request(()))

    def calls(self) -> Counter[str]:
        """The calls since the last time."""
        made = Counter(self.twins.calls)
        self.twins.calls.clear()
        return made


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    async with twins.serving(models=20) as served, HttpClient() as transport:
        yield Cloud(served, transport)


async def test_a_registry_that_is_away_twice_answers_the_third_freshly_signed_request(cloud: Cloud) -> None:
    cloud.twins.faults.replace({"ListModels": {"status": 503, "times": 2}})
    assert (await cloud.ask())["Models"]
    assert cloud.calls() == {"ListModels": 3}
    assert len(set(cloud.nonces)) == 3, "the twin refuses a nonce that it has seen"


@pytest.mark.parametrize("registry", PROBES)
@pytest.mark.parametrize("drop", ["before", "body"])
@pytest.mark.parametrize("warm", [False, True])
async def test_dropped_connections_cost_three_requests_whether_new_or_kept(
    cloud: Cloud, registry: str, drop: str, warm: bool
) -> None:
    if warm:
        await cloud.ask(registry)
        cloud.calls()
    cloud.twins.faults.replace({"*": {"drop": drop}})
    with pytest.raises(RegistryUnreachable):
        await cloud.ask(registry)
    assert cloud.calls() == {PROBES[registry]: 3}


async def test_one_dropped_connection_costs_one_more_request(cloud: Cloud) -> None:
    await cloud.ask()
    cloud.twins.faults.replace({"ListModels": {"drop": "before", "times": 1}})
    assert (await cloud.ask())["Models"]
    assert cloud.calls() == {"ListModels": 3}


async def test_milliseconds_of_a_throttle_are_waited_as_milliseconds(cloud: Cloud) -> None:
    fault = {"status": 429, "error": "Throttling.User", "headers": {"x-acs-retry-after": "30"}, "times": 2}
    cloud.twins.faults.replace({"ListModels": fault})
    assert (await cloud.ask())["Models"], "30 seconds would be beyond the deadline"
    assert cloud.calls() == {"ListModels": 3}


async def test_a_throttle_that_asks_for_more_than_the_deadline_is_handed_on(cloud: Cloud) -> None:
    fault = {"status": 400, "error": "Throttling.User", "headers": {"x-acs-retry-after": "60000"}}
    cloud.twins.faults.replace({"ListModels": fault})
    with pytest.raises(RegistryThrottled) as caught:
        await cloud.ask()
    assert caught.value.retry_after == 60
    assert cloud.calls() == {"ListModels": 1}


async def test_what_cannot_pass_is_asked_once(cloud: Cloud) -> None:
    cloud.twins.faults.replace({"ListModels": {"status": 403, "error": "NoPermission"}})
    with pytest.raises(RegistryForbidden):
        await cloud.ask()
    assert cloud.calls() == {"ListModels": 1}


async def test_one_registry_that_fails_leaves_the_other_alone(cloud: Cloud) -> None:
    cloud.twins.faults.replace({"ListModels": {"status": 503}})
    for _ in range(4):
        with pytest.raises(RegistryUnavailable):
            await cloud.ask()
    assert cloud.calls() == {"ListModels": 5}, "then it is left alone"
    assert await cloud.ask("qianfan")
    assert cloud.calls() == {"userList": 1}


async def test_without_a_cache_those_who_ask_the_same_at_once_share_a_call_and_none_depends_on_another(
    cloud: Cloud,
) -> None:
    direct, destination = UncachedClient(cloud.guard), cloud.destinations["pai"]
    call = next(one.call for one in KINDS["pai"].streams if one.call.name == PROBES["pai"])
    first, *others = [direct.fetch(destination, call.request(()), "lists") for _ in range(4)]
    await asyncio.sleep(0)
    first.cancel()
    answers = await asyncio.gather(*others)
    assert {answer.state for answer in answers} == {State.SHARED}
    assert all(answer.document["Models"] for answer in answers)
    assert cloud.calls() == {"ListModels": 1}
    assert (await direct.fetch(destination, call.request(()), "lists")).state is State.MISS
    assert cloud.calls() == {"ListModels": 1}
