"""Several gateway processes over one real Redis: they share one cache, and continue when Redis fails."""

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from gateway import twins
from gateway.config.settings import CacheSettings, QuotaSettings, Secret
from gateway.twins import Twins
from gateway.upstream.redis_cache import CONNECTIONS
from tests.conftest import Client, pai, served, settings

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")

MODEL = '{ model(id: "pai:model/model-rbvg5wzljzjhc9ks92") { name } }'
TOKEN = {"Authorization": "Bearer token"}
FOREIGN = "somebody:elses"


class Server:
    """A process of redis-server, or of another program that reads its options."""

    def __init__(self, folder: Path, program: str = "redis-server") -> None:
        self.folder, self.program = folder, program
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self, *options: str) -> None:
        self.process = await asyncio.create_subprocess_exec(
            self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder),
            *options, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        while b"Ready to accept connections" not in await self.process.stdout.readline():
            pass

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def stop(self) -> None:
        if self.process is not None:
            if self.process.returncode is None:
                self.send(signal.SIGCONT)
                self.send(signal.SIGKILL)
            await self.process.communicate()
            self.process = None

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Redis]:
        redis = Redis.from_url(self.url)
        yield redis
        await redis.aclose()


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path)
    yield server
    await server.stop()


def cache_settings(redis: Server, **options: Any) -> CacheSettings:
    """Return settings for a cache in Redis, with a timeout that a busy machine does not reach."""
    shared = {"redis": Secret(redis.url), "redis_timeout": 5.0, "admin_token": Secret("token")}
    return CacheSettings(**{**shared, **options})


@asynccontextmanager
async def in_process(redis: Server, **options: Any) -> AsyncIterator[tuple[Twins, Client]]:
    async with (
        twins.serving() as twin,
        served(settings(pai(twin.url), cache=cache_settings(redis, **options))) as gateway,
    ):
        yield twin, gateway


@asynccontextmanager
async def processes(number: int, twin: Twins, redis: Server, folder: Path) -> AsyncIterator[list[Client]]:
    """Run gateways as processes, from a settings file."""
    file = folder / "gateway.toml"
    file.write_text(
        f"""
        [server]
        port = 0
        [cache]
        redis = "{redis.url}"
        redis_timeout = 5.0
        admin_token = "token"
        [[registries]]
        name = "pai"
        kind = "pai"
        region = "cn-hangzhou"
        access_key_id = "{twins.PAI_KEY_ID}"
        access_key_secret = "{twins.PAI_SECRET}"
        models_endpoint = "{twin.url}"
        algorithms_endpoint = "{twin.url}"
        """,
        encoding="utf-8",
    )
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        clients = []
        for _ in range(number):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", "serve", "--config", str(file),
                stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
            stack.push_async_callback(process.communicate)
            stack.callback(process.terminate)
            assert process.stdout is not None
            line = (await process.stdout.readline()).decode()
            url = next(word for word in line.split() if word.startswith("http://")).removesuffix("/graphql")
            clients.append(Client(url, session))
        yield clients


async def name(gateway: Client) -> str:
    model = (await gateway.query(MODEL)).data["model"]
    return str(model["name"])


async def test_a_page_with_many_calls_shares_all_answers_over_few_connections(redis: Server) -> None:
    await redis.start()
    page = {"query": "{ models(first: 100) { nodes { id versions(first: 5) { nodes { name } } } } }"}
    async with twins.serving(corpus=twins.Corpus(200)) as twin, redis.client() as direct:
        registry = settings(pai(twin.url), cache=cache_settings(redis), quota=QuotaSettings(requests_per_second=10_000))
        answers = []
        for _ in range(2):
            async with served(registry) as gateway:
                answers.append((await gateway.request("POST", "/graphql", json=page)).data)
        assert answers[0] == answers[1]
        calls = sum(twin.calls.values())
        assert calls > 50
        assert len(await direct.keys("registry-gateway:1:*")) == calls
        assert (await direct.info("stats"))["total_connections_received"] < 2 * (CONNECTIONS + 5)


async def test_three_processes_share_calls_and_purges(redis: Server, tmp_path: Path) -> None:
    await redis.start()
    async with redis.client() as direct, twins.serving() as twin:
        await direct.set(FOREIGN, "1")
        async with processes(3, twin, redis, tmp_path) as replicas:
            for cold in range(3):
                await asyncio.gather(*(name(one) for one in replicas for _ in range(50)))
                assert twin.calls["GetModel"] == cold + 1
                purged = await replicas[cold].request("DELETE", "/cache", headers=TOKEN)
                assert purged.status == 200
                for one in replicas:
                    while (await one.request("GET", "/cache", headers=TOKEN)).body["entries"]:
                        pass
            assert await direct.get(FOREIGN) == b"1"
            assert [key async for key in direct.scan_iter()] == [FOREIGN.encode()]


async def test_processes_share_cached_responses(redis: Server) -> None:
    await redis.start()
    async with (
        in_process(redis) as (twin, first),
        served(settings(pai(twin.url), cache=cache_settings(redis))) as second,
    ):
        assert await name(first) == await name(second) == "情感分析"
        assert twin.calls == {"GetModel": 1}


async def test_accounts_with_equal_ids_share_nothing(redis: Server) -> None:
    await redis.start()
    async with in_process(redis) as (_, first), twins.serving() as other:
        other.corpus.pai_models.insert(
            {"ModelId": "model-rbvg5wzljzjhc9ks92", "ModelName": "another account's", "Versions": []}
        )
        async with served(settings(pai(other.url), cache=cache_settings(redis))) as second:
            assert [await name(first), await name(second), await name(first)] == [
                "情感分析",
                "another account's",
                "情感分析",
            ]


async def test_the_gateway_works_without_redis(redis: Server) -> None:
    async with in_process(redis) as (twin, gateway):
        assert await name(gateway) == await name(gateway) == "情感分析"
        assert twin.calls == {"GetModel": 1}


async def test_no_request_fails_when_redis_hangs_or_is_killed(redis: Server) -> None:
    await redis.start()
    async with in_process(redis, objects=0.0, stale=0.0, redis_timeout=0.05) as (_, gateway):
        for disturb in (lambda: None, lambda: redis.send(signal.SIGSTOP), lambda: redis.send(signal.SIGCONT)):
            disturb()
            assert {*await asyncio.gather(*(name(gateway) for _ in range(50)))} == {"情感分析"}
        await redis.stop()
        assert {*await asyncio.gather(*(name(gateway) for _ in range(50)))} == {"情感分析"}
        await redis.start()
        assert {*await asyncio.gather(*(name(gateway) for _ in range(50)))} == {"情感分析"}


async def test_no_request_fails_when_redis_is_full(redis: Server) -> None:
    await redis.start("--maxmemory", "1mb", "--maxmemory-policy", "noeviction")
    async with in_process(redis) as (twin, gateway):
        assert await name(gateway) == await name(gateway) == "情感分析"
        assert twin.calls == {"GetModel": 1}


async def test_the_command_line_shows_and_purges_the_cache_of_replicas(redis: Server, tmp_path: Path) -> None:
    async def command(*words: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "cache", *words, "--config", str(tmp_path / "gateway.toml"),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        return process.returncode, output.decode()

    await redis.start()
    async with twins.serving() as twin, processes(2, twin, redis, tmp_path) as (one, other):
        assert await name(one) == await name(other) == "情感分析"
        status, shown = await command("stats", "--url", one.url)
        assert (status, shown.split()[:2]) == (0, ["entries", "1"])
        status, shown = await command("purge", "--id", "pai:model/model-rbvg5wzljzjhc9ks92", "--url", one.url)
        purged = ["purged", "1", "tags", "pai:model/model-rbvg5wzljzjhc9ks92,", "pai:any"]
        assert (status, shown.split()) == (0, purged)
        while (await other.request("GET", "/cache", headers=TOKEN)).body["entries"]:
            pass
        await name(other)
        assert twin.calls["GetModel"] == 2
        assert await command("purge", "--registry", "nowhere", "--url", one.url) == (
            1,
            f"gateway: {one.url}: There is no such registry.\n",
        )
        status, shown = await command("stats", "--url", "http://127.0.0.1:9")
        assert (status, shown) == (1, "gateway: http://127.0.0.1:9: no response from a gateway\n")
