"""Hedging: a second request in parallel to a slow one; the first success is returned."""

import asyncio
from typing import Any

import pytest

from gateway.config.settings import RetrySettings
from gateway.errors import RegistryUnavailable
from tests.upstream.simulated import Scripted, destination, now, request, resilient_client, simulate

NORMAL = 0.1
"""Duration of most calls in seconds."""


class Slow:
    """Answers fast, except the given calls: their duration and outcome are given."""

    def __init__(self, **slow: tuple[float, Any]) -> None:
        self.slow = {int(number.removeprefix("call")): one for number, one in slow.items()}
        self.calls = self.cancelled = 0

    async def answer(self, destination: Any, request: Any) -> Any:
        self.calls += 1
        seconds, outcome = self.slow.get(self.calls, (NORMAL, self.calls))
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def after(registry: Slow, warm: int, **options: Any) -> tuple[Any, float]:
    """Return answer and duration of the call after ``warm`` calls."""
    client = resilient_client(Scripted(registry.answer), hedging=True, **options)
    for _ in range(warm):
        await client.send(destination(), request())
    started = now()
    answer = await client.send(destination(), request())
    assert [(one.in_flight, one.waiting) for one in client._rate_limiters.values()] == [(0, 0)]
    return answer, now() - started


def test_a_slow_request_is_cancelled_when_the_second_succeeds() -> None:
    registry = Slow(call21=(5.0, "late"))
    answer, seconds = simulate(after(registry, 20))
    assert (answer, registry.calls, registry.cancelled) == (22, 22, 1)
    assert seconds == pytest.approx(2 * NORMAL, abs=0.03)


def test_the_first_request_may_succeed_first() -> None:
    registry = Slow(call21=(0.15, "first"), call22=(5.0, "second"))
    assert simulate(after(registry, 20))[0] == "first"
    assert (registry.calls, registry.cancelled) == (22, 1)


def test_hedging_needs_enough_durations() -> None:
    registry = Slow(call20=(5.0, "late"))
    assert simulate(after(registry, 19))[0] == "late"
    assert registry.calls == 20


def test_a_normal_call_is_sent_once() -> None:
    registry = Slow()
    simulate(after(registry, 60))
    assert registry.calls == 61


@pytest.mark.parametrize("broken", ["call21", "call22"])
def test_if_one_request_fails_the_other_is_awaited(broken: str) -> None:
    slow = {"call21": (1.0, "first"), "call22": (0.5, "second")} | {broken: (0.2, RegistryUnavailable("pai"))}
    registry = Slow(**slow)
    assert simulate(after(registry, 20))[0] == ("second" if broken == "call21" else "first")
    assert registry.calls == 22


def test_a_call_that_fails_fast_is_retried_and_not_hedged() -> None:
    registry = Slow(call21=(0.05, RegistryUnavailable("pai")))
    assert simulate(after(registry, 20))[0] == 22
    assert registry.calls == 22


def test_hedging_uses_the_retry_budget() -> None:
    slow: dict[str, Any] = {f"call{number}": (1.0, "slow") for number in range(21, 200)}
    registry = Slow(**slow)

    async def run() -> None:
        client = resilient_client(Scripted(registry.answer), hedging=True, retry=RetrySettings(budget=0))
        for _ in range(60):
            await client.send(destination(), request())

    simulate(run())
    assert registry.calls <= 70


def test_cancelling_the_caller_cancels_both_requests() -> None:
    registry = Slow(call21=(5.0, "first"), call22=(5.0, "second"))

    async def run() -> None:
        client = resilient_client(Scripted(registry.answer), hedging=True)
        for _ in range(20):
            await client.send(destination(), request())
        call = asyncio.ensure_future(client.send(destination(), request()))
        await asyncio.sleep(1)
        call.cancel()
        await asyncio.wait((call,))
        assert call.cancelled()
        assert [(one.in_flight, one.waiting) for one in client._rate_limiters.values()] == [(0, 0)]

    simulate(run())
    assert (registry.calls, registry.cancelled) == (22, 2)
