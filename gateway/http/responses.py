"""Replies: by which status and headers HTTP tells what came of a request, whoever sends them.

Source: the GraphQL-over-HTTP specification, working draft; RFC 9110, sections 8.4 (encodings) and 12.5.5 (``Vary``).
"""

import asyncio
import gzip
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple, Self

import orjson

from gateway.errors import Forbidden, GatewayError, TooManyRequests, Unauthenticated
from gateway.execution.results import Result
from gateway.http import caching_headers as freshness
from gateway.http.requests import GRAPHQL, InvalidRequest

STATUSES: Final = {
    Unauthenticated.code: 401,
    Forbidden.code: 403,
    TooManyRequests.code: 429,
    "INTERNAL_SERVER_ERROR": 500,
}
"""Statuses of refusals in both media types; others have the one of their media type."""

VARY: Final = "Accept, X-Gateway-Plan"

COMPRESSED: Final = 500
"""Bytes from which a body is compressed for who takes it so."""

APART: Final = 131_072
"""Bytes from which compressing takes so long that others are answered meanwhile."""

LEVEL: Final = 5


HEADS: Final = 256
"""Heads that are kept: they differ by age, above all."""


def lined(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as they go over the wire."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """The headers of a reply, but for the length of its body; also as lines, as they go over the wire."""

    headers: tuple[tuple[bytes, bytes], ...]
    lines: bytes

    @classmethod
    def of(cls, headers: Mapping[bytes, bytes]) -> Self:
        return cls(tuple(headers.items()), lined(headers.items()))


class HttpResponse(NamedTuple):
    """An answer by HTTP."""

    status: int
    head: Head
    body: bytes

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [*self.head.headers, (b"content-length", b"%d" % len(self.body))]


Written = tuple[int, bytes, bytes]
"""An answer that is all there: its status, the lines of its headers, and its body."""


@lru_cache(HEADS)
def head(media_type: str, *said: tuple[str, str]) -> Head:
    """The head of an answer in one of GraphQL's media types; nobody may keep it, if nothing else is said."""
    headers = {
        "vary": VARY,
        "cache-control": "no-store",
        "content-type": f"{media_type}; charset=utf-8",
        **dict(said),
    }
    return Head.of({name.lower().encode(): value.encode() for name, value in headers.items()})


@lru_cache(HEADS)
def lasting(media_type: str, age: int, fresh_for: int) -> Head:
    """The head of an answer that is so old, and fresh for so long, in seconds."""
    return head(media_type, *freshness.lifetime(age, fresh_for))


@lru_cache(HEADS)
def varied(plain: Head, zipped: bool) -> Head:
    """The head of an answer that is large enough to be compressed for who takes it so."""
    headers = dict(plain.headers)
    headers[b"vary"] += b", Accept-Encoding"
    return Head.of({**headers, b"content-encoding": b"gzip"} if zipped else headers)


def settled(media_type: str, result: Result, personal: bool = False) -> HttpResponse:
    """What came of one operation; what is ``personal`` depends on who asks."""
    if result.operation is None:
        after = result.retry_after
        said = [] if after is None else [("retry-after", str(math.ceil(after)))]
        return HttpResponse(status_of_refusal(media_type, result.codes), head(media_type, *said), result.body)
    told = freshness.headers(result.operation, not result.codes)
    if personal:  # a browser must not keep for the next user what it got for this one
        told = (*told, ("vary", f"{VARY}, Authorization, X-API-Key"))
    return HttpResponse(200, head(media_type, *told), result.body)


def status_of_refusal(media_type: str, codes: Iterable[str]) -> int:
    """`application/json` keeps 200 for every well-formed request: its older clients expect that."""
    return next((STATUSES[code] for code in codes if code in STATUSES), 400 if media_type == GRAPHQL else 200)


def body_of(refused: InvalidRequest | GatewayError) -> bytes:
    error: dict[str, Any] = {"message": str(refused), "extensions": {"code": refused.code}}
    return orjson.dumps({"errors": [error]})


async def compress(body: bytes) -> bytes:
    return await asyncio.to_thread(squeezed, body) if len(body) >= APART else squeezed(body)


def squeezed(body: bytes) -> bytes:
    return gzip.compress(body, LEVEL, mtime=0)
