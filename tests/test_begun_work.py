"""Work that runs at once, up to where it first waits."""

import asyncio

import pytest

from gateway.http.begun_work import BegunWork


async def test_work_that_does_not_wait_has_ended_when_it_is_created() -> None:
    async def result() -> int:
        return 7

    begun = BegunWork(result())
    assert begun.ended
    assert (await begun, await begun) == (7, 7)


async def test_an_error_before_the_first_wait_is_raised_at_once() -> None:
    async def failing() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        BegunWork(failing())


async def test_work_that_waits_goes_on_when_it_is_awaited() -> None:
    steps = []

    async def result(future: asyncio.Future[int]) -> int:
        steps.append("begun")
        await asyncio.sleep(0)
        steps.append("slept")
        return await future

    future = asyncio.get_running_loop().create_future()
    begun = BegunWork(result(future))
    assert (begun.ended, steps) == (False, ["begun"])
    asyncio.get_running_loop().call_soon(future.set_result, 7)
    assert await begun == 7
    assert steps == ["begun", "slept"]


async def test_work_may_catch_a_cancellation_and_go_on() -> None:
    async def stubborn() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return 7

    async def awaited() -> int:
        return await BegunWork(stubborn())

    task = asyncio.create_task(awaited())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == 7


async def test_the_error_of_what_the_work_waits_for_reaches_it() -> None:
    caught = []

    async def waiting(future: asyncio.Future[None]) -> None:
        try:
            await future
        except ValueError as error:
            caught.append(error)
            raise

    future = asyncio.get_running_loop().create_future()
    begun, error = BegunWork(waiting(future)), ValueError("wrong")
    future.set_exception(error)
    with pytest.raises(ValueError, match="wrong"):
        await begun
    assert caught == [error]
