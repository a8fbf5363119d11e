"""The gateway, a second subgraph and a router over both, on real sockets."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import Client, World, two_clouds
from tests.npm import installed

HERE = Path(__file__).parent
REVIEWS = HERE.parent.parent / "docker" / "supergraph" / "reviews" / "reviews.py"
BOOKMARKS = HERE / "bookmarks.py"
GRAFBASE = Path("node_modules", "@grafbase", "cli-x86_64-unknown-linux-musl", "grafbase")


def apollo(port: int, subgraphs: dict[str, str], folder: Path) -> list[str]:
    return ["node", "apollo.mjs", str(port), *(f"{name}={url}" for name, url in subgraphs.items())]


def hive(port: int, subgraphs: dict[str, str], folder: Path) -> list[str]:
    """Return the command as in `docker/supergraph/compose.yaml`."""
    services = [word for name, url in subgraphs.items() for word in ("--dev-service", f"{name}={url}")]
    return ["node_modules/.bin/hive-gateway", "supergraph", "--host", "127.0.0.1", "--port", str(port), *services]


def grafbase(port: int, subgraphs: dict[str, str], folder: Path) -> list[str]:
    if not (HERE / GRAFBASE).exists():
        pytest.skip("The Grafbase gateway is available for Linux on x86-64 only")
    config = folder / "grafbase.toml"
    config.write_text(
        "".join(f'[subgraphs.{name}]\nurl = "{url}"\nintrospection_url = "{url}"\n' for name, url in subgraphs.items())
    )
    return [str(GRAFBASE), "dev", "--config", str(config), "--listen-address", f"127.0.0.1:{port}"]


Router = Callable[[int, dict[str, str], Path], list[str]]
"""The command that starts a router on a port over named subgraphs; it may write into the folder."""

ROUTERS: dict[str, Router] = {"apollo": apollo, "grafbase": grafbase, "hive": hive}


@dataclass
class Supergraph:
    """A router over the gateway and a second subgraph, and the clouds of the gateway."""

    world: World
    router: Client

    async def query(self, text: str) -> dict[str, Any]:
        """Return the body of the router's response."""
        answer = await self.router.query(text)
        assert answer.status == 200, answer.body
        body: dict[str, Any] = answer.body
        return body


@asynccontextmanager
async def supergraph(router: str, second: Path = REVIEWS, **sections: Any) -> AsyncIterator[Supergraph]:
    """Run a router over the gateway and the subgraph of a module."""
    folder = installed(HERE)
    async with AsyncExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        world = await stack.enter_async_context(two_clouds(sections=sections))
        port = free_port()
        command = [sys.executable, str(second), "--port", str(port)]
        await stack.enter_async_context(running(command, port, scratch))
        subgraphs = {"registries": f"{world.gateway.url}/graphql", second.stem: f"http://127.0.0.1:{port}/graphql"}
        router_port = free_port()  # another one, since the subgraph has taken its port
        command = ROUTERS[router](router_port, subgraphs, scratch)
        await stack.enter_async_context(running(command, router_port, folder))
        yield Supergraph(world, Client(f"http://127.0.0.1:{router_port}", world.gateway.session))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@asynccontextmanager
async def running(command: list[str], port: int, folder: Path) -> AsyncIterator[None]:
    """Run a GraphQL server as a process, wait until it responds, and kill it with its children at the end."""
    with tempfile.TemporaryFile() as output:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, stdout=output, stderr=output, start_new_session=True
        )
        try:
            async with asyncio.timeout(60):
                while not await is_ready(port):
                    if process.returncode is not None:
                        output.seek(0)
                        raise RuntimeError(f"{command[0]} ended:\n{output.read().decode()}")
                    await asyncio.sleep(0.05)
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def is_ready(port: int) -> bool:
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{port}/graphql", json={"query": "{ __typename }"}) as response,
        ):
            return response.status == 200 and "data" in await response.json(content_type=None)
    except aiohttp.ClientError:
        return False
