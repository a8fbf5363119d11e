"""A gateway that polls one version; the test changes the version and triggers the polls."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from gateway import app, twins
from gateway.catalog.bounds import Bounds
from gateway.catalog.polling import VersionPollers
from gateway.config.settings import SubscriptionSettings
from gateway.twins import Twins
from tests.conftest import Client, pai, served, settings

ID = "pai:model/model-watched/version/0.1.0"
WATCH = f'subscription {{ modelVersionChanged(id: "{ID}") {{ approval }} }}'


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds; the time limit of the test ends the wait."""
    while not condition():  # noqa: ASYNC110 - other tasks change the condition
        await asyncio.sleep(0.002)


class Pauses:
    """Pauses between polls, which last until the next ``end``."""

    def __init__(self) -> None:
        self.sleeping = 0
        self._ends = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.sleeping += 1
        try:
            await self._ends.wait()
        finally:
            self.sleeping -= 1

    def end(self) -> None:
        self._ends.set()
        self._ends = asyncio.Event()


@dataclass
class Setup:
    """A gateway over a cloud with one pending version; ``version`` is the raw object of the cloud."""

    cloud: Twins
    gateway: Client
    pollers: VersionPollers
    pauses: Pauses
    version: dict[str, Any]

    @property
    def polls(self) -> int:
        """The number of calls for the version."""
        return self.cloud.calls["GetModelVersion"]

    async def poll(self, **changes: Any) -> None:
        """Change the version during a pause of the poller, and wait for the next poll."""
        await eventually(lambda: self.pauses.sleeping > 0)
        before = self.polls
        self.version.update(changes)
        self.pauses.end()
        await eventually(lambda: self.polls > before)


@asynccontextmanager
async def setup_with(
    monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any], now: Callable[[], float] = time.time, **sections: Any
) -> AsyncIterator[Setup]:
    """Serve the setup with these settings of subscriptions and of other sections."""
    pauses = Pauses()
    created: list[VersionPollers] = []

    def pollers(settings: SubscriptionSettings, bounds: Bounds) -> VersionPollers:
        created.append(VersionPollers(settings, bounds, pauses.sleep))
        return created[0]

    monkeypatch.setattr(app, "VersionPollers", pollers)
    version = {"VersionName": "0.1.0", "ApprovalStatus": "Pending", "FrameworkType": "PyTorch"}
    async with twins.serving(models=0) as cloud:
        cloud.corpus.pai_models.insert({"ModelId": "model-watched", "ModelName": "watched", "Versions": [version]})
        gateway_settings = settings(pai(cloud.url), subscriptions=SubscriptionSettings(**limits), **sections)
        async with served(gateway_settings, now) as gateway:
            yield Setup(cloud, gateway, created[0], pauses, version)


@asynccontextmanager
async def short_interval_gateway() -> AsyncIterator[tuple[Twins, Client]]:
    """Serve a cloud with one pending version, and a gateway with a short polling interval, for clients in other
    processes."""
    version = {"VersionName": "0.1.0", "ApprovalStatus": "Pending"}
    async with twins.serving(models=0) as cloud:
        cloud.corpus.pai_models.insert({"ModelId": "model-watched", "ModelName": "watched", "Versions": [version]})
        async with served(settings(pai(cloud.url), subscriptions=SubscriptionSettings(interval=0.1))) as gateway:
            yield cloud, gateway


@pytest.fixture
async def setup(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setup]:
    async with setup_with(monkeypatch, {}) as setup:
        yield setup
