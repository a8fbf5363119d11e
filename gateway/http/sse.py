"""GraphQL over server-sent events: one operation per request, one event per result.

Source: GraphQL over Server-Sent Events Protocol, distinct connections mode, as the npm package ``graphql-sse``
publishes it; the stream's format: HTML Living Standard, section 9.2. Lines end with LF, since some clients split events
at two of them.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.execution.results import OperationResult
from gateway.http.disconnection import disconnected
from gateway.http.negotiation import EVENT_STREAM

HEARTBEAT: Final = 12.0
"""Seconds between comments that keep the connection alive."""

COMMENT: Final = b":\n\n"
COMPLETE: Final = b"event: complete\ndata:\n\n"

HEADERS: Final = {"Cache-Control": "no-store", "Vary": "Accept", "X-Accel-Buffering": "no"}


def event(result: OperationResult) -> bytes:
    """Format a result as an event."""
    return b"event: next\ndata: " + result.body + b"\n\n"


async def single(result: OperationResult) -> AsyncGenerator[OperationResult, None]:
    """Yield one result."""
    yield result


class EventStream(Response):
    """Sends results as events.

    The operation ends when the client leaves. When the server is ``stopping``, the stream breaks off without the event
    ``complete``, so that the client knows that it is incomplete.
    """

    def __init__(self, results: AsyncGenerator[OperationResult, None], stopping: asyncio.Event) -> None:
        super().__init__(headers=HEADERS, media_type=f"{EVENT_STREAM}; charset=utf-8")
        del self.headers["content-length"]
        self.results, self.stopping = results, stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await write(send, COMMENT)
        sending = asyncio.create_task(self.send_events(send))
        ends = [asyncio.create_task(end) for end in (disconnected(receive), heartbeat(send), self.stopping.wait())]
        try:
            await asyncio.wait((sending, *ends), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, *ends):
                task.cancel()
            await asyncio.gather(sending, *ends, return_exceptions=True)
        if not sending.cancelled():
            sending.result()
        await write(send, b"", more=False)

    async def send_events(self, send: Send) -> None:
        """Send all results, and the event that completes the stream."""
        async with aclosing(self.results):
            async for result in self.results:
                await write(send, event(result))
        await write(send, COMPLETE)


async def write(send: Send, text: bytes, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": text, "more_body": more})


async def heartbeat(send: Send) -> None:
    """Send a comment at intervals."""
    while True:
        await asyncio.sleep(HEARTBEAT)
        await write(send, COMMENT)
