"""Redis shared by replicas: answers, leases on fetching them, and notices of purges.

Redis is optional at run time. If it fails or is slow, the gateway pauses using it for a while and works without it. If
it refuses one command, the gateway works without that. Either is logged once, until it works again. The gateway only
reads, writes and deletes keys with its own prefix.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from aiocache import RedisCache
from aiocache.serializers import NullSerializer
from redis.asyncio.client import PubSub
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.telemetry.events import NO_EVENTS, Events
from gateway.upstream.redis_clients import close, redis_client
from gateway.upstream.redis_problems import refusal, sentinel_problems, unavailability

logger = logging.getLogger("gateway.upstream")

NAMESPACE = "registry-gateway:1"
KEYS = f"{NAMESPACE}:*"
"""The pattern of the keys and channels that the gateway uses."""
PURGES = f"{NAMESPACE}:purges"
CHECKS = f"{NAMESPACE}:check:"
"""The prefix of the keys with which a gateway tries the commands that it needs. No answer has such a key."""
CONNECTIONS = 16
"""The largest number of connections for operations. An operation waits until it has one before its time starts: a page
with many objects runs hundreds of operations at once, and opening a connection takes longer than an operation."""
PAUSE = 5.0
"""Seconds without operations after Redis failed, and between two signs of life of a subscription."""

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


class SharedCache:
    """A Redis at a URL, see `redis_urls`. ``timeout`` bounds each operation, in seconds."""

    def __init__(self, url: str, timeout: float, monotonic: Callable[[], float], events: Events = NO_EVENTS) -> None:
        self.redis = redis_client(url, timeout)
        self.answers = RedisCache(serializer=NullSerializer(encoding=None), namespace=NAMESPACE, timeout=timeout)
        self.answers.client = self.redis
        self.timeout, self.monotonic, self.events = timeout, monotonic, events
        self.slots = asyncio.Semaphore(CONNECTIONS)
        self.name = secrets.token_hex(8)
        self.paused_until = float("-inf")
        self.is_failing = False
        self.refused: dict[str, float] = {}
        """When the refusal of a command was logged. It is logged again only after the command has worked."""

    @property
    def available(self) -> bool:
        return self.monotonic() >= self.paused_until

    async def _try(self, command: str, operation: Callable[[], Awaitable[T]], otherwise: T) -> T:
        """Return the result of an operation, or ``otherwise`` if Redis is not available or refuses its command."""
        try:
            async with self.slots:
                if not self.available:
                    return otherwise
                async with asyncio.timeout(self.timeout):
                    result = await operation()
        except ResponseError as error:
            self.events.shared_cache_failed()
            self._log_refusals({command: refusal(command, KEYS, error)}, "The gateway works without this command.")
            return otherwise
        except Exception as error:  # redis-py lets errors of asyncio, of transports and of its parser through
            self._pause(error)
            return otherwise
        self._worked(command)
        return result

    def _pause(self, error: Exception) -> None:
        """Count and log a failure, and pause."""
        self.events.shared_cache_failed()
        self.paused_until = self.monotonic() + PAUSE
        self._log_failure(error)

    def _worked(self, command: str) -> None:
        """Log that Redis works again, and forget that it refused a command."""
        if self.is_failing and self.available:
            self.is_failing = False
            logger.info("The shared cache works again.")
        if command in self.refused and self.monotonic() >= self.refused[command] + PAUSE:
            del self.refused[command]

    def _log_failure(self, error: Exception) -> None:
        if not self.is_failing:
            self.is_failing = True
            logger.warning(
                "The shared cache (cache.redis): %s. The gateway works without it, and tries again every %.0f s.",
                unavailability(error),
                PAUSE,
            )

    def _log_refusals(self, problems: Mapping[str, str], consequence: str) -> None:
        """Log the problems of commands whose refusal is not logged yet."""
        new = problems.keys() - self.refused.keys()
        self.refused |= dict.fromkeys(new, self.monotonic())
        if new:
            words = "; ".join(problem for command, problem in problems.items() if command in new)
            logger.warning("The shared cache (cache.redis): %s. %s", words, consequence)

    async def get(self, key: str) -> bytes | None:
        async def run() -> bytes | ResponseError | None:
            try:
                content = await self.answers.get(key)
            except ResponseError as error:
                if not str(error).startswith("WRONGTYPE"):
                    raise
                return error
            if not isinstance(content, bytes | None):
                raise TypeError("not a string of Redis")
            return content

        content = await self._try("GET", run, None)
        if isinstance(content, ResponseError):
            await self.discard(key)
            return None
        return content

    async def discard(self, key: str) -> None:
        """Delete an answer that cannot be used, and count it as a failure."""
        self.events.shared_cache_failed()
        logger.warning("A value in the shared cache is not one of the gateway's. It is deleted.")
        await self._try("DEL", lambda: self.answers.delete(key), 0)

    async def set(self, key: str, content: bytes, lifetime: float) -> bool:
        return await self._try("PSETEX", lambda: self.answers.set(key, content, ttl=float(lifetime)), False)

    async def lease(self, key: str, seconds: float) -> str | None:
        """Acquire a lease: return a token if this process may fetch the key, else None. Without Redis it always may."""
        token = secrets.token_hex(8)
        name = f"{NAMESPACE}:lease:{key}"
        milliseconds = int(seconds * 1000)
        granted: Any = await self._try("EVAL", lambda: self.redis.eval(ACQUIRE, 1, name, token, milliseconds), True)
        return token if granted else None

    async def release(self, key: str, token: str) -> None:
        """Give a lease back, unless it has expired and another process holds it."""
        await self._try("EVAL", lambda: self.redis.eval(RELEASE, 1, f"{NAMESPACE}:lease:{key}", token), None)

    async def purge(self, prefix: str) -> None:
        """Delete the answers whose keys start with a prefix, and notify all replicas. Log when that is not possible."""
        try:
            async for name in self.redis.scan_iter(match=f"{NAMESPACE}:{prefix}*", count=500):
                await self.redis.delete(name)
            await self.redis.publish(PURGES, f"{self.name} {prefix}")
        except Exception as error:
            if isinstance(error, ResponseError):
                self.events.shared_cache_failed()
            else:
                self._pause(error)
            logger.warning("A purge did not reach the shared cache and all replicas (%s).", type(error).__name__)

    async def purges(self) -> AsyncIterator[str]:
        """Yield the prefixes that other replicas purge, and an empty one after a break, since notices may be lost.

        This ends when its task is cancelled.
        """
        missed = False
        while not is_cancelled():
            try:
                async with self.redis.pubsub() as subscription:
                    async for message in messages(subscription):
                        sender, _, prefix = message.partition(" ")
                        if not message and missed:
                            missed = False
                            yield ""
                        elif message and sender != self.name and not prefix.startswith(CHECKS):
                            yield prefix
            except Exception as error:
                if not missed:
                    logger.warning("Purges of other replicas do not arrive (%s).", type(error).__name__)
                missed = True
                await asyncio.sleep(PAUSE)

    async def problems(self) -> list[str]:
        """Return why the gateway cannot use the Redis as it should, in words for operators: empty if it can."""
        found, usable = await sentinel_problems(self.redis)
        if not usable:
            return found
        try:
            return [*found, *(await self._refusals()).values()]
        except Exception as error:
            return [*found, unavailability(error)]

    async def _refusals(self) -> dict[str, str]:
        """Try the commands that the gateway needs; return the problems of those that Redis refuses."""
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
        refused = {}
        for command, operation in operations.items():
            try:
                async with asyncio.timeout(2 * self.timeout):
                    await operation()
            except ResponseError as error:
                refused[command] = refusal(command, KEYS, error)
        return refused

    async def log_problems(self) -> None:
        """Log the problems, if there are any."""
        try:
            self._log_refusals(await self._refusals(), "The gateway works without these commands.")
        except Exception as error:
            self._log_failure(error)

    async def close(self) -> None:
        await close(self.redis)


def is_cancelled() -> bool:
    """Return whether the current task was asked to end.

    redis-py sends commands with `asyncio.wait_for`. Before Python 3.12, this loses a cancellation that arrives when the
    command has just been sent.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def messages(subscription: PubSub) -> AsyncIterator[str]:
    """Subscribe to notices of purges, and yield them, and an empty text for each confirmation of the subscription.

    When nothing arrives for a while, this subscribes again: a Redis that hangs does not confirm it.

    Raises errors of redis-py, `RedisTimeoutError` among them.
    """
    await subscription.subscribe(PURGES)
    is_silent = False
    while not is_cancelled():
        message = await subscription.get_message(timeout=PAUSE)
        if message is not None:
            yield message["data"].decode(errors="replace") if message["type"] == "message" else ""
        elif is_silent:
            raise RedisTimeoutError("no confirmation of the subscription")
        else:
            await subscription.subscribe(PURGES)
        is_silent = message is None
