"""The deployment of compose.replicas.yaml as processes: three gateways with one Redis, behind HAProxy.

Settings, keys and the configuration of HAProxy are the files that operators use, with other addresses.
"""

import asyncio
import os
import re
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import aiohttp

from gateway import twins
from gateway.twins import Twins
from tests.conftest import Client
from tests.docker.tools import tool
from tests.test_replicas import Server

DOCKER = Path(__file__).parent.parent.parent / "docker"
KEYS = dict(re.findall(r"^(\w+)=(.*)$", (DOCKER / "twins.env").read_text(encoding="utf-8"), re.MULTILINE))


@dataclass
class Deployment:
    """The processes that Compose would start, and a client of the load balancer."""

    client: Client
    gateways: list[Process]
    twin: Twins
    start: Callable[[int], Awaitable[Process]]
    """Starts a gateway at the port of the gateway with this index, which must have ended."""


@asynccontextmanager
async def running(*command: str, environ: Mapping[str, str] = MappingProxyType({})) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, env={**os.environ, **environ})
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def address(process: Process) -> str:
    """Return the address in the start-up message of a gateway."""
    assert process.stdout is not None
    found = re.search(r"http://(127\.0\.0\.1:\d+)/graphql", (await process.stdout.readline()).decode())
    assert found is not None
    return found[1]


def copy_with_replacements(file: Path, folder: Path, replacements: Mapping[str, str]) -> Path:
    """Copy a file and replace texts, all of which must occur."""
    text = file.read_text(encoding="utf-8")
    for old, new in replacements.items():
        assert old in text, f"{file.name} has no {old}"
        text = text.replace(old, new)
    (folder / file.name).write_text(text, encoding="utf-8")
    return folder / file.name


async def wait_until_listening(process: Process, port: int) -> None:
    while True:
        assert process.returncode is None
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


@asynccontextmanager
async def deployed(
    folder: Path, environ: Mapping[str, str] = MappingProxyType({}), connections: int = 100
) -> AsyncIterator[Deployment]:
    """Run the deployment, with settings in ``environ``. ``connections`` bounds those of the client."""
    haproxy, redis = tool("haproxy"), Server(folder)
    tool("redis-server")
    await redis.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.stop)
        twin = await stack.enter_async_context(twins.serving(corpus=twins.Corpus(200, mlflow_models=100)))
        settings = copy_with_replacements(
            DOCKER / "gateway.toml",
            folder,
            {"http://twins:8100": twin.url, "redis://redis:6379/0": redis.url, '"port" #': '"off" #'},
        )
        serve = [sys.executable, "-m", "gateway", "serve", "--config", str(settings), "--host", "127.0.0.1"]
        ports = ["0", "0", "0"]

        async def start(index: int) -> Process:
            gateway = running(*serve, "--port", ports[index], environ={**KEYS, "PYTHONUNBUFFERED": "1", **environ})
            process = await stack.enter_async_context(gateway)
            ports[index] = (await address(process)).rpartition(":")[2]
            return process

        gateways = [await start(index) for index in range(3)]
        addresses = {f"gateway-{number} gateway-{number}:8000": f"gateway-{number} 127.0.0.1:{port}"
                     for number, port in enumerate(ports, start=1)}  # fmt: skip
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        configuration = copy_with_replacements(
            DOCKER / "haproxy.cfg", folder, {"bind :8080": f"bind 127.0.0.1:{port}", **addresses}
        )
        balancer = await stack.enter_async_context(running(haproxy, "-db", "-f", str(configuration)))
        connector = aiohttp.TCPConnector(limit=connections)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        await wait_until_listening(balancer, port)
        yield Deployment(Client(f"http://127.0.0.1:{port}", session), gateways, twin, start)
