"""Incremental delivery over HTTP, as ``multipart/mixed``.

Source: the GraphQL-over-HTTP working group's proposal for incremental delivery.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from starlette.responses import StreamingResponse

from gateway.execution.results import OperationResult
from gateway.http.requests import media_ranges

MEDIA_TYPE: Final = "multipart/mixed"
BOUNDARY: Final = b"\r\n---"
PART_HEADER: Final = b"\r\nContent-Type: application/json; charset=utf-8\r\n\r\n"
HEADERS: Final = {"Cache-Control": "no-store", "Vary": "Accept", "X-Accel-Buffering": "no"}


def is_accepted(accept: str) -> bool:
    """Whether a client accepts multipart explicitly; ``*/*`` does not count."""
    return media_ranges(accept).get(MEDIA_TYPE, 0.0) > 0


def multipart_response(first: OperationResult, later: AsyncGenerator[OperationResult, None]) -> StreamingResponse:
    """Stream results as parts. ``later`` is closed when the client disconnects."""
    return StreamingResponse(parts(first, later), 200, HEADERS, f'{MEDIA_TYPE}; boundary="-"')


async def parts(first: OperationResult, later: AsyncGenerator[OperationResult, None]) -> AsyncIterator[bytes]:
    """Yield the parts. Each includes the boundary after it, so that clients can process it before the next part."""
    async with aclosing(later):
        yield BOUNDARY.lstrip() + PART_HEADER + first.body + BOUNDARY
        async for result in later:
            yield PART_HEADER + result.body + BOUNDARY
    yield b"--\r\n"
