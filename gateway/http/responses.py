"""GraphQL responses over HTTP: status, headers and content encoding of a result.

Source: the GraphQL-over-HTTP specification, its draft and the revision of September 2026; RFC 9110, sections 8.4
(encodings) and 12.5.5 (``Vary``).
"""

import asyncio
import gzip
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson
from starlette.types import Receive, Scope, Send

from gateway.errors import Forbidden, GatewayError, IssuerUnavailable, TooManyRequests, Unauthenticated
from gateway.execution.request import InvalidRequest
from gateway.execution.results import OperationResult
from gateway.http.caching_headers import lifetime_headers, tag_headers
from gateway.http.negotiation import GRAPHQL, MIN_COMPRESSED, Accepted, min_compressed

STATUSES: Final = {
    Unauthenticated.code: 401,
    Forbidden.code: 403,
    IssuerUnavailable.code: 503,
    TooManyRequests.code: 429,
    "INTERNAL_SERVER_ERROR": 500,
}
"""Statuses of refused requests in both media types; the others depend on the media type."""

PARTIAL_SUCCESS: Final = 294
"""The status of a response with data and errors, in the revision of September 2026."""

VARY: Final = "Accept, X-Gateway-Plan, X-Gateway-Cache-Tags"
CREDENTIALS: Final = "Authorization, X-API-Key"
"""The request headers on which a personal response depends."""

MIN_THREAD: Final = 131_072
"""The minimum size of a body to compress in a thread, in bytes, so that it does not block the event loop."""

COMPRESSION_LEVEL: Final = 5

Headers = tuple[tuple[str, str], ...]


class HttpResponse(NamedTuple):
    """A complete response. ``headers`` exclude ``Content-Length``. ``varies`` is true if the encoding depends on the
    request."""

    status: int
    headers: Headers
    body: bytes
    varies: bool = False

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers in ASGI format."""
        return [*encoded(self.headers, self.varies), (b"content-length", b"%d" % len(self.body))]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response: an ASGI application, as Starlette's responses are."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.raw_headers()})
        await send({"type": "http.response.body", "body": self.body})


@lru_cache(256)
def encoded(headers: Headers, varies: bool) -> tuple[tuple[bytes, bytes], ...]:
    """Encode headers, with ``Accept-Encoding`` in ``Vary`` if the encoding depends on the request."""
    values = dict(headers)
    if varies:
        values["vary"] += ", Accept-Encoding"
    return tuple([(name.lower().encode(), value.encode()) for name, value in values.items()])


def response(status: int, media_type: str, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> HttpResponse:
    """Return a GraphQL response. By default it must not be cached."""
    base = (("vary", VARY), ("cache-control", "no-store"), ("content-type", f"{media_type}; charset=utf-8"))
    return HttpResponse(status, (*base, *headers), body)


def refusal_response(accepts: Accepted, status: int, body: bytes, headers: Mapping[str, str]) -> HttpResponse:
    """Return the response to a request that was not executed.

    In the revision, only a response with a status 2xx has the media type `JSON`.
    """
    media_type = GRAPHQL if accepts.revised and status >= 300 else accepts.media_type
    return response(status, media_type, body, headers.items())


def result_response(
    accepts: Accepted, result: OperationResult, personal: bool = False, tag_header: str = ""
) -> HttpResponse:
    """Return the response to one operation. A ``personal`` response depends on the caller.

    ``tag_header`` is the header for its cache tags, empty for none.
    """
    media_type = accepts.media_type
    if not result.executed:
        after = result.retry_after
        retry = {} if after is None else {"retry-after": str(math.ceil(after))}
        return refusal_response(accepts, refusal_status(accepts, result.codes), result.body, retry)
    headers = (*lifetime_headers(result.lifetime), *tag_headers(tag_header, result))
    if personal:  # a browser must not reuse it for the next user
        headers = (*headers, ("vary", f"{VARY}, {CREDENTIALS}"))
    partial = accepts.revised and media_type == GRAPHQL and result.codes
    return response(PARTIAL_SUCCESS if partial else 200, media_type, result.body, headers)


def refusal_status(accepts: Accepted, codes: Sequence[str]) -> int:
    """Return the status of a refused request.

    Well-formed ones have 200 in `JSON`, for older clients. In the revision, they have 422, and a document that cannot
    be parsed has 400.
    """
    status = next((STATUSES[code] for code in codes if code in STATUSES), None)
    if status is not None:
        return status
    if accepts.revised:
        return 400 if "GRAPHQL_PARSE_FAILED" in codes else 422
    return 400 if accepts.media_type == GRAPHQL else 200


def error_body(error: InvalidRequest | GatewayError) -> bytes:
    """Return a response body with one error."""
    extensions = error.extensions if isinstance(error, GatewayError) else {"code": error.code}
    formatted: dict[str, Any] = {"message": str(error), "extensions": extensions}
    return orjson.dumps({"errors": [formatted]})


async def compressed(
    response: HttpResponse, accept_encoding: str, result: OperationResult | None = None
) -> HttpResponse:
    """Return a response in the encoding that the client accepts. The body of a cached ``result`` is compressed once."""
    status, headers, sent, _ = response
    size = len(sent)
    if size < min_compressed(accept_encoding):
        return HttpResponse(status, headers, sent, size >= MIN_COMPRESSED)
    cached = None if result is None else result.cached
    body = await gzipped(sent) if cached is None or cached.compressed is None else cached.compressed
    if cached is not None:
        cached.compressed = body
    return HttpResponse(status, (*headers, ("content-encoding", "gzip")), body, True)


async def gzipped(body: bytes) -> bytes:
    if len(body) < MIN_THREAD:
        return gzip.compress(body, COMPRESSION_LEVEL, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, COMPRESSION_LEVEL, mtime=0)
