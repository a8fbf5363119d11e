"""The breaker: what opens it, what it lets pass, and how it closes."""

import asyncio
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway import errors
from gateway.config.settings import BreakerSettings, QuotaSettings, RetrySettings
from gateway.errors import RegistryCircuitOpen, RegistryError, RegistryThrottled, RegistryUnavailable
from gateway.upstream.circuit_breaker import BreakerState, CircuitBreaker
from tests.upstream.simulated import Scripted, destination, in_turn, now, request, resilient_client, simulate

FAILURES: list[type[RegistryError]] = [
    errors.RegistryTimeout,
    errors.RegistryUnreachable,
    errors.RegistryUnavailable,
    errors.RegistryThrottled,
]
ANSWERS: list[type[RegistryError]] = [
    errors.RegistryUnauthenticated,
    errors.RegistryForbidden,
    errors.RegistryRejected,
    errors.RegistryBadAnswer,
    errors.RegistryAnswerTooLarge,
    errors.RegistryBusy,
    errors.NotFound,
]
ONCE = RetrySettings(attempts=1)


class Call:
    """A running call that a test ends."""

    def __init__(self, breaker: CircuitBreaker) -> None:
        self.breaker, self.probe = breaker, breaker.begin()

    def end(self, error: BaseException | None) -> None:
        self.breaker.end(self.probe, error)


class Machine(RuleBasedStateMachine):
    """Calls start and end in any order while time passes; a simple model predicts the state."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0
        self.breaker = CircuitBreaker("pai", BreakerSettings(), lambda: self.time)
        self.running: list[Call] = []
        self.probe: Call | None = None
        self.recent: list[tuple[float, bool]] = []
        self.opened, self.rest = -1.0, 0.0

    @property
    def expected(self) -> BreakerState:
        if not self.rest:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self.time < self.opened + self.rest else BreakerState.HALF_OPEN

    @rule(seconds=st.sampled_from([0.1, 1, 5, 10, 29, 60]))
    def time_passes(self, seconds: float) -> None:
        self.time += seconds

    @rule()
    def a_call_begins(self) -> None:
        if self.expected is BreakerState.CLOSED:
            self.running.append(Call(self.breaker))
        elif self.expected is BreakerState.HALF_OPEN and self.probe is None:
            self.probe = Call(self.breaker)
        else:
            with pytest.raises(RegistryCircuitOpen) as caught:
                Call(self.breaker)
            assert caught.value.retry_after is not None
            assert 0 < caught.value.retry_after <= 60

    @precondition(lambda self: self.running)
    @rule(
        data=st.data(),
        error=st.none() | st.sampled_from(FAILURES + ANSWERS).map(lambda kind: kind("pai")),
        times=st.integers(1, 6),
    )
    def calls_end(self, data: st.DataObject, error: RegistryError | None, times: int) -> None:
        for _ in range(min(times, len(self.running))):
            self.running.pop(data.draw(st.integers(0, len(self.running) - 1))).end(error)
            if self.expected is not BreakerState.CLOSED:
                continue
            self.recent = [*self.recent, (self.time, type(error) in FAILURES)][-20:]
            counted = [failed for at, failed in self.recent if at > self.time - 30]
            if sum(counted) >= 5 and 2 * sum(counted) >= len(counted):
                self.opened, self.rest = self.time, 10.0

    @precondition(lambda self: self.running)
    @rule()
    def a_call_is_cancelled(self) -> None:
        self.running.pop().end(asyncio.CancelledError())

    @precondition(lambda self: self.probe)
    @rule(error=st.none() | st.sampled_from(FAILURES + ANSWERS).map(lambda kind: kind("pai")))
    def the_probe_ends(self, error: RegistryError | None) -> None:
        assert self.probe is not None
        self.probe.end(error)
        self.probe = None
        if type(error) in FAILURES:
            self.opened, self.rest = self.time, min(60.0, 2 * self.rest)
        else:
            self.rest, self.recent = 0.0, []

    @precondition(lambda self: self.probe)
    @rule()
    def the_probe_is_cancelled(self) -> None:
        assert self.probe is not None
        self.probe.end(asyncio.CancelledError())
        self.probe = None

    @invariant()
    def the_state_is_the_expected_one(self) -> None:
        assert self.breaker.state is self.expected


Machine.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestMachine = Machine.TestCase


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_error_that_is_a_valid_answer_never_counts(kind: type[RegistryError]) -> None:
    breaker = CircuitBreaker("pai", BreakerSettings(), lambda: 0.0)
    for _ in range(100):
        Call(breaker).end(kind("pai"))
    assert breaker.state is BreakerState.CLOSED


def test_few_failures_among_many_successes_do_not_open_it() -> None:
    breaker = CircuitBreaker("pai", BreakerSettings(), lambda: 0.0)
    for number in range(100):
        Call(breaker).end(RegistryUnavailable("pai") if number % 5 in (1, 3) else None)
    assert breaker.state is BreakerState.CLOSED


def test_an_unexpected_exception_does_not_count_and_ends_the_probe() -> None:
    time = 0.0
    breaker = CircuitBreaker("pai", BreakerSettings(failures=1), lambda: time)
    Call(breaker).end(RegistryUnavailable("pai"))
    time = 10.0
    Call(breaker).end(ZeroDivisionError())
    states = [breaker.state]
    Call(breaker).end(None)
    assert [*states, breaker.state] == [BreakerState.HALF_OPEN, BreakerState.CLOSED]


def test_an_open_breaker_fails_at_once_with_the_time_to_retry() -> None:
    sender = in_turn(RegistryUnavailable("pai"))

    async def run() -> RegistryCircuitOpen:
        client = resilient_client(sender, retry=ONCE)
        for _ in range(5):
            with pytest.raises(RegistryUnavailable):
                await client.send(destination(), request())
        assert client.state("pai") is BreakerState.OPEN
        assert client.state("qianfan") is BreakerState.CLOSED
        await asyncio.sleep(4 - now())
        with pytest.raises(RegistryCircuitOpen) as caught:
            await client.send(destination(), request())
        assert now() == 4
        return caught.value

    error = simulate(run())
    assert len(sender.times) == 5
    assert error.extensions["code"] == "REGISTRY_UNAVAILABLE"
    assert error.retry_after == pytest.approx(6, abs=0.1)


@pytest.mark.parametrize(
    ("probe", "state"), [({}, BreakerState.CLOSED), (RegistryUnavailable("pai"), BreakerState.OPEN)]
)
def test_a_half_open_breaker_lets_one_call_pass(probe: Any, state: BreakerState) -> None:
    well: list[Any] = []

    async def answering(destination: Any, request: Any) -> Any:
        if not well:
            raise RegistryUnavailable("pai")
        await asyncio.sleep(1)
        if isinstance(probe, Exception):
            raise probe
        return probe

    async def run() -> None:
        sender = Scripted(answering)
        client = resilient_client(sender, retry=ONCE, quota=QuotaSettings(requests_per_second=1000, max_wait=60))
        for _ in range(5):
            with pytest.raises(RegistryUnavailable):
                await client.send(destination(), request())
        await asyncio.sleep(11)
        well.append(True)
        assert client.state("pai") is BreakerState.HALF_OPEN
        outcomes = await asyncio.gather(
            *(client.send(destination(), request()) for _ in range(50)), return_exceptions=True
        )
        assert len(sender.times) == 6
        assert sum(isinstance(outcome, RegistryCircuitOpen) for outcome in outcomes) == 49
        assert client.state("pai") is state

    simulate(run())


def test_a_cancelled_probe_lets_the_next_call_pass() -> None:
    async def answering(destination: Any, request: Any) -> Any:
        if now() < 10:
            raise RegistryUnavailable("pai")
        await asyncio.sleep(1)
        return {}

    async def run() -> None:
        client = resilient_client(Scripted(answering), retry=ONCE)
        for _ in range(5):
            with pytest.raises(RegistryUnavailable):
                await client.send(destination(), request())
        await asyncio.sleep(11)
        probe = asyncio.ensure_future(client.send(destination(), request()))
        await asyncio.sleep(0.5)
        with pytest.raises(RegistryCircuitOpen):
            await client.send(destination(), request())
        probe.cancel()
        await asyncio.wait((probe,))
        assert await client.send(destination(), request()) == {}
        assert client.state("pai") is BreakerState.CLOSED

    simulate(run())


def test_throttling_opens_it_only_at_the_lowest_rate() -> None:
    sender = in_turn(RegistryThrottled("pai"))

    async def run() -> float:
        client = resilient_client(sender, retry=ONCE)
        while client.state("pai") is BreakerState.CLOSED:
            with pytest.raises(RegistryThrottled):
                await client.send(destination(), request())
            await asyncio.sleep(0.5)
        return now()

    assert 5 < simulate(run()) < 30
