"""A version under watch: a cloud whose version a test changes, and looks that come when the test says so."""

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
    """Wait until it is so; a test in which it never is runs into its time limit."""
    while not condition():  # noqa: ASYNC110 - what is waited for belongs to others
        await asyncio.sleep(0.002)


class Pauses:
    """Pauses between looks, which last until the next ``end``."""

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
    """A gateway over a cloud with one version that waits for approval; ``version`` is the cloud's own object."""

    cloud: Twins
    gateway: Client
    watches: VersionPollers
    pauses: Pauses
    version: dict[str, Any]

    @property
    def looks(self) -> int:
        """How often the version was asked for."""
        return self.cloud.calls["GetModelVersion"]

    async def look(self, **facts: Any) -> None:
        """Have the poller look once more when it has seen enough, after these facts have changed."""
        await eventually(lambda: self.pauses.sleeping > 0)
        before = self.looks
        self.version.update(facts)
        self.pauses.end()
        await eventually(lambda: self.looks > before)


@asynccontextmanager
async def watching(
    monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any], now: Callable[[], float] = time.time, **sections: Any
) -> AsyncIterator[Setup]:
    """The setup with these settings of subscriptions, and of other sections."""
    pauses = Pauses()
    made: list[VersionPollers] = []

    def watches(settings: SubscriptionSettings, bounds: Bounds) -> VersionPollers:
        made.append(VersionPollers(settings, bounds, pauses.sleep))
        return made[0]

    monkeypatch.setattr(app, "VersionPollers", watches)
    version = {"VersionName": "0.1.0", "ApprovalStatus": "Pending", "FrameworkType": "PyTorch"}
    async with twins.serving(models=0) as cloud:
        cloud.corpus.pai_models.insert({"ModelId": "model-watched", "ModelName": "watched", "Versions": [version]})
        chosen = settings(pai(cloud.url), subscriptions=SubscriptionSettings(**limits), **sections)
        async with served(chosen, now) as gateway:
            yield Setup(cloud, gateway, made[0], pauses, version)


@asynccontextmanager
async def often_looked_at() -> AsyncIterator[tuple[Twins, Client]]:
    """A cloud with one version that waits for approval, and a gateway that looks at once: for clients in processes of
    their own."""
    version = {"VersionName": "0.1.0", "ApprovalStatus": "Pending"}
    async with twins.serving(models=0) as cloud:
        cloud.corpus.pai_models.insert({"ModelId": "model-watched", "ModelName": "watched", "Versions": [version]})
        async with served(settings(pai(cloud.url), subscriptions=SubscriptionSettings(interval=0.1))) as gateway:
            yield cloud, gateway


@pytest.fixture
async def setup(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setup]:
    async with watching(monkeypatch, {}) as setup:
        yield setup
