"""One client's connection, with bounds on what it sends before it is heard and on how long it takes.

uvicorn waits for ever for a request's head, for a body that was refused, and for a client that does not read. A request
that goes the application's short way is answered here: there is no scope, no message and no task for it, and where its
head is known, it is not parsed.
Source: RFC 9112 (HTTP/1.1), sections 2.2, 3.2 and 9; RFC 6585, section 5 (status 431).
"""

from asyncio import BaseTransport, Event, TimerHandle, Transport
from enum import Enum
from functools import partial
from http import HTTPStatus
from math import inf
from typing import Any, Final, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.begun import Run
from gateway.config.settings import LimitsSettings
from gateway.http.heads import Heads, Plain, plainly
from gateway.http.prepared_requests import SHORT, Application
from gateway.http.responses import Written, lined

LINGER: Final = 2.0
"""Seconds for which the rest of a request is taken and thrown away that has its answer already."""

PATIENCE: Final = 30.0
"""Seconds in which a client must take what it is sent, up to the mark at which more is written."""

FORWARDED: Final = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})
"""Headers by which a proxy tells of its client, which uvicorn reads."""


class Stage(Enum):
    """What a connection is waiting for: a request, the rest of its head, or the rest of its body."""

    IDLE = 0
    HEAD = 1
    BODY = 2


IDLE, HEAD, BODY = Stage

HEADS: Final = Heads()
"""Heads of requests that went the short way, on any connection."""


class Answering:
    """Stands where uvicorn has a request that the application is answering."""

    message_event: Final = Event()
    """Nobody waits for it."""
    response_complete = disconnected = False
    keep_alive = True


class Connection(HttpToolsProtocol):
    """HTTP as uvicorn speaks it. Of more connections than ``limits.connections`` the one goes that was longest without
    a request; when there is none, the new one.

    ``app`` hears a request directly, and through uvicorn's middleware if the request has headers that this one reads.
    No request sets a timer: one alarm for each connection rings as often as something might be overdue.
    """

    cycle: Any  # uvicorn's, or an `Answering`
    tasks: set[Any]  # its tasks, and each `Run` that has no answer yet

    def __init__(self, limits: LimitsSettings, app: Application, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self.limits, self.application = limits, app
        self.direct, self.proxied = cast(ASGI3Application, app), self.app
        self.stage = IDLE
        self.since = self.loop.time()
        self.head_bytes = 0
        self.refused = self.heard = False
        self._held: tuple[Plain, list[bytes]] | None = None
        self._whole = b""
        self._own: tuple[list[tuple[bytes, bytes]], bytes] = [], b""
        self._pace = min(limits.head_seconds, self.timeout_keep_alive, LINGER)
        self._alarm: TimerHandle | None = None
        self._taking: TimerHandle | None = None

    @property
    def answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def due(self) -> float:
        """When to close it, in the loop's time, if nothing happens until then."""
        if self.refused:  # who is closed while still sending might not see the answer
            return self.since + LINGER
        if self.stage is HEAD or not self.heard:
            return self.since + self.limits.head_seconds
        if self.answering:
            return inf
        return self.since + (LINGER if self.stage is BODY else self.timeout_keep_alive)

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(cast(Transport, transport))
        self._look()
        if len(self.connections) > self.limits.connections:
            others = [one for one in self.connections if isinstance(one, Connection) and one is not self]
            idle = [one for one in others if one.stage is not BODY and not one.answering]
            if idle:
                min(idle, key=lambda one: one.since).close()
            else:
                self.refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def connection_lost(self, exc: Exception | None) -> None:
        self._silence()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        self._silence()
        super().handle_websocket_upgrade()

    def data_received(self, data: bytes) -> None:
        idle = self.stage is IDLE
        if self.refused or (idle and self._knows(data)):
            return
        self.head_bytes, self._whole = (len(data), data) if idle else (self.head_bytes + len(data), b"")
        super().data_received(data)
        self._whole = b""
        if self._held is not None:
            self._hand_on()
        if self.stage is HEAD and self.head_bytes > self.limits.head_bytes:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self.stage = HEAD
        if self.heard:  # the first head is expected from the beginning
            self.since = self.loop.time()

    def on_headers_complete(self) -> None:
        if self.refused:
            return
        self.stage = BODY
        names = [name for name, _ in self.headers]
        self.app = self.direct if FORWARDED.isdisjoint(names) else self.proxied
        hosts = names.count(b"host")
        if self.head_bytes > self.limits.head_bytes and self._head_size() > self.limits.head_bytes:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif hosts > 1 or (hosts < 1 and self.parser.get_http_version() == "1.1"):
            self.refuse(HTTPStatus.BAD_REQUEST)
        else:
            self.heard = True
            plain = plainly(self.headers) if self._may_go_short() else None
            if plain is None:
                self._begin()
            else:
                self._held = plain, []

    def on_body(self, body: bytes) -> None:
        if self._held is not None:
            self._held[1].append(body)
        elif not self.refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.refused:
            return
        self.stage, self.since = IDLE, self.loop.time()
        self.head_bytes = 0
        if self._held is not None:
            plain, parts = self._held
            body = b"".join(parts)
            answer = self.application.short_way(plain, body)
            if answer is not None:
                HEADS.learn(self._whole, plain, body)
                self._held = None
                self._answer(answer)
                return
            self._hand_on()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.stage is not HEAD:
            self.since = self.loop.time()
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
        else:  # as there, but without a timer
            self.server_state.total_requests += 1
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._hurry()

    def resume_writing(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
        super().resume_writing()

    def close(self) -> None:
        """Close after what is written has been taken, for which there is as much time as for any answer."""
        if not self.transport.is_closing():
            self.transport.close()
            self._hurry()

    def refuse(self, status: HTTPStatus) -> None:
        """Answer what cannot be heard, and listen no more; where another answer is being written, close at once."""
        if self.answering:
            self.close()
        elif not self.refused and not self.transport.is_closing():
            self.refused, self.since = True, self.loop.time()
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            self.transport.write(head.encode())
            self.transport.write_eof()

    def _head_size(self) -> int:
        """How long a head is that came together with its body, or with other requests."""
        return len(self.url) + sum([len(name) + len(value) for name, value in self.headers])

    def _knows(self, data: bytes) -> bool:
        """Answer one whole request with a head that was read before; whether that could be done."""
        request = HEADS.read(data) if self._idle else None
        answer = None if request is None else self.application.short_way(*request)
        if answer is None:
            return False
        self.heard, self.since = True, self.loop.time()
        self._answer(answer)
        return True

    @property
    def _idle(self) -> bool:
        """Whether what is asked now can be answered now."""
        return not (self.answering or self.flow.write_paused or self.transport.is_closing())

    def _may_go_short(self) -> bool:
        """Whether a request may: it is held back until all that was received with it is read."""
        parser = self.parser
        asked = parser.get_method(), self.url, parser.get_http_version()
        return (
            asked == SHORT
            and self._idle
            and self.app is self.direct
            and not self.expect_100_continue
            and not parser.should_upgrade()
            and parser.should_keep_alive()
        )

    def _begin(self) -> None:
        """Make a scope of what was received of a request, and go on with it as uvicorn does."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers
        super().on_headers_complete()

    def _hand_on(self) -> None:
        """Give a request that was held back to the application, with what there is of its body."""
        (_, parts), self._held = self._held or (None, ()), None
        self._begin()
        for part in parts:
            super().on_body(part)

    def _answer(self, answer: "Written | Run[Written]") -> None:
        """Send an answer that is there, or when it comes; what is asked meanwhile waits."""
        if not isinstance(answer, Run):
            self._send(answer, keep_alive=True)
            self.server_state.total_requests += 1
            return
        self.cycle = answering = Answering()
        self.tasks.add(answer)
        answer.when_done(partial(self._came, answering))

    def _came(self, answering: Answering, answer: Run[Written]) -> None:
        self.tasks.discard(answer)
        answering.response_complete = True
        if answer.value is None:  # it was given up
            self.close()
        elif not self.transport.is_closing():
            self._send(answer.value, answering.keep_alive)
        self.on_response_complete()

    def _send(self, answer: Written, keep_alive: bool) -> None:
        status, lines, body = answer
        headers = self.server_state.default_headers
        if self._own[0] is not headers:  # they are made anew every second
            self._own = headers, lined(headers)
        end = b"\r\n" if keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"".join((STATUS_LINE[status], self._own[1], lines, end, body)))
        if not keep_alive:
            self.close()

    def _look(self) -> None:
        """Close it if that is due, else look again when it might be."""
        now, due = self.loop.time(), self.due
        if due <= now:
            self.close()
        else:
            self._alarm = self.loop.call_at(min(due, now + self._pace), self._look)

    def _hurry(self) -> None:
        """From now on the client has limited time to take what is written."""
        if self._taking is not None:
            self._taking.cancel()
        self._taking = self.loop.call_later(PATIENCE, self.transport.abort)

    def _silence(self) -> None:
        """Without any timer."""
        for timer in (self._alarm, self._taking):
            if timer is not None:
                timer.cancel()
