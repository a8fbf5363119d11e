"""Polling of versions: the calls, the results of subscribers, and the end of polling."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from gateway.catalog.ids import Ref, parse
from gateway.catalog.plan_execution import PlanExecution
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
from tests.sagemaker.conftest import sagemaker
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


def version_pollers(**options: Any) -> VersionPollers:
    return VersionPollers(SubscriptionSettings(**{"interval": 5.0, **options}), random=lambda: 0.5)


async def record_of(registry: Registry, poll: Observation) -> Record:
    """Return the record of a subscriber's operation over a poll."""
    return await PlanExecution({"pai": registry}, answers=poll.answers).entity(VERSION, SELECTION)


async def subscribe(
    version_pollers: VersionPollers, registry: Registry, ref: Ref = VERSION
) -> list[tuple[float, Record]]:
    """Return all records of one subscriber, with their times."""
    async with aclosing(version_pollers.watch(registry, ref)) as polls:
        return [(now(), await record_of(registry, poll)) async for poll in polls]


def observe(*outcomes: Any, subscribers: int = 1) -> tuple[list[list[tuple[float, str | None]]], list[float]]:
    """Return the times and approvals that subscribers see after these responses, and the times of all calls."""
    cloud = in_turn(*outcomes)
    pollers = version_pollers()

    async def main() -> list[list[tuple[float, Record]]]:
        pai_registry = registry(cloud)
        found = await asyncio.gather(*(subscribe(pollers, pai_registry) for _ in range(subscribers)))
        assert (pollers.size, pollers.watched) == (0, 0)
        return found

    return [
        [(at, None if record is None else record["approval"]) for at, record in one] for one in simulate(main())
    ], cloud.times


def test_a_version_is_sent_at_once_and_after_each_change_until_it_is_final() -> None:
    states = document(), document(), document(VersionDescription="new"), document("Approved"), document("Rejected")
    [found], calls = observe(*states)
    assert found == [(0, "PENDING"), (10, "PENDING"), (15, "APPROVED")]
    assert calls == [0, 5, 10, 15]


@pytest.mark.parametrize("word", ["Approved", "Rejected"])
def test_a_final_version_costs_one_call(word: str) -> None:
    assert observe(document(word)) == ([[(0, word.upper())]], [0])


def test_a_hundred_subscribers_cost_as_many_calls_as_one() -> None:
    found, calls = observe(document(), document(), document("Approved"), subscribers=100)
    assert calls == [0, 5, 10]
    assert found == [[(0, "PENDING"), (10, "APPROVED")]] * 100


def test_a_missing_or_deleted_version_is_null_and_final() -> None:
    assert observe(NotFound("pai")) == ([[(0, None)]], [0])
    assert observe(document(), NotFound("pai")) == ([[(0, "PENDING"), (5, None)]], [0, 5])


def test_the_interval_grows_with_consecutive_failures() -> None:
    down = RegistryUnavailable("pai")
    [found], calls = observe(document(), down, down, document("Approved"))
    assert calls == [0, 5, 5 + 10, 5 + 10 + 20]
    assert found == [(0, "PENDING"), (35, "APPROVED")]


def test_only_consecutive_failures_end_the_polling() -> None:
    down = [RegistryUnavailable("pai")] * 4
    [found], calls = observe(*down, document(), *down, document("Approved"))
    assert [approval for _, approval in found] == ["PENDING", "APPROVED"]
    assert len(calls) == 10


def test_retry_after_delays_the_next_poll() -> None:
    [found], calls = observe(RegistryThrottled("pai", retry_after=60.0), document("Approved"))
    assert (found, calls) == ([(60, "APPROVED")], [0, 60])


@pytest.mark.parametrize(("error", "polls"), [(RegistryUnavailable("pai"), 5), (RegistryForbidden("pai"), 1)])
def test_repeated_failures_end_every_subscription_with_the_error(error: Exception, polls: int) -> None:
    cloud, pollers = in_turn(error), version_pollers()

    async def main() -> list[Any]:
        pai_registry = registry(cloud)
        return await asyncio.gather(*(subscribe(pollers, pai_registry) for _ in range(3)), return_exceptions=True)

    assert [type(one) for one in simulate(main())] == [type(error)] * 3
    assert len(cloud.times) == polls
    assert (pollers.size, pollers.watched) == (0, 0)


def test_a_later_subscriber_sees_the_current_state_without_a_call() -> None:
    cloud, pollers = in_turn(document(), document(), document("Approved")), version_pollers()

    async def main() -> list[tuple[float, Record]]:
        pai_registry = registry(cloud)
        first = asyncio.create_task(subscribe(pollers, pai_registry))
        await asyncio.sleep(7)
        later = await subscribe(pollers, pai_registry)
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
def test_a_slow_subscriber_sees_only_the_newest_state(states: list[dict[str, Any]], seconds: float) -> None:
    cloud, pollers = in_turn(*states), version_pollers()

    async def main() -> list[Any]:
        pai_registry, approvals = registry(cloud), []
        async with aclosing(pollers.watch(pai_registry, VERSION)) as polls:
            async for poll in polls:
                record = await record_of(pai_registry, poll)
                approvals.append(record and record["approval"])
                await asyncio.sleep(seconds)
        return approvals

    assert simulate(main()) == ["PENDING", "APPROVED"]


def test_the_poller_ends_with_its_last_subscriber() -> None:
    cloud, pollers = in_turn(document()), version_pollers()

    async def main() -> tuple[list[int], list[int]]:
        pai_registry = registry(cloud)
        tasks = [asyncio.create_task(subscribe(pollers, pai_registry)) for _ in range(3)]
        await asyncio.sleep(6)
        sizes, calls = [], []
        for task in tasks:
            sizes.append(pollers.size)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.sleep(20)
            calls.append(len(cloud.times))
        assert (pollers.size, pollers.watched) == (0, 0)
        return sizes, calls

    assert simulate(main()) == ([3, 2, 1], [6, 10, 10])


def test_a_subscriber_during_the_end_of_the_last_one_starts_a_new_poller() -> None:
    cloud, pollers = in_turn(document(), document("Approved")), version_pollers()

    async def main() -> list[tuple[float, Record]]:
        pai_registry = registry(cloud)
        last = asyncio.create_task(subscribe(pollers, pai_registry))
        await asyncio.sleep(1)
        last.cancel()
        next_subscriber = asyncio.create_task(subscribe(pollers, pai_registry))
        await asyncio.gather(last, return_exceptions=True)
        return await next_subscriber

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
def test_subscribers_and_versions_are_bounded(limits: dict[str, int], refs: list[str], permitted: int) -> None:
    cloud, pollers = in_turn(document()), version_pollers(**limits)

    async def main() -> int:
        pai_registry = registry(cloud)
        started = []
        try:
            for name in refs:
                polls = pollers.watch(pai_registry, VERSION.owner.version(name))
                await anext(polls)
                started.append(polls)
        except TooManySubscriptions:
            pass
        size = pollers.size
        for polls in started:
            await polls.aclose()
        pollers.watch(pai_registry, VERSION)
        return size

    assert simulate(main()) == permitted


def test_pauses_vary_by_ten_percent() -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    def poll_with(random_value: Callable[[], float]) -> Coroutine[Any, Any, Any]:
        every = VersionPollers(SubscriptionSettings(interval=5.0), sleep=sleep, random=random_value)
        return subscribe(every, registry(in_turn(document(), document("Approved"))))

    async def main() -> None:
        await poll_with(lambda: 0.0)
        await poll_with(lambda: 1.0)

    simulate(main())
    assert pauses == [4.5, 5.5]


def test_polls_after_the_first_have_low_priority() -> None:
    background: list[bool] = []

    class Recorder(UncachedClient):
        def fetch(self, destination: Any, request: Any, family: str, freshness: Any = None) -> Any:
            background.append(freshness.background)
            return super().fetch(destination, request, family, freshness)

    pai_registry = registry(in_turn(document(), document("Approved")))
    pai_registry.client = Recorder(pai_registry.client.sender)  # type: ignore[attr-defined]

    async def main() -> None:
        await subscribe(version_pollers(), pai_registry)

    simulate(main())
    assert background == [False, True]


def package(readiness: str, approval: str | None) -> dict[str, Any]:
    """Return a version of a registry that has both readiness and approval."""
    reviewed = {} if approval is None else {"ModelApprovalStatus": approval}
    names = {"ModelPackageGroupName": "m", "ModelPackageVersion": 1, "ModelPackageArn": "arn"}
    return {**names, "ModelPackageStatus": readiness, **reviewed}


@pytest.mark.parametrize(
    ("states", "calls"),
    [
        ([("Completed", "PendingManualApproval"), ("Completed", "Approved")], 2),
        ([("InProgress", "Approved"), ("Completed", "Approved")], 2),
        ([("InProgress", "Rejected"), ("Failed", "Rejected")], 2),
        ([("Completed", "Rejected")], 1),
        ([("Failed", "PendingManualApproval")], 1),
        ([("Completed", None)], 1),
        ([("Deleting", "Approved"), NotFound("aws")], 2),
    ],
)
def test_a_version_with_readiness_and_approval_is_final_when_both_are(states: list[Any], calls: int) -> None:
    cloud = in_turn(*[state if isinstance(state, Exception) else package(*state) for state in states])
    settings = sagemaker("http://127.0.0.1:9", ("key", "secret", ""))
    client = UncachedClient(resilient_client(cloud, retry=RetrySettings(attempts=1)))
    aws = Registry(KINDS["sagemaker"], settings, client)

    async def main() -> int:
        async with aclosing(version_pollers().watch(aws, parse("aws:model/m/version/1"))) as polls:
            return len([poll async for poll in polls])

    assert simulate(main()) == calls
    missing = sum(isinstance(state, NotFound) for state in states)  # looked for under a second spelling
    assert len(cloud.times) == calls + missing
