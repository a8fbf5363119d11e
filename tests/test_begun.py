"""Coroutines that begin at once: what they give, when they go on, on whose behalf, and how they end."""

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from gateway.begun import Run

WORD: ContextVar[str] = ContextVar("word", default="nothing")


@pytest.fixture
async def come() -> asyncio.Future[str]:
    """What a coroutine waits for."""
    return asyncio.get_running_loop().create_future()


async def said(come: asyncio.Future[str], steps: list[str]) -> str:
    steps.append("began")
    try:
        return f"{await come} for {WORD.get()}"
    finally:
        steps.append("ended")


async def turn() -> None:
    await asyncio.sleep(0)


async def test_what_waits_for_nothing_is_done_at_once() -> None:
    async def given() -> str:
        return "this"

    run = Run(given()).begin()
    assert run.done
    assert run.result() == "this"


async def test_it_begins_at_once_and_goes_on_when_what_it_waits_for_came(come: asyncio.Future[str]) -> None:
    steps: list[str] = []
    heard: list[str] = []
    run = Run(said(come, steps)).begin()
    run.when_done(lambda run: heard.append(run.result()))
    assert (steps, run.done) == (["began"], False)
    come.set_result("this")
    assert heard == []
    await turn()
    assert (steps, heard) == (["began", "ended"], ["this for nothing"])


async def test_it_runs_on_behalf_of_who_began_it(come: asyncio.Future[str]) -> None:
    token = WORD.set("me")
    run = Run(said(come, [])).begin()
    WORD.reset(token)
    come.set_result("this")
    await turn()
    assert run.result() == "this for me"
    assert WORD.get() == "nothing"


@pytest.mark.parametrize("late", [False, True])
async def test_what_it_fails_with_is_raised_to_who_asks(come: asyncio.Future[str], late: bool) -> None:
    async def failing() -> None:
        if late:
            await come
        raise ValueError("that")

    run = Run(failing()).begin()
    come.set_result("this")
    await turn()
    with pytest.raises(ValueError, match="that"):
        run.result()


@pytest.mark.parametrize("as_task", [False, True])
async def test_who_is_cancelled_ends_where_it_waits(come: asyncio.Future[str], as_task: bool) -> None:
    steps: list[str] = []

    async def waiting() -> str:
        if as_task:
            await asyncio.sleep(0)
        return await said(come, steps)

    heard: list[Any] = []
    run = Run(waiting()).begin()
    run.when_done(heard.append)
    await turn()
    run.cancel()
    while not run.done:
        await turn()
    assert steps == ["began", "ended"]
    assert heard == [run]
    with pytest.raises(asyncio.CancelledError):
        run.result()


async def test_who_is_cancelled_before_it_goes_on_ends_there(come: asyncio.Future[str]) -> None:
    async def going_on() -> str:
        await come
        return await asyncio.get_running_loop().create_future()

    run = Run(going_on()).begin()
    come.set_result("this")
    run.cancel()
    await turn()
    assert run.done
    with pytest.raises(asyncio.CancelledError):
        run.result()


async def test_it_is_a_task_from_a_bare_turn_of_the_loop_on(come: asyncio.Future[str]) -> None:
    async def timed() -> str:
        before = asyncio.current_task()
        await asyncio.sleep(0)
        assert asyncio.current_task() is not before
        async with asyncio.timeout(60):
            return f"{await come} for {WORD.get()}"

    token = WORD.set("me")
    run = Run(timed()).begin()
    WORD.reset(token)
    come.set_result("this")
    while not run.done:
        await turn()
    assert run.result() == "this for me"
