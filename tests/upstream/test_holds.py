"""A registry that asks to wait is not called before, by any call that this concerns."""

import asyncio
from typing import Any

import pytest

from gateway.config.settings import QuotaSettings, RetrySettings
from gateway.errors import RegistryError, RegistryThrottled, RegistryUnavailable
from gateway.upstream.messages import Destination, Request
from tests.answering import answering
from tests.upstream.raw_registry import response
from tests.upstream.simulated import Scripted, destination, in_turn, now, request, resilient_client, simulate

ERRORS = (RegistryThrottled, RegistryUnavailable)


@pytest.mark.parametrize("error", ERRORS)
def test_a_call_is_tried_again_when_the_time_is_over(error: type[RegistryError]) -> None:
    sender = in_turn(error("pai", retry_after=2.0), {"ok": 1})
    assert simulate(resilient_client(sender).send(destination(), request())) == {"ok": 1}
    assert sender.times == [0, pytest.approx(2.05)]


@pytest.mark.parametrize("error", ERRORS)
def test_other_calls_wait_too(error: type[RegistryError]) -> None:
    sender = in_turn(error("pai", retry_after=2.0), {"ok": 1})

    async def run() -> None:
        client = resilient_client(sender)
        first = asyncio.ensure_future(client.send(destination(), request()))
        await asyncio.sleep(0.5)
        await asyncio.gather(first, *(client.send(destination(), request()) for _ in range(3)))

    simulate(run())
    assert len(sender.times) == 5
    assert all(time >= 2 for time in sender.times[1:])


@pytest.mark.parametrize("error", ERRORS)
def test_a_call_that_has_no_time_to_wait_fails_at_once_with_the_time_that_is_left(error: type[RegistryError]) -> None:
    sender = in_turn(error("pai", retry_after=60.0, request_id="1"), {"ok": 1})

    async def run() -> None:
        client = resilient_client(sender)
        with pytest.raises(error):
            await client.send(destination(), request())
        await asyncio.sleep(20)
        with pytest.raises(error) as caught:
            await client.send(destination(), request())
        assert (now(), caught.value.retry_after, caught.value.request_id) == (20, 40, None)
        await asyncio.sleep(30)
        assert await client.send(destination(), request()) == {"ok": 1}
        assert now() == pytest.approx(60)

    simulate(run())
    assert sender.times == [0, pytest.approx(60)]


def test_a_call_that_is_queued_when_the_hold_begins_waits() -> None:
    outcomes: list[Any] = [RegistryThrottled("pai", retry_after=60.0)]

    async def answering(destination: Destination, request: Request) -> Any:
        await asyncio.sleep(1)
        if outcomes:
            raise outcomes.pop()
        return {"ok": 1}

    sender = Scripted(answering)

    async def run() -> list[Any]:
        client = resilient_client(sender, quota=QuotaSettings(in_flight=1))
        return await asyncio.gather(*(client.send(destination(), request()) for _ in range(3)), return_exceptions=True)

    assert [type(failure) for failure in simulate(run())] == [RegistryThrottled] * 3
    assert sender.times == [0]


CONCERNED = [
    (RegistryThrottled, destination(), request("GetModel"), False),
    (RegistryThrottled, destination("qianfan", account="other"), request(), False),
    (RegistryUnavailable, destination(), request("GetModel"), True),
    (RegistryUnavailable, destination(), Request("ListModels2", "algorithms", "GET", "/"), False),
    (RegistryUnavailable, destination("pai-2", account="other"), request(), False),
]


@pytest.mark.parametrize(("error", "target", "other", "waits"), CONCERNED)
def test_throttling_holds_the_call_and_unavailability_the_service_of_the_account(
    error: type[RegistryError], target: Destination, other: Request, waits: bool
) -> None:
    sender = in_turn(error("pai", retry_after=60.0), {"ok": 1})

    async def run() -> bool:
        client = resilient_client(sender)
        with pytest.raises(error):
            await client.send(destination(), request())
        try:
            await client.send(target, other)
        except error:
            return True
        return False

    assert simulate(run()) is waits


def test_without_a_time_other_calls_do_not_wait() -> None:
    sender = in_turn(RegistryUnavailable("pai"), {"ok": 1})

    async def run() -> None:
        client = resilient_client(sender, retry=RetrySettings(attempts=1))
        with pytest.raises(RegistryUnavailable):
            await client.send(destination(), request())
        await client.send(destination(), request())

    simulate(run())
    assert sender.times == [0, 0]


def test_a_hedged_call_waits_too() -> None:
    sender = in_turn(*[{"ok": 1}] * 30, RegistryThrottled("pai", retry_after=2.0), {"ok": 1})

    async def run() -> None:
        client = resilient_client(sender, hedging=True)
        for _ in range(31):
            await client.send(destination(), request())

    simulate(run())
    assert sender.times[31] - sender.times[30] >= 2


WAITS: list[tuple[dict[str, str], float]] = [
    ({"Retry-After": "9999999999"}, 3600),
    ({"Retry-After": "9" * 400}, 3600),
    ({"Retry-After": "60.5"}, 60.5),
    ({"Retry-After": "120.0"}, 120),
    ({"Retry-After": "+60"}, 60),
    ({"Retry-After": "60, 60"}, 60),
    ({"x-acs-retry-after": "6000000000000000000000"}, 3600),
    ({"x-acs-retry-after": "60000.0"}, 60),
    ({"x-acs-retry-after": "+60000"}, 60),
    ({"x-acs-retry-after": "0", "Retry-After": "60"}, 60),
    ({"x-acs-retry-after": "90000", "Retry-After": "60"}, 90),
    ({"x-acs-retry-after": "soon", "Retry-After": "60"}, 60),
    ({"x-acs-retry-after": "60000", "Retry-After": "soon"}, 60),
]


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize(("headers", "seconds"), WAITS)
async def test_every_form_of_a_time_to_wait_is_kept(headers: dict[str, str], seconds: float, status: str) -> None:
    targets: list[str] = []

    def answer(target: str) -> bytes:
        targets.append(target)
        return response(b"{}", *(f"{name}: {value}" for name, value in headers.items()), status=status)

    async with answering(answer) as gateway:
        failed = await gateway.query('{ model(id: "pai:model/model-1") { name } }')
    assert failed.body["errors"][0]["extensions"]["retryAfter"] == seconds
    assert len(targets) == 1


async def test_a_time_to_wait_beside_an_error_that_is_not_retried_is_bounded_too() -> None:
    answer = response(b"{}", "x-acs-retry-after: 6000000000000000000000", status="403 Forbidden")
    async with answering(lambda target: answer) as gateway:
        failed = await gateway.query('{ model(id: "pai:model/model-1") { name } }')
    assert failed.body["errors"][0]["extensions"]["retryAfter"] == 3600
