"""Floods of small requests by a stranger, against a gateway of its own: ``python -m tests.floods [options] [NAME...]``.

Starts twins and a gateway in the profile ``production`` as processes, for each flood anew, and sends the flood over
loopback. Prints a table in Markdown: the input, the memory of the gateway before and after, the memory that its caches
count, the time, and the slowest answer of ``/healthz`` meanwhile. ``--megabytes`` sets `cache.megabytes`, ``--scale
0.1`` sends a tenth of each flood.
"""

import argparse
import asyncio
import hashlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from tests.security.conftest import REGISTRIES
from tests.test_command_line import ENVIRON

CONNECTIONS: Final = 8
"""The number of connections of a flood. One connection sends one request at a time."""

PROBE_SECONDS: Final = 0.05
"""Seconds between two requests for ``/healthz``."""

ADMIN_TOKEN: Final = "the-token-of-the-operator-of-this-gateway"

SETTINGS: Final = f"""
[server]
profile = "production"
[cache]
megabytes = MEGABYTES
admin_token = "{ADMIN_TOKEN}"
[telemetry]
log_level = "error"
{REGISTRIES}"""

LIST: Final = "{ models(first: 2) { nodes { id name } } }"


@dataclass(frozen=True)
class Target:
    """The process under attack."""

    pid: int
    host: str
    port: int

    def megabytes(self) -> float:
        """Return the resident memory of the process."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS"))


class Connection:
    """One HTTP connection, which sends one request at a time."""

    def __init__(self, target: Target) -> None:
        self.target = target

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(self.target.host, self.target.port)

    async def send(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = {}) -> bytes:
        """Send a request; return the body of the response."""
        lines = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        answer = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return await self.reader.readexactly(length)

    def close(self) -> None:
        self.writer.close()


@dataclass(frozen=True)
class Flood:
    """A flood: what it sends, how often, and a function that sends it so many times."""

    input: str
    times: int
    send: Callable[[Target, int], Awaitable[None]]


Post = tuple[Any, Mapping[str, str]]
"""The JSON of a request, and its headers."""


def posts(request: Callable[[int], Post]) -> Callable[[Target, int], Awaitable[None]]:
    """Return a function that sends ``request(number)`` for each number."""

    async def send(target: Target, times: int) -> None:
        numbers = iter(range(times))

        async def client() -> None:
            connection = Connection(target)
            await connection.open()
            for number in numbers:
                body, headers = request(number)
                await connection.send("POST", "/graphql", orjson.dumps(body), headers)
            connection.close()

        await asyncio.gather(*(client() for _ in range(CONNECTIONS)))

    return send


def documents(text: Callable[[int], str]) -> Callable[[Target, int], Awaitable[None]]:
    """Return a function that sends a document for each number."""
    return posts(lambda number: ({"query": text(number)}, {}))


def variables(text: str, values: Callable[[int], Any]) -> Callable[[Target, int], Awaitable[None]]:
    """Return a function that sends one document with variables for each number."""
    return posts(lambda number: ({"query": text, "variables": values(number)}, {}))


def headers(values: Callable[[int], Mapping[str, str]]) -> Callable[[Target, int], Awaitable[None]]:
    """Return a function that sends one document with headers for each number."""
    return posts(lambda number: ({"query": LIST}, values(number)))


def persisted(hash: str, query: str | None = None) -> Post:
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": hash}}
    return {"extensions": extensions, **({} if query is None else {"query": query})}, {}


def registration(number: int) -> Post:
    text = f"query Number{number} {LIST}"
    return persisted(hashlib.sha256(text.encode()).hexdigest(), text)


async def websockets(target: Target, times: int) -> None:
    """Run operations with long ids, one after the other, on one WebSocket."""
    url = f"ws://{target.host}:{target.port}/graphql"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, protocols=["graphql-transport-ws"]) as socket,
    ):
        await socket.send_json({"type": "connection_init"})
        await socket.receive()
        for number in range(times):
            operation = {"type": "subscribe", "id": f"{number}" * 200, "payload": {"query": LIST}}
            await socket.send_json(operation)
            while (await socket.receive_json())["type"] == "next":
                pass


def everything(number: int) -> Post:
    """Return a request that is new to every cache."""
    text = f"query Number{number} {SIZED.removeprefix('query')}"
    request, headers = persisted(hashlib.sha256(text.encode()).hexdigest(), text)
    return {**request, "variables": {"name": f"{number}", "first": 50}}, headers


def letters(number: int) -> str:
    """Return four letters that differ for each number up to 26 ** 4."""
    return "".join(chr(ord("a") + number // 26**at % 26) for at in range(4))


MODEL: Final = "query ($id: ID!) { model(id: $id) { name } }"
NAMED: Final = "query ($name: String) { models(first: 2, filter: {nameContains: $name}) { nodes { id } } }"
LONG: Final = "x" * 20_000

SIZED: Final = """query ($name: String, $first: Int) {
  models(first: $first, filter: {nameContains: $name}) { nodes { id } } }"""
NESTED: Final = """{ models(first: 2) { nodes {
  versions(first: FIRST, filter: {label: {key: "NAME"}}) { nodes { name } } } } }"""


def spaces(number: int) -> str:
    """Return the list with white space and commas that differ for each number."""
    return LIST.replace("(", "(" + f"{number:b}".translate({ord("0"): " ", ord("1"): ","}))


def nested(number: int) -> str:
    return NESTED.replace("FIRST", str(1 + number % 100)).replace("NAME", str(number))


FLOODS: Final[Mapping[str, Flood]] = {
    "variables": Flood("a variable that no operation declares", 100_000, variables(LIST, lambda n: {"j": n})),
    "comments": Flood("documents that differ in a comment", 100_000, documents(lambda n: f"{LIST} # {n}")),
    "spaces": Flood("documents that differ in white space", 60_000, documents(spaces)),
    "long-ids": Flood("ids of 20 kB", 40_000, variables(MODEL, lambda n: {"id": f"pai:model/{n}{LONG}"})),
    "long-literals": Flood(
        "ids of 20 kB in the document", 20_000, documents(lambda n: f'{{ model(id: "{n}{LONG}") {{ name }} }}')
    ),
    "long-filters": Flood("filters of 20 kB", 4_000, variables(NAMED, lambda n: {"name": f"{n}{LONG}"})),
    "syntax-errors": Flood("documents of four letters", 60_000, documents(letters)),
    "unknown-fields": Flood("documents with an unknown field", 40_000, documents(lambda n: f"{{ {letters(n)} }}")),
    "names": Flood("operations with different names", 40_000, documents(lambda n: f"query Number{n} {LIST}")),
    "aliases": Flood(
        "documents that differ in an alias", 40_000, documents(lambda n: LIST.replace("id", f"{letters(n)}: id"))
    ),
    "arguments": Flood("documents that differ in nested arguments", 20_000, documents(nested)),
    "pages": Flood(
        "filters and sizes of pages", 20_000, variables(SIZED, lambda n: {"name": f"{n // 100}", "first": 1 + n % 100})
    ),
    "ids": Flood("ids without an object", 20_000, variables(MODEL, lambda n: {"id": f"pai:model/missing-{n}"})),
    "everything": Flood("requests that are new to every cache", 20_000, posts(everything)),
    "request-ids": Flood("request ids", 60_000, headers(lambda n: {"X-Request-Id": f"{n}-{'x' * 40}"})),
    "accept": Flood("headers `Accept`", 60_000, headers(lambda n: {"Accept": f"application/json;n={n}-{'x' * 400}"})),
    "clients": Flood(
        "names of clients", 60_000, headers(lambda n: {"User-Agent": f"{n}", "apollographql-client-name": f"{n}"})
    ),
    "hashes": Flood("hashes of unknown documents", 60_000, posts(lambda n: persisted(f"{n:064x}"))),
    "registrations": Flood("documents registered by hash", 40_000, posts(registration)),
    "websockets": Flood("ids of operations on a WebSocket", 20_000, websockets),
}


@asynccontextmanager
async def process(log: Path, *arguments: str) -> AsyncIterator[tuple[int, str]]:
    """Run a command of the gateway, and yield its process id and the address in its first line."""
    with log.open("wb") as errors:
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", *arguments, stdout=asyncio.subprocess.PIPE, stderr=errors, env=ENVIRON
        )
    assert running.stdout is not None
    try:
        yield running.pid, (await running.stdout.readline()).decode().split()[1]
    finally:
        if running.returncode is None:
            running.terminate()
        await running.communicate()


@asynccontextmanager
async def under_attack(folder: Path, megabytes: int) -> AsyncIterator[Target]:
    """Run twins and a gateway over them."""
    async with process(folder / "twins.log", "twins", "--port", "0", "--models", "50") as (_, cloud):
        config = folder / "gateway.toml"
        config.write_text(SETTINGS.replace("TWINS", cloud).replace("MEGABYTES", str(megabytes)))
        async with process(folder / "gateway.log", "serve", "--config", str(config), "--port", "0") as (pid, url):
            host, _, port = url.removeprefix("http://").removesuffix("/graphql").rpartition(":")
            yield Target(pid, host, int(port))


async def probe(target: Target, slowest: list[float]) -> None:
    """Request ``/healthz`` until cancelled; ``slowest`` receives the seconds of the slowest answer."""
    while True:
        started, connection = time.perf_counter(), Connection(target)
        await connection.open()
        await connection.send("GET", "/healthz")
        connection.close()
        slowest[0] = max(slowest[0], time.perf_counter() - started)
        await asyncio.sleep(PROBE_SECONDS)


async def counted_megabytes(target: Target) -> float:
    """Return the memory that the caches of the gateway count."""
    connection = Connection(target)
    await connection.open()
    answer = await connection.send("GET", "/cache", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
    connection.close()
    total: int = orjson.loads(answer)["memory"]["total"]
    return total / 1e6


async def measured(flood: Flood, times: int, megabytes: int) -> str:
    """Send a flood to a gateway; return the row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        async with under_attack(Path(folder), megabytes) as target:
            await documents(lambda number: LIST)(target, 100)
            before, started, slowest = target.megabytes(), time.perf_counter(), [0.0]
            probing = asyncio.create_task(probe(target, slowest))
            await flood.send(target, times)
            seconds = time.perf_counter() - started
            after, counted = target.megabytes(), await counted_megabytes(target)
            if probing.done():
                probing.result()
            probing.cancel()
            figures = (f"{before:.0f}", f"{after:.0f}", f"{counted:.0f}", f"{seconds:.0f}", f"{slowest[0] * 1000:.0f}")
            return f"| {times:,} × {flood.input} | {' | '.join(figures)} |"


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.floods", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*FLOODS, []], metavar="NAME", help=", ".join(FLOODS))
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    print("| flood | MB before | MB after | MB counted | s | slowest `/healthz`, ms |")
    print("| --- | --: | --: | --: | --: | --: |", flush=True)
    for name in options.names or FLOODS:
        flood = FLOODS[name]
        print(await measured(flood, int(flood.times * options.scale), options.megabytes), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
