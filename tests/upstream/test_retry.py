"""Retries: which errors, how often, after what pause, and within which budget."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import errors
from gateway.config.settings import BreakerSettings, QuotaSettings, RetrySettings
from gateway.errors import (
    RegistryCircuitOpen,
    RegistryError,
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
        (errors.RegistryCircuitOpen, 1),
        (errors.RegistryBusy, 1),
        (errors.RegistryUnauthenticated, 1),
        (errors.RegistryForbidden, 1),
        (errors.RegistryRejected, 1),
        (errors.RegistryBadAnswer, 1),
        (errors.RegistryAnswerTooLarge, 1),
        (errors.NotFound, 1),
    ],
)
def test_only_temporary_errors_are_retried(kind: type[RegistryError], sends: int) -> None:
    sender = in_turn(kind("pai"))
    with pytest.raises(kind):
        simulate(resilient_client(sender).send(destination(), request()))
    assert len(sender.times) == sends


@pytest.mark.parametrize("attempts", [1, 2, 5, 10])
def test_the_number_of_attempts_is_a_setting(attempts: int) -> None:
    sender = in_turn(RegistryUnavailable("pai"))
    with pytest.raises(RegistryUnavailable):
        simulate(
            resilient_client(sender, retry=RetrySettings(attempts=attempts), breaker=TOLERANT).send(
                destination(), request()
            )
        )
    assert len(sender.times) == attempts


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_the_first_success_is_returned(failures: int) -> None:
    sender = in_turn(*[RegistryUnreachable("pai")] * failures, {"Models": []})
    assert simulate(resilient_client(sender).send(destination(), request())) == {"Models": []}
    assert len(sender.times) == failures + 1


@given(st.floats(0, 60), st.floats(0, 60), st.integers(1, 9), st.floats(0, 1), st.none() | st.floats(0, 100))
def test_a_pause_is_the_requested_time_plus_a_random_part_of_the_backoff(
    backoff: float, longest: float, attempts: int, chance: float, requested: float | None
) -> None:
    settings = RetrySettings(attempts=10, backoff=backoff, max_backoff=longest)
    error = RegistryThrottled("pai", retry_after=requested)
    pause = Retry(settings, lambda: chance).pause(error, attempts, 1000)
    assert pause is not None
    assert (requested or 0) <= pause <= (requested or 0) + min(longest, backoff * 2 ** (attempts - 1))


def test_pauses_cover_the_whole_exponential_backoff() -> None:
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


def test_the_time_that_the_registry_requests_is_waited() -> None:
    sender = in_turn(RegistryThrottled("pai", retry_after=7.0), {})
    assert simulate(resilient_client(sender, random=lambda: 0).send(destination(), request())) == {}
    assert sender.times == [0, pytest.approx(7)]


def test_a_requested_time_beyond_the_deadline_is_not_waited() -> None:
    sender = in_turn(RegistryThrottled("pai", retry_after=15.0))

    async def failing() -> float:
        with pytest.raises(RegistryThrottled) as caught:
            await resilient_client(sender).send(destination(), request())
        assert caught.value.retry_after == 15
        return now()

    assert simulate(failing()) == 0
    assert len(sender.times) == 1


async def hang(destination: object, request: object) -> None:
    """Time out like the HTTP client when a registry does not respond."""
    timeout: float = getattr(destination, "timeout")  # noqa: B009
    await asyncio.sleep(timeout)
    raise RegistryTimeout("pai")


def test_all_attempts_end_by_the_deadline() -> None:
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


def test_the_budget_limits_retries_during_an_outage() -> None:
    sender = in_turn(RegistryUnavailable("pai"))

    async def outage() -> None:
        # Without the circuit breaker, so that only the budget limits the retries.
        client = resilient_client(sender, quota=PLENTY)
        client._breaker("pai").check = lambda: None  # type: ignore[method-assign]
        client._breaker("pai")._count = lambda failed: None  # type: ignore[method-assign]
        for _ in range(1000):
            with pytest.raises(RegistryUnavailable):
                await client.send(destination(), request())

    simulate(outage())
    assert 1150 <= len(sender.times) <= 1200 + RESERVE


def test_each_registry_has_its_own_budget() -> None:
    sender = in_turn(RegistryUnreachable("any"))

    async def run() -> int:
        client = resilient_client(sender, retry=RetrySettings(budget=0), breaker=TOLERANT, quota=PLENTY)
        for _ in range(9):
            with pytest.raises(RegistryUnreachable):
                await client.send(destination("pai"), request())
        before = len(sender.times)
        with pytest.raises((RegistryUnreachable, RegistryCircuitOpen)):
            await client.send(destination("qianfan"), request())
        return len(sender.times) - before

    assert simulate(run()) == 3
    assert len(sender.times) == 9 + RESERVE + 3


def test_a_retry_that_cannot_start_raises_the_error_of_the_last_attempt() -> None:
    """The first attempt's failure opens the breaker, so there is no second."""
    sender = in_turn(RegistryUnreachable("pai"))
    with pytest.raises(RegistryUnreachable):
        simulate(resilient_client(sender, breaker=BreakerSettings(failures=2)).send(destination(), request()))
    assert len(sender.times) == 2
