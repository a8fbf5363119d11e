"""Whatever a Redis answers, holds or refuses, clients get right answers, and operators read what is wrong."""

import asyncio
import json
import logging
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from redis.asyncio import Redis

from gateway import twins
from gateway.app import probe
from gateway.config.settings import CacheSettings, Secret, Settings, TelemetrySettings
from gateway.upstream.redis_cache import SharedCache
from tests.conftest import Client, pai, served, settings
from tests.test_replicas import TOKEN, Server, cache_settings, name
from tests.upstream.raw_registry import listening

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")

NAME = "情感分析"
KEYS = "registry-gateway:1:*"
CHANNEL = "registry-gateway:1:purges"


async def cache_problem(configuration: Settings) -> str | None:
    """Return what `gateway check` says of the shared cache, None if it can be used."""
    return next(found.problem for found in await probe(configuration) if found.name == "cache.redis")


async def subscribers(redis: Redis, number: int) -> None:
    """Wait until so many gateways listen for purges."""
    while await redis.pubsub_numsub(CHANNEL) != [(CHANNEL.encode(), number)]:
        pass


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path)
    await server.start()
    yield server
    await server.stop()


def packed(stored_at: float, document: Any) -> bytes:
    return json.dumps([stored_at, document]).encode()


ANSWER = {"ModelId": "model-rbvg5wzljzjhc9ks92", "ModelName": "another"}

CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda stored: b"",
    "half a value": lambda stored: stored[: len(stored) // 2],
    "text": lambda stored: b"hello",
    "bytes that are not UTF-8": lambda stored: b"\xff\xfe",
    "a number": lambda stored: b"1",
    "an object": lambda stored: b'{"a": 1, "b": 2}',
    "an empty list": lambda stored: b"[]",
    "a list of one": lambda stored: b"[1]",
    "a list of three": lambda stored: packed(time.time(), ANSWER)[:-1] + b",1]",
    "a time that is text": lambda stored: b'["now", {}]',
    "a time that is null": lambda stored: b"[null, {}]",
    "a time that is not a number": lambda stored: b'[NaN, {"ModelId": "model-1"}]',
    "a time far in the future": lambda stored: packed(time.time() + 1e6, ANSWER),
    "a document that is a list": lambda stored: packed(time.time(), []),
    "a document that is text": lambda stored: packed(time.time(), "x"),
    "a document of another call": lambda stored: packed(time.time(), {"Models": [], "TotalCount": 0}),
    "a document of another product": lambda stored: packed(time.time(), {"result": {"modelId": 1}}),
    "pickled data": lambda stored: b"\x80\x04\x95\x00",
}

TYPES: dict[str, Callable[[Redis, str], Awaitable[Any]]] = {
    "a list": lambda redis, key: redis.lpush(key, "x"),  # type: ignore[return-value]
    "a hash": lambda redis, key: redis.hset(key, "x", "y"),  # type: ignore[return-value]
    "a set": lambda redis, key: redis.sadd(key, "x"),  # type: ignore[return-value]
    "a stream": lambda redis, key: redis.xadd(key, {"x": "y"}),
}


async def check_recovery(redis: Server, twin: twins.Twins, key: str, direct: Redis) -> None:
    """A gateway whose first answer is not valid fetches it, and stores it for the next one."""
    async with served(settings(pai(twin.url), cache=cache_settings(redis))) as second:
        assert await name(second) == NAME
    assert twin.calls == {"GetModel": 1}
    assert json.loads(await direct.get(key) or b"null")[1]["ModelName"] == NAME
    async with served(settings(pai(twin.url), cache=cache_settings(redis))) as third:
        assert await name(third) == NAME
    assert twin.calls == {"GetModel": 1}


async def stored_key(redis: Server, twin: twins.Twins, direct: Redis) -> str:
    """Fill the cache, and return the key of the answer."""
    async with served(settings(pai(twin.url), cache=cache_settings(redis))) as first:
        assert await name(first) == NAME
    twin.calls.clear()
    [key] = [key.decode() async for key in direct.scan_iter()]
    return str(key)


@needs_redis
@pytest.mark.parametrize("case", CONTENTS)
async def test_a_value_that_is_no_answer_is_fetched_anew(
    case: str, redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with twins.serving() as twin, redis.client() as direct:
        key = await stored_key(redis, twin, direct)
        await direct.set(key, CONTENTS[case](await direct.get(key) or b""))
        await check_recovery(redis, twin, key, direct)
    assert "not one of the gateway's" in caplog.text


@needs_redis
@pytest.mark.parametrize("case", TYPES)
async def test_a_key_of_another_type_is_replaced(case: str, redis: Server) -> None:
    async with twins.serving() as twin, redis.client() as direct:
        key = await stored_key(redis, twin, direct)
        await direct.delete(key)
        await TYPES[case](direct, key)
        await check_recovery(redis, twin, key, direct)


LISTS = {
    "models": ("ListModels", "{ models(first: 1) { nodes { name } } }"),
    "algorithms": ("ListAlgorithms", "{ algorithms(first: 1) { nodes { name } } }"),
}


@needs_redis
@pytest.mark.parametrize("case", LISTS)
async def test_a_list_that_does_not_exist_is_fetched_anew(
    case: str, redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    call, query = LISTS[case]
    async with twins.serving(models=20) as twin, redis.client() as direct:
        async with served(settings(pai(twin.url), cache=cache_settings(redis))) as first:
            expected = (await first.query(query)).data
        keys = [key async for key in direct.scan_iter()]
        for key in keys:
            await direct.set(key, packed(time.time(), None))
        twin.calls.clear()
        async with served(settings(pai(twin.url), cache=cache_settings(redis))) as second:
            assert (await second.query(query)).data == expected
        assert twin.calls == {call: len(keys)}
        for key in keys:
            assert json.loads(await direct.get(key) or b"null")[1] is not None
    assert "not one of the gateway's" in caplog.text


@needs_redis
async def test_a_rejected_list_is_not_stored(redis: Server) -> None:
    """A list always exists: a registry that reports the opposite rejects the request."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        body = {"Code": "201600003", "Message": "The list does not exist.", "RequestId": "1"}
        return web.json_response(body, status=404)

    async with AsyncExitStack() as stack:
        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        registry = pai(f"http://127.0.0.1:{runner.addresses[0][1]}")
        gateway: Client = await stack.enter_async_context(served(settings(registry, cache=cache_settings(redis))))
        for _ in range(2):
            [error] = (await gateway.query(LISTS["models"][1])).body["errors"]
            [failure] = error["extensions"]["registries"]
            assert failure["code"] == "REGISTRY_REJECTED"
            assert failure["vendorCode"] == "201600003"
        direct = await stack.enter_async_context(redis.client())
        assert [key async for key in direct.scan_iter()] == []


@needs_redis
async def test_an_object_that_does_not_exist_is_not_fetched_again(redis: Server) -> None:
    async with twins.serving() as twin, redis.client() as direct:
        key = await stored_key(redis, twin, direct)
        await direct.set(key, packed(time.time(), None))
        async with served(settings(pai(twin.url), cache=cache_settings(redis))) as second:
            answer = await second.query('{ model(id: "pai:model/model-rbvg5wzljzjhc9ks92") { name } }')
        assert answer.body == {"data": {"model": None}}
        assert twin.calls == {}


@needs_redis
async def test_a_corrupt_value_is_counted(redis: Server) -> None:
    async with twins.serving() as twin, redis.client() as direct:
        key = await stored_key(redis, twin, direct)
        await direct.set(key, b"{")
        telemetry = TelemetrySettings(metrics="path")
        async with served(settings(pai(twin.url), cache=cache_settings(redis), telemetry=telemetry)) as gateway:
            await name(gateway)
            metrics = await gateway.request("GET", "/metrics")
    assert "gateway_shared_cache_failures_total 1.0" in metrics.body


@needs_redis
@pytest.mark.parametrize("case", ["text", "a list"])
async def test_a_lease_that_never_expires_is_taken_over(case: str, redis: Server) -> None:
    async with twins.serving() as twin, redis.client() as direct:
        key = await stored_key(redis, twin, direct)
        await direct.delete(key)
        lease = key.replace("registry-gateway:1:", "registry-gateway:1:lease:")
        await (direct.set(lease, "x") if case == "text" else direct.lpush(lease, "x"))  # type: ignore[misc]
        async with served(settings(pai(twin.url), cache=cache_settings(redis, wait=60.0))) as gateway:
            assert await name(gateway) == NAME


@needs_redis
async def test_a_malformed_notice_of_a_purge_breaks_nothing(redis: Server) -> None:
    async with (
        twins.serving() as twin,
        redis.client() as direct,
        served(settings(pai(twin.url), cache=cache_settings(redis))) as gateway,
    ):
        await subscribers(direct, 1)
        assert await name(gateway) == NAME
        for notice in (b"\xff\xfe", b"", b"x" * 10_000, b"another "):
            await direct.publish(CHANNEL, notice)
        while (await gateway.request("GET", "/cache", headers=TOKEN)).body["entries"]:
            pass
        assert await name(gateway) == NAME


# A server that is no Redis

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def replying(reply: bytes, close: bool = False) -> Handler:
    """Return a handler that sends the same bytes for each request, and may close the connection after it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(reply)
            await writer.drain()
            if close:
                return

    return handle


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def reset_later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.transport.abort()


SERVERS: dict[str, Handler] = {
    "resets at once": reset,
    "resets after a request": reset_later,
    "closes after a request": replying(b"", close=True),
    "speaks HTTP": replying(b"HTTP/1.1 400 Bad Request\r\n\r\n", close=True),
    "sends nothing that is a reply": replying(b"\xff\xfe\r\n"),
    "sends half a reply and closes": replying(b"$100\r\nabc", close=True),
    "sends numbers": replying(b":1\r\n"),
    "sends a length that is no number": replying(b"$abc\r\n"),
    "sends a negative length": replying(b"$-7\r\n"),
    "sends lists": replying(b"*2\r\n:1\r\n:2\r\n"),
    "sends errors": replying(b"-ERR unknown\r\n"),
    "is loading": replying(b"-LOADING Redis is loading the dataset in memory\r\n"),
    "is read-only": replying(b"-READONLY You can't write against a read only replica.\r\n"),
    "demands a password": replying(b"-NOAUTH Authentication required.\r\n"),
    "moved": replying(b"-MOVED 1 127.0.0.1:9\r\n"),
    "answers everything with OK": replying(b"+OK\r\n"),
}


@pytest.mark.parametrize("case", SERVERS)
async def test_a_server_that_is_no_redis_breaks_nothing(case: str) -> None:
    async with AsyncExitStack() as stack:
        twin = await stack.enter_async_context(twins.serving())
        port = await stack.enter_async_context(listening(SERVERS[case]))
        options = CacheSettings(
            redis=Secret(f"redis://127.0.0.1:{port}/0"), admin_token=Secret("token"), redis_timeout=0.2, wait=0.1
        )
        gateway: Client = await stack.enter_async_context(served(settings(pai(twin.url), cache=options)))
        for _ in range(2):
            assert await name(gateway) == NAME
            purged = await gateway.request("DELETE", "/cache", headers=TOKEN)
            assert purged.status == 200
        assert twin.calls == {"GetModel": 2}
        problem = await cache_problem(settings(pai(twin.url), cache=options))
        if case != "answers everything with OK":
            assert problem is not None or case in ("sends numbers", "sends lists")


@needs_redis
async def test_listening_for_purges_ends_whenever_it_is_cancelled(redis: Server) -> None:
    shared = SharedCache(redis.url, 5.0, time.monotonic)

    async def listen() -> None:
        async for _ in shared.purges():
            pass

    for steps in range(200):
        task = asyncio.create_task(listen())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        _, pending = await asyncio.wait({task}, timeout=10.0)
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=1.0)
        assert not pending, f"cancelled after {steps} steps"
    await shared.close()


# A user without permissions

COMMANDS = ("SUBSCRIBE", "PUBLISH", "GET", "PSETEX", "EVAL", "SCAN", "DEL")


async def restricted(redis: Server, *rules: str) -> CacheSettings:
    """Create a user with these rules, and return the settings for it."""
    async with redis.client() as direct:
        await direct.execute_command("ACL", "SETUSER", "app", "on", ">secret", *rules)
    url = redis.url.replace("redis://", "redis://app:secret@")
    return CacheSettings(redis=Secret(url), admin_token=Secret("token"), redis_timeout=1.0)


@needs_redis
@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_that_the_user_may_not_run_is_named_at_start_and_by_check(
    command: str, redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    options = await restricted(redis, f"~{KEYS}", f"&{KEYS}", "+@all", f"-{command.lower()}")
    problem = f"its user may not run {command} on {KEYS}"
    async with twins.serving() as twin:
        registries = settings(pai(twin.url), cache=options)
        assert await cache_problem(registries) == f"The shared cache cannot be used fully: {problem}."
        async with served(registries) as gateway:
            while f"The shared cache (cache.redis): {problem}." not in caplog.text:
                await gateway.request("GET", "/healthz")
            assert await name(gateway) == await name(gateway) == NAME
            assert (await gateway.request("DELETE", "/cache", headers=TOKEN)).status == 200
            assert await name(gateway) == NAME
    assert "secret" not in caplog.text


@needs_redis
@pytest.mark.parametrize("rules", [(f"~{KEYS}", "resetchannels", "+@all"), ("resetkeys", f"&{KEYS}", "+@all")])
async def test_missing_channels_and_keys_are_named_too(rules: tuple[str, ...], redis: Server) -> None:
    options = await restricted(redis, *rules)
    async with twins.serving() as twin:
        problem = await cache_problem(settings(pai(twin.url), cache=options)) or ""
    expected = ("PUBLISH", "SUBSCRIBE") if "resetchannels" in rules else ("PSETEX", "GET", "EVAL", "DEL")
    assert [command for command in expected if f"may not run {command}" in problem] == list(expected)


@needs_redis
async def test_a_user_with_all_that_is_needed_has_no_problem(redis: Server, caplog: pytest.LogCaptureFixture) -> None:
    options = await restricted(
        redis, f"~{KEYS}", f"&{KEYS}", "+get", "+set", "+psetex", "+pttl", "+eval", "+scan", "+del", "+publish",
        "+subscribe", "+unsubscribe",
    )  # fmt: skip
    async with twins.serving() as twin:
        registries = settings(pai(twin.url), cache=options)
        assert await cache_problem(registries) is None
        twin.calls.clear()
        async with served(registries) as one, served(registries) as other:
            assert await name(one) == await name(other) == NAME
            assert twin.calls == {"GetModel": 1}
            async with redis.client() as direct:
                await subscribers(direct, 2)
            await one.request("DELETE", "/cache", headers=TOKEN)
            while (await other.request("GET", "/cache", headers=TOKEN)).body["entries"]:
                pass
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@needs_redis
async def test_a_wrong_password_is_named_by_check(redis: Server) -> None:
    options = await restricted(redis, "+@all", f"~{KEYS}", f"&{KEYS}")
    wrong = CacheSettings(redis=Secret(options.redis.reveal().replace("secret", "wrong")))
    async with twins.serving() as twin:
        problem = await cache_problem(settings(pai(twin.url), cache=wrong))
    reason = "it refuses the login; check the user and the password in the URL"
    assert problem == f"The shared cache cannot be used fully: {reason}."
