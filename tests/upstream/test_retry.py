"""Retries: what is tried again, how often, after what pause, and what an outage may cost."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import errors
from gateway.config.settings import BreakerSettings, QuotaSettings, RetrySettings
from gateway.errors import (
    RegistryError,
    RegistryResting,
    RegistryThrottled,
    RegistryTimeout,
    RegistryUnavailable,
    RegistryUnreachable,
)
from gateway.upstream.retry import RESERVE, Retry
from tests.upstream.simulated import Scripted, destination, in_turn, now, request, resilient_client, simulate

TOLERANT = BreakerSettings(failures=20)
PLENTY = QuotaSettings(requests_per_second=10_000, in_flight=10_000)


@pytest.mark.parametrize(
    ("kind", "sends"),
    [
        (errors.RegistryTimeout, 3),
        (errors.RegistryUnreachable, 3),
        (errors.RegistryUnavailable, 3),
        (errors.RegistryThrottled, 3),
        (errors.RegistryResting, 1),
        (errors.RegistryBusy, 1),
        (errors.RegistryUnauthenticated, 1),
        (errors.RegistryForbidden, 1),
        (errors.RegistryRejected, 1),
        (errors.RegistryBadAnswer, 1),
        (errors.RegistryAnswerTooLarge, 1),
        (errors.NotFound, 1),
    ],
)
def test_each_error_is_met_as_often_as_it_may_pass(kind: type[RegistryError], sends: int) -> None:
    sender = in_turn(kind("pai"))
    with pytest.raises(kind):
        simulate(resilient_client(sender).send(destination(), request()))
    assert len(sender.times) == sends


@pytest.mark.parametrize("attempts", [1, 2, 5, 10])
def test_a_call_is_sent_as_often_as_the_settings_say(attempts: int) -> None:
    sender = in_turn(RegistryUnavailable("pai"))
    with pytest.raises(RegistryUnavailable):
        simulate(
            resilient_client(sender, retry=RetrySettings(attempts=attempts), breaker=TOLERANT).send(
                destination(), request()
            )
        )
    assert len(sender.times) == attempts


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_the_first_good_answer_is_taken(failures: int) -> None:
    sender = in_turn(*[RegistryUnreachable("pai")] * failures, {"Models": []})
    assert simulate(resilient_client(sender).send(destination(), request())) == {"Models": []}
    assert len(sender.times) == failures + 1


@given(st.floats(0, 60), st.floats(0, 60), st.integers(1, 9), st.floats(0, 1), st.none() | st.floats(0, 100))
def test_a_pause_is_what_the_registry_asks_for_and_a_random_time_within_the_backoff(
    backoff: float, longest: float, attempts: int, chance: float, asked: float | None
) -> None:
    settings = RetrySettings(attempts=10, backoff=backoff, max_backoff=longest)
    error = RegistryThrottled("pai", retry_after=asked)
    pause = Retry(settings, lambda: chance).pause(error, attempts, 1000)
    assert pause is not None
    assert (asked or 0) <= pause <= (asked or 0) + min(longest, backoff * 2 ** (attempts - 1))


def test_pauses_spread_over_the_whole_doubled_backoff() -> None:
    def times(chance: float) -> list[float]:
        sender = in_turn(RegistryUnavailable("pai"))
        with pytest.raises(RegistryUnavailable):
            simulate(
                resilient_client(
                    sender, retry=RetrySettings(attempts=8), breaker=TOLERANT, quota=PLENTY, random=lambda: chance
                ).send(destination(), request())
            )
        return [later - earlier for earlier, later in zip(sender.times, sender.times[1:], strict=False)]

    assert times(0.0) == [0] * 7
    assert times(1.0) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])


def test_what_the_registry_asks_for_is_waited() -> None:
    sender = in_turn(RegistryThrottled("pai", retry_after=7.0), {})
    assert simulate(resilient_client(sender, random=lambda: 0).send(destination(), request())) == {}
    assert sender.times == [0, pytest.approx(7)]


def test_a_registry_that_asks_for_more_than_the_deadline_leaves_is_not_waited_for() -> None:
    sender = in_turn(RegistryThrottled("pai", retry_after=15.0))

    async def failing() -> float:
        with pytest.raises(RegistryThrottled) as caught:
            await resilient_client(sender).send(destination(), request())
        assert caught.value.retry_after == 15
        return now()

    assert simulate(failing()) == 0
    assert len(sender.times) == 1


async def hang(destination: object, request: object) -> None:
    """As the transport does when a registry is silent."""
    timeout: float = getattr(destination, "timeout")  # noqa: B009
    await asyncio.sleep(timeout)
    raise RegistryTimeout("pai")


def test_all_attempts_together_keep_the_deadline() -> None:
    sender = Scripted(hang)

    async def failing() -> float:
        with pytest.raises(RegistryTimeout):
            await resilient_client(sender).send(destination(timeout=8), request())
        return now()

    assert simulate(failing()) == pytest.approx(15)
    assert sender.timeouts == [8, pytest.approx(15 - 8 - 0.05)]


@pytest.mark.parametrize(("deadline", "sends"), [(5.0, 1), (8.1, 1), (15.0, 2), (30.0, 3), (600.0, 3)])
def test_a_timeout_is_retried_while_the_deadline_allows(deadline: float, sends: int) -> None:
    sender = Scripted(hang)
    with pytest.raises(RegistryTimeout):
        simulate(
            resilient_client(sender, retry=RetrySettings(deadline=deadline)).send(destination(timeout=8), request())
        )
    assert len(sender.times) == sends


def test_an_outage_is_multiplied_by_no_more_than_the_budget() -> None:
    sender = in_turn(RegistryUnavailable("pai"))

    async def outage() -> None:
        # Each fails as if the breaker did not exist: the budget alone must do.
        client = resilient_client(sender, quota=PLENTY)
        client._breaker("pai").check = lambda: None  # type: ignore[method-assign]
        client._breaker("pai")._count = lambda failed: None  # type: ignore[method-assign]
        for _ in range(1000):
            with pytest.raises(RegistryUnavailable):
                await client.send(destination(), request())

    simulate(outage())
    assert 1150 <= len(sender.times) <= 1200 + RESERVE


def test_the_budget_of_one_registry_is_not_spent_by_another() -> None:
    sender = in_turn(RegistryUnreachable("any"))

    async def run() -> int:
        client = resilient_client(sender, retry=RetrySettings(budget=0), breaker=TOLERANT, quota=PLENTY)
        for _ in range(9):
            with pytest.raises(RegistryUnreachable):
                await client.send(destination("pai"), request())
        before = len(sender.times)
        with pytest.raises((RegistryUnreachable, RegistryResting)):
            await client.send(destination("qianfan"), request())
        return len(sender.times) - before

    assert simulate(run()) == 3
    assert len(sender.times) == 9 + RESERVE + 3


def test_a_retry_that_finds_no_place_tells_what_the_registry_said() -> None:
    """The first attempt's failure opens the breaker, so there is no second."""
    sender = in_turn(RegistryUnreachable("pai"))
    with pytest.raises(RegistryUnreachable):
        simulate(resilient_client(sender, breaker=BreakerSettings(failures=2)).send(destination(), request()))
    assert len(sender.times) == 2
