"""A load test with many clients and flapping registries: ``python -m tests.load [seconds] [clients]``.

Every response must be correct or have an error, and memory must stay bounded. It uses loopback only.
"""

import asyncio
import random
import resource
import sys
import time
from collections import Counter
from typing import Any

from gateway.config.settings import CacheSettings
from tests.conftest import World, two_clouds

QUERIES = {
    "list": "{ models(first: 20) { nodes { id name } coverage { registry { name } state } } }",
    "filtered": '{ models(first: 10, filter: {domain: "nlp"}) { nodes { domain } coverage { state } } }',
    "model": '{ model(id: "pai:model/model-rbvg5wzljzjhc9ks92") { name versions { nodes { name } } } }',
    "qianfan": '{ model(id: "qianfan:model/am-gggg4444hhhh") { name versions { totalCount } } }',
    "algorithm": '{ algorithmVersion(id: "pai:algorithm/algo-xsldfvu1334/version/v0.0.1") { spec { jobType } } }',
}
FLAPS: list[dict[str, Any]] = [{}, {"*": {"status": 503}}, {"*": {"drop": "before"}}, {"*": {"latency": 0.5}}, {}]


def is_correct(name: str, body: Any) -> bool:
    """Whether a response has the data of the corpus, or an error or coverage that explains the difference."""
    data = body.get("data") or {}
    if name in ("list", "filtered"):
        page = data.get("models")
        if page is None:
            return bool(body.get("errors"))
        states = {one["state"] for one in page["coverage"]}
        if name == "filtered":
            return all(node["domain"] == "nlp" for node in page["nodes"])
        return len(page["nodes"]) == 20 or not states <= {"COMPLETE", "STALE"}
    expected = {
        "model": {"name": "情感分析", "versions": {"nodes": [{"name": "0.2.0"}, {"name": "0.1.0"}]}},
        "qianfan": {"name": "poster-painter", "versions": {"totalCount": 1}},
        "algorithm": {"spec": {"jobType": "TFJob"}},
    }[name]
    (value,) = data.values()
    return value == expected or bool(body.get("errors"))


async def client(world: World, ends: float, outcomes: Counter[str], times: list[float]) -> None:
    rng = random.Random(id(outcomes) ^ len(times))  # noqa: S311
    while time.monotonic() < ends:
        name = rng.choice(list(QUERIES))
        started = time.monotonic()
        answer = await world.gateway.query(QUERIES[name])
        times.append(time.monotonic() - started)
        codes = ",".join(sorted(set(answer.codes)))
        outcomes["wrong" if not is_correct(name, answer.body) else codes or "correct"] += 1


async def flap(world: World, ends: float) -> None:
    rng = random.Random(7)  # noqa: S311
    await asyncio.sleep(3)
    while time.monotonic() < ends:
        for cloud in (world.pai, world.qianfan):
            cloud.faults.replace(rng.choice(FLAPS))
        await asyncio.sleep(5)


async def main(seconds: float, clients: int) -> None:
    cache = CacheSettings(lists=0.5, objects=0.5, stale=1.0)
    async with two_clouds(sections={"cache": cache}) as world:
        outcomes: Counter[str] = Counter()
        times: list[float] = []
        ends = time.monotonic() + seconds
        await asyncio.gather(flap(world, ends), *(client(world, ends, outcomes, times) for _ in range(clients)))
        times.sort()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        upstream = sum((world.pai.calls + world.qianfan.calls).values())
        print(dict(outcomes), f"{len(times) / seconds:.0f} answers/s, {upstream} upstream calls, {memory} MB at most")
        print("ms:", {p: round(times[int(len(times) * p / 100)] * 1000) for p in (50, 95, 99)})


if __name__ == "__main__":
    asyncio.run(main(float(next(iter(sys.argv[1:]), 60)), int(next(iter(sys.argv[2:]), 200))))
