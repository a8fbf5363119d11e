"""Redis shared by replicas: answers, leases on fetching them, and notices of purges.

Redis is optional at run time. If it fails or is slow, the gateway pauses using it for a while and works without it. The
gateway only reads, writes and deletes keys with its own prefix.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from aiocache import RedisCache
from aiocache.serializers import NullSerializer
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.telemetry.events import NO_EVENTS, Events

logger = logging.getLogger("gateway.upstream")

NAMESPACE = "registry-gateway:1"
PURGES = f"{NAMESPACE}:purges"
PAUSE = 5.0
"""Seconds without operations after Redis failed."""

T = TypeVar("T")


class SharedCache:
    """A Redis at an address such as ``redis://127.0.0.1:6379/0``; ``timeout`` bounds each operation, in seconds."""

    def __init__(self, url: str, timeout: float, monotonic: Callable[[], float], events: Events = NO_EVENTS) -> None:
        self.redis = Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
        self.answers = RedisCache(serializer=NullSerializer(), namespace=NAMESPACE, timeout=timeout)
        self.answers.client = self.redis
        self.timeout, self.monotonic, self.events = timeout, monotonic, events
        self.name = secrets.token_hex(8)
        self.paused_until = float("-inf")

    @property
    def available(self) -> bool:
        return self.monotonic() >= self.paused_until

    async def _try(self, operation: Callable[[], Awaitable[T]], otherwise: T) -> T:
        """Return the result of an operation, or ``otherwise`` if Redis is not available."""
        if not self.available:
            return otherwise
        try:
            async with asyncio.timeout(self.timeout):
                return await operation()
        except (RedisError, OSError, TimeoutError) as error:
            self.events.shared_cache_failed()
            if self.available:
                logger.warning(
                    "The shared cache failed (%s). The gateway works without it for %.0f s.",
                    type(error).__name__,
                    PAUSE,
                )
            self.paused_until = self.monotonic() + PAUSE
            return otherwise

    async def get(self, key: str) -> bytes | None:
        return await self._try(lambda: self.answers.get(key), None)

    async def set(self, key: str, content: bytes, lifetime: float) -> bool:
        return await self._try(lambda: self.answers.set(key, content, ttl=float(lifetime)), False)

    async def lease(self, key: str, seconds: float) -> str | None:
        """Acquire a lease: return a token if this process may fetch the key, else None. Without Redis it always may."""
        token = secrets.token_hex(8)
        name = f"{NAMESPACE}:lease:{key}"
        granted: Any = await self._try(lambda: self.redis.set(name, token, nx=True, px=int(seconds * 1000)), True)
        return token if granted else None

    async def release(self, key: str, token: str) -> None:
        """Give a lease back, unless it has expired and another process holds it."""
        script = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
        await self._try(lambda: self.redis.eval(script, 1, f"{NAMESPACE}:lease:{key}", token), None)

    async def purge(self, prefix: str) -> None:
        """Delete the answers whose keys start with a prefix, and notify all replicas."""

        async def run() -> None:
            async for name in self.redis.scan_iter(match=f"{NAMESPACE}:{prefix}*", count=500):
                await self.redis.delete(name)
            await self.redis.publish(PURGES, f"{self.name} {prefix}")

        if self.available:
            try:
                await run()
            except (RedisError, OSError):
                self.events.shared_cache_failed()
                self.paused_until = self.monotonic() + PAUSE
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
                            sender, _, prefix = message["data"].decode().partition(" ")
                            if sender != self.name:
                                yield prefix
            except (RedisError, OSError):
                missed = True
                await asyncio.sleep(PAUSE)

    async def close(self) -> None:
        await self.redis.aclose()
