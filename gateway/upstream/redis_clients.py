"""Clients of a Redis at its own address, or behind Sentinel.

Source: redis-py, ``redis.asyncio`` and ``redis.asyncio.sentinel``.
"""

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from gateway.config.redis_urls import sentinel_url


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
    sentinel = Sentinel(hosts, sentinel_kwargs=each | sentinels[0])
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
    """Close a client, and its connections to Sentinels."""
    await client.aclose()
    if (monitored := monitoring(client)) is not None:
        for sentinel in monitored[0].sentinels:
            await sentinel.aclose()
