"""Limits on client connections: their number, the size and time of request heads, idle time, and slow readers.

uvicorn by itself waits without limit for a request head, for the rest of a body whose request was answered, and for a
client that does not read. The class extends uvicorn's HTTP protocol; pyproject.toml pins the minor version of uvicorn.
Source: RFC 9112 (HTTP/1.1), sections 2.2, 3.2 and 9; RFC 6585, section 5 (status 431).
"""

from asyncio import BaseTransport, TimerHandle, Transport
from enum import Enum
from http import HTTPStatus
from math import inf
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.config.settings import LimitsSettings

LINGER: Final = 2.0
"""Seconds for which the rest of a request is read and discarded after its response."""

WRITE_TIMEOUT: Final = 30.0
"""Seconds in which a client must read what is in the write buffer."""


class Stage(Enum):
    """What a connection waits for: a request, the rest of a head, or the rest of a body."""

    IDLE = 0
    HEAD = 1
    BODY = 2


class LimitedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits.

    At the limit of connections, the connection that was idle longest is closed; if none is idle, the new one is
    refused. Requests set no timers: one timer for each connection checks its deadline at intervals.
    """

    def __init__(self, limits: LimitsSettings, **options: Any) -> None:
        super().__init__(**options)
        self.limits = limits
        self.stage = Stage.IDLE
        self.since = self.loop.time()
        self.head_bytes = 0
        self.refused = False
        self.had_request = False
        self._check_interval = min(limits.head_seconds, self.timeout_keep_alive, LINGER)
        self._deadline_timer: TimerHandle | None = None
        self._write_timer: TimerHandle | None = None

    @property
    def responding(self) -> bool:
        """Whether a response is under way."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def deadline(self) -> float:
        """When to close the connection unless something happens before, in the loop's time."""
        if self.refused:  # a client that is still sending might miss the response if the connection closed at once
            return self.since + LINGER
        if self.stage is Stage.HEAD or not self.had_request:
            return self.since + self.limits.head_seconds
        if self.responding:
            return inf
        return self.since + (LINGER if self.stage is Stage.BODY else self.timeout_keep_alive)

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(cast(Transport, transport))
        self._check_deadline()
        if len(self.connections) > self.limits.connections:
            others = [
                connection
                for connection in self.connections
                if isinstance(connection, LimitedHttpProtocol) and connection is not self
            ]
            idle = [
                connection for connection in others if connection.stage is not Stage.BODY and not connection.responding
            ]
            if idle:
                min(idle, key=lambda connection: connection.since).close()
            else:
                self.refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timers()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        self._cancel_timers()
        super().handle_websocket_upgrade()

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        self.head_bytes = len(data) if self.stage is Stage.IDLE else self.head_bytes + len(data)
        super().data_received(data)
        if self.stage is Stage.HEAD and self.head_bytes > self.limits.head_bytes:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.stage = Stage.HEAD
        if self.had_request:  # the first head is due from the start of the connection
            self.since = self.loop.time()

    def on_headers_complete(self) -> None:
        if self.refused:
            return
        self.stage = Stage.BODY
        hosts = sum(name == b"host" for name, _ in self.headers)
        if self.head_bytes > self.limits.head_bytes and self._head_size() > self.limits.head_bytes:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif hosts > 1 or (hosts < 1 and self.parser.get_http_version() == "1.1"):
            self.refuse(HTTPStatus.BAD_REQUEST)
        else:
            self.had_request = True
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self.refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.refused:
            return
        self.stage, self.since, self.head_bytes = Stage.IDLE, self.loop.time(), 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.stage is not Stage.HEAD:
            self.since = self.loop.time()
        super().on_response_complete()
        self._unset_keepalive_if_required()  # the deadline covers idle time

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_write_timer()

    def resume_writing(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
        super().resume_writing()

    def close(self) -> None:
        """Close once the client has read what was written, for which it has the time of any response."""
        if not self.transport.is_closing():
            self.transport.close()
            self._start_write_timer()

    def refuse(self, status: HTTPStatus) -> None:
        """Respond to a request that cannot be read, and read no more. During another response, close at once."""
        if self.responding:
            self.close()
        elif not self.refused and not self.transport.is_closing():
            self.refused, self.since = True, self.loop.time()
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            self.transport.write(head.encode())
            self.transport.write_eof()

    def _head_size(self) -> int:
        """The size of a head that arrived together with its body or with other requests."""
        return len(self.url) + sum([len(name) + len(value) for name, value in self.headers])

    def _check_deadline(self) -> None:
        """Close the connection at its deadline; until then, check again."""
        now, deadline = self.loop.time(), self.deadline
        if deadline <= now:
            self.close()
        else:
            self._deadline_timer = self.loop.call_at(min(deadline, now + self._check_interval), self._check_deadline)

    def _start_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
        self._write_timer = self.loop.call_later(WRITE_TIMEOUT, self.transport.abort)

    def _cancel_timers(self) -> None:
        for timer in (self._deadline_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
