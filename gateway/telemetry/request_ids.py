"""Request ids and trace ids of a request.

Source: W3C Trace Context, level 1, section 3.2 (the ``traceparent`` header).
"""

import random
import re
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Self

ACCEPTED = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Request ids that a client may send. Any other id is replaced, since it could corrupt the log."""

TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

TRACED = "00-%s-%s-%02x"


@dataclass(slots=True)
class Identity:
    """The ids of a request.

    ``trace_id`` has 32 hexadecimal digits. ``span_id`` (16 digits) is the gateway's own span, ``parent_id`` the
    caller's, if any. ``sampled`` is true if the trace is recorded.
    """

    request_id: str
    trace_id: str
    span_id: str
    parent_id: str | None = None
    sampled: bool = False

    @classmethod
    def of(cls, headers: Sequence[tuple[bytes, bytes]]) -> Self:
        """Return the ids in the headers of a request, or new ones if they are missing or invalid.

        Header names must be in lower case.
        """
        digits = f"{random.getrandbits(320):080x}"
        identity = cls(digits[:32], digits[32:64], digits[64:])
        if not headers:
            return identity
        ids: list[bytes] = []
        traces: list[bytes] = []
        for name, value in headers:
            if name == b"x-request-id":
                ids.append(value)
            elif name == b"traceparent":
                traces.append(value)
        if len(ids) == 1 and ACCEPTED.fullmatch(ids[0]):
            identity.request_id = ids[0].decode()
        trace = TRACEPARENT.fullmatch(traces[0]) if len(traces) == 1 else None
        if trace is not None and not (trace[1] == b"00" and trace[5]):
            identity.trace_id, identity.parent_id = trace[2].decode(), trace[3].decode()
            identity.sampled = bool(int(trace[4], 16) & 1)
        return identity

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
        """The headers of a response."""
        traceparent = TRACED % (self.trace_id, self.span_id, self.sampled)
        return (b"x-request-id", self.request_id.encode()), (b"traceparent", traceparent.encode())


CURRENT: ContextVar[Identity | None] = ContextVar("identity", default=None)
"""The ids of the request that is being processed; None outside of requests."""
