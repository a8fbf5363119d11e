"""Cursors: opaque text that says where in a merged list a row stands, bound to the question that was asked.

A cursor holds the last key given out and, for each stream, the page to go on reading from; a stream that failed or
stopped at its bound keeps its own last key, so that it loses nothing. It holds no state of this process.
"""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from gateway.catalog.orders import Key, Order
from gateway.errors import InvalidCursor

VERSION = 1
CHECK_BYTES = 8


@dataclass(frozen=True, slots=True)
class Cursor:
    """``last`` is the key of the row; ``pages`` the page of each stream to read from; ``own`` the last keys of streams
    that are elsewhere than the row, None for one that gave nothing yet."""

    last: Key
    pages: Mapping[str, int] = field(default_factory=dict)
    own: Mapping[str, Key | None] = field(default_factory=dict)

    def after(self, stream: str) -> Key | None:
        """The key after which a stream goes on."""
        return self.own.get(stream, self.last)


@dataclass(frozen=True, slots=True)
class Question:
    """What a cursor belongs to: a list, its filter in one spelling, and its order."""

    listed: str
    order: Order

    def encode(self, cursor: Cursor) -> str:
        """The text of a cursor, valid for this question only."""
        own = {name: self.order.stored(key) for name, key in cursor.own.items()}
        body = bytes([VERSION]) + orjson.dumps([self.order.stored(cursor.last), dict(cursor.pages), own])
        return in_base64(self._check(body) + body)

    def decode(self, text: str) -> Cursor:
        """The cursor of a text. Raises `InvalidCursor` for one that was not made by `encode` for this question."""
        try:
            content = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            digest, body = content[:CHECK_BYTES], content[CHECK_BYTES:]
            if digest == self._check(body) and body[0] == VERSION and in_base64(content) == text:
                last, pages, own = orjson.loads(body[1:])
                key = self.order.restored(last)
                if key is not None and all(type(page) is int and page > 0 for page in pages.values()):
                    return Cursor(key, pages, {name: self.order.restored(stored) for name, stored in own.items()})
        except (ValueError, IndexError, TypeError, AttributeError):
            pass
        raise InvalidCursor("The cursor in `after` does not belong to this list with this filter and order.")

    def _check(self, body: bytes) -> bytes:
        question = hashlib.sha256(f"{self.listed}\n{self.order}".encode()).digest()
        return hashlib.blake2b(body, digest_size=CHECK_BYTES, key=question).digest()


def in_base64(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")
