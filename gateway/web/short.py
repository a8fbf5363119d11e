"""The short way: the same bytes always ask for the same, so what was prepared for a request serves it again, unparsed.
It is answered with what is kept of its answer, or executed at once.

Only for requests of nobody in particular, and without headers that ask for something special: all others go on.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.begun import Begun, first
from gateway.web import replies
from gateway.web.executor import Executor
from gateway.web.prepared import Prepared
from gateway.web.replies import COMPRESSED, Reply, lasting, varied
from gateway.web.scenes import Scene as Surroundings

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

ROOM: Final = 64_000_000
"""Bytes that all remembered requests may take, about: each is a few objects, copies of what its client sent and a tree
for its document, which those with the same document share."""
EACH: Final = 2_000
TIMES: Final = 8
TREE: Final = 200

GZIP: Final = "gzip"

Named = tuple[bytes, bytes, bytes]
Headers = Sequence[tuple[bytes, bytes]]


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

    def get(self, named: Named) -> Way | None:
        return self._ways.get(named)

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


class Short:
    """Stands before an application in which requests are answered, and learns from it."""

    def __init__(self, app: ASGIApp, executor: Executor, body_seconds: float) -> None:
        self.app, self.executor, self.body_seconds = app, executor, body_seconds
        self.ways = Ways(ROOM)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        posted = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == "/graphql"
        headers = plainly(scope["headers"]) if posted else None
        if headers is None:
            await self.app(scope, receive, send)
            return
        try:
            message = await received(receive, self.body_seconds)
        except TimeoutError as late:
            await self.app(scope, partial(raised, late), send)
            return
        if message["type"] == "http.request" and not message.get("more_body"):
            body = message.get("body", b"")
            answer = self.answer(scope["headers"], body)
            if answer is not None:
                scope["endpoint"] = self  # as routes do
                reply = answer if isinstance(answer, Reply) else await answer
                await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
                await send({"type": "http.response.body", "body": reply.body})
                return
            scope["learn"] = partial(self.ways.learn, named(headers, body))
        await self.app(scope, replayed(message, receive), send)

    def answer(self, headers: Headers, body: bytes) -> "Reply | Coroutine[Any, Any, Reply] | None":
        """The answer to a request whose way is known, or how it comes; None for all others."""
        said = plainly(headers)
        way = None if said is None else self.ways.get(named(said, body))
        if said is None or way is None:
            return None
        prepared = way.prepared
        if prepared.registered is not None and not self.executor.persisted.use(prepared.registered):
            return None
        zipped = takes_gzip(said)
        whole = self.executor.at_hand(prepared, way.scene)
        if whole is not None:
            return sized(Reply(200, lasting(way.media_type, *whole.basis.moment), whole.body), zipped, whole.derived)
        return None if prepared.question is None else self._executed(way, zipped)

    async def _executed(self, way: Way, zipped: bool) -> Reply:
        prepared = way.prepared
        result = await self.executor.answer(prepared, way.scene, prepared.report.anew())
        reply = sized(replies.settled(way.media_type, result), zipped, {})
        return reply if isinstance(reply, Reply) else await reply


def sized(plain: Reply, zipped: bool, derived: dict[Any, Any]) -> "Reply | Coroutine[Any, Any, Reply]":
    """A reply for who takes it ``zipped``, or not; its bytes are compressed unless that was ``derived`` from it."""
    if len(plain.body) < COMPRESSED:
        return plain
    if zipped and GZIP not in derived:
        return compressed(plain, derived)
    return Reply(plain.status, varied(plain.head, zipped), derived[GZIP] if zipped else plain.body)


async def compressed(plain: Reply, derived: dict[Any, Any]) -> Reply:
    derived[GZIP] = await replies.compress(plain.body)
    return Reply(plain.status, varied(plain.head, zipped=True), derived[GZIP])


def plainly(headers: Headers) -> Mapping[bytes, bytes] | None:
    """Headers by name; None where they ask for something special, or say anything twice."""
    said = dict(headers)
    return said if len(said) == len(headers) and DECIDING.isdisjoint(said) else None


def named(headers: Mapping[bytes, bytes], body: bytes) -> Named:
    """All of a request that its way depends on."""
    return body, headers.get(b"accept", b"*/*"), headers.get(b"content-type", b"")


def takes_gzip(headers: Mapping[bytes, bytes]) -> bool:
    return b"gzip" in headers.get(b"accept-encoding", b"")


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
