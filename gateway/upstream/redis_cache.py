"""Redis shared by replicas: answers, leases on fetching them, and notices of purges.

Redis is optional at run time. If it fails or is slow, the gateway pauses using it for a while and works without it. If
it refuses one operation, the gateway works without that. The gateway only reads, writes and deletes keys with its own
prefix.
"""

import asyncio
import logging
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from aiocache import RedisCache
from aiocache.serializers import NullSerializer
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, InvalidResponse, NoPermissionError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.telemetry.events import NO_EVENTS, Events

logger = logging.getLogger("gateway.upstream")

NAMESPACE = "registry-gateway:1"
PURGES = f"{NAMESPACE}:purges"
CHECKS = f"{NAMESPACE}:check:"
"""The prefix of the keys with which a gateway tries the commands that it needs. No answer has such a key."""
CONNECTIONS = 16
"""The largest number of connections for operations. An operation waits until it has one before its time starts: a page
with many objects runs hundreds of operations at once, and opening a connection takes longer than an operation."""
PAUSE = 5.0
"""Seconds without operations after Redis failed."""

ACQUIRE = """
if redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('pttl', KEYS[1]) >= 0 then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
"""Acquires a lease. One that never expires is none of the gateway's, and is replaced."""

RELEASE = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
"""

T = TypeVar("T")


def unavailability(error: Exception) -> str:
    """Return why a Redis cannot be used, in words for operators. redis-py's own text may contain the address."""
    cause = error.__context__
    if isinstance(error, AuthenticationError):
        return "it refuses the login; check the user and the password in the URL"
    if isinstance(cause, ssl.SSLError):
        return f"it is not available (TLS: {cause.reason}); check the scheme rediss and the certificates"
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return "it does not answer in time; check its address, and cache.redis_timeout"
    if isinstance(error, InvalidResponse):
        return "it is not available (InvalidResponse); the server at this address is no Redis"
    reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else type(error).__name__
    reason = "Connection refused" if isinstance(cause, ConnectionRefusedError) else reason
    return f"it is not available ({reason}); check its address"


class SharedCache:
    """A Redis at an address such as ``redis://127.0.0.1:6379/0``; ``timeout`` bounds each operation, in seconds."""

    def __init__(self, url: str, timeout: float, monotonic: Callable[[], float], events: Events = NO_EVENTS) -> None:
        self.redis = Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
        self.answers = RedisCache(serializer=NullSerializer(encoding=None), namespace=NAMESPACE, timeout=timeout)
        self.answers.client = self.redis
        self.timeout, self.monotonic, self.events = timeout, monotonic, events
        self.slots = asyncio.Semaphore(CONNECTIONS)
        self.name = secrets.token_hex(8)
        self.paused_until = self.logged_at = float("-inf")

    @property
    def available(self) -> bool:
        return self.monotonic() >= self.paused_until

    async def _try(self, operation: Callable[[], Awaitable[T]], otherwise: T) -> T:
        """Return the result of an operation, or ``otherwise`` if Redis is not available."""
        try:
            async with self.slots:
                if not self.available:
                    return otherwise
                async with asyncio.timeout(self.timeout):
                    return await operation()
        except Exception as error:  # redis-py lets errors of asyncio, of transports and of its parser through
            self._failed(error)
            return otherwise

    def _failed(self, error: Exception) -> None:
        """Count and log a failure, and pause. A Redis that only refuses an operation stays in use."""
        self.events.shared_cache_failed()
        now = self.monotonic()
        refused, logs = isinstance(error, ResponseError), now >= self.logged_at + PAUSE
        if not refused:
            logs, self.paused_until = self.available, now + PAUSE
        if logs:
            self.logged_at = now
            consequence = "without this operation" if refused else f"without it for {PAUSE:.0f} s"
            logger.warning("The shared cache failed (%s). The gateway works %s.", type(error).__name__, consequence)

    async def get(self, key: str) -> bytes | None:
        async def run() -> bytes | None:
            try:
                content = await self.answers.get(key)
            except ResponseError as error:
                if str(error).startswith("WRONGTYPE"):
                    await self.redis.delete(f"{NAMESPACE}:{key}")
                raise
            if not isinstance(content, bytes | None):
                raise TypeError("not a string of Redis")
            return content

        return await self._try(run, None)

    async def discard(self, key: str) -> None:
        """Delete an answer that cannot be used, and count it as a failure."""
        self.events.shared_cache_failed()
        logger.warning("A value in the shared cache is not one of the gateway's. It is deleted.")
        await self._try(lambda: self.answers.delete(key), 0)

    async def set(self, key: str, content: bytes, lifetime: float) -> bool:
        return await self._try(lambda: self.answers.set(key, content, ttl=float(lifetime)), False)

    async def lease(self, key: str, seconds: float) -> str | None:
        """Acquire a lease: return a token if this process may fetch the key, else None. Without Redis it always may."""
        token = secrets.token_hex(8)
        name = f"{NAMESPACE}:lease:{key}"
        granted: Any = await self._try(lambda: self.redis.eval(ACQUIRE, 1, name, token, int(seconds * 1000)), True)
        return token if granted else None

    async def release(self, key: str, token: str) -> None:
        """Give a lease back, unless it has expired and another process holds it."""
        await self._try(lambda: self.redis.eval(RELEASE, 1, f"{NAMESPACE}:lease:{key}", token), None)

    async def purge(self, prefix: str) -> None:
        """Delete the answers whose keys start with a prefix, and notify all replicas."""

        async def run() -> None:
            async for name in self.redis.scan_iter(match=f"{NAMESPACE}:{prefix}*", count=500):
                await self.redis.delete(name)
            await self.redis.publish(PURGES, f"{self.name} {prefix}")

        if self.available:
            try:
                await run()
            except Exception as error:
                self._failed(error)
                logger.warning("The shared cache failed; other replicas were not notified of the purge.")

    async def purges(self) -> AsyncIterator[str]:
        """Yield the prefixes that other replicas purge, and an empty one after a break, since notices may be lost."""
        missed = False
        while True:
            try:
                async with self.redis.pubsub() as subscription:
                    await subscription.subscribe(PURGES)
                    if missed:
                        yield ""
                    missed = False
                    while True:
                        message = await subscription.get_message(ignore_subscribe_messages=True, timeout=None)
                        if message is not None:
                            sender, _, prefix = message["data"].decode(errors="replace").partition(" ")
                            if sender != self.name and not prefix.startswith(CHECKS):
                                yield prefix
            except Exception as error:
                if not missed:
                    logger.warning("Purges of other replicas do not arrive (%s).", type(error).__name__)
                missed = True
                await asyncio.sleep(PAUSE)

    async def problems(self) -> list[str]:
        """Return why the gateway cannot use the Redis as it should, in words for operators: empty if it can."""
        key = f"{CHECKS}{self.name}"

        async def subscribe() -> None:
            async with self.redis.pubsub() as subscription:
                await subscription.subscribe(PURGES)
                await subscription.get_message(timeout=self.timeout)

        operations: dict[str, Callable[[], Awaitable[Any]]] = {
            "PSETEX": lambda: self.redis.psetex(key, 1000, b""),
            "GET": lambda: self.redis.get(key),
            "EVAL": lambda: self.redis.eval(ACQUIRE, 1, key, self.name, 1000),
            "SCAN": lambda: self.redis.scan(match=key, count=1),
            "DEL": lambda: self.redis.delete(key),
            "PUBLISH": lambda: self.redis.publish(PURGES, f"{self.name} {key}"),
            "SUBSCRIBE": subscribe,
        }
        problems = []
        for command, operation in operations.items():
            try:
                async with asyncio.timeout(2 * self.timeout):
                    await operation()
            except NoPermissionError:
                problems.append(f"its user may not run {command} on {NAMESPACE}:*")
            except ResponseError as error:
                problems.append(f"it refuses {command} ({type(error).__name__})")
            except Exception as error:
                return [unavailability(error)]
        return problems

    async def log_problems(self) -> None:
        """Log the problems, if there are any."""
        for problem in await self.problems():
            logger.warning("The shared cache (cache.redis): %s.", problem)

    async def close(self) -> None:
        await self.redis.aclose()
