"""Cursors: opaque text for the position of a row in a merged list, bound to the list, its filter and its order.

A cursor contains the sort key of the last delivered row and, for each stream, the page to continue from. A stream that
failed or stopped at its row limit has a position of its own, so that no row is lost. Cursors do not depend on the state
of a process.
"""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from gateway.catalog.orders import Order, SortKey
from gateway.errors import InvalidCursor

VERSION = 1
CHECK_BYTES = 8


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a merged list.

    ``last`` is the sort key of the row. ``pages`` maps streams to the page to continue from, if that is not the first.
    ``own`` maps streams that are at another position to the key of their last row, None if they delivered no row.
    """

    last: SortKey
    pages: Mapping[str, int] = field(default_factory=dict)
    own: Mapping[str, SortKey | None] = field(default_factory=dict)

    def after(self, stream: str) -> SortKey | None:
        """Return the key after which a stream continues."""
        return self.own.get(stream, self.last)


@dataclass(frozen=True, slots=True)
class CursorScope:
    """The list with its normalized filter, and the order, to which a cursor is bound."""

    list_name: str
    order: Order

    def encode(self, cursor: Cursor) -> str:
        """Return the text of a cursor, which is valid in this scope only."""
        own = {name: self.order.to_json(key) for name, key in cursor.own.items()}
        body = bytes([VERSION]) + orjson.dumps([self.order.to_json(cursor.last), dict(cursor.pages), own])
        return in_base64(self._check(body) + body)

    def decode(self, text: str) -> Cursor:
        """Return the cursor of a text. Raises `InvalidCursor` if `encode` did not create it in this scope."""
        try:
            content = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            digest, body = content[:CHECK_BYTES], content[CHECK_BYTES:]
            if digest == self._check(body) and body[0] == VERSION and in_base64(content) == text:
                last, pages, own = orjson.loads(body[1:])
                key = self.order.from_json(last)
                if key is not None and all(type(page) is int and page > 0 for page in pages.values()):
                    return Cursor(key, pages, {name: self.order.from_json(stored) for name, stored in own.items()})
        except (ValueError, IndexError, TypeError, AttributeError):
            pass
        raise InvalidCursor("The cursor in `after` does not belong to this list with this filter and order.")

    def _check(self, body: bytes) -> bytes:
        scope = hashlib.sha256(f"{self.list_name}\n{self.order.field} {self.order.descending}".encode()).digest()
        return hashlib.blake2b(body, digest_size=CHECK_BYTES, key=scope).digest()


def in_base64(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")
