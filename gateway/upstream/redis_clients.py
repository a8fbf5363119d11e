"""Clients of a Redis at its own address, or behind Sentinel.

Source: redis-py, ``redis.asyncio`` and ``redis.asyncio.sentinel``.
"""

from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.config.redis_urls import sentinel_url


class Sentinels(Sentinel):
    """Sentinels that are asked in the order of the URL.

    The method of redis-py moves the one that answers to the front. When two tasks do this at once, it loses the others.
    """

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return host and port of the primary from the first Sentinel that names one that works.

        Raises `MasterNotFoundError` if there is none.
        """
        for sentinel in self.sentinels:
            with suppress(RedisConnectionError, RedisTimeoutError):
                services: Any = await sentinel.sentinel_masters()
                state = services.get(service_name)
                if state and self.check_master_state(state, service_name):
                    return state["ip"], state["port"]
        raise MasterNotFoundError("no Sentinel names a primary that works")


def redis_client(url: str, timeout: float) -> Redis:
    """Return a client of the Redis at a valid URL. It connects when it is used, and to a new address after a failover.

    ``timeout`` bounds connecting and each reply, in seconds. The Sentinels share this time, so that one that does not
    answer leaves time to ask the next.
    """
    address = sentinel_url(url)
    if address is None:
        return Redis.from_url(url, **connection_options(timeout, retries=1))
    each = connection_options(timeout / (len(address.sentinels) + 1), retries=0)
    sentinels = [server_options(sentinel) for sentinel in address.sentinels]
    hosts = [(sentinel.pop("host"), sentinel.pop("port")) for sentinel in sentinels]
    sentinel = Sentinels(hosts, sentinel_kwargs=each | sentinels[0])
    server = server_options(address.redis)
    del server["host"], server["port"]
    client: Redis = sentinel.master_for(address.service, **connection_options(timeout, retries=1) | server)
    return client


def connection_options(timeout: float, retries: int) -> dict[str, Any]:
    return {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": Retry(NoBackoff(), retries)}


def server_options(url: str) -> dict[str, Any]:
    """Return the options of a connection to the server at a URL, with ``ssl`` in place of a class of connections."""
    options: dict[str, Any] = {**parse_url(url)}
    uses_tls = options.pop("connection_class", None) is not None
    return {**options, "ssl": uses_tls}


def monitoring(client: Redis) -> tuple[Sentinel, str] | None:
    """Return the Sentinels that a client asks for the address of its Redis, and the service; None without Sentinels."""
    pool = client.connection_pool
    return (pool.sentinel_manager, pool.service_name) if isinstance(pool, SentinelConnectionPool) else None


async def close(client: Redis) -> None:
    """Close a client, and its connections to Sentinels, also if the servers do not answer."""
    monitored = monitoring(client)
    for each in (client, *(monitored[0].sentinels if monitored else ())):
        with suppress(RedisError):
            await each.aclose()
