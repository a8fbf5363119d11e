"""The metrics and log lines of several worker processes."""

import asyncio
import json
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from gateway.telemetry.worker_metrics import Slot
from tests.telemetry.scraping import Scrape
from tests.test_check import free_port
from tests.test_server import Running, children, running


async def scraped(url: str) -> Scrape:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
        assert response.status == 200
        return Scrape(await response.text())


async def ask(gateway: Running, times: int) -> None:
    """Send operations, each on a connection of its own, so that every worker gets some."""
    for _ in range(times):
        async with aiohttp.ClientSession() as session:
            await gateway.ask(session)


@pytest.mark.parametrize("place", ["port", "path"])
async def test_any_worker_shows_the_metrics_of_all(place: str, config: Path, twin: str) -> None:
    port = free_port()
    server = f'metrics = "{place}"\nmetrics_port = {port}\n[server]\nworkers = 3\n'
    async with running(config, twin, server, "one") as gateway:
        await ask(gateway, 30)
        url = f"http://127.0.0.1:{port}" if place == "port" else gateway.url
        for _ in range(6):
            metrics = await scraped(url)
            assert metrics("gateway_operations_total") == 30
            assert metrics("gateway_operation_duration_seconds_count") == 30
            assert metrics("gateway_operation_duration_seconds_bucket", le="+Inf") == 30
            assert metrics("gateway_info") == 1
            assert metrics("gateway_circuit_state", registry="one", state="CLOSED") == 1
            assert metrics("gateway_memory_budget_bytes", cache="total") > 0


async def test_the_counts_of_a_worker_that_was_replaced_remain(config: Path, twin: str) -> None:
    server = 'metrics = "path"\n[server]\nworkers = 2\ndrain = 0\n'
    async with running(config, twin, server, "one") as gateway:
        await ask(gateway, 20)
        assert (await scraped(gateway.url))("gateway_operations_total") == 20
        for number in (signal.SIGKILL, signal.SIGTERM):
            before = children(gateway.pid)
            os.kill(before[0], number)
            while before[0] in children(gateway.pid) or len(children(gateway.pid)) < 2:
                assert (await scraped(gateway.url))("gateway_operations_total") == 20
        await ask(gateway, 10)
        assert (await scraped(gateway.url))("gateway_operations_total") == 30


async def test_the_counts_of_workers_outlive_a_reload(config: Path, twin: str) -> None:
    async with (
        running(config, twin, 'metrics = "path"\n[server]\nworkers = 2\n', "one") as gateway,
        aiohttp.ClientSession() as session,
    ):
        await ask(gateway, 20)
        gateway.write("one", "two")
        os.kill(gateway.pid, signal.SIGHUP)
        while await gateway.ask(session) != "one,two":
            pass
        assert (await scraped(gateway.url))("gateway_operations_total") == sum(gateway.answered.values())


async def test_a_worker_that_does_not_answer_is_counted_with_its_last_samples(config: Path, twin: str) -> None:
    async with running(config, twin, 'metrics = "path"\n[server]\nworkers = 2\n', "one") as gateway:
        await ask(gateway, 20)
        assert (await scraped(gateway.url))("gateway_operations_total") == 20
        stopped = children(gateway.pid)[0]
        os.kill(stopped, signal.SIGSTOP)
        try:
            scrapes = [asyncio.create_task(scraped(gateway.url)) for _ in range(20)]
            done, waiting = await asyncio.wait(scrapes, return_when=asyncio.FIRST_COMPLETED)
            assert {(await scrape)("gateway_operations_total") for scrape in done} == {20}
        finally:
            os.kill(stopped, signal.SIGCONT)
        await asyncio.gather(*waiting)


def test_samples_survive_shared_memory_and_too_many_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    slot = Slot()
    samples = {("a", "counter", "Text."): {("a_total", (("code", "OK"),)): 2.0}}
    slot.write(samples)
    assert (slot.read(), slot.writes) == (samples, 1)
    slot.write({("a", "counter", "x" * (1 << 23)): {}})
    assert (slot.read(), slot.writes) == (samples, 1)
    assert "too many to be shared" in caplog.text


async def test_every_line_names_its_process_and_a_denial_is_one_object(config: Path, twin: str) -> None:
    server = 'log_format = "json"\n[server]\nworkers = 2\nprofile = "production"\n'
    async with running(config, twin, server, "one") as gateway:
        for _ in range(10):
            async with aiohttp.ClientSession() as session:
                body = {"query": "{ __schema { types { name } } }"}
                async with session.post(
                    gateway.url + "/graphql", json=body, headers={"X-Request-Id": "mine"}
                ) as answer:
                    assert (await answer.json())["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        lines = [json.loads(await gateway.line()) for _ in range(10)]
        assert {line["pid"] for line in lines} <= set(children(gateway.pid))
    for line in lines:
        expected = {"logger": "gateway.audit", "message": "request denied", "request_id": "mine"}
        denial = {"denied": "FORBIDDEN", "caller": "anyone", "remote": "127.0.0.1", "path": "/graphql"}
        assert (expected | denial).items() <= line.items()
        assert line["reason"]
