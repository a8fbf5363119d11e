"""A gateway and its two clouds on real loopback sockets, for tests over HTTP."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp
import pytest
import uvicorn

from gateway import twins
from gateway.app import create_app
from gateway.config.settings import (
    CacheSettings,
    QuotaSettings,
    RegistrySettings,
    RetrySettings,
    Secret,
    ServerSettings,
    Settings,
)
from gateway.execution.request import InvalidRequest
from gateway.registries.mlflow import MlflowSettings
from gateway.registries.pai import PaiSettings
from gateway.registries.qianfan import QianfanSettings
from gateway.server.runner import protocols
from gateway.twins import Twins


@dataclass
class Answer:
    """One HTTP response of the gateway, with its JSON body parsed."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def data(self) -> Any:
        assert "errors" not in self.body, self.body["errors"]
        return self.body["data"]

    @property
    def codes(self) -> list[str]:
        return [error["extensions"]["code"] for error in self.body.get("errors", ())]


@dataclass
class Client:
    """A client of one running gateway."""

    url: str
    session: aiohttp.ClientSession

    async def query(self, text: str, **variables: Any) -> Answer:
        return await self.request("POST", json={"query": text, "variables": variables})

    async def request(self, method: str, path: str = "/graphql", **options: Any) -> Answer:
        async with self.session.request(method, self.url + path, **options) as response:
            text = await response.text()
            body = json.loads(text) if "json" in response.headers.get("content-type", "") else text
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, headers, body)


@asynccontextmanager
async def served(settings: Settings, now: Callable[[], float] = time.time) -> AsyncIterator[Client]:
    """Serve a gateway with these settings on a real socket."""
    # Without an explicit protocol, asyncio does not turn off Nagle's algorithm, which delays every response by 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        app = create_app(settings, now)
        config = uvicorn.Config(
            app,
            log_config=None,
            lifespan="on",
            **protocols(settings.limits),
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        async with aiohttp.ClientSession() as session:
            yield Client(f"http://127.0.0.1:{listening.getsockname()[1]}", session)
        server.should_exit = True
        await serving


def pai(url: str, name: str = "pai", **options: Any) -> PaiSettings:
    return PaiSettings(
        name=name,
        kind="pai",
        **{
            "region": "cn-hangzhou",
            "access_key_id": twins.PAI_KEY_ID,
            "access_key_secret": Secret(twins.PAI_SECRET),
            "models_endpoint": url,
            "algorithms_endpoint": url,
            **options,
        },
    )


def qianfan(url: str, name: str = "qianfan", **options: Any) -> QianfanSettings:
    return QianfanSettings(
        name=name,
        kind="qianfan",
        access_key=twins.QIANFAN_ACCESS_KEY,
        secret_key=Secret(twins.QIANFAN_SECRET_KEY),
        endpoint=url,
        **options,
    )


def mlflow(url: str, name: str = "mlflow", **options: Any) -> MlflowSettings:
    return MlflowSettings(
        name=name,
        kind="mlflow",
        **{
            "endpoint": url,
            "username": twins.MLFLOW_USERNAME,
            "password": Secret(twins.MLFLOW_PASSWORD),
            **options,
        },
    )


DEFAULTS = {
    "server": ServerSettings(profile="development"),
    "cache": CacheSettings(enabled=False),
    "retry": RetrySettings(attempts=1),
    "quota": QuotaSettings(requests_per_second=10_000, max_wait=60),
}


def settings(*registries: RegistrySettings, **sections: Any) -> Settings:
    """Return settings without cache, retries and rate limit; ``sections`` override them."""
    return Settings(**{**DEFAULTS, **sections}, registries=registries)


@dataclass
class World:
    """A gateway over two clouds on separate ports, so that each can fail alone."""

    pai: Twins
    qianfan: Twins
    gateway: Client

    def calls(self) -> dict[str, int]:
        """Return the number of each upstream call since the last use of this method."""
        counts = dict(self.pai.calls + self.qianfan.calls)
        self.pai.calls.clear()
        self.qianfan.calls.clear()
        return counts


@asynccontextmanager
async def two_clouds(
    models: int = 200, sections: Mapping[str, Any] = MappingProxyType({}), **options: Any
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(twins.serving(models=models))
        other = await stack.enter_async_context(twins.serving(models=models))
        registries = pai(one.url, **options), qianfan(other.url, **options)
        gateway = await stack.enter_async_context(served(settings(*registries, **sections)))
        yield World(one, other, gateway)


@asynccontextmanager
async def demo(now: Callable[[], float] = time.time, **sections: Any) -> AsyncIterator[Client]:
    """Serve a gateway over the registries and rows of `gateway demo`. ``sections`` override its settings."""
    async with AsyncExitStack() as stack:
        twin = await stack.enter_async_context(twins.serving(corpus=twins.Corpus(200, mlflow_models=100)))
        registries = pai(twin.url), qianfan(twin.url), mlflow(twin.url)
        yield await stack.enter_async_context(served(settings(*registries, **sections), now))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with two_clouds() as world:
        yield world


@pytest.fixture
async def twin() -> AsyncIterator[str]:
    """The address of twins with few models."""
    async with twins.serving(models=20) as running:
        yield running.url


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The path of a settings file, which the test writes."""
    return tmp_path / "gateway.toml"


@pytest.fixture
def unparsed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that lets every request that is parsed from then on get status 418."""

    async def read_request(*_: object) -> None:
        raise InvalidRequest(418, "It was parsed.")

    return lambda: monkeypatch.setattr("gateway.http.graphql.read_request", read_request)
