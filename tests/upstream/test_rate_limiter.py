"""The rate limiter: rate, concurrency, order, and how the rate adapts to an unknown limit."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.settings import Quota, QuotaSettings, RetrySettings
from gateway.errors import RegistryBusy, RegistryError, RegistryThrottled, RegistryUnavailable
from gateway.upstream.rate_limiter import ATTRIBUTION_SECONDS, THROTTLED_FACTOR, Clock, RateLimiter
from tests.upstream.simulated import Scripted, destination, now, request, resilient_client, simulate

Limit = Callable[[], bool]


def rate_limiter(rate: float = 10, in_flight: int = 1000, max_wait: float = 60) -> RateLimiter:
    return RateLimiter(Quota(requests_per_second=rate, in_flight=in_flight, max_wait=max_wait), Clock())


@asynccontextmanager
async def place(limiter: RateLimiter, *, refresh: bool = False, max_wait: float = 1000) -> AsyncIterator[None]:
    """Context of one call, as in the resilient client."""
    if not limiter.try_acquire(now(), refresh=refresh):
        await limiter.acquire("pai", refresh=refresh, max_wait=max_wait)
    try:
        yield
    except BaseException as error:
        limiter.release(error)
        raise
    limiter.release(None)


async def use(limiter: RateLimiter, seconds: float = 0, *, refresh: bool = False, max_wait: float = 1000) -> float:
    """Make a call of some seconds; return the time of its start."""
    async with place(limiter, refresh=refresh, max_wait=max_wait):
        got = now()
        await asyncio.sleep(seconds)
    return got


async def throttle(limiter: RateLimiter) -> None:
    with pytest.raises(RegistryThrottled):
        async with place(limiter):
            raise RegistryThrottled("pai")


def most_in_a_second(times: list[float]) -> int:
    return max(sum(start <= time < start + 1 for time in times) for start in times)


def test_no_second_has_more_calls_than_the_published_fifty() -> None:
    async def run() -> list[float]:
        limiter = rate_limiter(45)
        return await asyncio.gather(*(use(limiter, 0.01) for _ in range(400)))

    times = simulate(run())
    assert most_in_a_second(times) <= 50
    assert max(times) == pytest.approx(400 / 45, abs=0.2)


def test_concurrency_is_limited_and_a_free_slot_is_used_at_once() -> None:
    async def run() -> list[float]:
        limiter = rate_limiter(10_000, in_flight=3)
        return await asyncio.gather(*(use(limiter, 1.0) for _ in range(9)))

    assert simulate(run()) == pytest.approx([0] * 3 + [1] * 3 + [2] * 3)


def test_calls_start_in_order_of_arrival() -> None:
    async def run() -> list[float]:
        limiter = rate_limiter(5)
        return await asyncio.gather(*(use(limiter) for _ in range(30)))

    times = simulate(run())
    assert times == sorted(times)


def test_interactive_calls_start_before_queued_refreshes() -> None:
    async def run() -> tuple[list[float], list[float]]:
        limiter = rate_limiter(10)
        refreshes = [asyncio.ensure_future(use(limiter, refresh=True)) for _ in range(10)]
        await asyncio.sleep(0.25)
        interactive = await asyncio.gather(*(use(limiter) for _ in range(10)))
        return interactive, list(await asyncio.gather(*refreshes))

    interactive, refreshes = simulate(run())
    early = [time for time in refreshes if time < 0.25]
    assert len(early) == 3
    assert max(interactive) < min(time for time in refreshes if time not in early)


def test_a_call_that_waits_too_long_fails_with_a_time_to_retry() -> None:
    async def run() -> tuple[float, RegistryBusy]:
        limiter = rate_limiter(1000, in_flight=1, max_wait=2)
        holder = asyncio.ensure_future(use(limiter, 60))
        await asyncio.sleep(0)
        with pytest.raises(RegistryBusy) as caught:
            await use(limiter)
        failed = now()
        await holder
        assert (limiter.in_flight, limiter.waiting) == (0, 0)
        return failed, caught.value

    failed, error = simulate(run())
    assert failed == pytest.approx(2)
    assert error.retry_after is not None
    assert error.retry_after > 0
    assert error.extensions["code"] == "REGISTRY_BUSY"
    assert error.extensions["retryable"]
    assert str(error) == 'Registry "pai" already receives as many calls as the gateway may send.'


def test_no_call_waits_beyond_its_deadline() -> None:
    async def run() -> float:
        limiter = rate_limiter(1, max_wait=60)
        await use(limiter)
        with pytest.raises(RegistryBusy):
            await use(limiter, max_wait=0.3)
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
def test_no_slot_is_lost_however_calls_end(steps: list[Step]) -> None:
    async def one(limiter: RateLimiter, start: float, length: float, refresh: bool, fails: bool) -> None:
        await asyncio.sleep(start)
        async with place(limiter, refresh=refresh, max_wait=5):
            assert limiter.in_flight <= 2
            await asyncio.sleep(length)
            if fails:
                raise RegistryUnavailable("pai")

    async def run() -> None:
        limiter = rate_limiter(4, in_flight=2, max_wait=2)
        tasks = []
        for start, length, cancelled, refresh, fails in steps:
            task = asyncio.ensure_future(one(limiter, start, length, refresh, fails))
            tasks.append(task)
            if cancelled is not None:
                asyncio.get_running_loop().call_later(start + cancelled, task.cancel)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError | RegistryError), outcome
        assert (limiter.in_flight, limiter.waiting) == (0, 0)
        await asyncio.sleep(5)
        before = now()
        await asyncio.gather(use(limiter, 1), use(limiter, 1))
        assert now() - before <= 1.26, "both slots are free"

    simulate(run())


def test_a_call_cancelled_as_it_starts_frees_its_slot() -> None:
    async def run() -> None:
        limiter = rate_limiter(1000, in_flight=1)
        holder = asyncio.ensure_future(use(limiter, 1))
        waiter = asyncio.ensure_future(use(limiter))
        await asyncio.sleep(0.5)
        holder.add_done_callback(lambda _: waiter.cancel())
        await asyncio.wait((holder, waiter))
        assert limiter.in_flight == 0
        assert await use(limiter) == pytest.approx(now())

    simulate(run())


def test_throttling_lowers_the_rate_at_most_once_a_second() -> None:
    async def run() -> None:
        limiter = rate_limiter(40)
        for _ in range(5):
            await throttle(limiter)
        assert limiter.rate == pytest.approx(40 * THROTTLED_FACTOR)
        await asyncio.sleep(ATTRIBUTION_SECONDS)
        await throttle(limiter)
        assert limiter.rate == pytest.approx(40 * THROTTLED_FACTOR**2)

    simulate(run())


def test_the_rate_never_falls_below_one_and_recovers_with_successes() -> None:
    async def run() -> float:
        limiter = rate_limiter(45)
        for _ in range(30):
            await throttle(limiter)
            await asyncio.sleep(ATTRIBUTION_SECONDS)
        assert limiter.rate == 1
        assert limiter.is_at_minimum
        await asyncio.sleep(3600)
        assert limiter.rate == 1, "time alone does not raise it"
        before = rate = limiter.rate
        started = now()
        while rate < 45:
            await use(limiter)
            assert limiter.rate >= before
            before = rate = limiter.rate
        return now() - started

    assert simulate(run()) < 120


def windows(limit: int, offset: float) -> Limit:
    """A fixed window: so many calls in each second of the registry's clock."""
    counts: dict[int, int] = {}

    def permit() -> bool:
        second = int(now() + offset)
        counts[second] = counts.get(second, 0) + 1
        return counts[second] <= limit

    return permit


def sliding(limit: int) -> Limit:
    """A sliding window: so many calls in any second."""
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
    """A token bucket."""
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
    """Return the numbers of successful and throttled calls that arrive at random, under a hidden limit."""
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
    "fixed window": lambda limit: windows(limit, 0.37),
    "sliding window": sliding,
    "bucket of one second": lambda limit: bucket(limit, limit),
    "bucket of five seconds": lambda limit: bucket(limit, 5 * limit),
}


@pytest.mark.parametrize("limit", [10, 20, 40])
@pytest.mark.parametrize("counted", LIMITS)
def test_a_hidden_limit_is_found_and_used(counted: str, limit: int) -> None:
    good, bad = measured(LIMITS[counted](limit), demand=2 * limit, seconds=130, seed=7)
    assert bad < 0.01 * (good + bad)
    assert good >= 0.9 * 120 * limit


def test_a_limit_that_is_not_reached_has_no_effect() -> None:
    good, bad = measured(sliding(50), demand=30, seconds=60, seed=7, before=0)
    assert bad == 0
    assert good >= 0.9 * 60 * 30


def test_limits_are_per_account_and_call() -> None:
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

    assert simulate(run()) == pytest.approx([0, 0, 0, 1]), "two registries of one account share its limit"


def test_after_a_quiet_second_the_calls_of_one_second_start_at_once() -> None:
    async def run() -> list[float]:
        limiter = rate_limiter(45)
        return list(await asyncio.gather(*(use(limiter) for _ in range(90))))

    times = sorted(simulate(run()))
    assert times[44] == 0.0
    assert all(later - earlier >= 0.9 for earlier, later in zip(times, times[45:], strict=False))
