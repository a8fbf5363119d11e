"""Servers in separate processes: start, readiness, CPU time as reported by the kernel, and stop."""

import asyncio
import socket
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp
import uvicorn

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = [(b"content-type", b"application/json")]
START_TIMEOUT = 60.0
"""Seconds that a server may take to start."""


def serve(application: Application, port: int) -> None:
    """Serve on loopback until stopped, with the gateway's own uvicorn options."""
    uvicorn.run(
        application,
        host="127.0.0.1",
        port=port,
        log_level="error",
        access_log=False,
        lifespan="off",
        timeout_keep_alive=300,
    )


async def answer(send: Send, body: bytes) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [*JSON, length]})
    await send({"type": "http.response.body", "body": body})


@dataclass
class Server:
    """A running server. ``started`` is the value of `perf_counter` at its start."""

    address: str
    pid: int
    started: float

    @property
    def cpu(self) -> float:
        """CPU time used so far, in seconds."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@asynccontextmanager
async def running(*command: str, port: int, ready: str) -> AsyncIterator[Server]:
    """Run a Python module as a server, and wait until it responds at the path ``ready``."""
    started = perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", *command, stdout=DEVNULL)
    server = Server(f"http://127.0.0.1:{port}", process.pid, started)
    try:
        async with asyncio.timeout(START_TIMEOUT):
            while not await answers(server.address, ready):
                if process.returncode is not None:
                    raise RuntimeError(f"{command[0]} ended with {process.returncode}")
                await asyncio.sleep(0.01)
        yield server
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def answers(address: str, path: str) -> bool:
    try:
        async with aiohttp.ClientSession(address) as session, session.get(path) as response:
            return response.status < 500
    except aiohttp.ClientConnectionError:
        return False
