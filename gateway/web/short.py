"""The short way: a request that was answered whole before is answered again before anything of it is parsed.

Only for requests of nobody in particular, and without headers that ask for something special: all others go on.
"""

import asyncio
import gzip
from collections import OrderedDict
from functools import partial
from typing import Final, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.graph.wholes import Key, Whole, Wholes
from gateway.telemetry.observer import Observer
from gateway.telemetry.report import Report
from gateway.upstream.source import ANY
from gateway.web import freshness

DECIDING: Final = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"expect",
        b"origin",
        b"x-api-key",
        b"x-gateway-plan",
    }
)
"""Headers by which the same body may be answered in another way; ``Accept`` and ``Content-Type`` name the way."""

ROOM: Final = 8_000_000
"""Bytes of requests that are remembered."""

COMPRESSED: Final = 500
"""Bytes from which an answer is compressed."""

Named = tuple[bytes, bytes, bytes]


class Way(NamedTuple):
    """How a request is answered: the whole answer's name, its media type, and what is told of the operation."""

    whole: Key
    media_type: str
    type: str
    name: str | None
    document: str | None


class Short:
    """Stands before an application in which requests are answered, and learns from it."""

    def __init__(self, app: ASGIApp, wholes: Wholes, observer: Observer, body_seconds: float) -> None:
        self.app, self.wholes, self.observer, self.body_seconds = app, wholes, observer, body_seconds
        self._room = ROOM
        self._ways: OrderedDict[Named, Way] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != "/graphql":
            await self.app(scope, receive, send)
            return
        accept, content_type, zipped = b"*/*", b"", False
        for name, value in scope["headers"]:
            if name == b"accept":
                accept = value
            elif name == b"content-type":
                content_type = value
            elif name == b"accept-encoding":
                zipped = b"gzip" in value
            elif name in DECIDING:
                await self.app(scope, receive, send)
                return
        try:
            async with asyncio.timeout(self.body_seconds):
                message = await receive()
        except TimeoutError as late:
            await self.app(scope, partial(raised, late), send)
            return
        if message["type"] == "http.request" and not message.get("more_body"):
            named = message.get("body", b""), accept, content_type
            way = self._ways.get(named)
            if way is not None and (whole := self.wholes.find(way.whole, ANY)) is not None:
                await self._answer(way, whole, zipped, send)
                return
            scope["learn"] = partial(self._learn, named)
        await self.app(scope, replayed(message, receive), send)

    def _learn(self, named: Named, way: Way) -> None:
        """Remember how a request is answered; those that were remembered first are forgotten first."""
        if named not in self._ways:
            self._room -= sum(map(len, named))
        self._ways[named] = way
        while self._room < 0:
            self._room += sum(map(len, self._ways.popitem(last=False)[0]))

    async def _answer(self, way: Way, whole: Whole, zipped: bool, send: Send) -> None:
        report = Report(way.type, way.name, way.document)
        with self.observer.operation(report):
            report.calls, report.answered = whole.calls, whole.answered
            whole.tell(self.observer)
        body, large = whole.body, len(whole.body) >= COMPRESSED
        said = freshness.lifetime([whole.answer])
        headers = [
            (b"vary", b"Accept, X-Gateway-Plan, Accept-Encoding" if large else b"Accept, X-Gateway-Plan"),
            (b"cache-control", said["Cache-Control"].encode()),
            (b"age", said["Age"].encode()),
            (b"content-type", f"{way.media_type}; charset=utf-8".encode()),
        ]
        if zipped and large:
            if whole.compressed is None:
                whole.compressed = gzip.compress(body, 5, mtime=0)
            body = whole.compressed
            headers.append((b"content-encoding", b"gzip"))
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def raised(error: Exception) -> Message:
    raise error


def replayed(message: Message, receive: Receive) -> Receive:
    """Gives a message that was received once more, and then the others."""
    messages = iter((message,))

    async def received() -> Message:
        return next(messages, None) or await receive()

    return received
