"""Three gateways with one Redis behind HAProxy under load: ``python -m tests.load [options]``.

Many clients ask repeated and new questions, while registries fail in turn, one gateway is killed and another is
restarted. Each answer is compared with the data of the registries: it must have all of it, or a coverage or an error
that tells what is missing. Prints a report in Markdown. It uses loopback only, and needs HAProxy and Redis.
"""

import argparse
import asyncio
import random
import tempfile
from asyncio.subprocess import Process
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import aiohttp

from tests.docker.deployment import Deployment, deployed
from tests.sizing import Usage

ROWS: Final = 20
FIELDS: Final = "nodes { id name createdAt } coverage { registry { name } state } pageInfo { hasNextPage endCursor }"
REPEATED: Final = f"query Repeated {{ models(first: {ROWS}) {{ {FIELDS} }} }}"
NEW: Final = f"""
query New($since: DateTime, $after: String) {{
  models(first: {ROWS}, filter: {{createdAt: {{from: $since}}}}, after: $after) {{ {FIELDS} }}
}}"""
EVERYTHING: Final = f"query All($after: String) {{ models(first: 100, after: $after) {{ {FIELDS} }} }}"
MODEL: Final = "query Model($id: ID!) { model(id: $id) { id name } }"

FAULTS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"status": 503},
    {"drop": "before"},
    {"latency": 0.5},
    {"status": 429},
)
CALLS: Final = {
    "pai": ("ListModels", "GetModel", "ListModelVersions"),
    "qianfan": ("userList", "presetList", "modelDetail"),
    "mlflow": ("SearchRegisteredModels", "GetRegisteredModel", "SearchModelVersions"),
}
FLAP_SECONDS: Final = 5
QUIET: Final = {"GATEWAY_TELEMETRY_LOG_LEVEL": "error"}

Rows = list[dict[str, Any]]


@dataclass
class Report:
    """What the clients saw: outcomes, codes of errors, and the seconds of each kind of question."""

    outcomes: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def lines(self) -> Iterator[str]:
        """Yield the report in Markdown."""
        total = sum(self.outcomes.values())
        yield "| answer | number | share |\n| --- | --: | --: |"
        for outcome, number in self.outcomes.most_common():
            yield f"| {outcome} | {number:,} | {number / total:.2%} |"
        yield "\n| question | number | p50, ms | p95, ms | p99, ms |\n| --- | --: | --: | --: | --: |"
        for question, seconds in sorted(self.seconds.items()):
            ordered = sorted(seconds)
            percentiles = [f"{ordered[len(ordered) * share // 100] * 1e3:.0f}" for share in (50, 95, 99)]
            yield f"| {question} | {len(ordered):,} | {' | '.join(percentiles)} |"
        yield "\nErrors: " + (", ".join(f"`{code}` {number:,}" for code, number in self.codes.most_common()) or "none")


def registry(row: dict[str, Any]) -> str:
    return str(row["id"]).partition(":")[0]


def judged(page: dict[str, Any], following: Rows) -> str:
    """Return the outcome of a page, given all rows that follow the page before it."""
    nodes = page["nodes"]
    whole = {one["registry"]["name"] for one in page["coverage"] if one["state"] in ("COMPLETE", "STALE")}
    if len(whole) == len(page["coverage"]):
        has_more = len(following) > ROWS
        return "right" if nodes == following[:ROWS] and page["pageInfo"]["hasNextPage"] == has_more else "wrong"
    kept = [node for node in nodes if registry(node) in whole]
    needed = [row for row in following if registry(row) in whole]
    lacks_none = kept == needed[: len(kept)] and (len(nodes) == ROWS or len(kept) == len(needed))
    return "a part; its coverage tells which" if lacks_none and all(node in following for node in nodes) else "wrong"


class Load:
    """Clients of a deployment, and what they saw."""

    def __init__(self, deployment: Deployment, seconds: float, pause: float) -> None:
        self.deployment, self.pause = deployment, pause
        self.report = Report()
        self.rows: Rows = []
        self.ends = perf_counter() + seconds

    async def read_rows(self) -> None:
        """Read all models while no registry fails."""
        after, more = None, True
        while more:
            body = {"query": EVERYTHING, "variables": {"after": after}}
            page = (await self.deployment.client.request("POST", "/graphql", json=body)).data["models"]
            if {one["state"] for one in page["coverage"]} > {"COMPLETE"}:
                raise SystemExit(f"The registries do not answer: {page['coverage']}")
            self.rows += page["nodes"]
            after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]

    async def ask(self, question: str, query: str, **variables: Any) -> dict[str, Any]:
        """Ask a question; return the data. It is empty after an error or a lost request, which is counted."""
        started = perf_counter()
        try:
            body = {"query": query, "variables": variables}
            answer = await self.deployment.client.request("POST", "/graphql", json=body)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.report.outcomes[f"lost: {type(error).__name__}"] += 1
            return {}
        self.report.seconds[question].append(perf_counter() - started)
        if isinstance(answer.body, dict) and "errors" not in answer.body:
            return dict(answer.body["data"])
        codes = answer.codes if isinstance(answer.body, dict) else []
        self.report.codes.update(codes)
        self.report.outcomes["an error that tells why" if codes else f"lost: status {answer.status}"] += 1
        return {}

    async def ask_for_pages(self, question: str, query: str, following: Rows, **variables: Any) -> None:
        """Ask for a page, and for the one after it if it is right."""
        for _ in range(2):
            data = await self.ask(question, query, **variables)
            if not data:
                return
            outcome = judged(data["models"], following)
            self.report.outcomes[outcome] += 1
            if outcome != "right" or query is REPEATED or not data["models"]["pageInfo"]["hasNextPage"]:
                return
            following = following[ROWS:]
            variables["after"] = data["models"]["pageInfo"]["endCursor"]

    async def client(self, seed: int) -> None:
        """Ask until the end, with pauses between the questions."""
        chance = random.Random(seed)  # noqa: S311
        while perf_counter() < self.ends:
            await asyncio.sleep(chance.expovariate(1 / self.pause))
            row = chance.choice(self.rows)
            match chance.randrange(4):
                case 0 | 1:
                    await self.ask_for_pages("a list, repeated", REPEATED, self.rows)
                case 2:
                    since = row["createdAt"] or self.rows[0]["createdAt"]
                    following = [other for other in self.rows if other["createdAt"] and other["createdAt"] >= since]
                    await self.ask_for_pages("a filtered list and its next page, new", NEW, following, since=since)
                case _:
                    if data := await self.ask("a model by id", MODEL, id=row["id"]):
                        expected = {"id": row["id"], "name": row["name"]}
                        self.report.outcomes["right" if data["model"] == expected else "wrong"] += 1

    async def flap(self) -> None:
        """Give each registry another fault from time to time."""
        chance = random.Random(7)  # noqa: S311
        while perf_counter() < self.ends:
            faults = {call: fault for calls in CALLS.values() for fault in [chance.choice(FAULTS)] for call in calls}
            self.deployment.twin.faults.replace(faults)
            await asyncio.sleep(FLAP_SECONDS)

    async def replace_gateways(self, seconds: float) -> None:
        """Kill one gateway after a quarter of the time, and restart another after half of it."""
        gateways = self.deployment.gateways
        await asyncio.sleep(seconds / 4)
        gateways[0].kill()
        await gateways[0].wait()
        await asyncio.sleep(seconds / 4)
        gateways[0] = await self.deployment.start(0)
        gateways[1].terminate()
        await gateways[1].wait()
        gateways[1] = await self.deployment.start(1)


async def sample(processes: list[Process], usages: dict[int, Usage]) -> None:
    """Record the memory and the CPU time of processes until cancelled."""
    while True:
        for process in processes:
            with suppress(FileNotFoundError, ProcessLookupError, KeyError):  # it has ended
                usages[process.pid] = Usage.of(process.pid)
        await asyncio.sleep(0.5)


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--pause", type=float, default=2, help="mean seconds between two questions of a client")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        async with deployed(Path(folder), QUIET, options.clients) as deployment:
            load = Load(deployment, options.seconds, options.pause)
            await load.read_rows()
            deployment.twin.calls.clear()
            usages: dict[int, Usage] = {}
            sampling = asyncio.create_task(sample(deployment.gateways, usages))
            clients = (load.client(seed) for seed in range(options.clients))
            await asyncio.gather(load.flap(), load.replace_gateways(options.seconds), *clients)
            sampling.cancel()
            for line in load.report.lines():
                print(line)
            calls = deployment.twin.calls
            print("Upstream calls:", {name: sum(calls[call] for call in names) for name, names in CALLS.items()})
            print("\n| gateway | MB at most | CPU seconds |\n| --- | --: | --: |")
            for number, usage in enumerate(usages.values(), start=1):
                print(f"| {number} | {usage.highest:.0f} | {usage.cpu:.1f} |")


if __name__ == "__main__":
    asyncio.run(main())
