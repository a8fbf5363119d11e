"""The gateway as a process: shutdown, reloads and workers, under load."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from gateway import twins
from tests.test_command_line import ENVIRON

REGISTRY = """
[[registries]]
name = "{name}"
kind = "qianfan"
access_key = "{key}"
secret_key = "{secret}"
endpoint = "{url}"
"""
QUERY = "{ registries { name } models(first: 3) { nodes { id } } }"


@dataclass
class Running:
    """A gateway in a process of its own, over one twin."""

    config: Path
    twin: str
    server: str = ""
    process: "asyncio.subprocess.Process | None" = None
    url: str = ""
    answered: Counter[str] = field(default_factory=Counter)

    def write(self, *names: str) -> None:
        """The settings, with registries of these names."""
        key, secret = twins.QIANFAN_ACCESS_KEY, twins.QIANFAN_SECRET_KEY
        registries = (REGISTRY.format(name=name, key=key, secret=secret, url=self.twin) for name in names)
        quiet = '[telemetry]\nlog_level = "warning"\n'
        self.config.write_text(quiet + self.server + "".join(registries))

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def line(self) -> str:
        """The next line of the process's standard error."""
        assert self.process is not None
        assert self.process.stderr is not None
        return (await asyncio.wait_for(self.process.stderr.readline(), 30)).decode()

    async def ended(self) -> int:
        assert self.process is not None
        return await asyncio.wait_for(self.process.wait(), 30)

    async def ask(self, session: aiohttp.ClientSession) -> str:
        """The names of the registries in a complete response."""
        return (await self.asked(session))[0]

    async def asked(self, session: aiohttp.ClientSession) -> tuple[str, bool]:
        """The same, and whether the response closes the connection."""
        async with session.post(self.url + "/graphql", json={"query": QUERY}) as response:
            body = await response.json()
        assert response.status == 200, body
        assert len(body["data"]["models"]["nodes"]) == 3
        names = ",".join(one["name"] for one in body["data"]["registries"])
        self.answered[names] += 1
        return names, response.headers.get("connection") == "close"

    async def asking(self, clients: int) -> "asyncio.Task[None]":
        """Start clients that send one request after the other until a response closes the connection; each request
        must get its response. Returns when every client has had its first response."""
        first: asyncio.Semaphore = asyncio.Semaphore(0)

        async def client() -> None:
            async with aiohttp.ClientSession() as session:
                while not (await self.asked(session))[1]:
                    first.release()

        async def everybody() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(clients):
                    group.create_task(client())

        task = asyncio.create_task(everybody())
        for _ in range(clients):
            await first.acquire()
        return task


def serve(config: Path) -> list[str]:
    return [sys.executable, "-m", "gateway", "serve", "--config", str(config), "--port", "0"]


@asynccontextmanager
async def running(config: Path, twin: str, server: str, *names: str) -> AsyncIterator[Running]:
    gateway = Running(config, twin, server)
    gateway.write(*names)
    gateway.process = process = await asyncio.create_subprocess_exec(
        *serve(config), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRON, start_new_session=True
    )
    try:
        assert process.stdout is not None
        said = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        gateway.url = said.split()[1].removesuffix("/graphql")
        yield gateway
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


@pytest.mark.parametrize("workers", [1, 2])
async def test_on_sigterm_every_accepted_request_gets_its_response(config: Path, twin: str, workers: int) -> None:
    async with running(config, twin, f"[server]\nworkers = {workers}\ndrain = 0.5\n", "one") as gateway:
        everybody = await gateway.asking(clients=20)
        os.kill(gateway.pid, signal.SIGTERM)
        await everybody
        assert await gateway.ended() == 0
        assert gateway.answered["one"] >= 20


async def test_readiness_turns_off_before_the_server_stops(config: Path, twin: str) -> None:
    async with running(config, twin, "[server]\ndrain = 30\n", "one") as gateway, aiohttp.ClientSession() as session:
        assert (await session.get(gateway.url + "/readyz")).status == 200
        os.kill(gateway.pid, signal.SIGTERM)
        response = await session.get(gateway.url + "/readyz")
        while response.status == 200:
            response = await session.get(gateway.url + "/readyz")
        assert (response.status, (await response.json())["status"]) == (503, "stopping")
        assert response.headers["connection"] == "close"
        assert await gateway.ask(session) == "one"
        os.kill(gateway.pid, signal.SIGTERM)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_reload_loses_no_request(config: Path, twin: str, workers: int) -> None:
    async with running(config, twin, f"[server]\nworkers = {workers}\n", "one") as gateway:
        everybody = await gateway.asking(clients=10)
        gateway.write("one", "two")
        os.kill(gateway.pid, signal.SIGHUP)
        async with aiohttp.ClientSession() as session:
            while await gateway.ask(session) != "one,two":
                pass
        os.kill(gateway.pid, signal.SIGTERM)
        await everybody
        assert set(gateway.answered) == {"one", "one,two"}


async def test_invalid_settings_are_logged_and_change_nothing(config: Path, twin: str) -> None:
    async with running(config, twin, "", "one") as gateway, aiohttp.ClientSession() as session:
        gateway.write("No Name")
        os.kill(gateway.pid, signal.SIGHUP)
        said = await gateway.line()
        assert "The settings stay as they were" in said
        assert '"No Name" does not match' in said
        assert await gateway.ask(session) == "one"


async def test_the_cache_outlives_a_reload(config: Path) -> None:
    async with (
        twins.serving(models=20) as cloud,
        running(config, cloud.url, "", "one") as gateway,
        aiohttp.ClientSession() as session,
    ):
        await gateway.ask(session)
        made = sum(cloud.calls.values())
        gateway.write("one", "again")
        os.kill(gateway.pid, signal.SIGHUP)
        while await gateway.ask(session) != "one,again":
            pass
        assert sum(cloud.calls.values()) == made


@pytest.mark.parametrize(
    ("headers", "remote"), [({}, "127.0.0.1"), ({"X-Forwarded-For": "203.0.113.7, 127.0.0.1"}, "203.0.113.7")]
)
async def test_the_audit_log_names_the_client_of_a_proxy_on_the_same_host(
    config: Path, twin: str, headers: dict[str, str], remote: str
) -> None:
    async with (
        running(config, twin, '[server]\nprofile = "production"\n', "one") as gateway,
        aiohttp.ClientSession() as session,
    ):
        body = {"query": "{ __schema { types { name } } }"}
        async with session.post(gateway.url + "/graphql", json=body, headers=headers) as response:
            assert (await response.json())["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        said = await gateway.line()
        assert " gateway.audit request denied " in said
        assert " denied=FORBIDDEN " in said
        assert f" remote={remote} " in said


async def test_a_worker_that_dies_is_replaced(config: Path, twin: str) -> None:
    async with running(config, twin, "[server]\nworkers = 2\n", "one") as gateway, aiohttp.ClientSession() as session:
        first = children(gateway.pid)
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        while first[0] in children(gateway.pid) or len(children(gateway.pid)) < 2:
            assert await gateway.ask(session) == "one"
        assert await gateway.ask(session) == "one"


async def test_workers_that_cannot_start_report_the_reason(config: Path, twin: str) -> None:
    Running(config, twin, '[server]\nworkers = 2\n[cache]\nwarm_up = "missing.graphql"\n').write("one")
    process = await asyncio.create_subprocess_exec(*serve(config), stderr=subprocess.PIPE, env=ENVIRON)
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert "cache.warm_up: missing.graphql: No such file" in said.decode()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


HEALTH = b"GET /healthz HTTP/1.1\r\nhost: gateway\r\n\r\n"
SLOW_BODY = json.dumps({"query": QUERY}).encode()
SLOW = b"POST /graphql HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(SLOW_BODY),
    SLOW_BODY,
)
CLOSING = HEALTH.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(gateway: Running) -> Connection:
    host, _, port = gateway.url.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def exchange(gateway: Running) -> bytes:
    """What a new connection gets: a status line, or "refused". A reset raises an error."""
    try:
        reader, writer = await connect(gateway)
    except ConnectionRefusedError:
        return b"refused"
    writer.write(CLOSING)
    received = await reader.read()
    writer.close()
    return received.split(b"\r\n")[0]


@asynccontextmanager
async def busy(config: Path, server: str, connections: int) -> AsyncIterator[tuple[Running, list[Connection]]]:
    """A gateway that answers requests on these connections as soon as the registry does, which takes a second."""
    async with twins.serving(models=20) as cloud, running(config, cloud.url, server, "one") as gateway:
        cloud.faults.replace({"*": {"latency": 1.0}})
        opened = [await connect(gateway) for _ in range(connections)]
        for _, writer in opened:
            writer.write(SLOW)
            await writer.drain()
        while not cloud.calls:
            await exchange(gateway)
        yield gateway, opened
        for _, writer in opened:
            writer.close()


ANSWERED = b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("drain", [0, 0.3])
async def test_while_the_gateway_stops_new_connections_are_answered_or_refused(
    config: Path, workers: int, drain: float
) -> None:
    async with busy(config, f"[server]\nworkers = {workers}\ndrain = {drain}\n", 1) as (gateway, [(reader, _)]):
        os.kill(gateway.pid, signal.SIGTERM)
        ended = asyncio.create_task(gateway.ended())
        outcomes = Counter([await exchange(gateway) for _ in range(60)])
        while not ended.done():
            outcomes[await exchange(gateway)] += 1
        assert await ended == 0
        assert (await reader.read()).startswith(ANSWERED)
        assert set(outcomes) <= {ANSWERED, b"refused"}
        assert outcomes[b"refused"] > 0


@pytest.mark.parametrize("sent", [b"", HEALTH[:9]], ids=["nothing", "half a head"])
async def test_a_connection_from_before_the_stop_gets_its_first_response(config: Path, sent: bytes) -> None:
    async with busy(config, "[server]\ndrain = 0\n", 1) as (gateway, _):
        reader, writer = await connect(gateway)
        writer.write(sent)
        os.kill(gateway.pid, signal.SIGTERM)
        while await exchange(gateway) != b"refused":
            pass
        writer.write(HEALTH[len(sent) :])
        received = await reader.read()
        assert received.startswith(ANSWERED)
        assert b"connection: close" in received
        writer.close()


async def test_clients_that_never_read_do_not_delay_the_stop(config: Path, twin: str) -> None:
    async with running(config, twin, "[server]\ndrain = 0\ngrace = 1\n", "one") as gateway:
        opened = [await connect(gateway) for _ in range(30)]
        flood = [asyncio.create_task(write_without_end(writer)) for _, writer in opened]
        assert await exchange(gateway) == ANSWERED
        os.kill(gateway.pid, signal.SIGTERM)
        assert await gateway.ended() == 0
        for task in flood:
            task.cancel()
        for _, writer in opened:
            writer.transport.abort()


async def write_without_end(writer: asyncio.StreamWriter) -> None:
    """Pipeline requests, and read no response."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    with suppress(ConnectionError):
        while True:
            writer.write(HEALTH * 1000)
            await writer.drain()


async def test_a_killed_worker_loses_only_what_it_was_answering(config: Path) -> None:
    async with busy(config, "[server]\nworkers = 2\n", 20) as (gateway, opened):
        killed = children(gateway.pid)[0]
        lost = client_ports(killed)
        os.kill(killed, signal.SIGKILL)
        assert {await exchange(gateway) for _ in range(60)} == {ANSWERED}
        for reader, writer in opened:
            port = writer.get_extra_info("sockname")[1]
            try:
                answered = (await reader.readuntil(b"\r\n\r\n")).startswith(ANSWERED)
            except (ConnectionError, asyncio.IncompleteReadError):
                answered = False
            assert answered == (port not in lost)


async def test_a_worker_that_is_stopped_is_replaced(config: Path) -> None:
    async with busy(config, "[server]\nworkers = 2\ndrain = 0\n", 20) as (gateway, opened):
        first = children(gateway.pid)
        os.kill(first[0], signal.SIGTERM)
        outcomes = {await exchange(gateway) for _ in range(60)}
        while first[0] in children(gateway.pid) or len(children(gateway.pid)) < 2:
            outcomes.add(await exchange(gateway))
        assert outcomes == {ANSWERED}
        for reader, _ in opened:
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(ANSWERED)
        assert gateway.process is not None
        assert gateway.process.returncode is None


def client_ports(pid: int) -> set[int]:
    """The clients' ports of the connections that a process holds."""
    held = {os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()}
    ports = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, _, remote, _, _, _, _, _, _, inode, *_ = line.split()
        if f"socket:[{inode}]" in held:
            ports.add(int(remote.split(":")[1], 16))
    return ports
