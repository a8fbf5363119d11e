"""Response cache: complete responses, valid while all upstream cache entries that they were built from are fresh.

A response depends on the operation, its variables, the registries that the caller may read, and their answers. An
operation is not cached if it selects fields whose values change independently of the answers
(`gateway.schema.fields.volatile_field`).
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

    ``answered`` is true if any root field has a value. ``compressed`` is the gzip-compressed body, None until a client
    requests it.
    """

    body: bytes
    answered: bool
    dependencies: CacheDependencies
    compressed: bytes | None = None


class ResponseCache:
    """The most recently used responses, up to ``max_bytes`` in total."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._responses: LRUCache[Hashable, CachedResponse] = LRUCache(max_bytes, lambda response: len(response.body))

    def get(self, key: Hashable, freshness: Freshness) -> CachedResponse | None:
        """Return the response for a key, None if there is none that is valid and fresh enough."""
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
        """Store a response, unless it is larger than the cache."""
        if len(response.body) <= self.max_bytes:
            self._responses[key] = response


def cache_key(
    planned: PlannedOperation, variables: Mapping[str, Any], registries: Mapping[str, Registry]
) -> Hashable | None:
    """Return the cache key of an operation, None if its response must not be cached."""
    return (planned, repr(variables), tuple(registries)) if planned.cacheable else None
