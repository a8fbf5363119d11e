"""One client's connection, with bounds on what it sends before it is heard and on how long it takes.

uvicorn waits for ever for a request's head, for a body that was refused, and for a client that does not read.
Source: RFC 9112 (HTTP/1.1), sections 2.2, 3.2 and 9; RFC 6585, section 5 (status 431).
"""

from asyncio import BaseTransport, TimerHandle, Transport
from collections.abc import Callable
from enum import Enum
from http import HTTPStatus
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.settings import LimitsSettings

LINGER: Final = 2.0
"""Seconds for which the rest of a request is taken and thrown away that has its answer already."""

PATIENCE: Final = 30.0
"""Seconds in which a client must take what it is sent, up to the mark at which more is written."""


class Stage(Enum):
    """What a connection is waiting for: a request, the rest of its head, or the rest of its body."""

    IDLE = 0
    HEAD = 1
    BODY = 2


class Connection(HttpToolsProtocol):
    """HTTP as uvicorn speaks it. Of more connections than ``limits.connections`` the one goes that was longest without
    a request; when there is none, the new one."""

    def __init__(self, limits: LimitsSettings, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self.limits = limits
        self.stage = Stage.IDLE
        self.since = self.loop.time()
        self.head_bytes = 0
        self.refused = False
        self._timers: dict[str, TimerHandle] = {}

    @property
    def answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(cast(Transport, transport))
        self._arm("head", self.limits.head_seconds, self.close)
        if len(self.connections) > self.limits.connections:
            others = [one for one in self.connections if isinstance(one, Connection) and one is not self]
            idle = [one for one in others if one.stage is not Stage.BODY and not one.answering]
            if idle:
                min(idle, key=lambda one: one.since).close()
            else:
                self.refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def connection_lost(self, exc: Exception | None) -> None:
        for name in tuple(self._timers):
            self._disarm(name)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.refused or (self.stage is Stage.IDLE and not data.strip(b"\r\n")):
            return  # empty lines before a request are no sign of one
        self.head_bytes += len(data)
        super().data_received(data)
        if self.stage is Stage.HEAD and self.head_bytes > self.limits.head_bytes:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._enter(Stage.HEAD)
        if "head" not in self._timers:
            self._arm("head", self.limits.head_seconds, self.close)

    def on_headers_complete(self) -> None:
        if self.refused:
            return
        self._disarm("head")
        self._enter(Stage.BODY)
        hosts = sum(name == b"host" for name, _ in self.headers)
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > self.limits.head_bytes:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif hosts > 1 or (hosts < 1 and self.parser.get_http_version() == "1.1"):
            self.refuse(HTTPStatus.BAD_REQUEST)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self.refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.refused:
            return
        self._disarm("linger")
        self._enter(Stage.IDLE)
        self.head_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.since = self.loop.time()
        if self.stage is Stage.BODY and not self.answering:
            self._arm("linger", LINGER, self.close)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._arm("taking", PATIENCE, self.transport.abort)

    def resume_writing(self) -> None:
        self._disarm("taking")
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        self.close()

    def close(self) -> None:
        """Close after what is written has been taken, for which there is as much time as for any answer."""
        if not self.transport.is_closing():
            self.transport.close()
            self._arm("taking", PATIENCE, self.transport.abort)

    def refuse(self, status: HTTPStatus) -> None:
        """Answer what cannot be heard, and listen no more; where another answer is being written, close at once."""
        if self.answering:
            self.close()
        elif not self.refused and not self.transport.is_closing():
            self.refused = True
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            self.transport.write(head.encode())
            self.transport.write_eof()
            self._arm("linger", LINGER, self.close)  # who is closed while still sending might not see the answer

    def _enter(self, stage: Stage) -> None:
        self.stage, self.since = stage, self.loop.time()

    def _arm(self, name: str, seconds: float, ending: Callable[[], None]) -> None:
        self._disarm(name)
        self._timers[name] = self.loop.call_later(seconds, ending)

    def _disarm(self, name: str) -> None:
        if name in self._timers:
            self._timers.pop(name).cancel()
