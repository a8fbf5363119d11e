"""Time limits of many tasks: when each ends, and what a cancellation from outside does."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.upstream.time_limits import TimeLimits
from tests.upstream.simulated import now, simulate


async def ends_of(limits: TimeLimits, *works: tuple[float, float]) -> Sequence[tuple[float, bool]]:
    """Do works with a limit and a duration each, at the same time. Returns when each ended, and whether in time."""

    async def ending(limit: float, duration: float) -> tuple[float, bool]:
        try:
            return await limits.until(now() + limit, asyncio.sleep(duration, now() + duration)), True
        except TimeoutError:
            return now(), False

    return await asyncio.gather(*[ending(*work) for work in works])


@pytest.mark.parametrize("order", [1, -1])
def test_each_work_is_cancelled_at_its_own_time(order: int) -> None:
    works = [(1.0, 9.0), (2.0, 1.5), (2.0, 9.0), (2.0, 9.0), (4.0, 9.0)][::order]
    expected = [(1.0, False), (1.5, True), (2.0, False), (2.0, False), (4.0, False)][::order]
    assert simulate(ends_of(TimeLimits(), *works)) == expected


def test_work_that_starts_while_the_timer_is_set_or_after_it_has_its_own_time() -> None:
    async def main() -> None:
        limits = TimeLimits()
        assert await ends_of(limits, (5.0, 1.0)) == [(1.0, True)]
        assert await ends_of(limits, (5.0, 9.0), (3.0, 9.0)) == [(6.0, False), (4.0, False)]
        await asyncio.sleep(10)
        assert await ends_of(limits, (1.0, 9.0)) == [(17.0, False)]

    simulate(main())


def test_a_cancellation_from_outside_stays_one() -> None:
    async def main() -> None:
        limits = TimeLimits()
        cancelled = asyncio.create_task(limits.until(5.0, asyncio.sleep(9)))
        both = asyncio.create_task(limits.until(1.0, asyncio.sleep(9)))
        await asyncio.sleep(0)
        cancelled.cancel()
        asyncio.get_running_loop().call_at(1.0, both.cancel)
        outcomes = await asyncio.gather(cancelled, both, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2

    simulate(main())


def test_a_failure_is_passed_on_and_a_task_goes_on_after_a_timeout() -> None:
    async def main() -> None:
        limits = TimeLimits()
        with pytest.raises(ZeroDivisionError):
            await limits.until(1.0, failing())
        with pytest.raises(TimeoutError):
            await limits.until(1.0, asyncio.sleep(9))
        await asyncio.sleep(1)
        assert now() == 2.0

    async def failing() -> None:
        raise ZeroDivisionError

    simulate(main())
