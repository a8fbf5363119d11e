"""HTTP's words for freshness: what a client asks for, and what an answer says of its age.

Source: RFC 9111 (HTTP caching), sections 5.1 and 5.2; RFC 9110, section 8.8.3 (entity tags).
"""

import hashlib
import re
from functools import lru_cache
from typing import Final

from gateway.catalog.operation import Operation
from gateway.upstream.caching_client import ANY, Freshness

Said = tuple[tuple[str, str], ...]
"""Headers, by name and value."""

AGES: Final = 256
"""Ages that are kept as text."""


def wanted(header: str | None) -> Freshness:
    """What a request's ``Cache-Control`` asks for, which is `ANY` itself where it asks for nothing; directives that say
    nothing here are passed over."""
    if header is None:
        return ANY
    said = {}
    for directive in header.lower().split(","):
        name, _, value = directive.strip().partition("=")
        said[name] = value.strip('"')
    age = said.get("max-age", "")
    asked = Freshness(
        revalidate="no-cache" in said or "no-store" in said,
        max_age=float(age) if re.fullmatch(r"\d{1,9}", age) else None,
        only_if_cached="only-if-cached" in said,
    )
    return ANY if asked == ANY else asked


def headers(operation: Operation, whole: bool) -> Said:
    """``age`` and ``cache-control`` of an answer, from all that it was made of; of one that is not whole, nothing."""
    if not whole or operation.partial:
        return ()
    received = operation.received()
    if not received:
        return (("cache-control", "private, max-age=0"),)
    return lifetime(max([answer.age for answer in received]), min([answer.fresh_for for answer in received]))


def lifetime(age: float, fresh_for: float) -> Said:
    """The same for an answer that is so old, and fresh for so long, in seconds."""
    return said_of(int(age), max(0, int(fresh_for)))


@lru_cache(AGES)
def said_of(age: int, fresh_for: int) -> Said:
    return ("cache-control", f"private, max-age={fresh_for + age}"), ("age", str(age))


def etag(body: bytes) -> str:
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
