"""Response cache: whole responses, valid while all upstream cache entries that they were built from are fresh.

A response depends on the operation, its variables, the registries that the caller may read, and their answers. An
operation with fields that change while answers do not (`gateway.schema.fields.volatile_field`) is not cached.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from cachetools import LRUCache

from gateway.catalog.cache_dependencies import CacheDependencies
from gateway.catalog.registry import Registry
from gateway.execution.operation_plan import PlannedOperation
from gateway.upstream.caching_client import Freshness


@dataclass(slots=True, eq=False)
class CachedResponse:
    """A response without errors as JSON, and the cache entries that it depends on.

    ``answered`` tells whether any field of its data has a value. ``compressed`` is the body, gzip-compressed, once a
    client has asked for that.
    """

    body: bytes
    answered: bool
    dependencies: CacheDependencies
    compressed: bytes | None = None


class ResponseCache:
    """The most recently used responses, up to ``max_bytes`` of them."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._responses: LRUCache[Hashable, CachedResponse] = LRUCache(max_bytes, lambda response: len(response.body))

    @property
    def size(self) -> int:
        """Bytes in use."""
        return int(self._responses.currsize)

    def get(self, key: Hashable, freshness: Freshness) -> CachedResponse | None:
        """The response under a key, or None if there is none that is valid and fresh enough."""
        try:
            response = self._responses[key]
        except KeyError:
            return None
        if not response.dependencies.is_valid():
            del self._responses[key]
            return None
        age, _ = response.dependencies.lifetime()
        return response if freshness.accepts(age) else None

    def store(self, key: Hashable, response: CachedResponse) -> None:
        """Add a response; one that is larger than the whole cache is not stored."""
        if len(response.body) <= self.max_bytes:
            self._responses[key] = response


def cache_key(
    planned: PlannedOperation, variables: Mapping[str, Any], registries: Mapping[str, Registry]
) -> Hashable | None:
    """The key of an operation's response; None if it must not be cached."""
    return (planned, repr(variables), tuple(registries)) if planned.cacheable else None
