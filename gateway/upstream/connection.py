"""One connection to a registry, which speaks HTTP/1.1: one request at a time, and its answer.

Sources: RFC 9112; RFC 9110, 8.4.1, for bodies that are packed.
"""

import asyncio
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Final, NamedTuple, cast

import httptools

LARGEST_HEAD: Final = 1 << 16
"""Bytes of status and headers."""

WITHOUT_BODY: Final = (204, 304)
PACKED: Final = ("gzip", "x-gzip", "deflate")


class Garbled(Exception):
    """What was received is not HTTP, or not the body that its headers promise."""


class TooLarge(Exception):
    """A body is larger than allowed once it is unpacked."""


class Headers(Mapping[str, str]):
    """What an answer's head says, by names in lower case; most of it is never looked at."""

    def __init__(self, lines: Mapping[bytes, bytes]) -> None:
        self._said = lines

    @cached_property
    def _lines(self) -> Mapping[bytes, bytes]:
        return {name.lower(): value for name, value in self._said.items()}

    def __getitem__(self, name: str) -> str:
        return self._lines[name.encode()].decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._lines)

    def __len__(self) -> int:
        return len(self._lines)


class Received(NamedTuple):
    """An answer, its body unpacked."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection(asyncio.Protocol):
    """One connection: one request at a time, and its answer. ``lost`` hears of its end; ``kept`` says whether it may be
    used again."""

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, lost: Callable[["Connection"], None]) -> None:
        self.loop, self.lost, self.kept, self.since = loop, lost, False, 0.0
        self._lines: dict[bytes, bytes] = {}
        self.on_header = self._lines.__setitem__  # there are many of them: a method would be called for each
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Received] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._rings = 0.0

    def exchange(self, request: bytes, limit: int, ends: float) -> "asyncio.Future[Received]":
        """The answer to a request, which is to come before the loop's time is ``ends``.

        Fails with OSError, `Garbled` and `TooLarge`; the connection is of no more use then.
        """
        self._limit, self._ends, self._size = limit, ends, 0
        self._awaits_head, self._whole, self.kept = True, False, False
        self._answer = answer = self.loop.create_future()
        self._begin()
        if self._alarm is None or ends < self._rings:
            self._set_alarm()
        self.transport.write(request)
        return answer

    def close(self) -> None:
        self.kept = False
        self.transport.abort()

    def _begin(self) -> None:
        self._lines.clear()
        self._parts: list[bytes] = []
        self._unpacking: zlib._Decompress | None = None

    @property
    def _until_closed(self) -> bool:
        """Whether nothing but the end of the connection is to end the body."""
        head = self._head
        return not ("content-length" in head or "transfer-encoding" in head or self._status in WITHOUT_BODY)

    def _set_alarm(self) -> None:
        """See to it that an answer is given up in time: one alarm serves all calls that end after it."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._rings = self._ends
        self._alarm = self.loop.call_at(self._rings, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._answer is None:
            return
        if self.loop.time() < self._ends:
            self._set_alarm()
        else:
            self._end(TimeoutError())

    def _end(self, failure: Exception | None = None) -> None:
        """Hand over the answer, or why there is none."""
        answer, self._answer = self._answer, None
        if answer is None or answer.done():
            return
        unpacking = self._unpacking if self._parts else None
        if failure is None and unpacking is not None and (not unpacking.eof or unpacking.unused_data):
            failure = Garbled()
        if failure is not None:
            self.close()
            answer.set_exception(failure)
        else:
            parts = self._parts
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            answer.set_result(Received(self._status, self._head, body))

    # What the socket tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # nobody asked
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.close()
            if not self._whole:
                self._end(TooLarge() if isinstance(error.__context__, TooLarge) else Garbled())
        if self._whole:  # the parser is at rest: whoever hears of it may ask again at once
            self._end()
        elif not self._awaits_head:
            self._lines.clear()  # nobody needs those that come after a body
        else:
            self._size += len(data)
            if self._size > LARGEST_HEAD:
                self._end(Garbled())

    def connection_lost(self, error: Exception | None) -> None:
        self.kept = False
        if self._alarm is not None:
            self._alarm.cancel()
        self.lost(self)
        whole = error is None and not self._awaits_head and self._until_closed
        self._end(None if whole else ConnectionResetError("the connection ended before the answer did"))

    # What the parser tells

    def on_message_begin(self) -> None:
        if self._answer is None or self._whole:  # nobody asked
            raise Garbled

    def on_headers_complete(self) -> None:
        self._head = Headers(self._lines.copy())
        self._status = self._parser.get_status_code()
        self._awaits_head, self._size = False, 0
        if b"content-encoding" in map(bytes.lower, self._lines):
            self._unpack(self._head["content-encoding"].lower())

    def on_body(self, part: bytes) -> None:
        if self._unpacking is not None:
            part = self._unpacking.decompress(part, self._limit - self._size + 1)
        self._size += len(part)
        if self._size > self._limit:
            raise TooLarge
        self._parts.append(part)

    def _unpack(self, coding: str) -> None:
        if coding in PACKED:
            self._unpacking = zlib.decompressobj(32 + zlib.MAX_WBITS)  # which of them it is stands in it
        elif coding != "identity":
            raise Garbled

    def on_message_complete(self) -> None:
        if self._status < 200:  # the answer is yet to come
            self._awaits_head, self._size = True, 0
            self._begin()
            return
        self.kept, self._whole = self._parser.should_keep_alive(), True
