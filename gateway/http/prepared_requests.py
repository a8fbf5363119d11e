"""The short way: the same bytes always ask for the same, so what was prepared for a request serves it again, unparsed.
It is answered with what is kept of its answer, or executed at once.

Only for requests of nobody in particular, and without headers that ask for something special: all others go on.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.begun import Begun, Run, first
from gateway.execution.pipeline import Pipeline
from gateway.execution.prepared import Prepared
from gateway.execution.request_context import RequestContext as Surroundings
from gateway.http import responses as replies
from gateway.http.heads import Plain, plainly
from gateway.http.responses import COMPRESSED, Head, HttpResponse, Written, lasting, varied

ROOM: Final = 64_000_000
"""Bytes that all remembered requests may take, about: each is a few objects, copies of what its client sent and a tree
for its document, which those with the same document share."""
EACH: Final = 3_000
TIMES: Final = 8
TREE: Final = 200

SHORT: Final = (b"POST", b"/graphql", "1.1")
"""Method, target and version of requests that may go the short way of an application."""

GZIP: Final = "gzip"

Named = tuple[bytes, bytes, bytes]


class Application(Protocol):
    """An ASGI application with a short way: by what the head of a request for `SHORT` says and its whole body, its
    answer, as it is or when it comes; None for one that has to be asked as ASGI says."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    def short_way(self, plain: Plain, body: bytes) -> "Written | Run[Written] | None": ...


class Way(NamedTuple):
    """How a request is answered: the operation that it asks for, for whom, and the media type of its answer."""

    prepared: Prepared
    scene: Surroundings
    media_type: str


class Ways:
    """The ways of the requests that came last, by their bytes; what they take is at most ``room``."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._ways: OrderedDict[Named, Way] = OrderedDict()
        self._documents: Counter[int] = Counter()
        self.get = self._ways.get

    def learn(self, named: Named, way: Way) -> None:
        """Remember a way that may be gone again; those that were remembered first are forgotten first."""
        document = way.prepared.document
        if way.prepared.question is None and way.prepared.key is None:
            return
        self._forget(named)
        self._ways[named] = way
        self.room -= weight(named) + (0 if self._documents[id(document)] else TREE * len(document.text))
        self._documents[id(document)] += 1
        while self.room < 0:
            self._forget(next(iter(self._ways)))

    def _forget(self, named: Named) -> None:
        way = self._ways.pop(named, None)
        if way is None:
            return
        document = way.prepared.document
        self._documents[id(document)] -= 1
        if not self._documents[id(document)]:
            del self._documents[id(document)]
            self.room += TREE * len(document.text)
        self.room += weight(named)


def weight(named: Named) -> int:
    return EACH + TIMES * sum(map(len, named))


class PreparedRequests:
    """Stands before an application in which requests are answered, and learns from it."""

    def __init__(self, app: ASGIApp, executor: Pipeline, body_seconds: float) -> None:
        self.app, self.executor, self.body_seconds = app, executor, body_seconds
        self.ways = Ways(ROOM)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        posted = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == "/graphql"
        plain = plainly(scope["headers"]) if posted else None
        if plain is None:
            await self.app(scope, receive, send)
            return
        try:
            message = await received(receive, self.body_seconds)
        except TimeoutError as late:
            await self.app(scope, partial(raised, late), send)
            return
        if message["type"] == "http.request" and not message.get("more_body"):
            body = message.get("body", b"")
            answer = self.answer(plain, body)
            if answer is not None:
                scope["endpoint"] = self  # as routes do
                reply = answer if isinstance(answer, HttpResponse) else await answer
                await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
                await send({"type": "http.response.body", "body": reply.body})
                return
            scope["learn"] = partial(self.ways.learn, named(plain, body))
        await self.app(scope, replayed(message, receive), send)

    def answer(self, plain: Plain, body: bytes) -> "HttpResponse | Coroutine[Any, Any, HttpResponse] | None":
        """The answer to a request whose way is known, or how it comes; None for all others."""
        way = self.ways.get(named(plain, body))
        if way is None:
            return None
        prepared = way.prepared
        if prepared.registered is not None and not self.executor.persisted.use(prepared.registered):
            return None
        whole = self.executor.at_hand(prepared, way.scene)
        if whole is not None:
            head = lasting(way.media_type, *whole.basis.moment)
            return sized(200, head, whole.body, plain.zipped, whole.derived)
        return None if prepared.question is None else self._executed(way, plain.zipped)

    async def _executed(self, way: Way, zipped: bool) -> HttpResponse:
        prepared = way.prepared
        result = await self.executor.answer(prepared, way.scene, prepared.report.anew())
        reply = sized(*replies.settled(way.media_type, result), zipped, {})
        return reply if isinstance(reply, HttpResponse) else await reply


def sized(
    status: int, head: Head, body: bytes, zipped: bool, derived: dict[Any, Any]
) -> "HttpResponse | Coroutine[Any, Any, HttpResponse]":
    """A reply for who takes it ``zipped``, or not; its bytes are compressed unless that was ``derived`` from it."""
    if len(body) < COMPRESSED:
        return HttpResponse(status, head, body)
    if zipped and GZIP not in derived:
        return compressed(status, head, body, derived)
    return HttpResponse(status, varied(head, zipped), derived[GZIP] if zipped else body)


async def compressed(status: int, head: Head, body: bytes, derived: dict[Any, Any]) -> HttpResponse:
    derived[GZIP] = await replies.compress(body)
    return HttpResponse(status, varied(head, zipped=True), derived[GZIP])


def named(plain: Plain, body: bytes) -> Named:
    """All of a request that its way depends on."""
    return body, plain.accept, plain.content_type


async def received(receive: Receive, seconds: float) -> Message:
    """The next message; the clock runs only for one that is not there yet. Raises TimeoutError."""
    message = first(receive().__await__())
    if not isinstance(message, Begun):
        return message
    async with asyncio.timeout(seconds):
        return await message


async def raised(error: Exception) -> Message:
    raise error


def replayed(message: Message, receive: Receive) -> Receive:
    """Gives a message that was received once more, and then the others."""
    messages = iter((message,))

    async def received() -> Message:
        return next(messages, None) or await receive()

    return received
