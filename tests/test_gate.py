"""How much one caller may ask, by a clock of the test's own."""

import pytest

from gateway.auth.rate_limits import MOST_CALLERS, CallerRateLimiter
from gateway.config.settings import LimitsSettings
from gateway.errors import TooManyRequests


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def asks(gate: CallerRateLimiter, caller: str | None, times: int = 1) -> None:
    for _ in range(times):
        with gate.let_in(caller):
            pass


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock: Clock) -> CallerRateLimiter:
    return CallerRateLimiter(LimitsSettings(requests_per_second=10, in_flight=3), clock)


def test_a_caller_asks_as_often_as_allowed_and_is_told_when_it_may_again(gate: CallerRateLimiter, clock: Clock) -> None:
    asks(gate, "a", 10)
    with pytest.raises(TooManyRequests, match="10 operations a second") as refused:
        asks(gate, "a")
    assert refused.value.extensions == {"code": "TOO_MANY_REQUESTS", "retryAfter": 0.1}
    clock.now += refused.value.retry_after
    asks(gate, "a")
    with pytest.raises(TooManyRequests):
        asks(gate, "a")
    clock.now += 3600
    asks(gate, "a", 10)
    with pytest.raises(TooManyRequests):
        asks(gate, "a")


def test_only_so_many_run_at_once_and_each_that_ends_makes_room_even_when_it_fails(gate: CallerRateLimiter) -> None:
    with gate.let_in("a"), gate.let_in("a"), gate.let_in("a"):
        with pytest.raises(TooManyRequests, match="3 operations of this caller are running"):
            asks(gate, "a")
        asks(gate, "b")
    with pytest.raises(ZeroDivisionError), gate.let_in("a"):
        raise ZeroDivisionError
    asks(gate, "a")


def test_callers_do_not_use_up_each_others_share_and_the_nameless_have_none(gate: CallerRateLimiter) -> None:
    asks(gate, "a", 10)
    asks(gate, "b", 10)
    asks(gate, None, 100)


def test_callers_that_were_not_seen_for_long_are_forgotten_but_none_that_asks_now(
    gate: CallerRateLimiter, clock: Clock
) -> None:
    asks(gate, "a", 10)
    for number in range(MOST_CALLERS):
        clock.now += 1e-6
        asks(gate, f"caller {number}")
        if number % 1000 == 0:
            with pytest.raises(TooManyRequests):
                asks(gate, "a")
    assert len(gate._accounts) == MOST_CALLERS
