"""The HTTP client against registries that frame, delay, break and close in all ways."""

import asyncio
import gzip
import json
import zlib
from datetime import timedelta
from email.utils import format_datetime

import pytest

from gateway.config.settings import BreakerSettings, RetrySettings
from gateway.errors import (
    Cause,
    RegistryAnswerTooLarge,
    RegistryBadAnswer,
    RegistryError,
    RegistryThrottled,
    RegistryTimeout,
    RegistryUnauthenticated,
    RegistryUnavailable,
    RegistryUnreachable,
)
from gateway.telemetry.metrics import Metrics
from gateway.upstream import http_session
from gateway.upstream.circuit_breaker import BreakerState
from gateway.upstream.http_client import HttpClient, retry_after
from gateway.upstream.http_session import HEAD_BYTES
from gateway.upstream.messages import Endpoint
from tests.upstream.raw_registry import (
    CLOSE,
    DOCUMENT,
    LIMIT,
    NOW,
    PLAIN,
    destination,
    padded,
    request,
    response,
    serving,
)
from tests.upstream.simulated import resilient_client

BODY = json.dumps(DOCUMENT).encode()
HALF = PLAIN[:-1]
LARGEST = padded(LIMIT)
TOO_LARGE = padded(LIMIT + 1)

GOOD = {
    "with a length": [PLAIN],
    "in chunks": [
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"ok\r\n4;x=y\r\n":1}\r\n0\r\nX-Late: 1\r\n\r\n'
    ],
    "until the connection ends": [b'HTTP/1.1 200 OK\r\n\r\n{"ok":1}', CLOSE],
    "by HTTP/1.0": [b'HTTP/1.0 200 OK\r\n\r\n{"ok":1}', CLOSE],
    "after an early hint": [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + PLAIN],
    "gzip": [response(gzip.compress(BODY), "Content-Encoding: gzip")],
    "deflate": [response(zlib.compress(BODY), "Content-Encoding: deflate")],
    "gzip in two members": [response(gzip.compress(BODY[:3]) + gzip.compress(BODY[3:]), "Content-Encoding: gzip")],
    "gzip with padding": [response(gzip.compress(BODY) + b"\0" * 9, "Content-Encoding: gzip")],
    "gzip by its old name": [response(gzip.compress(BODY), "Content-Encoding: x-gzip")],
    "deflate without a header": [response(zlib.compress(BODY)[2:-4], "Content-Encoding: deflate")],
    "no coding by name": [response(BODY, "Content-Encoding: identity")],
    "gzip in capital letters": [response(gzip.compress(BODY), "content-encoding: GZIP")],
    "with an offer to upgrade": [response(BODY, "Upgrade: h2c", "Connection: Upgrade")],
}


@pytest.mark.parametrize("case", GOOD)
async def test_a_response_is_read_however_it_is_framed(case: str) -> None:
    async with serving(*GOOD[case]) as registry:
        assert await registry.send() == DOCUMENT


@pytest.mark.parametrize("case", [case for case, script in GOOD.items() if len(script) == 1])
async def test_a_response_may_arrive_byte_by_byte(case: str) -> None:
    (text,) = GOOD[case]
    async with serving(text[:1]) as registry:
        sending = asyncio.create_task(registry.send())
        await registry.requested.wait()
        for at in range(1, len(text)):
            registry.write(text[at : at + 1])
            await asyncio.sleep(0)
        assert await sending == DOCUMENT


async def test_a_body_may_have_the_largest_size() -> None:
    async with serving(response(LARGEST), response(gzip.compress(LARGEST), "Content-Encoding: gzip")) as registry:
        for _ in range(2):
            assert len((await registry.send())["ok"]) > 0


BAD: dict[str, tuple[list[bytes], type[RegistryError]]] = {
    "no HTTP": ([b"SSH-2.0-OpenSSH\r\n\r\n"], RegistryBadAnswer),
    "a switch to another protocol": (
        [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", CLOSE],
        RegistryBadAnswer,
    ),
    "two lengths": ([b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"], RegistryBadAnswer),
    "a header that is too long": ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2 * HEAD_BYTES], RegistryBadAnswer),
    "a coding that was not requested": ([response(BODY, "Content-Encoding: br")], RegistryBadAnswer),
    "gzip that is none": ([response(BODY, "Content-Encoding: gzip")], RegistryBadAnswer),
    "two codings": ([response(gzip.compress(gzip.compress(BODY)), "Content-Encoding: gzip, gzip")], RegistryBadAnswer),
    "gzip that lacks its end": ([response(gzip.compress(BODY)[:-8], "Content-Encoding: gzip")], RegistryBadAnswer),
    "gzip with a wrong checksum": (
        [response(gzip.compress(BODY)[:-8] + bytes(8), "Content-Encoding: gzip")],
        RegistryBadAnswer,
    ),
    "gzip and a broken member": ([response(gzip.compress(BODY) + b"{}", "Content-Encoding: gzip")], RegistryBadAnswer),
    "gzip and half a member": (
        [response(gzip.compress(BODY) + gzip.compress(BODY)[:15], "Content-Encoding: gzip")],
        RegistryBadAnswer,
    ),
    "deflate and more": ([response(zlib.compress(BODY) + b"{}", "Content-Encoding: deflate")], RegistryBadAnswer),
    "half a gzip": ([response(gzip.compress(LARGEST)[:20], "Content-Encoding: gzip")], RegistryBadAnswer),
    "an empty body": ([response(b"")], RegistryBadAnswer),
    "an empty body that claims to be gzip": ([response(b"", "Content-Encoding: gzip")], RegistryBadAnswer),
    "no content": ([b"HTTP/1.1 204 No Content\r\n\r\n"], RegistryBadAnswer),
    "neither an object nor a list": ([response(b"1")], RegistryBadAnswer),
    "a redirect": ([response(BODY, "Location: /elsewhere", status="302 Found")], RegistryBadAnswer),
    "too large": ([response(TOO_LARGE)], RegistryAnswerTooLarge),
    "too large once decompressed": (
        [response(gzip.compress(TOO_LARGE), "Content-Encoding: gzip")],
        RegistryAnswerTooLarge,
    ),
    "too large in two members": (
        [response(gzip.compress(LARGEST) + gzip.compress(b" "), "Content-Encoding: gzip")],
        RegistryAnswerTooLarge,
    ),
    "members without content": ([response(gzip.compress(b"") * 100, "Content-Encoding: gzip")], RegistryAnswerTooLarge),
    "a gzip bomb": ([response(gzip.compress(b"x" * 50_000_000), "Content-Encoding: gzip")], RegistryAnswerTooLarge),
    "half a body": ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", CLOSE], RegistryUnreachable),
    "half a chunk": ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}", CLOSE], RegistryUnreachable),
    "half a head": ([b"HTTP/1.1 200 OK\r\nContent-", CLOSE], RegistryUnreachable),
    "nothing": ([b"", CLOSE], RegistryUnreachable),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_malformed_response_is_an_error_and_the_request_is_not_sent_again(case: str) -> None:
    script, error = BAD[case]
    async with serving(*script, PLAIN) as registry:
        with pytest.raises(error) as caught:
            await registry.send()
        assert caught.value.cause is (Cause.CONNECTION_RESET if error is RegistryUnreachable else None)
        assert len(registry.heads) == 1
        assert await registry.send() == DOCUMENT, "no byte of the first response is left"


async def test_a_malformed_chunk_is_an_error() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}") as registry:
        with pytest.raises(RegistryBadAnswer):
            await registry.send()


def test_uvloop_behaves_like_asyncio() -> None:
    async def run() -> None:
        for case in GOOD:
            await test_a_response_is_read_however_it_is_framed(case)
        for case in BAD:
            await test_a_malformed_response_is_an_error_and_the_request_is_not_sent_again(case)
        await test_an_idle_connection_that_ended_is_replaced_and_the_request_signed_anew("GET")

    with asyncio.Runner(loop_factory=pytest.importorskip("uvloop").new_event_loop) as runner:
        runner.run(run())


# Requests


async def test_a_request_is_sent_as_it_is_signed() -> None:
    async with serving(PLAIN, PLAIN, path="/pai/v%201") as registry:
        await registry.send(a="x y", b="é+/")
        await registry.send("POST", b"{}")
        get, post = registry.heads
    assert get.startswith("GET /pai/v%201/models/a%20b?a=x%20y&b=%C3%A9%2B%2F HTTP/1.1\r\n")
    assert "x-signed: GET /pai/v%201/models/a%20b a=x y&b=é+/\r\n" in get
    assert "x-signed: POST /pai/v%201/models/a%20b \r\n" in post
    assert registry.bodies == [b"", b"{}"]


async def test_a_request_has_no_headers_that_describe_the_machine() -> None:
    async with serving(PLAIN, PLAIN) as registry:
        await registry.send()
        await registry.send("POST")
        get, post = ({line.partition(":")[0].lower() for line in head.split("\r\n")[1:-2]} for head in registry.heads)
    common = {"user-agent", "accept-encoding", "accept", "host", "x-signed", "x-nonce"}
    assert get == common
    assert post == {*common, "content-type", "content-length"}
    assert "gzip, deflate\r\n" in registry.heads[0]


@pytest.mark.parametrize("text", ["a\r\nX-Other: b", "a\nb", "a\rb", "a\n\r\r\nb"])
async def test_a_header_cannot_start_another_one(text: str) -> None:
    async with serving(PLAIN) as registry:
        with pytest.raises(ValueError, match="control character"):
            await registry.send(name=text)
        assert registry.heads == []


async def test_cookies_are_not_stored() -> None:
    async with serving(response(BODY, "Set-Cookie: a=b"), PLAIN) as registry:
        await registry.send()
        await registry.send()
    assert "cookie" not in registry.heads[1].lower()


# Connections


async def test_a_connection_is_used_until_the_registry_closes_it() -> None:
    last = response(BODY, "Connection: close")
    async with serving(PLAIN, PLAIN, last, PLAIN) as registry:
        for _ in range(3):
            await registry.send()
        assert registry.connections == 1
        await registry.send()
        assert registry.connections == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_idle_connection_that_ended_is_replaced_and_the_request_signed_anew(method: str) -> None:
    async with serving(PLAIN, b"", CLOSE, PLAIN, PLAIN) as registry:
        for _ in range(2):
            assert await registry.send(method) == DOCUMENT
        assert len(registry.heads) == len(set(registry.nonces)) == 3
        assert registry.connections == 2


async def test_a_replaced_request_is_no_retry_and_no_failure() -> None:
    metrics = Metrics()
    async with serving(PLAIN, b"", CLOSE, PLAIN, events=metrics) as registry:
        client = resilient_client(registry.client, retry=RetrySettings(attempts=1), breaker=BreakerSettings(failures=1))
        for _ in range(2):
            assert await client.send(destination(registry.endpoint), request()) == DOCUMENT
        assert client.state("pai") is BreakerState.CLOSED
    text = metrics.exposition("text/plain")[0].decode()
    of = 'call="ListModels",registry="pai"'
    assert f"gateway_upstream_reconnects_total{{{of}}} 1.0" in text
    assert 'gateway_upstream_attempts_total{call="ListModels",code="OK",registry="pai"} 2.0' in text
    assert "gateway_upstream_connection_failures_total{" not in text


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_request_is_replaced_once(method: str) -> None:
    async with serving(PLAIN, b"", CLOSE, b"", CLOSE, PLAIN) as registry:
        await registry.send(method)
        with pytest.raises(RegistryUnreachable):
            await registry.send(method)
        assert len(registry.heads) == len(set(registry.nonces)) == 3


async def test_a_response_that_has_begun_is_not_requested_again() -> None:
    async with serving(PLAIN, b"HTTP/1.1 200 OK\r\n", CLOSE, PLAIN) as registry:
        await registry.send()
        with pytest.raises(RegistryUnreachable):
            await registry.send()
        assert len(registry.heads) == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_registry_that_closes_after_every_response_without_notice_costs_no_failure(method: str) -> None:
    async with serving(*[PLAIN, CLOSE] * 5000) as registry:

        async def client() -> None:
            for _ in range(12):
                assert await registry.send(method) == DOCUMENT

        await asyncio.gather(*(client() for _ in range(32)))
        assert len(registry.nonces) == len(set(registry.nonces)) >= 32 * 12


async def test_a_connection_with_a_surplus_response_is_not_used_again() -> None:
    async with serving(PLAIN + PLAIN, PLAIN) as registry:
        assert await registry.send() == DOCUMENT
        assert await registry.send() == DOCUMENT
        assert (len(registry.heads), registry.connections) == (2, 2)


async def test_surplus_bytes_that_are_no_response_are_an_error() -> None:
    async with serving(PLAIN + b"garbage", PLAIN) as registry:
        with pytest.raises(RegistryBadAnswer):
            await registry.send()
        assert await registry.send() == DOCUMENT
        assert (len(registry.heads), registry.connections) == (2, 2)


async def test_connections_are_limited_and_further_requests_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_session, "CONNECTIONS_PER_HOST", 3)
    async with serving(*[PLAIN] * 10) as registry:
        documents = await asyncio.gather(*(registry.send() for _ in range(10)))
        assert documents == [DOCUMENT] * 10
        assert registry.connections == 3


async def test_a_cancelled_request_closes_its_connection() -> None:
    async with serving(HALF, PLAIN) as registry:
        sending = asyncio.create_task(registry.send())
        await registry.requested.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert await registry.send() == DOCUMENT
        assert registry.connections == 2


async def test_an_idle_connection_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_session, "IDLE_SECONDS", 0.01)
    async with serving(PLAIN, PLAIN) as registry:
        await registry.send()
        await asyncio.wait_for(registry.disconnected.wait(), 5)
        await registry.send()
        assert registry.connections == 2


# Timeouts


@pytest.mark.parametrize("before", [0, 2])
async def test_a_response_that_is_not_complete_in_time_is_a_timeout(before: int) -> None:
    async with serving(*[PLAIN] * before, HALF, PLAIN) as registry:
        for _ in range(before):
            await registry.send()
        registry.timeout = 0.05
        with pytest.raises(RegistryTimeout) as caught:
            await registry.send()
        assert caught.value.cause is Cause.READ_TIMEOUT
        registry.timeout = 10.0
        assert await registry.send() == DOCUMENT
        assert registry.connections == 2


async def test_timeouts_are_exact() -> None:
    """aiohttp rounds long ones up to whole seconds by default."""
    async with serving(HALF) as registry:
        registry.timeout = 5.05
        loop = asyncio.get_running_loop()
        started = loop.time()
        with pytest.raises(RegistryTimeout):
            await registry.send()
        assert loop.time() - started < 5.5


async def test_each_request_has_its_own_timeout() -> None:
    async with serving(PLAIN, HALF) as registry:
        registry.timeout = 0.05
        await registry.send()
        registry.timeout = 10.0
        sending = asyncio.create_task(registry.send())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(sending), 0.1)
        registry.write(PLAIN[-1:])
        assert await sending == DOCUMENT
        assert registry.connections == 1


async def test_the_wait_for_a_connection_is_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_session, "CONNECTIONS_PER_HOST", 1)
    async with serving(HALF, PLAIN) as registry:
        first = asyncio.create_task(registry.send())
        await registry.requested.wait()
        registry.timeout = 0.05
        with pytest.raises(RegistryTimeout) as caught:
            await registry.send()
        assert caught.value.cause is Cause.CONNECT_TIMEOUT
        registry.write(PLAIN[-1:])
        assert await first == DOCUMENT
        assert await registry.send() == DOCUMENT
        assert registry.connections == 1


async def test_a_cancelled_waiter_does_not_block_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_session, "CONNECTIONS_PER_HOST", 1)
    async with serving(HALF, PLAIN) as registry:
        first = asyncio.create_task(registry.send())
        await registry.requested.wait()
        second, third = asyncio.create_task(registry.send()), asyncio.create_task(registry.send())
        await asyncio.sleep(0)
        second.cancel()
        registry.write(PLAIN[-1:])
        assert [await one for one in (first, third)] == [DOCUMENT] * 2
        assert registry.connections == 1


# Retry-After


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Sun, 29 Nov 2026 12:01:30 GMT", 90.0),
        ("Sunday, 29-Nov-26 12:01:30 GMT", 90.0),
        ("Sun, 29 Nov 2026 11:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", 1.5),
        ("120.0", 120.0),
        ("+60", 60.0),
        ("60, 120", 60.0),
        ("60,", 60.0),
        (", 60", None),
        ("1e3", None),
        ("٣", None),
        ("9" * 400, float("inf")),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("status", "error"), [("429 Too Many", RegistryThrottled), ("503 Unavailable", RegistryUnavailable)]
)
async def test_retry_after_is_reported_for_every_registry(status: str, error: type[RegistryError]) -> None:
    date = (NOW + timedelta(seconds=30)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    async with serving(
        response(BODY, "Retry-After: 20", status=status), response(BODY, f"retry-after: {date}", status=status)
    ) as registry:
        for seconds in (20.0, 30.0):
            with pytest.raises(error) as caught:
                await registry.send()
            assert caught.value.extensions["retryAfter"] == seconds


async def test_retry_after_of_other_statuses_is_ignored() -> None:
    async with serving(response(BODY, "Retry-After: 20", status="403 Forbidden")) as registry:
        with pytest.raises(RegistryError) as caught:
            await registry.send()
        assert "retryAfter" not in caught.value.extensions


async def test_no_listener_is_a_refused_connection() -> None:
    async with serving() as registry:
        endpoint = registry.endpoint
    async with HttpClient() as client:
        with pytest.raises(RegistryUnreachable) as caught:
            await client.send(destination(Endpoint(endpoint.origin, endpoint.host)), request())
    assert caught.value.cause is Cause.CONNECTION_REFUSED


async def test_a_coding_that_was_not_requested_is_named_to_operators() -> None:
    async with serving(response(BODY, "Content-Encoding: br")) as registry:
        with pytest.raises(RegistryBadAnswer) as caught:
            await registry.send()
    assert caught.value.reason == "the content coding of the response was not requested"
    assert "Accept-Encoding: gzip, deflate" in registry.heads[0]


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        (3600, "the gateway's clock is 3600 s behind the registry's"),
        (-61, "the gateway's clock is 61 s ahead of the registry's"),
        (-59, "status 401 without the registry's own error"),
        (0, "status 401 without the registry's own error"),
    ],
)
async def test_refused_credentials_tell_operators_of_a_wrong_clock(seconds: int, reason: str) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    async with serving(response(b"{}", f"Date: {date}", status="401 Unauthorized")) as registry:
        with pytest.raises(RegistryUnauthenticated) as caught:
            await registry.send()
    assert caught.value.reason == reason
    assert caught.value.extensions == {"code": "REGISTRY_UNAUTHENTICATED", "registry": "pai", "retryable": False}
    assert str(caught.value) == 'Registry "pai" does not accept the configured credentials.'


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 99 Nov 2026 12:00:00 GMT"])
async def test_a_response_without_a_valid_date_tells_nothing_of_the_clock(date: str) -> None:
    async with serving(response(b"{}", f"Date: {date}", status="401 Unauthorized")) as registry:
        with pytest.raises(RegistryUnauthenticated) as caught:
            await registry.send()
    assert "clock" not in caught.value.reason


async def test_a_retry_time_counts_from_the_date_of_the_response() -> None:
    times = [format_datetime(NOW + timedelta(hours=1, seconds=seconds), usegmt=True) for seconds in (0, 30)]
    headers = f"Date: {times[0]}", f"Retry-After: {times[1]}"
    async with serving(response(b"{}", *headers, status="503 Service Unavailable")) as registry:
        with pytest.raises(RegistryUnavailable) as caught:
            await registry.send()
    assert caught.value.retry_after == 30.0


@pytest.mark.parametrize("value", ["999999999", "9999999999", "9" * 400, "7200.5", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_a_retry_time_is_bounded(value: str) -> None:
    async with serving(response(b"{}", f"Retry-After: {value}", status="503 Service Unavailable")) as registry:
        with pytest.raises(RegistryUnavailable) as caught:
            await registry.send()
    assert caught.value.retry_after == 3600.0
