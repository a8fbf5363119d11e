"""Limits on client connections: their number, the size and time of request heads, waiting requests, and slow readers.

uvicorn by itself waits without limit for a request head, for the rest of a body whose request was answered, and for a
client that does not read; it parses requests faster than it answers them, reads trailers as headers, and does not read
the body of a request with ``Upgrade``. The class extends uvicorn's HTTP protocol; pyproject.toml pins the minor version
of uvicorn.
Source: RFC 9112 (HTTP/1.1), sections 2.2, 3.2, 7.1.2 and 9; RFC 9110, sections 6.5 (trailers) and 7.8 (upgrade); RFC
6585, section 5 (status 431).
"""

from asyncio import AbstractEventLoop, BaseTransport, Handle, Protocol, Task, TimerHandle, Transport
from enum import Enum
from http import HTTPStatus
from math import inf
from typing import Any, Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.config.settings import LimitsSettings

LINGER: Final = 2.0
"""Seconds for which the rest of a request is read and discarded after its response, and in which a request must arrive
once the server stops."""

WRITE_TIMEOUT: Final = 30.0
"""Seconds in which a client must read what is in the write buffer."""

MAX_WAITING_BYTES: Final = 2**16
"""Bytes received and not yet parsed above which no more are read."""

MAX_PARTS: Final = 256
"""The parts of a request that are parsed before other connections have their turn. Empty lines may separate them."""

HEAD_END: Final = b"\r\n\r\n"


class WriteTimeout:
    """Aborts a connection whose client does not read in time: most of a full write buffer, or all before a close."""

    def __init__(self, loop: AbstractEventLoop, transport: Transport) -> None:
        self._loop, self._transport = loop, transport
        self._timer: TimerHandle | None = None

    def start(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(WRITE_TIMEOUT, self._transport.abort)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def restart(self) -> None:
        """The client has read most of it. A transport that is closing waits for the rest."""
        self.cancel()
        if self._transport.is_closing():
            self.start()


class Stage(Enum):
    """What a connection waits for: a request, the rest of a head, or the rest of a body."""

    IDLE = 0
    HEAD = 1
    BODY = 2


class ReceivedBytes:
    """Bytes that were received and not yet parsed. They are taken in parts that never extend beyond one request.

    ``size`` is their number.
    """

    def __init__(self) -> None:
        self._bytes = b""
        self._taken = 0
        self.size = 0

    def append(self, data: bytes) -> None:
        kept = max(self._taken - len(HEAD_END) + 1, 0)  # an empty line may arrive in two pieces
        self._bytes, self._taken = self._bytes[kept:] + data, self._taken - kept
        self.size += len(data)

    def take(self, body_left: int) -> memoryview:
        """Take the rest of a body of known length, or else what comes before the next empty line, and that line.

        A head and a chunked body end with an empty line.
        """
        start = self._taken
        if body_left:
            end = start + body_left
        else:
            found = self._bytes.find(HEAD_END, max(start - len(HEAD_END) + 1, 0))
            end = len(self._bytes) if found < 0 else found + len(HEAD_END)
        part = memoryview(self._bytes)[start:end]
        self._taken += len(part)
        self.size -= len(part)
        if not self.size:
            self._bytes = self._bytes[1 - len(HEAD_END) :]
            self._taken = len(self._bytes)
        return part


class ReadingControl(FlowControl):
    """uvicorn's flow control, which does not resume reading while too many bytes wait."""

    full = False

    def resume_reading(self) -> None:
        if not self.full:
            super().resume_reading()


class ResponseWriter(Transport):
    """Writes a response to a transport. The head and the first part of the body take one system call.

    Source: the ASGI specification, "Response Start": nothing is sent before the first part of the body.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        super().__init__()
        self._transport = cycle.transport
        self._cycle: RequestResponseCycle | None = cycle  # until the head: together they are a reference cycle
        self._head: bytes | bytearray | memoryview = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._head:
            self._transport.writelines((self._head, data))
            self._head = b""
        elif self._cycle is not None and self._cycle.response_started:
            self._head, self._cycle = data, None
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Write a head that no body follows, such as that of a response to `HEAD`."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class LimitedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits.

    At the limit of connections, the connection that was idle longest is closed; if none is idle, the new one is
    refused. Requests set no timers: one timer for each connection checks its deadline at intervals.

    A pipelined request is parsed when the response before it is complete and the client has read most of it. What
    arrives meanwhile waits as bytes, of which few are read.
    """

    flow: ReadingControl

    def __init__(self, limits: LimitsSettings, **options: Any) -> None:
        super().__init__(**options)
        self.limits = limits
        self.stage = Stage.IDLE
        self.since = self.loop.time()
        self.received = ReceivedBytes()
        self.head_bytes = 0
        self.body_left = 0
        self.body_parts: list[bytes] = []
        self.writer: ResponseWriter
        self.refused = False
        self.stopping = False
        self.had_request = False
        self._check_interval = min(limits.head_seconds, self.timeout_keep_alive, LINGER)
        self._deadline_timer: TimerHandle | None = None
        self._next_parse: Handle | None = None

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
            return self.since + (LINGER if self.stopping else self.limits.head_seconds)
        if self.responding or self.flow.write_paused:
            return inf
        return self.since + (LINGER if self.stage is Stage.BODY else self.timeout_keep_alive)

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(cast(Transport, transport))
        self.flow = ReadingControl(self.transport)
        self.write_timeout = WriteTimeout(self.loop, self.transport)
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
        rest = self.received.take(self.received.size)
        self._control_reading()
        super().handle_websocket_upgrade()
        if rest:
            cast(Protocol, self.transport.get_protocol()).data_received(bytes(rest))

    def data_received(self, data: bytes) -> None:
        if not self.refused:
            self.received.append(data)
            self._parse()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.stage = Stage.HEAD
        if self.had_request:  # the first head is due from the start of the connection
            self.since = self.loop.time()

    def on_headers_complete(self) -> None:
        size, self.stage, self.head_bytes = self.head_bytes, Stage.BODY, 0
        method, version = self.parser.get_method(), self.parser.get_http_version()
        hosts = length = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                length = int(value)
        if size > self.limits.head_bytes:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif hosts > 1 or (hosts < 1 and version == "1.1") or method == b"CONNECT":
            self.refuse(HTTPStatus.BAD_REQUEST)
        elif not self.parser.should_upgrade() or self._should_upgrade():
            self.had_request, self.body_left = True, length
            super().on_headers_complete()
            self.headers = []  # those of the request are in its scope; what follows are trailers

    def on_body(self, body: bytes) -> None:
        self.head_bytes, self.body_left = 0, max(self.body_left - len(body), 0)
        self.body_parts.append(body)

    def on_message_complete(self) -> None:
        if not self.refused and not self.parser.should_upgrade():
            self._pass_body_on()
            self.stage, self.since, self.head_bytes = Stage.IDLE, self.loop.time(), 0
            super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Unlike uvicorn's method, never start eagerly: the body that came with the head is not parsed yet."""
        cycle.transport = self.writer = ResponseWriter(cycle)
        task = Task(cycle.run_asgi(app), loop=self.loop)
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def on_response_complete(self) -> None:
        """Unlike uvicorn's method, start no timer: the deadline covers idle time."""
        self.writer.flush()
        if self.stage is not Stage.HEAD:
            self.since = self.loop.time()
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self._parse_soon()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.write_timeout.start()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.write_timeout.restart()
        self._parse_soon()

    def shutdown(self) -> None:
        """Close the connection after the response under way, or at once if it is idle.

        A request that a client may already have sent is still answered: one that arrived in part, and the first one.
        """
        if self.had_request and self.stage is not Stage.HEAD and not self.received.size:
            super().shutdown()
        else:
            self.stopping, self.since = True, self.loop.time()
            self._check_deadline()

    def close(self) -> None:
        """Close once the client has read what was written, for which it has the time of any response.

        If that was under way already, close at once.
        """
        if self.transport.is_closing():
            self.transport.abort()
        else:
            self.transport.close()
            self.write_timeout.start()

    def refuse(self, status: HTTPStatus) -> None:
        """Respond to a request that cannot be read, and read no more. If its response has begun, close at once."""
        if self.responding and self.cycle.response_started:
            self.close()
        elif not self.refused and not self.transport.is_closing():
            if self.responding:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            self.refused, self.since, self.received = True, self.loop.time(), ReceivedBytes()
            self._control_reading()
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            self.transport.write(head.encode())
            if self.transport.can_write_eof():  # TLS has no half-closed connections
                self.transport.write_eof()

    def _can_parse(self) -> bool:
        """Whether bytes wait, and none of them for the response before them to be sent and read."""
        if not self.received.size or self.refused or self.transport.is_closing():
            return False
        return self.stage is not Stage.IDLE or not (self.responding or self.flow.write_paused)

    def _parse(self) -> None:
        """Parse what was received, up to the end of one request: other connections have their turn before the next."""
        if self._next_parse is not None:
            self._next_parse.cancel()
            self._next_parse = None
        parts = 0
        while self._can_parse() and parts < MAX_PARTS:
            parts += 1
            part = self.received.take(self.body_left)
            self.head_bytes += len(part)
            self._feed(part)
            if self.head_bytes > self.limits.head_bytes:
                self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            elif self.stage is Stage.IDLE and not self.head_bytes:
                if self.headers:  # trailers, which the parser might take for fields of a head, such as `Connection`
                    self.parser = HttpRequestParser(self)
                break
        self._pass_body_on()
        self._control_reading()
        self._parse_soon()

    def _pass_body_on(self) -> None:
        """Give the application the parts of a body together."""
        if self.body_parts:
            body, self.body_parts = b"".join(self.body_parts), []
            super().on_body(body)

    def _parse_soon(self) -> None:
        if self._next_parse is None and self._can_parse():
            self._next_parse = self.loop.call_soon(self._parse)

    def _feed(self, part: bytes | memoryview) -> None:
        """Feed the parser, which takes a head with ``Upgrade`` for the last one of the connection.

        For anything but a WebSocket, the field is ignored: a new parser gets the head without it.
        """
        try:
            self.parser.feed_data(part)
        except HttpParserUpgrade:
            if self.refused:
                return
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            else:
                head = self._head_without_upgrade()
                self.parser = HttpRequestParser(self)
                self._feed(head)
        except HttpParserError:
            self.refuse(HTTPStatus.BAD_REQUEST)

    def _should_upgrade(self) -> bool:
        """Whether a request that asks for an upgrade is the handshake of a WebSocket (RFC 6455, section 4.1)."""
        headers = self.scope["headers"]
        protocols = [value.lower() for name, value in headers if name == b"upgrade"]
        has_body = any(
            name == b"transfer-encoding" or (name == b"content-length" and int(value)) for name, value in headers
        )
        is_get = self.parser.get_method() == b"GET" and self.parser.get_http_version() == "1.1"
        return is_get and protocols == [b"websocket"] and not has_body

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [name + b": " + value for name, value in self.scope["headers"] if name != b"upgrade"]
        return b"\r\n".join([b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version), *lines, b"", b""])

    def _control_reading(self) -> None:
        """Read no more while too many bytes wait."""
        full = self.received.size > MAX_WAITING_BYTES
        if full != self.flow.full and not self.transport.is_closing():
            self.flow.full = full
            if full:
                self.flow.pause_reading()
            else:
                self.flow.resume_reading()

    def _check_deadline(self) -> None:
        """Close the connection at its deadline; until then, check again."""
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        now, deadline = self.loop.time(), self.deadline
        if self.transport.is_closing():
            self.write_timeout.start()
        elif deadline <= now:
            self.close()
        else:
            self._deadline_timer = self.loop.call_at(min(deadline, now + self._check_interval), self._check_deadline)

    def _cancel_timers(self) -> None:
        self.write_timeout.cancel()
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
