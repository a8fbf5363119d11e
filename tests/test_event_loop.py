"""Tasks of the server: on Python 3.12 and newer they start at once, on the event loop that `gateway serve` uses."""

import asyncio
import sys

import pytest
import uvloop

from gateway.server.runner import eager_task


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.11 has no eager tasks.")
def test_a_task_starts_at_once_and_keeps_its_name() -> None:
    started: list[str] = []

    async def work() -> int:
        started.append("work")
        await asyncio.sleep(0)
        return 1

    async def run() -> None:
        asyncio.get_running_loop().set_task_factory(eager_task)
        task = asyncio.create_task(work(), name="the work")
        assert started == ["work"]
        assert task.get_name() == "the work"
        assert await task == 1

    uvloop.run(run())
