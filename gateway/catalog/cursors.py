"""Cursors: opaque text for the position of a row in a merged list, bound to the list, its filter and its order.

A cursor contains the sort key of the last delivered row and, for each stream, the page to continue from. A stream that
failed or stopped at its row limit has a position of its own, so that no row is lost. A page without rows has a cursor,
too, if a stream stopped there. Cursors do not depend on the state of a process.
"""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from gateway.catalog.orders import Order, SortKey
from gateway.errors import InvalidCursor

VERSION = 2
CHECK_BYTES = 8
MAX_MARKER_LENGTH = 8192
"""The maximum length of a marker in characters, since it becomes part of an upstream request."""


class PagePosition(NamedTuple):
    """The position of a page in a list: its number or its marker, and the number of rows on the pages before it.

    ``repeated`` is the number of rows up to here, those on this page included if it was read, that came before.
    ``before`` is the checksum of the rows on the page before, 0 if a reader does not need it.
    """

    page: int | str = 1
    offset: int = 0
    repeated: int = 0
    before: int = 0


FIRST_PAGE: Final = PagePosition()


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a merged list.

    ``last`` is the sort key of the row, None if no stream has delivered a row. ``pages`` maps streams to the page to
    continue from, if that is not the first. ``own`` maps streams that are at another position to the key of their last
    row, None if they delivered no row, or none since that page.
    """

    last: SortKey | None
    pages: Mapping[str, PagePosition] = field(default_factory=dict)
    own: Mapping[str, SortKey | None] = field(default_factory=dict)

    def after(self, stream: str) -> SortKey | None:
        """Return the key after which a stream continues."""
        return self.own.get(stream, self.last)


@dataclass(frozen=True, slots=True)
class CursorScope:
    """The list with its order and its filter, to which a cursor is bound. ``filter`` is the normalized argument."""

    list_name: str
    order: Order
    filter: tuple[tuple[str, Hashable], ...] | None = None

    def encode(self, cursor: Cursor) -> str:
        """Return the text of a cursor, which is valid in this scope only."""
        pages = {name: [*position] for name, position in cursor.pages.items()}
        own = {name: self.order.to_json(key) for name, key in cursor.own.items()}
        body = bytes([VERSION]) + orjson.dumps([self.order.to_json(cursor.last), pages, own])
        return in_base64(self._check(body) + body)

    def decode(self, text: str) -> Cursor:
        """Return the cursor of a text. Raises `InvalidCursor` if `encode` did not create it in this scope."""
        try:
            content = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            digest, body = content[:CHECK_BYTES], content[CHECK_BYTES:]
            if digest == self._check(body) and body[0] == VERSION and in_base64(content) == text:
                last, stored_pages, own = orjson.loads(body[1:])
                key = self.order.from_json(last)
                pages = {name: page_position(stored) for name, stored in stored_pages.items()}
                positions = {name: self.order.from_json(stored) for name, stored in own.items()}
                if key is not None or pages or positions:
                    return Cursor(key, pages, positions)
        except (ValueError, IndexError, TypeError, AttributeError):
            pass
        raise InvalidCursor("The cursor in `after` does not belong to this list with this filter and order.")

    def _check(self, body: bytes) -> bytes:
        name = self.list_name if self.filter is None else f"{self.list_name} {self.filter!r}"
        scope = hashlib.sha256(f"{name}\n{self.order.field} {self.order.descending}".encode()).digest()
        return hashlib.blake2b(body, digest_size=CHECK_BYTES, key=scope).digest()


def page_position(stored: Any) -> PagePosition:
    """Convert the JSON of a page's position. Raises ValueError for other values."""
    page, offset, repeated, before = stored
    is_page = page > 0 if type(page) is int else isinstance(page, str) and 0 < len(page) <= MAX_MARKER_LENGTH
    is_count = all(type(count) is int and count >= 0 for count in (offset, repeated, before))
    if not is_page or not is_count:
        raise ValueError("not a position")
    return PagePosition(page, offset, repeated, before)


def in_base64(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")
