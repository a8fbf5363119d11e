"""Why a Redis or its Sentinels cannot be used, in words for operators.

The words have no part of the URL but the name of the service. redis-py's own text may contain the address.
"""

import asyncio
import ssl
from collections import Counter
from itertools import chain

from redis.asyncio import Redis
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    InvalidResponse,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.config.tls import is_for_another_host
from gateway.errors import Cause
from gateway.upstream.redis_clients import monitoring

REFUSALS: dict[type[ResponseError], str] = {
    ReadOnlyError: "the server is a replica; name the primary, or its Sentinels",
    MovedError: "the server belongs to a Redis Cluster, which the gateway does not support",
}


def unavailability(error: Exception) -> str:
    """Return why no command can be run."""
    cause = error.__context__
    if isinstance(error, AuthenticationError):
        return "it refuses the login; check the user and the password in the URL"
    if isinstance(error, MasterNotFoundError):
        return "no Sentinel names a primary that works; check the service in the URL, and its servers"
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return (
            "it does not answer in time; check its address, whether it has TLS as the URL says, and cache.redis_timeout"
        )
    if isinstance(error, InvalidResponse):
        return "it is not available (InvalidResponse); the server at this address is no Redis"
    if isinstance(cause, ssl.SSLCertVerificationError):
        if is_for_another_host(cause):
            return f"it is not available ({Cause.WRONG_HOST_NAME}); its certificate does not name the host"
        return f"it is not available ({Cause.UNTRUSTED_CERTIFICATE}); set ssl_ca_certs in the URL to its authority"
    if isinstance(cause, ssl.SSLError):
        return f"it is not available (TLS: {cause.reason}); check the scheme rediss and the certificates"
    if isinstance(cause, ConnectionRefusedError):
        return "it is not available (Connection refused); check its address"
    if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, ConnectionResetError):
        return f"it is not available ({cause.strerror}); check its address"
    if isinstance(error, ConnectionError | RedisConnectionError):
        return "it ends the connection; check its address, and whether it expects TLS (the scheme rediss)"
    return f"it is not available ({type(error).__name__}); check its address"


def refusal(command: str, keys: str, error: ResponseError) -> str:
    """Return why a command is refused. ``keys`` is the pattern of its keys and channels."""
    if isinstance(error, NoPermissionError):
        return f"its user may not run {command} on {keys}"
    reason = next((words for kind, words in REFUSALS.items() if isinstance(error, kind)), type(error).__name__)
    return f"it refuses {command} ({reason})"


async def sentinel_problems(client: Redis) -> tuple[list[str], bool]:
    """Return what is wrong with the Sentinels of a client, and whether one of them names a primary that works.

    A client without Sentinels needs none.
    """
    monitored = monitoring(client)
    if monitored is None:
        return [], True
    sentinel, service = monitored
    tests = (one.sentinel_masters() for one in sentinel.sentinels)
    answers = await asyncio.gather(*tests, return_exceptions=True)
    known = [answer for answer in answers if isinstance(answer, dict)]
    failures = Counter(sentinel_unavailability(answer) for answer in answers if isinstance(answer, Exception))
    problems = [
        f"{number} of {len(answers)} Sentinels cannot be used: {failure}" for failure, number in failures.items()
    ]
    states = [services[service] for services in known if service in services]
    usable = any(sentinel.check_master_state(state, service) for state in states)
    if known and not states:
        names = ", ".join(sorted({*chain.from_iterable(known)})) or "none"
        problems.append(
            f'Sentinel monitors no service "{service}" (it monitors: {names}); check the service in the URL'
        )
    elif states and not usable:
        problems.append("Sentinel reports that the primary is down, and has promoted no replica")
    return problems, usable


def sentinel_unavailability(error: Exception) -> str:
    """Return why a Sentinel does not name its services."""
    if isinstance(error, AuthenticationError):
        return "it refuses the login; check sentinel_username and sentinel_password in the URL"
    if isinstance(error, NoPermissionError):
        return "its user may not run SENTINEL MASTERS"
    if isinstance(error, ResponseError):
        return "the server at this address is no Sentinel"
    return unavailability(error)
