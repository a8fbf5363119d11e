"""The short way: the same bytes always ask for the same, so what was prepared for a request serves it again, unparsed.
It is answered with what is kept of its answer, or executed at once.

Only for requests of nobody in particular, and without headers that ask for something special: all others go on.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from types import coroutine
from typing import Any, Final, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.catalog.basis import Moment
from gateway.graph.wholes import Whole
from gateway.telemetry.report import Report
from gateway.upstream.source import ANY
from gateway.web import freshness, replies
from gateway.web.executor import Executor, Prepared
from gateway.web.replies import COMPRESSED, Reply
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
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != "/graphql":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if len(headers) < len(scope["headers"]) or not DECIDING.isdisjoint(headers):
            await self.app(scope, receive, send)
            return
        try:
            message = await received(receive, self.body_seconds)
        except TimeoutError as late:
            await self.app(scope, partial(raised, late), send)
            return
        if message["type"] == "http.request" and not message.get("more_body"):
            name = named(headers, message.get("body", b""))
            way = self.ways.get(name)
            if way is not None:
                scope["endpoint"] = self  # as routes do
                answer = await self._answer(way, takes_gzip(headers))
                if answer is not None:
                    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
                    await send({"type": "http.response.body", "body": answer.body})
                    return
            scope["learn"] = partial(self.ways.learn, name)
        await self.app(scope, replayed(message, receive), send)

    def at_hand(self, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> "Found | None":
        """What answers a request without waiting for anything, if it is there; whoever sends it lets it be told."""
        said = dict(headers)
        if len(said) < len(headers) or not DECIDING.isdisjoint(said):
            return None
        way = self.ways.get(named(said, body))
        if way is None or way.prepared.registered is not None:
            return None
        whole = self._whole(way)
        if whole is None:
            return None
        made = ready(whole, way.media_type, takes_gzip(said))
        return None if made is None else Found(way, whole, made)

    def tell(self, way: Way, whole: Whole) -> None:
        """Tell of an operation that is answered with what is kept."""
        told, observer = way.prepared.report, self.executor.observer
        report = Report(told.type, told.name, told.document)
        with observer.operation(report):
            report.calls, report.answered = whole.basis.calls, whole.answered
            whole.basis.tell(observer)

    def _whole(self, way: Way) -> Whole | None:
        key = way.prepared.key
        return None if key is None else self.executor.wholes.find(key, ANY)

    async def _answer(self, way: Way, zipped: bool) -> Reply | None:
        """The answer to a request whose way is known, if it can be gone."""
        prepared, executor = way.prepared, self.executor
        if prepared.registered is not None and not executor.persisted.use(prepared.registered):
            return None
        whole = self._whole(way)
        if whole is not None:
            self.tell(way, whole)
            made = ready(whole, way.media_type, zipped)
            if made is None:
                whole.derived[GZIP] = await replies.compress(whole.body)
                made = ready(whole, way.media_type, zipped)
            return None if made is None else made.reply
        if prepared.question is None:
            return None
        result = await executor.answer(prepared.anew(), way.scene)
        plain = replies.settled(way.media_type, result)
        if len(plain.body) < COMPRESSED:
            return plain
        return replies.encoded(plain, await replies.compress(plain.body) if zipped else None)


class Made(NamedTuple):
    """The reply with an answer that was kept whole, as it is for some moment; its headers also as lines."""

    moment: Moment
    reply: Reply
    lines: bytes


class Found(NamedTuple):
    """What answers a request without waiting."""

    way: Way
    whole: Whole
    made: Made


def ready(whole: Whole, media_type: str, zipped: bool) -> Made | None:
    """The reply with an answer that was kept whole; None where its bytes have to be compressed first."""
    moment = whole.basis.moment
    made: Made | None = whole.derived.get((media_type, zipped))
    if made is not None and made.moment == moment:
        return made
    reply = replies.reply(media_type, 200, whole.body, freshness.lifetime([whole.basis.answer]))
    if len(reply.body) >= COMPRESSED:
        if zipped and GZIP not in whole.derived:
            return None
        reply = replies.encoded(reply, whole.derived[GZIP] if zipped else None)
    made = Made(moment, reply, b"".join([b"%b: %b\r\n" % header for header in reply.headers]))
    whole.derived[media_type, zipped] = made
    return made


def named(headers: Mapping[bytes, bytes], body: bytes) -> Named:
    """All of a request that its way depends on."""
    return body, headers.get(b"accept", b"*/*"), headers.get(b"content-type", b"")


def takes_gzip(headers: Mapping[bytes, bytes]) -> bool:
    return b"gzip" in headers.get(b"accept-encoding", b"")


async def received(receive: Receive, seconds: float) -> Message:
    """The next message; the clock runs only for one that is not there yet. Raises TimeoutError."""
    steps = receive().__await__()
    try:
        waiting = next(steps)
    except StopIteration as there:
        message: Message = there.value
        return message
    async with asyncio.timeout(seconds):
        return await rest(steps, waiting)


@coroutine
def rest(steps: Generator[Any, None, Message], waiting: Any) -> Generator[Any, None, Message]:
    """What comes of an awaitable that was begun and is ``waiting``."""
    try:
        yield waiting
    except BaseException:
        steps.close()
        raise
    return (yield from steps)


async def raised(error: Exception) -> Message:
    raise error


def replayed(message: Message, receive: Receive) -> Receive:
    """Gives a message that was received once more, and then the others."""
    messages = iter((message,))

    async def received() -> Message:
        return next(messages, None) or await receive()

    return received
