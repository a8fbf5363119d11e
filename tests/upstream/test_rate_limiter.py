"""The quota: rates and places, who goes first, and how the rate finds a limit that nobody told."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.settings import QuotaSettings, RetrySettings
from gateway.errors import RegistryBusy, RegistryError, RegistryThrottled, RegistryUnavailable
from gateway.upstream.rate_limiter import CALM, FALL, Clock, RateLimiter
from tests.upstream.simulated import Scripted, destination, now, request, resilient_client, simulate

Limit = Callable[[], bool]


def rate_limiter(rate: float = 10, in_flight: int = 1000, max_wait: float = 60) -> RateLimiter:
    return RateLimiter(QuotaSettings(requests_per_second=rate, in_flight=in_flight, max_wait=max_wait), Clock())


@asynccontextmanager
async def place(quota: RateLimiter, *, refresh: bool = False, patience: float = 1000) -> AsyncIterator[None]:
    """Around one call, as the guard makes it."""
    if not quota.try_acquire(now(), refresh=refresh):
        await quota.acquire("pai", refresh=refresh, max_wait=patience)
    try:
        yield
    except BaseException as error:
        quota.release(error)
        raise
    quota.release(None)


async def use(quota: RateLimiter, seconds: float = 0, *, refresh: bool = False, patience: float = 1000) -> float:
    """Take a place for some seconds; the time when it was got."""
    async with place(quota, refresh=refresh, patience=patience):
        got = now()
        await asyncio.sleep(seconds)
    return got


async def throttle(quota: RateLimiter) -> None:
    with pytest.raises(RegistryThrottled):
        async with place(quota):
            raise RegistryThrottled("pai")


def most_in_a_second(times: list[float]) -> int:
    return max(sum(start <= time < start + 1 for time in times) for start in times)


def test_no_second_holds_more_calls_than_the_published_fifty() -> None:
    async def run() -> list[float]:
        quota = rate_limiter(45)
        return await asyncio.gather(*(use(quota, 0.01) for _ in range(400)))

    times = simulate(run())
    assert most_in_a_second(times) <= 50
    assert max(times) == pytest.approx(400 / 45, abs=0.2)


def test_no_more_calls_are_in_flight_than_permitted_and_a_free_place_is_taken_at_once() -> None:
    async def run() -> list[float]:
        quota = rate_limiter(10_000, in_flight=3)
        return await asyncio.gather(*(use(quota, 1.0) for _ in range(9)))

    assert simulate(run()) == pytest.approx([0] * 3 + [1] * 3 + [2] * 3)


def test_places_are_given_in_the_order_of_asking() -> None:
    async def run() -> list[float]:
        quota = rate_limiter(5)
        return await asyncio.gather(*(use(quota) for _ in range(30)))

    times = simulate(run())
    assert times == sorted(times)


def test_interactive_calls_go_before_refreshes_that_came_earlier() -> None:
    async def run() -> tuple[list[float], list[float]]:
        quota = rate_limiter(10)
        refreshes = [asyncio.ensure_future(use(quota, refresh=True)) for _ in range(10)]
        await asyncio.sleep(0.25)
        interactive = await asyncio.gather(*(use(quota) for _ in range(10)))
        return interactive, list(await asyncio.gather(*refreshes))

    interactive, refreshes = simulate(run())
    early = [time for time in refreshes if time < 0.25]
    assert len(early) == 3
    assert max(interactive) < min(time for time in refreshes if time not in early)


def test_who_waits_too_long_is_told_so_and_when_to_come_back() -> None:
    async def run() -> tuple[float, RegistryBusy]:
        quota = rate_limiter(1000, in_flight=1, max_wait=2)
        holder = asyncio.ensure_future(use(quota, 60))
        await asyncio.sleep(0)
        with pytest.raises(RegistryBusy) as caught:
            await use(quota)
        failed = now()
        await holder
        assert (quota.in_flight, quota.waiting) == (0, 0)
        return failed, caught.value

    failed, error = simulate(run())
    assert failed == pytest.approx(2)
    assert error.retry_after is not None
    assert error.retry_after > 0
    assert error.extensions["code"] == "REGISTRY_BUSY"
    assert error.extensions["retryable"]
    assert str(error) == 'Registry "pai" has its quota of calls in use.'


def test_nobody_waits_beyond_the_deadline() -> None:
    async def run() -> float:
        quota = rate_limiter(1, max_wait=60)
        await use(quota)
        with pytest.raises(RegistryBusy):
            await use(quota, patience=0.3)
        return now()

    assert simulate(run()) == pytest.approx(0.3)


Step = tuple[float, float, float | None, bool, bool]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 3), st.floats(0, 2), st.none() | st.floats(0, 3), st.booleans(), st.booleans()),
        max_size=30,
    )
)
def test_whoever_leaves_and_however_no_place_is_lost(steps: list[Step]) -> None:
    async def one(quota: RateLimiter, start: float, length: float, refresh: bool, fails: bool) -> None:
        await asyncio.sleep(start)
        async with place(quota, refresh=refresh, patience=5):
            assert quota.in_flight <= 2
            await asyncio.sleep(length)
            if fails:
                raise RegistryUnavailable("pai")

    async def run() -> None:
        quota = rate_limiter(4, in_flight=2, max_wait=2)
        tasks = []
        for start, length, cancelled, refresh, fails in steps:
            task = asyncio.ensure_future(one(quota, start, length, refresh, fails))
            tasks.append(task)
            if cancelled is not None:
                asyncio.get_running_loop().call_later(start + cancelled, task.cancel)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError | RegistryError), outcome
        assert (quota.in_flight, quota.waiting) == (0, 0)
        await asyncio.sleep(5)
        before = now()
        await asyncio.gather(use(quota, 1), use(quota, 1))
        assert now() - before <= 1.26, "both places are there"

    simulate(run())


def test_a_waiter_cancelled_in_the_moment_of_its_turn_gives_the_place_back() -> None:
    async def run() -> None:
        quota = rate_limiter(1000, in_flight=1)
        holder = asyncio.ensure_future(use(quota, 1))
        waiter = asyncio.ensure_future(use(quota))
        await asyncio.sleep(0.5)
        holder.add_done_callback(lambda _: waiter.cancel())
        await asyncio.wait((holder, waiter))
        assert quota.in_flight == 0
        assert await use(quota) == pytest.approx(now())

    simulate(run())


def test_a_throttle_lowers_the_rate_but_not_more_often_than_once_a_second() -> None:
    async def run() -> None:
        quota = rate_limiter(40)
        for _ in range(5):
            await throttle(quota)
        assert quota.rate == pytest.approx(40 * FALL)
        await asyncio.sleep(CALM)
        await throttle(quota)
        assert quota.rate == pytest.approx(40 * FALL**2)

    simulate(run())


def test_the_rate_never_falls_below_one_and_comes_back_with_good_answers() -> None:
    async def run() -> float:
        quota = rate_limiter(45)
        for _ in range(30):
            await throttle(quota)
            await asyncio.sleep(CALM)
        assert quota.rate == 1
        assert quota.lowest
        await asyncio.sleep(3600)
        assert quota.rate == 1, "time alone proves nothing"
        before = rate = quota.rate
        started = now()
        while rate < 45:
            await use(quota)
            assert quota.rate >= before
            before = rate = quota.rate
        return now() - started

    assert simulate(run()) < 120


def windows(limit: int, offset: float) -> Limit:
    """So many calls in each whole second of the registry's clock."""
    counts: dict[int, int] = {}

    def permit() -> bool:
        second = int(now() + offset)
        counts[second] = counts.get(second, 0) + 1
        return counts[second] <= limit

    return permit


def sliding(limit: int) -> Limit:
    """So many calls in any second."""
    times: deque[float] = deque()

    def permit() -> bool:
        while times and times[0] <= now() - 1:
            times.popleft()
        if len(times) >= limit:
            return False
        times.append(now())
        return True

    return permit


def bucket(limit: int, size: float) -> Limit:
    """A bucket of tokens."""
    tokens, counted = size, 0.0

    def permit() -> bool:
        nonlocal tokens, counted
        tokens, counted = min(size, tokens + (now() - counted) * limit), now()
        if tokens < 1:
            return False
        tokens -= 1
        return True

    return permit


def measured(permit: Limit, demand: float, seconds: float, seed: int, before: float = 10) -> tuple[int, int]:
    """Good and throttled answers after the first seconds, when calls come at random and a hidden limit holds."""
    chance = random.Random(seed)  # noqa: S311
    good = bad = 0

    async def answering(destination: Any, request: Any) -> Any:
        nonlocal good, bad
        await asyncio.sleep(chance.uniform(0.01, 0.04))
        permitted = permit()
        if before <= now() < seconds:
            good, bad = good + permitted, bad + (not permitted)
        await asyncio.sleep(chance.uniform(0.01, 0.04))
        if not permitted:
            raise RegistryThrottled("pai")
        return {}

    async def one(send: Callable[..., Any]) -> None:
        with suppress(RegistryError):
            await send(destination(), request())

    async def run() -> None:
        client, calls = resilient_client(Scripted(answering), random=chance.random), set()
        while now() < seconds:
            call = asyncio.ensure_future(one(client.send))
            calls.add(call)
            call.add_done_callback(calls.discard)
            await asyncio.sleep(chance.expovariate(demand))
        await asyncio.gather(*calls)

    simulate(run())
    return good, bad


LIMITS: dict[str, Callable[[int], Limit]] = {
    "counted by whole seconds": lambda limit: windows(limit, 0.37),
    "counted over any second": sliding,
    "a bucket of a second": lambda limit: bucket(limit, limit),
    "a bucket of five seconds": lambda limit: bucket(limit, 5 * limit),
}


@pytest.mark.parametrize("limit", [10, 20, 40])
@pytest.mark.parametrize("counted", LIMITS)
def test_a_hidden_limit_is_found_and_used(counted: str, limit: int) -> None:
    good, bad = measured(LIMITS[counted](limit), demand=2 * limit, seconds=130, seed=7)
    assert bad < 0.01 * (good + bad)
    assert good >= 0.9 * 120 * limit


def test_a_limit_that_is_not_reached_costs_nothing() -> None:
    good, bad = measured(sliding(50), demand=30, seconds=60, seed=7, before=0)
    assert bad == 0
    assert good >= 0.9 * 60 * 30


def test_accounts_and_calls_have_quotas_of_their_own() -> None:
    async def answering(destination: Any, request: Any) -> Any:
        await asyncio.sleep(1)
        return {}

    async def run() -> list[float]:
        sender = Scripted(answering)
        client = resilient_client(sender, quota=QuotaSettings(in_flight=1, max_wait=60), retry=RetrySettings())
        await asyncio.gather(
            client.send(destination("pai"), request("ListModels")),
            client.send(destination("pai"), request("GetModel")),
            client.send(destination("pai-eu", account="other"), request("ListModels")),
            client.send(destination("pai-twice"), request("ListModels")),
        )
        return sender.times

    assert simulate(run()) == pytest.approx([0, 0, 0, 1]), "two registries of one account share its quota"


def test_after_a_quiet_second_a_page_of_details_leaves_at_once_and_no_second_holds_more_than_the_rate() -> None:
    async def run() -> list[float]:
        quota = rate_limiter(45)
        return list(await asyncio.gather(*(use(quota) for _ in range(90))))

    times = sorted(simulate(run()))
    assert times[44] == 0.0
    assert all(later - earlier >= 0.9 for earlier, later in zip(times, times[45:], strict=False))
