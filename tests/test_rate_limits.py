"""Rate limits per caller, on a clock that the test moves."""

import pytest

from gateway.auth.rate_limits import MAX_CALLERS, CallerRateLimiter
from gateway.config.settings import LimitsSettings
from gateway.errors import TooManyRequests


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def run(limiter: CallerRateLimiter, caller: str | None, times: int = 1) -> None:
    for _ in range(times):
        with limiter.operation(caller):
            pass


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> CallerRateLimiter:
    return CallerRateLimiter(LimitsSettings(requests_per_second=10, in_flight=3), clock)


def test_the_rate_is_limited_and_the_error_has_the_time_until_a_retry(limiter: CallerRateLimiter, clock: Clock) -> None:
    run(limiter, "a", 10)
    with pytest.raises(TooManyRequests, match="10 operations a second") as refused:
        run(limiter, "a")
    assert refused.value.extensions == {"code": "TOO_MANY_REQUESTS", "retryAfter": 0.1}
    clock.now += refused.value.retry_after
    run(limiter, "a")
    with pytest.raises(TooManyRequests):
        run(limiter, "a")
    clock.now += 3600
    run(limiter, "a", 10)
    with pytest.raises(TooManyRequests):
        run(limiter, "a")


def test_concurrency_is_limited_and_failed_operations_are_released(limiter: CallerRateLimiter) -> None:
    with limiter.operation("a"), limiter.operation("a"), limiter.operation("a"):
        with pytest.raises(TooManyRequests, match="3 operations of this caller are running"):
            run(limiter, "a")
        run(limiter, "b")
    with pytest.raises(ZeroDivisionError), limiter.operation("a"):
        raise ZeroDivisionError
    run(limiter, "a")


def test_callers_have_separate_limits_and_anonymous_ones_none(limiter: CallerRateLimiter) -> None:
    run(limiter, "a", 10)
    run(limiter, "b", 10)
    run(limiter, None, 100)


def test_the_least_recent_callers_are_dropped_and_active_ones_stay(limiter: CallerRateLimiter, clock: Clock) -> None:
    run(limiter, "a", 10)
    for number in range(MAX_CALLERS):
        clock.now += 1e-6
        run(limiter, f"caller {number}")
        if number % 1000 == 0:
            with pytest.raises(TooManyRequests):
                run(limiter, "a")
    assert len(limiter._budgets) == MAX_CALLERS
