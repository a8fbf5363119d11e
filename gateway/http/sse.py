"""GraphQL as server-sent events: one operation for each request, each of its results an event.

Source: GraphQL over Server-Sent Events Protocol, distinct connections mode, as the npm package ``graphql-sse``
publishes it; the stream's format: HTML Living Standard, section 9.2. Lines end with LF: there are clients that split
events at two of them.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.execution.results import Result
from gateway.http.requests import weights

EVENT_STREAM: Final = "text/event-stream"

SILENCE: Final = 12.0
"""Seconds after which a comment shows that the connection is alive."""

COMMENT: Final = b":\n\n"
COMPLETE: Final = b"event: complete\ndata:\n\n"

HEADERS: Final = {"Cache-Control": "no-store", "Vary": "Accept", "X-Accel-Buffering": "no"}


def wanted(accept: str) -> bool:
    """Whether a client asks for events: first of all, or for nothing else. Others name them among what they also take,
    and expect JSON."""
    return next(iter(weights(accept))) == EVENT_STREAM


def event(result: Result) -> bytes:
    return b"event: next\ndata: " + result.body + b"\n\n"


async def only(result: Result) -> AsyncGenerator[Result, None]:
    """The results of an operation that has one."""
    yield result


class Events(Response):
    """Results as they come; the operation ends when the client leaves, and when the server is ``stopping``: the stream
    then breaks off, so that the client knows that it was not complete."""

    def __init__(self, results: AsyncGenerator[Result, None], stopping: asyncio.Event) -> None:
        super().__init__(headers=HEADERS, media_type=f"{EVENT_STREAM}; charset=utf-8")
        del self.headers["content-length"]
        self.results, self.stopping = results, stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await write(send, COMMENT)
        telling = asyncio.create_task(self.tell(send))
        others = [asyncio.create_task(other) for other in (left(receive), beat(send), self.stopping.wait())]
        try:
            await asyncio.wait((telling, *others), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (telling, *others):
                task.cancel()
            await asyncio.gather(telling, *others, return_exceptions=True)
        if not telling.cancelled():
            telling.result()
        await write(send, b"", more=False)

    async def tell(self, send: Send) -> None:
        async with aclosing(self.results):
            async for result in self.results:
                await write(send, event(result))
        await write(send, COMPLETE)


async def write(send: Send, text: bytes, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": text, "more_body": more})


async def beat(send: Send) -> None:
    """Show from time to time that the connection is alive."""
    while True:
        await asyncio.sleep(SILENCE)
        await write(send, COMMENT)


async def left(receive: Receive) -> None:
    """Wait until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
