"""Percent-encoding of paths and queries, as registries sign them and as requests are sent."""

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from gateway.memory_budget import memo

Pairs = Iterable[tuple[str, str]]

CACHE_SIZE: Final = 1024
"""The number of encoded texts, queries and signing parts to cache. Many calls share them."""


def length(pairs: Pairs) -> int:
    """Return the number of characters in names and values."""
    return sum([len(name) + len(value) for name, value in pairs])


@memo(CACHE_SIZE, len)
def encode(text: str) -> str:
    """Percent-encode all UTF-8 bytes except letters, digits and ``-_.~``, as both vendors do. Source: RFC 3986."""
    return quote(text, safe="-_.~")


def query_string(query: Pairs) -> str:
    """Return the encoded query, sorted by name. It is the query of the URL and of the canonical ACS3 request."""
    return _query_string(tuple(query))


@memo(CACHE_SIZE, length)
def _query_string(query: tuple[tuple[str, str], ...]) -> str:
    return "&".join([f"{encode(name)}={encode(value)}" for name, value in sorted(query, key=lambda pair: pair[0])])
