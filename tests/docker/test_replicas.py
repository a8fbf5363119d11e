"""The deployment of compose.replicas.yaml as processes: three gateways with one Redis, behind HAProxy.

Settings, keys and the configuration of HAProxy are the files that operators use, with other addresses.
"""

import asyncio
import os
import re
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp
import pytest

from gateway import twins
from gateway.twins import Twins
from tests.conftest import Client
from tests.docker.tools import tool
from tests.subscriptions.conftest import WATCH
from tests.subscriptions.test_events import next_event, open_stream
from tests.subscriptions.test_sockets import complete_message, connect
from tests.test_incremental import MODEL, PARTS, SLOW, parts
from tests.test_replicas import Server

DOCKER = Path(__file__).parent.parent.parent / "docker"
KEYS = dict(re.findall(r"^(\w+)=(.*)$", (DOCKER / "twins.env").read_text(encoding="utf-8"), re.MULTILINE))
QUERY = "{ models(first: 1) { totalCount } }"


@dataclass
class Deployment:
    """The processes that Compose would start, and a client of the load balancer."""

    client: Client
    gateways: list[Process]
    twin: Twins
    balancer_log: asyncio.StreamReader

    async def wait_for_log(self, *sentences: str) -> None:
        """Wait until the load balancer has logged all sentences."""
        missing = set(sentences)
        while missing:
            line = (await self.balancer_log.readline()).decode()
            assert line, f"the load balancer exited before it logged {missing}"
            missing -= {sentence for sentence in missing if sentence in line}


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


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[Deployment]:
    haproxy, redis = tool("haproxy"), Server(tmp_path)
    tool("redis-server")
    await redis.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.stop)
        twin = await stack.enter_async_context(twins.serving(corpus=twins.Corpus(200, mlflow_models=100)))
        settings = copy_with_replacements(
            DOCKER / "gateway.toml",
            tmp_path,
            {"http://twins:8100": twin.url, "redis://redis:6379/0": redis.url, '"port" #': '"off" #'},
        )
        serve = [sys.executable, "-m", "gateway", "serve", "--config", str(settings), "--host", "127.0.0.1"]
        environ = {**KEYS, "PYTHONUNBUFFERED": "1", "GATEWAY_BREAKER_OPEN_FOR": "0.1", "GATEWAY_RETRY_ATTEMPTS": "1"}
        environ["GATEWAY_SUBSCRIPTIONS_INTERVAL"] = "0.1"
        gateways = [await stack.enter_async_context(running(*serve, "--port", "0", environ=environ)) for _ in range(3)]
        addresses = {f"gateway-{number} gateway-{number}:8000": f"gateway-{number} {await address(one)}"
                     for number, one in enumerate(gateways, start=1)}  # fmt: skip
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        configuration = copy_with_replacements(
            DOCKER / "haproxy.cfg", tmp_path, {"bind :8080": f"bind 127.0.0.1:{port}", **addresses}
        )
        balancer = await stack.enter_async_context(running(haproxy, "-db", "-f", str(configuration)))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        assert balancer.stdout is not None
        client = Client(f"http://127.0.0.1:{port}", session)
        await wait_until_listening(balancer, port)
        yield Deployment(client, gateways, twin, balancer.stdout)


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
