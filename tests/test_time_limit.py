"""Time limits for work that usually does not wait."""

import asyncio

import pytest

from gateway.http.time_limit import within


async def result() -> int:
    return 7


async def test_work_that_does_not_wait_has_its_result_at_once() -> None:
    assert await within(0.0, result()) == 7


async def test_work_that_waits_has_its_result_within_the_limit() -> None:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.01, future.set_result, 7)
    assert await within(60.0, future) == 7


async def test_work_beyond_the_limit_is_cancelled() -> None:
    cancelled = []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(TimeoutError):
        await within(0.01, endless())
    assert cancelled
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_the_error_of_the_work_is_raised() -> None:
    async def failing() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        await within(60.0, failing())


async def test_a_cancellation_from_outside_is_no_timeout() -> None:
    task = asyncio.create_task(within(60.0, asyncio.Event().wait()))
    await asyncio.wait([task], timeout=0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
