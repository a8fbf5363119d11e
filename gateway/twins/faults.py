"""Fault injection: how the twins' answers to a call fail, until the fault is replaced or used up."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import hdrs, web

from gateway.twins.wire_formats import Answer, CloudError, WireFormat, error_answer, error_for_status

CHUNK = 1 << 20
DRIPS_PER_SECOND = 20


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 10**9


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _text_object(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


@dataclass(slots=True)
class Fault:
    """The fault of one call. All fields are optional and can be combined.

    ``latency`` is in seconds, ``drip`` in bytes per second, ``gzip_bomb`` in bytes after decompression. ``drop`` closes
    the connection ``"before"`` the answer or halfway through its ``"body"``. ``gzip_members`` compresses both
    halves of the body separately. ``times`` limits the number of failures.
    """

    latency: float = 0
    status: int | None = None
    error: str | None = None
    message: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    drop: str | None = None
    body: str | None = None
    content_type: str | None = None
    times: int | None = None
    hang: bool = False
    gzip_bomb: int | None = None
    truncated_gzip: bool = False
    gzip_members: bool = False
    drip: float | None = None
    redirect: str | None = None


RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "latency": (_number, "a number of seconds"),
    "status": (lambda value: _whole(value) and 200 <= value <= 599, "an HTTP status from 200 to 599"),
    "error": (lambda value: _text(value) and value != "", "a vendor's error code as text"),
    "message": (_text, "text"),
    "headers": (_text_object, "an object of texts"),
    "drop": (lambda value: value in ("before", "body"), '"before" or "body"'),
    "body": (_text, "text"),
    "content_type": (_text, "text"),
    "times": (_whole, "a positive whole number"),
    "hang": (_boolean, "true or false"),
    "gzip_bomb": (_whole, "a positive number of bytes"),
    "truncated_gzip": (_boolean, "true or false"),
    "gzip_members": (_boolean, "true or false"),
    "drip": (lambda value: _number(value) and value > 0, "a positive number of bytes per second"),
    "redirect": (_text, "an address"),
}


class Faults:
    """The active faults, by name of the call. ``*`` applies to calls without their own entry."""

    def __init__(self, calls: Collection[str]) -> None:
        self._calls = set(calls) | {"*"}
        self._faults: dict[str, Fault] = {}
        self._replaced = asyncio.Event()

    def replace(self, wanted: object) -> None:
        """Replace all faults. Raises ValueError if they are invalid, and keeps the active ones."""
        self._faults = self._parse(wanted)
        self._replaced.set()
        self._replaced = asyncio.Event()

    def clear(self) -> None:
        self.replace({})

    def take(self, call: str) -> tuple[Fault | None, asyncio.Event]:
        """Return the fault of a call, which counts as one use, and an event that is set when faults are replaced."""
        fault = self._faults.get(call) or self._faults.get("*")
        if fault is not None and fault.times is not None:
            if fault.times == 0:
                return None, self._replaced
            fault.times -= 1
        return fault, self._replaced

    def _parse(self, wanted: object) -> dict[str, Fault]:
        if not isinstance(wanted, dict):
            raise ValueError("Faults must be an object of call names.")
        return {str(call): self._parse_fault(str(call), entry) for call, entry in wanted.items()}

    def _parse_fault(self, call: str, entry: object) -> Fault:
        if call not in self._calls:
            raise ValueError(f"Unknown call {call}; known calls: {', '.join(sorted(self._calls))}.")
        if not isinstance(entry, dict):
            raise ValueError(f"The fault of {call} must be an object.")
        for name, value in entry.items():
            if name not in RULES:
                raise ValueError(f"Unknown field {name} of a fault; known fields: {', '.join(sorted(RULES))}.")
            is_valid, expected = RULES[name]
            if not is_valid(value):
                raise ValueError(f"{name} of {call} must be {expected}, not {json.dumps(value)}.")
        return Fault(**entry)


def apply_fault(answer: Answer, fault: Fault, wire_format: WireFormat, host: str) -> Answer:
    """Return the answer as changed by the fault."""
    if fault.error is not None:
        answer = error_answer(wire_format, CloudError(fault.error, fault.message, fault.status), host)
    elif fault.status is not None and fault.status >= 400 and fault.body is None:
        answer = error_answer(wire_format, error_for_status(wire_format, fault.status, fault.message), host)
    if fault.redirect is not None:
        answer = Answer(fault.status or 302, b"", {"Location": fault.redirect})
    body = answer.body if fault.body is None else fault.body.encode()
    headers = answer.headers | fault.headers
    if fault.gzip_members:
        middle = len(body) // 2
        body = gzip.compress(body[:middle]) + gzip.compress(body[middle:])
        headers |= {"Content-Encoding": "gzip"}
    if fault.truncated_gzip:
        packed = gzip.compress(body, mtime=0)
        body, headers = packed[: len(packed) // 2], headers | {"Content-Encoding": "gzip"}
    return replace(
        answer,
        status=fault.status or answer.status,
        body=body,
        headers=headers,
        content_type=fault.content_type or answer.content_type,
    )


async def send(request: web.BaseRequest, answer: Answer, fault: Fault | None = None) -> web.StreamResponse:
    """Send an answer, with the drops and delays of the fault."""
    headers = {hdrs.CONTENT_TYPE: answer.content_type} | answer.headers
    if fault is None or not (fault.drop or fault.gzip_bomb or fault.drip):
        return web.Response(status=answer.status, body=answer.body, headers=headers)
    if fault.drop == "before":
        return abort(request)
    response = web.StreamResponse(status=answer.status, headers=headers)
    if fault.gzip_bomb:
        response.headers[hdrs.CONTENT_ENCODING] = "gzip"
        response.enable_chunked_encoding()
        pieces = _gzip_bomb(fault.gzip_bomb)
    else:
        response.content_length = len(answer.body)
        body = answer.body[: len(answer.body) // 2] if fault.drop else answer.body
        pieces = _drip(body, fault.drip)
    await response.prepare(request)
    try:
        async for piece in pieces:
            await response.write(piece)
        if fault.drop:
            return abort(request)
        await response.write_eof()
    except ConnectionError:
        return abort(request)
    return response


def abort(request: web.BaseRequest) -> web.StreamResponse:
    """Close the connection without writing anything more."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()


async def _drip(body: bytes, rate: float | None) -> AsyncIterator[bytes]:
    step = len(body) if rate is None else max(1, int(rate / DRIPS_PER_SECOND))
    for start in range(0, len(body), step or 1):
        if rate is not None:
            await asyncio.sleep(step / rate)
        yield body[start : start + step]


async def _gzip_bomb(size: int) -> AsyncIterator[bytes]:
    """Yield an empty JSON object after ``size`` spaces, compressed to about a thousandth."""
    packer = zlib.compressobj(level=9, wbits=31)
    left = size - 2
    while left > 0:
        yield packer.compress(b" " * min(CHUNK, left))
        left -= CHUNK
        await asyncio.sleep(0)
    yield packer.compress(b"{}") + packer.flush()
