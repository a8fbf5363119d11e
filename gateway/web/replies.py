"""Replies: by which status and headers HTTP tells what came of a request, whoever sends them.

Source: the GraphQL-over-HTTP specification, working draft; RFC 9110, sections 8.4 (encodings) and 12.5.5 (``Vary``).
"""

import asyncio
import gzip
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from gateway.errors import Forbidden, GatewayError, TooManyRequests, Unauthenticated
from gateway.web import freshness
from gateway.web.requests import GRAPHQL, Refused
from gateway.web.results import Result

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


@dataclass(slots=True)
class Reply:
    """An answer by HTTP: what it has of status, headers and body before others add to it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    _lines: bytes | None = None

    @property
    def lines(self) -> bytes:
        """Its headers as they go over the wire; they may not change any more."""
        if self._lines is None:
            self._lines = b"".join([b"%b: %b\r\n" % header for header in self.headers])
        return self._lines


class Written(NamedTuple):
    """An answer that is all there: its status, the lines of its headers, and its body."""

    status: int
    lines: bytes
    body: bytes


def reply(media_type: str, status: int, body: bytes, said: Mapping[str, str] | None = None) -> Reply:
    """A body in one of GraphQL's media types; nobody may keep it, if nothing else is said."""
    headers = {
        "vary": VARY,
        "cache-control": "no-store",
        "content-type": f"{media_type}; charset=utf-8",
        "content-length": str(len(body)),
    }
    headers |= said or {}
    return Reply(status, [(name.lower().encode(), value.encode()) for name, value in headers.items()], body)


def settled(media_type: str, result: Result, personal: bool = False) -> Reply:
    """What came of one operation; what is ``personal`` depends on who asks."""
    if result.operation is None:
        said = {} if result.retry_after is None else {"retry-after": str(math.ceil(result.retry_after))}
        return reply(media_type, status_of_refusal(media_type, result.codes), result.body, said)
    said = freshness.headers(result.operation, not result.codes)
    if personal:  # a browser must not keep for the next user what it got for this one
        said["vary"] = f"{VARY}, Authorization, X-API-Key"
    return reply(media_type, 200, result.body, said)


def status_of_refusal(media_type: str, codes: Iterable[str]) -> int:
    """`application/json` keeps 200 for every well-formed request: its older clients expect that."""
    return next((STATUSES[code] for code in codes if code in STATUSES), 400 if media_type == GRAPHQL else 200)


def body_of(refused: Refused | GatewayError) -> bytes:
    error: dict[str, Any] = {"message": str(refused), "extensions": {"code": refused.code}}
    return orjson.dumps({"errors": [error]})


def encoded(plain: Reply, compressed: bytes | None) -> Reply:
    """A reply that is large enough to be compressed, with the bytes that it has then, for who takes them."""
    said, body = dict(plain.headers), plain.body
    said[b"vary"] += b", Accept-Encoding"
    if compressed is not None:
        body = compressed
        said |= {b"content-encoding": b"gzip", b"content-length": str(len(body)).encode()}
    return Reply(plain.status, list(said.items()), body)


async def compress(body: bytes) -> bytes:
    return await asyncio.to_thread(squeezed, body) if len(body) >= APART else squeezed(body)


def squeezed(body: bytes) -> bytes:
    return gzip.compress(body, LEVEL, mtime=0)
