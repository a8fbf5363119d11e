"""Caching headers: ``Cache-Control`` of requests and responses, ``Age``, ``ETag`` and cache tags.

Source: RFC 9111 (HTTP caching), sections 5.1 and 5.2; RFC 9110, sections 8.8.3 (entity tags) and 13.1.2
(``If-None-Match``).
"""

import hashlib
import re
from functools import lru_cache
from typing import Final

from gateway.catalog.cache_tags import shortened
from gateway.execution.results import CacheLifetime, OperationResult
from gateway.upstream.caching_client import ANY, Freshness

OPAQUE_TAG: Final = re.compile(r'"[^"]*"')
"""An entity tag without the mark of a weak one."""


def requested_freshness(cache_control: str | None) -> Freshness:
    """Return the freshness that ``Cache-Control`` requests, `ANY` by default. Unknown directives are ignored."""
    if not cache_control:
        return ANY
    directives = {}
    for directive in cache_control.lower().split(","):
        name, _, value = directive.strip().partition("=")
        directives[name] = value.strip('"')
    age = directives.get("max-age", "")
    requested = Freshness(
        revalidate="no-cache" in directives,
        max_age=float(age) if re.fullmatch(r"\d{1,9}", age) else None,
        only_if_cached="only-if-cached" in directives,
        store="no-store" not in directives,
    )
    return ANY if requested == ANY else requested


def lifetime_headers(lifetime: CacheLifetime | None) -> tuple[tuple[str, str], ...]:
    """Return ``Cache-Control`` and ``Age`` of a response."""
    if lifetime is None:
        return (("cache-control", "no-store"),)
    if lifetime.age is None:
        return (("cache-control", "private, max-age=0"),)
    return _lifetime_headers(int(lifetime.age), max(0, int(lifetime.fresh_for)))


@lru_cache(256)
def _lifetime_headers(age: int, fresh_for: int) -> tuple[tuple[str, str], ...]:
    return ("cache-control", f"private, max-age={age + fresh_for}"), ("age", str(age))


TAG_SEPARATORS: Final = {"Surrogate-Key": " ", "Cache-Tag": ","}
"""The headers for cache tags, each with what separates two tags in it."""


def tag_headers(header: str, result: OperationResult) -> tuple[tuple[str, str], ...]:
    """Return the header with the cache tags of a response. None for one that must not be cached, or without tags.

    ``header`` is one of `TAG_SEPARATORS`, or empty for no header.
    """
    if not header or not result.tags or result.lifetime is None:
        return ()
    return ((header.lower(), TAG_SEPARATORS[header].join(shortened(result.tags))),)


def etag(body: bytes) -> str:
    """Return the entity tag of a body. It is weak, since it is the same with and without compression."""
    return f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def is_current(tag: str, if_none_match: str) -> bool:
    """Whether ``If-None-Match`` contains an entity tag, by weak comparison."""
    return if_none_match.strip() == "*" or tag.removeprefix("W/") in OPAQUE_TAG.findall(if_none_match)
