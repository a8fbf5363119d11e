"""Limits on WebSockets: what is handled at once, and clients that do not read.

uvicorn by itself decodes all messages of a read before the application gets the first one, answers pings of a client
that does not read, and waits without limit for such a client. The class extends uvicorn's WebSocket protocol;
pyproject.toml pins the minor version of uvicorn.
Source: RFC 6455 (The WebSocket Protocol), sections 5.5 (control frames) and 7.1.1 (closing).
"""

from asyncio import BaseTransport, Handle, TimerHandle
from typing import Any, Final

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway.server.connection_limits import LINGER, ReceivedBytes, WriteTimeout

PART_BYTES: Final = 256
"""Bytes that are decoded at once. They hold 42 messages at most, or one of the maximum size after decompression."""


class LimitedWebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, which handles little at once and reads only while the client reads."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.received = ReceivedBytes()
        self._decoding: Handle | None = None
        self._check_timer: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.write_timeout = WriteTimeout(self.loop, self.transport)
        self._check_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.write_timeout.cancel()
        if self._check_timer is not None:
            self._check_timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.write_timeout.start()
        self._control_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.write_timeout.restart()
        self._control_reading()

    def data_received(self, data: bytes) -> None:
        self.received.append(data)
        self._decode()

    async def receive(self) -> Any:
        message = await super().receive()
        self._control_reading()
        return message

    async def send(self, message: Any) -> None:
        if self.close_sent:  # by the protocol itself, such as after text that is not UTF-8
            raise ClientDisconnected
        await super().send(message)
        self._control_reading()

    def _can_decode(self) -> bool:
        """Whether bytes wait, and none of them for an earlier message, for the handshake, or for the client to read."""
        accepting = self.handshake_initiated and not self.handshake_complete
        waits = accepting or self.read_paused or not self.writable.is_set()
        return self.received.size > 0 and not (waits or self.transport.is_closing())

    def _decode(self) -> None:
        """Decode some of what was received: other connections have their turn before the next part."""
        self._decoding = None
        if self._can_decode():
            super().data_received(bytes(self.received.take(PART_BYTES)))
        self._control_reading()

    def _control_reading(self) -> None:
        """Go on with what was received, and read more only if nothing waits."""
        if self._can_decode():
            self._decoding = self._decoding or self.loop.call_soon(self._decode)
        if self.transport.is_closing():
            self.received = ReceivedBytes()
        elif self.received.size or self.read_paused or not self.writable.is_set():
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _check_closing(self) -> None:
        """Limit the time of a close, which many events cause."""
        if self.transport.is_closing():
            self.write_timeout.start()
        else:
            self._check_timer = self.loop.call_later(LINGER, self._check_closing)
