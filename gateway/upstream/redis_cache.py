"""The Redis that replicas share: answers, short leases on fetching them, and word of purges.

Never needed: away, slow, hung or full, it is left alone for a while and the gateway goes on without it. Nothing but
keys of this gateway's own prefix is ever read, written or deleted.
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
REST = 5.0
"""Seconds for which a Redis that failed is left alone."""

T = TypeVar("T")


class SharedCache:
    """A Redis at an address such as ``redis://127.0.0.1:6379/0``; ``timeout`` bounds every operation, in seconds."""

    def __init__(self, url: str, timeout: float, monotonic: Callable[[], float], facts: Events = NO_EVENTS) -> None:
        self.redis = Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
        self.answers = RedisCache(serializer=NullSerializer(), namespace=NAMESPACE, timeout=timeout)
        self.answers.client = self.redis
        self.timeout, self.monotonic, self.facts = timeout, monotonic, facts
        self.name = secrets.token_hex(8)
        self.rests_until = float("-inf")

    @property
    def available(self) -> bool:
        return self.monotonic() >= self.rests_until

    async def _try(self, operation: Callable[[], Awaitable[T]], otherwise: T) -> T:
        """The outcome of an operation, or of going on without it."""
        if not self.available:
            return otherwise
        try:
            async with asyncio.timeout(self.timeout):
                return await operation()
        except (RedisError, OSError, TimeoutError) as error:
            self.facts.shared_cache_failed()
            if self.available:
                logger.warning("The shared cache does not answer (%s); going on without it.", type(error).__name__)
            self.rests_until = self.monotonic() + REST
            return otherwise

    async def get(self, key: str) -> bytes | None:
        return await self._try(lambda: self.answers.get(key), None)

    async def set(self, key: str, content: bytes, lifetime: float) -> bool:
        return await self._try(lambda: self.answers.set(key, content, ttl=float(lifetime)), False)

    async def lease(self, key: str, seconds: float) -> str | None:
        """A token when this process may fetch the key for so long; None when another does. Without Redis: yes."""
        token = secrets.token_hex(8)
        name = f"{NAMESPACE}:lease:{key}"
        granted: Any = await self._try(lambda: self.redis.set(name, token, nx=True, px=int(seconds * 1000)), True)
        return token if granted else None

    async def release(self, key: str, token: str) -> None:
        """Give a lease back, unless it has passed to another."""
        script = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
        await self._try(lambda: self.redis.eval(script, 1, f"{NAMESPACE}:lease:{key}", token), None)

    async def purge(self, prefix: str) -> None:
        """Delete the answers whose keys start like this, and tell all replicas."""

        async def run() -> None:
            async for name in self.redis.scan_iter(match=f"{NAMESPACE}:{prefix}*", count=500):
                await self.redis.delete(name)
            await self.redis.publish(PURGES, f"{self.name} {prefix}")

        if self.available:
            try:
                await run()
            except (RedisError, OSError):
                self.facts.shared_cache_failed()
                self.rests_until = self.monotonic() + REST
                logger.warning("The shared cache does not answer; other replicas were not told of the purge.")

    async def purges(self) -> AsyncIterator[str]:
        """Prefixes that other replicas purge; the empty one after a break, since word may have been missed."""
        missed = False
        while True:
            try:
                async with self.redis.pubsub() as listening:
                    await listening.subscribe(PURGES)
                    if missed:
                        yield ""
                    missed = False
                    while True:
                        message = await listening.get_message(ignore_subscribe_messages=True, timeout=None)
                        if message is not None:
                            sender, _, prefix = message["data"].decode().partition(" ")
                            if sender != self.name:
                                yield prefix
            except (RedisError, OSError):
                missed = True
                await asyncio.sleep(REST)

    async def close(self) -> None:
        await self.redis.aclose()
