"""Answers that come in parts, as ``multipart/mixed``.

Source: the GraphQL-over-HTTP working group's proposal for incremental delivery.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

from starlette.responses import StreamingResponse

from gateway.http.requests import weights

MEDIA_TYPE: Final = "multipart/mixed"
BOUNDARY: Final = b"\r\n---"
HEAD: Final = b"\r\nContent-Type: application/json; charset=utf-8\r\n\r\n"


def accepted(accept: str) -> bool:
    """Whether a client takes an answer in parts; one that takes anything does not mean that."""
    return weights(accept).get(MEDIA_TYPE, 0.0) > 0


def response(payloads: Any) -> StreamingResponse:
    """The answer of which these are the payloads, as JSON; when the client leaves, they are closed."""
    headers = {"Cache-Control": "no-store", "Vary": "Accept", "X-Accel-Buffering": "no"}
    return StreamingResponse(chunks(payloads), 200, headers, f'{MEDIA_TYPE}; boundary="-"')


async def chunks(payloads: Any) -> AsyncIterator[bytes]:
    """Each part ends with the boundary behind it, so that a client need not wait for the next to read it."""
    before = BOUNDARY.lstrip()
    async with aclosing(payloads):
        async for payload in payloads:
            yield before + HEAD + payload + BOUNDARY
            before = b""
    yield b"--\r\n"
