"""Cursors: opaque text that says where in a merged list a row stands, bound to the question that was asked.

A cursor holds the last key given out and, for each stream, the page to go on reading from; a stream that failed
keeps its own last key, so that it loses nothing. It holds no state of this process and outlives it.
"""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from gateway.errors import InvalidCursor

Key = tuple[int, int | str, str]
"""Sorts rows: 0 with a value and 1 without; the value (descending numbers are negated); the global id."""

VERSION = 1
CHECK_BYTES = 8


@dataclass(frozen=True, slots=True)
class Cursor:
    """``last`` is the key of the row; ``pages`` the page of each stream to read from; ``behind`` the own last key of
    streams that could not keep up, None for one that gave nothing yet."""

    last: Key
    pages: Mapping[str, int] = field(default_factory=dict)
    behind: Mapping[str, Key | None] = field(default_factory=dict)

    def after(self, stream: str) -> Key | None:
        """The key after which a stream goes on."""
        return self.behind.get(stream, self.last)


def check(body: bytes, question: str) -> bytes:
    return hashlib.blake2b(body, digest_size=CHECK_BYTES, key=hashlib.sha256(question.encode()).digest()).digest()


def encode(cursor: Cursor, question: str) -> str:
    """The text of a cursor that is valid for this question only (list, filter and order, in one spelling)."""
    behind = {name: None if key is None else list(key) for name, key in cursor.behind.items()}
    body = bytes([VERSION]) + orjson.dumps([list(cursor.last), dict(cursor.pages), behind])
    return encoded(check(body, question) + body)


def decode(text: str, question: str) -> Cursor:
    """The cursor of a text. Raises `InvalidCursor` for one that was not made by `encode` for this question."""
    try:
        content = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        digest, body = content[:CHECK_BYTES], content[CHECK_BYTES:]
        if digest == check(body, question) and body[0] == VERSION and encoded(content) == text:
            last, pages, behind = orjson.loads(body[1:])
            keys = {name: None if key is None else (key[0], key[1], key[2]) for name, key in behind.items()}
            return Cursor((last[0], last[1], last[2]), pages, keys)
    except (ValueError, IndexError):
        pass
    raise InvalidCursor("The cursor in `after` does not belong to this list with this filter and order.")


def encoded(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")
