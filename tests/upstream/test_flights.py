"""Calls under way: when their steps are taken, who hears how they end, and on whose behalf they run."""

import asyncio
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Any

import pytest

from gateway.errors import RegistryError, RegistryRejected, RegistryResting
from gateway.telemetry.events import CURRENT, NO_EVENTS, Call, State
from gateway.upstream.caching_client import UncachedClient
from gateway.upstream.messages import Destination, Request
from gateway.upstream.single_flight import SingleFlight
from tests.upstream.simulated import destination, request


class Waiting:
    """Waits for a call, and says what came of it."""

    def __init__(self) -> None:
        self.end: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def come(self, brought: Any) -> None:
        self.end.set_result(brought)

    def fail(self, error: Exception) -> None:
        self.end.set_exception(error)

    def give_up(self) -> None:
        self.end.cancel()


class Registry:
    """Sends nothing on until it is told to ``go``; counts what was asked for."""

    def __init__(self, outcome: Any = None) -> None:
        self.go, self.outcome, self.asked = asyncio.Event(), {} if outcome is None else outcome, list[str]()

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
        self.asked.append(request.call)
        with NO_EVENTS.attempt(destination.registry, request.call, request.method):
            await self.go.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


async def test_fifty_calls_have_left_before_whoever_asks_goes_on() -> None:
    registry = Registry()
    direct = UncachedClient(registry)
    calls = [f"Get{number}" for number in range(50)]
    sent = [direct.fetch(destination(), request(call), "objects") for call in calls]
    assert registry.asked == calls
    registry.go.set()
    assert {answer.state for answer in await asyncio.gather(*sent)} == {State.MISS}


async def test_a_call_that_fails_before_it_waits_has_failed_when_it_is_asked_for() -> None:
    class Resting:
        sent = 0

        async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
            self.sent += 1
            raise RegistryResting(destination.registry)

    resting = Resting()
    direct = UncachedClient(resting)
    for times in (1, 2):
        sent = direct.fetch(destination(), request(), "objects")
        assert isinstance(sent.exception(), RegistryResting)
        assert resting.sent == times, "what has ended is nobody's to share"


@pytest.mark.parametrize("error", [RegistryRejected("pai"), ZeroDivisionError()])
async def test_all_who_share_a_call_hear_of_its_failure_but_those_who_left(error: Exception) -> None:
    registry = Registry(error)
    direct = UncachedClient(registry)
    first, *others = [direct.fetch(destination(), request(), "objects") for _ in range(4)]
    first.cancel()
    registry.go.set()
    assert await asyncio.gather(*others, return_exceptions=True) == [error] * 3
    assert first.cancelled()
    assert registry.asked == ["ListModels"]


async def test_requests_count_for_the_question_that_caused_them_and_each_question_says_how_it_was_answered() -> None:
    registry = Registry()
    direct = UncachedClient(registry)
    questions = [Call("pai", "ListModels") for _ in range(3)]
    sent = []
    for question in questions:
        before = CURRENT.set(question)
        sent.append(direct.fetch(destination(), request(), "objects"))
        CURRENT.reset(before)
    registry.go.set()
    await sent[0]
    assert [question.state for question in questions] == [State.MISS, State.SHARED, State.SHARED]
    assert [question.attempts for question in questions] == [1, 0, 0]
    assert CURRENT.get() is None


async def test_a_question_whose_registry_fails_says_why() -> None:
    registry = Registry(RegistryRejected("pai"))
    question = Call("pai", "ListModels")
    before = CURRENT.set(question)
    sent = UncachedClient(registry).fetch(destination(), request(), "objects")
    CURRENT.reset(before)
    assert question.state is None, "not yet"
    registry.go.set()
    with pytest.raises(RegistryError):
        await sent
    assert (question.state, question.code) == (State.FAILED, "REGISTRY_REJECTED")


async def test_a_call_has_a_task_of_its_own_from_when_it_wants_one() -> None:
    """Otherwise its timeout would end whoever started it."""

    async def call() -> None:
        await asyncio.sleep(0)
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    waiting, flights = Waiting(), SingleFlight[None]()
    flights.start("call", call(), waiting)
    with pytest.raises(TimeoutError):
        await waiting.end


async def test_all_steps_of_a_call_have_one_context_which_is_nobody_elses() -> None:
    said: ContextVar[str] = ContextVar("said", default="")

    async def call(pause: Awaitable[None]) -> str:
        token = said.set(f"{said.get()} and so on")
        await pause
        heard = said.get()
        said.reset(token)  # which can only be done where it was set
        return heard

    flights = SingleFlight[str]()
    said.set("mine")
    waiting = [Waiting(), Waiting()]
    later: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    flights.start("at once", call(asyncio.sleep(0)), waiting[0])
    flights.start("soon", call(later), waiting[1])
    assert said.get() == "mine"
    said.set("another's")
    later.set_result(None)
    assert [await one.end for one in waiting] == ["mine and so on"] * 2


@pytest.mark.parametrize("pause", [False, True])
async def test_who_waits_for_a_call_that_is_given_up_waits_no_longer(pause: bool) -> None:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def call() -> None:
        if pause:
            await asyncio.sleep(0)
        await never

    waiting, flights = Waiting(), SingleFlight[None]()
    flights.start("call", call(), waiting)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    never.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting.end
    assert not flights.join("call", Waiting())


async def test_what_is_under_way_ends_with_the_source_of_answers() -> None:
    """Also what nobody waits for, such as a refresh."""
    registry = Registry()
    direct = UncachedClient(registry)
    sent = [direct.fetch(destination(), request(call), "objects") for call in ("GetA", "GetB")]
    sent[1].cancel()
    direct.close()
    registry.go.set()
    for one in sent:
        with pytest.raises(asyncio.CancelledError):
            await one
    assert (await direct.fetch(destination(), request("GetB"), "objects")).state is State.MISS
    assert registry.asked == ["GetA", "GetB", "GetB"]
