"""Incremental delivery over HTTP, as ``multipart/mixed``.

Source: the GraphQL-over-HTTP working group's proposal for incremental delivery.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from starlette.responses import StreamingResponse

from gateway.execution.results import OperationResult
from gateway.http.negotiation import MULTIPART

BOUNDARY: Final = b"\r\n---"
PART_HEADER: Final = b"\r\nContent-Type: application/json; charset=utf-8\r\n\r\n"
HEADERS: Final = {"Cache-Control": "no-store", "Vary": "Accept", "X-Accel-Buffering": "no"}


def multipart_response(
    first: OperationResult, later: AsyncGenerator[OperationResult, None] | None = None
) -> StreamingResponse:
    """Stream results as parts. ``later`` is closed when the client disconnects."""
    return StreamingResponse(parts(first, later or nothing()), 200, HEADERS, f'{MULTIPART}; boundary="-"')


async def nothing() -> AsyncGenerator[OperationResult, None]:
    """Yield no results."""
    return
    yield


async def parts(first: OperationResult, later: AsyncGenerator[OperationResult, None]) -> AsyncIterator[bytes]:
    """Yield the parts. Each includes the boundary after it, so that clients can process it before the next part."""
    async with aclosing(later):
        yield BOUNDARY.lstrip() + PART_HEADER + first.body + BOUNDARY
        async for result in later:
            yield PART_HEADER + result.body + BOUNDARY
    yield b"--\r\n"
