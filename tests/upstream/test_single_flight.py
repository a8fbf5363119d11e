"""Single flight: who shares a call, how it ends for each caller, and for whom requests are counted."""

import asyncio
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest

from gateway.catalog import registry as configured
from gateway.catalog.bounds import DEFAULT_BOUNDS
from gateway.catalog.calls import Calls
from gateway.catalog.query_plan import BoundCall
from gateway.errors import NotFound, RegistryError, RegistryRejected
from gateway.registries.pai import GET_MODEL, PAI
from gateway.telemetry.events import CURRENT, NO_EVENTS, CallState
from gateway.upstream.caching_client import ANY, UncachedClient
from gateway.upstream.messages import Destination, Request
from gateway.upstream.single_flight import SingleFlight
from tests.conftest import pai
from tests.upstream.simulated import destination, request


class Work:
    """A call that waits until a test lets it ``go``."""

    def __init__(self, outcome: Any = "result") -> None:
        self.go, self.outcome, self.calls = asyncio.Event(), outcome, 0

    async def __call__(self) -> Any:
        self.calls += 1
        await self.go.wait()
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


async def callers(flights: SingleFlight[str, Any], work: Work, count: int) -> list[asyncio.Task[tuple[Any, bool]]]:
    """Start callers of one key, and let them join."""
    tasks = [asyncio.create_task(flights.run("key", work)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_concurrent_callers_share_one_call() -> None:
    flights, work = SingleFlight[str, Any](), Work()
    tasks = await callers(flights, work, 4)
    work.go.set()
    assert await asyncio.gather(*tasks) == [("result", False), *[("result", True)] * 3]
    assert work.calls == 1


async def test_calls_of_other_keys_and_later_calls_are_not_shared() -> None:
    flights, work = SingleFlight[str, Any](), Work()
    work.go.set()
    assert await asyncio.gather(flights.run("a", work), flights.run("b", work)) == [("result", False)] * 2
    assert await flights.run("a", work) == ("result", False)
    assert work.calls == 3


@pytest.mark.parametrize("leaving", [0, 1, 3])
async def test_a_cancelled_caller_does_not_affect_the_others(leaving: int) -> None:
    flights, work = SingleFlight[str, Any](), Work()
    tasks = await callers(flights, work, 4)
    left = tasks.pop(leaving)
    left.cancel()
    await asyncio.sleep(0)
    work.go.set()
    assert [value for value, _ in await asyncio.gather(*tasks)] == ["result"] * 3
    assert left.cancelled()


async def test_a_call_finishes_after_its_last_caller_was_cancelled() -> None:
    flights, work = SingleFlight[str, Any](), Work()
    (task,) = await callers(flights, work, 1)
    task.cancel()
    await asyncio.sleep(0)
    (joined,) = await callers(flights, work, 1)
    work.go.set()
    assert await joined == ("result", True)
    assert work.calls == 1


@pytest.mark.parametrize("error", [RegistryRejected("pai"), ZeroDivisionError()])
async def test_all_callers_get_the_error(error: Exception) -> None:
    flights, work = SingleFlight[str, Any](), Work(error)
    tasks = await callers(flights, work, 3)
    work.go.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [error] * 3
    work.outcome = "result"
    assert await flights.run("key", work) == ("result", False), "an error is not shared later"


async def test_a_background_call_that_fails_is_not_reported_by_asyncio() -> None:
    reports: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
    flights, work = SingleFlight[str, Any](), Work(ZeroDivisionError())
    assert flights.start("key", work)
    assert not flights.start("key", work), "it is running"
    work.go.set()
    await asyncio.sleep(0.01)
    assert (reports, work.calls) == ([], 1)


async def test_callers_can_wait_for_a_background_call() -> None:
    flights, work = SingleFlight[str, Any](), Work()
    await flights.wait("key")
    flights.start("key", work)
    waiting = asyncio.create_task(flights.wait("key"))
    await asyncio.sleep(0.001)
    assert not waiting.done()
    work.go.set()
    await waiting


async def test_a_call_has_a_context_of_its_own() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="")

    async def call() -> str:
        variable.set(f"{variable.get()} of the first caller, changed")
        await asyncio.sleep(0)
        return variable.get()

    variable.set("value")
    value, _ = await SingleFlight[str, str]().run("key", call)
    assert value == "value of the first caller, changed"
    assert variable.get() == "value"


async def test_a_timeout_within_a_call_does_not_cancel_its_callers() -> None:
    async def call() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await SingleFlight[str, None]().run("key", call)


async def test_closing_cancels_all_calls() -> None:
    flights, work = SingleFlight[str, Any](), Work()
    tasks = await callers(flights, work, 2)
    flights.start("background", work)
    await asyncio.sleep(0)
    flights.close()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in outcomes] == [asyncio.CancelledError] * 2
    work.go.set()
    assert await flights.run("background", work) == ("result", False)


# In front of a registry

GET, MODEL = BoundCall("pai", GET_MODEL, ("model-a",)), {"ModelId": "model-a"}


class Registry:
    """Answers when a test lets it ``go``; records the calls."""

    def __init__(self, outcome: Any = None) -> None:
        self.go, self.outcome, self.calls = asyncio.Event(), {} if outcome is None else outcome, list[str]()

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
        self.calls.append(request.call)
        with NO_EVENTS.attempt(destination.registry, request.call, request.method):
            await self.go.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def operation(client: UncachedClient) -> Calls:
    """The calls of an operation that calls one registry through a client."""
    settings = pai("http://127.0.0.1")
    return Calls({"pai": configured.Registry(PAI, settings, client)}, DEFAULT_BOUNDS, ANY, None)


async def test_requests_count_for_the_call_that_caused_them_and_each_call_has_its_state() -> None:
    registry = Registry(MODEL)
    client = UncachedClient(registry)
    operations = [operation(client) for _ in range(3)]
    tasks = [asyncio.create_task(each.call(GET)) for each in operations]
    await asyncio.sleep(0)
    calls = [call for each in operations for call in each.calls]
    assert [call.state for call in calls] == [None] * 3
    registry.go.set()
    answers = await asyncio.gather(*tasks)
    assert [answer.state for answer in answers] == [CallState.MISS, CallState.SHARED, CallState.SHARED]
    assert [call.state for call in calls] == [CallState.MISS, CallState.SHARED, CallState.SHARED]
    assert [call.attempts for call in calls] == [1, 0, 0]
    assert all(call.seconds > 0 for call in calls)
    assert CURRENT.get() is None
    assert registry.calls == ["GetModel"]


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [(RegistryRejected("pai"), CallState.FAILED, "REGISTRY_REJECTED"), (NotFound("pai"), CallState.MISS, None)],
)
async def test_a_call_that_fails_has_the_code_of_the_error(error: RegistryError, state: CallState, code: str) -> None:
    registry = Registry(error)
    registry.go.set()
    calls = operation(UncachedClient(registry))
    with pytest.raises(type(error)):
        await calls.call(GET)
    assert [(call.state, call.code) for call in calls.calls] == [(state, code)]


async def test_closing_a_client_cancels_its_requests() -> None:
    registry = Registry()
    client = UncachedClient(registry)
    sending = asyncio.create_task(client.fetch(destination(), request(), "objects"))
    while not registry.calls:  # noqa: ASYNC110
        await asyncio.sleep(0)
    client.close()
    with pytest.raises(asyncio.CancelledError):
        await sending
    registry.go.set()
    assert (await client.fetch(destination(), request(), "objects")).state is CallState.MISS


async def test_a_call_that_all_callers_left_is_cancelled_where_that_is_wanted() -> None:
    flights: SingleFlight[str, None] = SingleFlight(cancel_abandoned=True)
    cancelled = asyncio.Event()

    async def call() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    callers = [asyncio.create_task(flights.run("key", call)) for _ in range(2)]
    await asyncio.sleep(0)
    callers[0].cancel()
    await asyncio.wait(callers[:1])
    assert not cancelled.is_set()
    callers[1].cancel()
    await asyncio.wait(callers)
    async with asyncio.timeout(5):
        await cancelled.wait()
    assert flights.start("key", call)
    flights.close()


async def test_an_abandoned_call_is_cancelled_unless_it_was_started_in_the_background() -> None:
    flights, ended = SingleFlight[str, str](cancel_abandoned=True), list[str]()

    async def call(key: str) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(key)
        return key

    flights.start("background", lambda: call("background"))
    tasks = [asyncio.create_task(flights.run(key, partial(call, key))) for key in ("background", "awaited", "awaited")]
    await asyncio.sleep(0)
    for task in tasks[:2]:
        task.cancel()
    await asyncio.gather(*tasks[:2], return_exceptions=True)
    assert ended == []
    tasks[2].cancel()
    await asyncio.gather(tasks[2], return_exceptions=True)
    await asyncio.sleep(0)
    assert ended == ["awaited"]
    flights.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert ended == ["awaited", "background"]


async def test_a_call_in_the_background_leaves_nothing_behind() -> None:
    flights, work = SingleFlight[str, Any](cancel_abandoned=True), Work()
    flights.start("key", work)
    (caller,) = await callers(flights, work, 1)
    work.go.set()
    assert await caller == ("result", True)
    await asyncio.sleep(0)
    assert not flights._flights
