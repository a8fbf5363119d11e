"""Heads of requests, as far as they decide how a request is answered.

Clients send the same head again and again: what was read of one holds for all that follow with the same bytes.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

DECIDING: Final = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"expect",
        b"origin",
        b"x-api-key",
        b"x-gateway-plan",
    }
)
"""Headers by which the same body may be answered in another way; ``Accept`` and ``Content-Type`` name the way."""

IDS: Final = frozenset({b"x-request-id", b"traceparent"})
"""Headers by which a request is known; they tell it from all others."""

END: Final = b"\r\n\r\n"

LONGEST: Final = 1_000
"""Bytes of a head that is remembered: any connection takes one of this length."""

MOST: Final = 2_000

Headers = Sequence[tuple[bytes, bytes]]


class Plain(NamedTuple):
    """What a request says that asks for nothing special: which media types it takes and has, whether it takes an answer
    ``zipped``, the headers by which it is known, and whether it says how long its body is."""

    accept: bytes
    content_type: bytes
    zipped: bool
    ids: Headers
    sized: bool


def plainly(headers: Headers) -> Plain | None:
    """What headers say; None where they ask for something special, or say anything twice."""
    said = dict(headers)
    if len(said) < len(headers) or not DECIDING.isdisjoint(said):
        return None
    return Plain(
        said.get(b"accept", b"*/*"),
        said.get(b"content-type", b""),
        b"gzip" in said.get(b"accept-encoding", b""),
        [header for header in headers if header[0] in IDS],
        b"content-length" in said and b"transfer-encoding" not in said,
    )


class Heads:
    """Heads of requests that came whole and went the short way, each with the length of the body after it."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._known: OrderedDict[bytes, tuple[Plain, int]] = OrderedDict()

    def read(self, received: bytes) -> tuple[Plain, bytes] | None:
        """What one whole request says, and its body, if its head is known."""
        head, _, body = received.partition(END)
        known = self._known.get(head)
        return (known[0], body) if known is not None and len(body) == known[1] else None

    def learn(self, received: bytes, plain: Plain, body: bytes) -> None:
        """Remember how the head of a request was read, if nothing else was received with it; those that were
        remembered first are forgotten first."""
        head, _, rest = received.partition(END)
        if plain.sized and not plain.ids and len(rest) == len(body) > 0 and len(head) + len(END) <= LONGEST:
            self._known[head] = plain, len(body)
            if len(self._known) > self.most:
                self._known.popitem(last=False)
