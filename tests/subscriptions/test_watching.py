"""Watching a version: how often its registry is asked, what ends it, and what is left behind."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from gateway.catalog.ids import Ref, parse
from gateway.catalog.operation import Operation
from gateway.catalog.polling import Observation, VersionPollers
from gateway.catalog.registry import Registry
from gateway.catalog.selection import FieldRequest, Selection
from gateway.config.settings import BreakerSettings, RetrySettings, SubscriptionSettings
from gateway.errors import (
    NotFound,
    RegistryForbidden,
    RegistryThrottled,
    RegistryUnavailable,
    TooManySubscriptions,
)
from gateway.registries import KINDS
from gateway.upstream.caching_client import UncachedClient
from tests.conftest import pai
from tests.upstream.simulated import Scripted, in_turn, now, resilient_client, simulate

VERSION = parse("pai:model/model-1/version/0.1.0")
SELECTION = Selection.of({FieldRequest("approval"): {}, FieldRequest("description"): {}})

Record = dict[Any, Any] | None


def document(approval: str = "Pending", **more: Any) -> dict[str, Any]:
    return {"VersionName": "0.1.0", "ApprovalStatus": approval, **more}


def registry(cloud: Scripted) -> Registry:
    settings = pai("http://127.0.0.1:9")
    one_try, patient = RetrySettings(attempts=1), BreakerSettings(failures=20)
    return Registry(
        KINDS["pai"].of(settings), settings, UncachedClient(resilient_client(cloud, retry=one_try, breaker=patient))
    )


def watches(**options: Any) -> VersionPollers:
    return VersionPollers(SubscriptionSettings(**{"interval": 5.0, **options}), random=lambda: 0.5)


async def record_of(registry: Registry, observation: Observation) -> Record:
    """Return the record that a subscriber resolves from an observation."""
    return await Operation({"pai": registry}, answers=observation.answers).entity(VERSION, SELECTION)


async def watch(watches: VersionPollers, registry: Registry, ref: Ref = VERSION) -> list[tuple[float, Record]]:
    """Everything that one watcher sees, and when."""
    async with aclosing(watches.watch(registry, ref)) as observations:
        return [(now(), await record_of(registry, observation)) async for observation in observations]


def seen(*outcomes: Any, watchers: int = 1) -> tuple[list[list[tuple[float, str | None]]], list[float]]:
    """What watchers see of a version that is answered like this: times and approvals; and the times of all calls."""
    cloud = in_turn(*outcomes)
    all_watches = watches()

    async def main() -> list[list[tuple[float, Record]]]:
        here = registry(cloud)
        found = await asyncio.gather(*(watch(all_watches, here) for _ in range(watchers)))
        assert (all_watches.size, all_watches.watched) == (0, 0)
        return found

    return [
        [(at, None if record is None else record["approval"]) for at, record in one] for one in simulate(main())
    ], cloud.times


def test_a_version_is_told_at_once_and_whenever_it_changes_until_it_is_final() -> None:
    states = document(), document(), document(VersionDescription="new"), document("Approved"), document("Rejected")
    [found], calls = seen(*states)
    assert found == [(0, "PENDING"), (10, "PENDING"), (15, "APPROVED")]
    assert calls == [0, 5, 10, 15]


@pytest.mark.parametrize("word", ["Approved", "Rejected"])
def test_a_version_that_is_final_already_costs_one_call(word: str) -> None:
    assert seen(document(word)) == ([[(0, word.upper())]], [0])


def test_a_hundred_watchers_cost_as_many_calls_as_one() -> None:
    found, calls = seen(document(), document(), document("Approved"), watchers=100)
    assert calls == [0, 5, 10]
    assert found == [[(0, "PENDING"), (10, "APPROVED")]] * 100


def test_a_version_that_is_not_there_or_goes_away_is_null_and_final() -> None:
    assert seen(NotFound("pai")) == ([[(0, None)]], [0])
    assert seen(document(), NotFound("pai")) == ([[(0, "PENDING"), (5, None)]], [0, 5])


def test_failing_looks_become_rarer_and_watchers_wait() -> None:
    down = RegistryUnavailable("pai")
    [found], calls = seen(document(), down, down, document("Approved"))
    assert calls == [0, 5, 5 + 10, 5 + 10 + 20]
    assert found == [(0, "PENDING"), (35, "APPROVED")]


def test_only_failures_one_after_the_other_end_the_patience() -> None:
    down = [RegistryUnavailable("pai")] * 4
    [found], calls = seen(*down, document(), *down, document("Approved"))
    assert [approval for _, approval in found] == ["PENDING", "APPROVED"]
    assert len(calls) == 10


def test_a_registry_that_names_a_time_is_not_asked_before() -> None:
    [found], calls = seen(RegistryThrottled("pai", retry_after=60.0), document("Approved"))
    assert (found, calls) == ([(60, "APPROVED")], [0, 60])


@pytest.mark.parametrize(("error", "looks"), [(RegistryUnavailable("pai"), 5), (RegistryForbidden("pai"), 1)])
def test_a_registry_that_keeps_failing_ends_every_watch_with_its_error(error: Exception, looks: int) -> None:
    cloud, all_watches = in_turn(error), watches()

    async def main() -> list[Any]:
        here = registry(cloud)
        return await asyncio.gather(*(watch(all_watches, here) for _ in range(3)), return_exceptions=True)

    assert [type(one) for one in simulate(main())] == [type(error)] * 3
    assert len(cloud.times) == looks
    assert (all_watches.size, all_watches.watched) == (0, 0)


def test_who_comes_later_sees_the_present_state_at_once_without_a_call() -> None:
    cloud, all_watches = in_turn(document(), document(), document("Approved")), watches()

    async def main() -> list[tuple[float, Record]]:
        here = registry(cloud)
        first = asyncio.create_task(watch(all_watches, here))
        await asyncio.sleep(7)
        later = await watch(all_watches, here)
        await first
        return later

    assert [at for at, _ in simulate(main())] == [7, 10]
    assert cloud.times == [0, 5, 10]


@pytest.mark.parametrize(
    ("states", "seconds"),
    [
        ([document(), document(n=1), document(n=2), document("Approved", n=3)], 20),
        ([document(), document(), document(), document("Approved")], 12),
    ],
    ids=["all changes missed", "nothing changed meanwhile"],
)
def test_who_is_slow_sees_the_newest_state_only(states: list[dict[str, Any]], seconds: float) -> None:
    cloud, all_watches = in_turn(*states), watches()

    async def main() -> list[Any]:
        here, approvals = registry(cloud), []
        async with aclosing(all_watches.watch(here, VERSION)) as observations:
            async for observation in observations:
                record = await record_of(here, observation)
                approvals.append(record and record["approval"])
                await asyncio.sleep(seconds)
        return approvals

    assert simulate(main()) == ["PENDING", "APPROVED"]


def test_the_poller_ends_with_its_last_watcher() -> None:
    cloud, all_watches = in_turn(document()), watches()

    async def main() -> tuple[list[int], list[int]]:
        here = registry(cloud)
        tasks = [asyncio.create_task(watch(all_watches, here)) for _ in range(3)]
        await asyncio.sleep(6)
        sizes, calls = [], []
        for task in tasks:
            sizes.append(all_watches.size)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.sleep(20)
            calls.append(len(cloud.times))
        assert (all_watches.size, all_watches.watched) == (0, 0)
        return sizes, calls

    assert simulate(main()) == ([3, 2, 1], [6, 10, 10])


def test_who_comes_while_the_last_watcher_leaves_begins_anew() -> None:
    cloud, all_watches = in_turn(document(), document("Approved")), watches()

    async def main() -> list[tuple[float, Record]]:
        here = registry(cloud)
        leaving = asyncio.create_task(watch(all_watches, here))
        await asyncio.sleep(1)
        leaving.cancel()
        coming = asyncio.create_task(watch(all_watches, here))
        await asyncio.gather(leaving, return_exceptions=True)
        return await coming

    assert [at for at, _ in simulate(main())] == [1]


@pytest.mark.parametrize(
    ("limits", "refs", "permitted"),
    [
        ({"total": 2}, ["0.1.0"] * 3, 2),
        ({"total": 2}, ["0.1.0", "0.2.0", "0.3.0"], 2),
        ({"watched": 2}, ["0.1.0", "0.2.0", "0.3.0"], 2),
        ({"watched": 2}, ["0.1.0", "0.2.0", "0.1.0", "0.2.0"], 4),
    ],
)
def test_watchers_and_versions_are_bounded(limits: dict[str, int], refs: list[str], permitted: int) -> None:
    cloud, all_watches = in_turn(document()), watches(**limits)

    async def main() -> int:
        here = registry(cloud)
        begun = []
        try:
            for name in refs:
                looks = all_watches.watch(here, VERSION.owner.version(name))
                await anext(looks)
                begun.append(looks)
        except TooManySubscriptions:
            pass
        size = all_watches.size
        for looks in begun:
            await looks.aclose()
        all_watches.watch(here, VERSION)
        return size

    assert simulate(main()) == permitted


def test_pauses_vary_by_a_tenth_to_either_side() -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    def look(chance: Callable[[], float]) -> Coroutine[Any, Any, Any]:
        every = VersionPollers(SubscriptionSettings(interval=5.0), sleep=sleep, random=chance)
        return watch(every, registry(in_turn(document(), document("Approved"))))

    async def main() -> None:
        await look(lambda: 0.0)
        await look(lambda: 1.0)

    simulate(main())
    assert pauses == [4.5, 5.5]


def test_looks_after_the_first_let_other_calls_go_first() -> None:
    waits: list[bool] = []

    class Noting(UncachedClient):
        def fetch(self, destination: Any, request: Any, family: str, wanted: Any = None) -> Any:
            waits.append(wanted.background)
            return super().fetch(destination, request, family, wanted)

    here = registry(in_turn(document(), document("Approved")))
    here.client = Noting(here.client.sender)  # type: ignore[attr-defined]

    async def main() -> None:
        await watch(watches(), here)

    simulate(main())
    assert waits == [False, True]
