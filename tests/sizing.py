"""Memory and CPU time of a gateway by the size of its registries: ``python -m tests.sizing [options] [MODELS...]``.

Starts twins with so many models, Redis and a gateway with its default limits as processes, for each size anew. A client
reads all pages of models with their versions, twice. Prints a table in Markdown: what was read, the memory of the
gateway before and at its highest, the memory that its caches count, the memory of Redis, and the CPU time of the
gateway per page. ``--megabytes`` sets `cache.megabytes`.
"""

import argparse
import asyncio
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from tests.floods import SETTINGS, Connection, Target, counted_megabytes, process
from tests.test_replicas import Server

SIZES: Final = (300, 3_000, 30_000)

ROWS: Final = 100

PAGE: Final = """
query Page($after: String, $first: Int!) {
  models(first: $first, after: $after) {
    nodes { id name domain createdAt labels { key value } versions(first: 10) { nodes { id name uri createdAt } } }
    pageInfo { hasNextPage endCursor }
    coverage { state error { code message } }
  }
}
"""

SIZED: Final = """
[catalog]
scan_rows = 20000
[quota]
requests_per_second = 10000
in_flight = 1000
"""


@dataclass(frozen=True)
class Usage:
    """What a process uses: memory now and at its highest in millions of bytes, and CPU time in seconds."""

    memory: float
    highest: float
    cpu: float

    @classmethod
    def of(cls, pid: int) -> "Usage":
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        memory, highest = (int(lines[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return cls(memory, highest, (int(user) + int(system)) / os.sysconf("SC_CLK_TCK"))


async def read_all(target: Target) -> tuple[int, int, int]:
    """Read all pages; return the numbers of pages, models and versions. Every page must be whole."""
    connection, after = Connection(target), None
    await connection.open()
    pages = models = versions = 0
    while True:
        body = {"query": PAGE, "variables": {"first": ROWS, "after": after}}
        answer: Any = orjson.loads(await connection.send("POST", "/graphql", orjson.dumps(body)))
        if answer.get("errors"):
            raise SystemExit(f"page {pages + 1}: {answer['errors'][0]}")
        page = answer["data"]["models"]
        if any(share["state"] not in ("COMPLETE", "STALE") for share in page["coverage"]):
            raise SystemExit(f"page {pages + 1}: {page['coverage']}")
        pages, models = pages + 1, models + len(page["nodes"])
        versions += sum(len(node["versions"]["nodes"]) for node in page["nodes"])
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            connection.close()
            return pages, models, versions


async def measured(folder: Path, models: int, megabytes: int) -> str:
    """Read all pages of a gateway over so many models; return the row of the table."""
    redis = Server(folder)
    await redis.start()
    try:
        async with process(folder / "twins.log", "twins", "--port", "0", "--models", str(models)) as (_, cloud):
            config = folder / "gateway.toml"
            settings = SETTINGS.replace("TWINS", cloud).replace("MEGABYTES", str(megabytes)) + SIZED
            config.write_text(settings.replace("[cache]", f'[cache]\nredis = "{redis.url}"'))
            async with process(folder / "gateway.log", "serve", "--config", str(config), "--port", "0") as (pid, url):
                host, _, port = url.removeprefix("http://").removesuffix("/graphql").rpartition(":")
                target = Target(pid, host, int(port))
                before = Usage.of(pid)
                pages, rows, versions = await read_all(target)
                first = Usage.of(pid)
                await read_all(target)
                again = Usage.of(pid)
                counted = await counted_megabytes(target)
                async with redis.client() as client:
                    shared = (await client.info("memory"))["used_memory"] / 1e6
    finally:
        await redis.stop()
    per_page = [f"{(ends.cpu - begins.cpu) / pages * 1e3:.1f}" for begins, ends in ((before, first), (first, again))]
    figures = (f"{before.memory:.0f}", f"{again.highest:.0f}", f"{counted:.0f}", f"{shared:.0f}", *per_page)
    return f"| {rows:,} | {versions:,} | {megabytes} | {' | '.join(figures)} |"


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.sizing", description=__doc__)
    parser.add_argument("models", nargs="*", type=int, default=SIZES, metavar="MODELS")
    parser.add_argument("--megabytes", type=int, default=256)
    options = parser.parse_args()
    print("| models | versions | `cache.megabytes` | MB at start | MB at most | MB counted | MB in Redis "
          "| ms per page, first | ms per page, again |")  # fmt: skip
    print(f"|{' --: |' * 9}", flush=True)
    for models in options.models:
        with tempfile.TemporaryDirectory() as folder:
            print(await measured(Path(folder), models, options.megabytes), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
