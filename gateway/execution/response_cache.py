"""Response cache: complete responses, valid while all upstream cache entries that they were built from are fresh.

A response depends on the operation, its variables, the registries that the caller may read, and their answers. An
operation is not cached if it selects fields whose values change independently of the answers
(`gateway.schema.fields.volatile_field`).
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from sys import getsizeof
from typing import Any

from gateway.catalog.cache_dependencies import CacheDependencies
from gateway.execution.documents import Document
from gateway.execution.operation_plan import PlannedOperation
from gateway.memory_budget import BoundedCache
from gateway.upstream.caching_client import ANY, Freshness

RESPONSE_BYTES, DEPENDENCY_BYTES = 1_200, 500
"""The memory of a response beside its bodies, and of each upstream call that it depends on."""


@dataclass(slots=True, eq=False)
class CachedResponse:
    """A response without errors as JSON, and the cache entries that it depends on.

    ``answered`` is true if any root field has a value. ``tags`` are its cache tags, if responses have them.
    ``compressed`` is the gzip-compressed body, None until a client requests it.
    """

    body: bytes
    answered: bool
    dependencies: CacheDependencies
    tags: tuple[str, ...] = ()
    compressed: bytes | None = None

    @property
    def size(self) -> int:
        """The memory of the response in bytes, with room for the compressed body, which is at most as large."""
        dependencies = DEPENDENCY_BYTES * len(self.dependencies.entries)
        return RESPONSE_BYTES + 2 * len(self.body) + dependencies + sum(map(getsizeof, self.tags))


class ResponseCache:
    """The most recently used responses."""

    def __init__(self, cache: BoundedCache[bytes, CachedResponse]) -> None:
        self._responses = cache

    def get(self, key: bytes, freshness: Freshness) -> CachedResponse | None:
        """Return the response for a key, None if there is none that is valid and fresh enough."""
        response = self._responses.get(key)
        if response is None:
            return None
        if not response.dependencies.is_valid():
            self._responses.remove(key)
            return None
        if freshness is ANY:
            return response
        age, _ = response.dependencies.lifetime()
        return response if freshness.accepts(age) else None

    def store(self, key: bytes, response: CachedResponse) -> None:
        """Store a response, unless it is larger than the cache."""
        self._responses.put(key, response, response.size)


def cache_key(
    document: Document,
    planned: PlannedOperation,
    variables: Mapping[str, Any],
    registries: Iterable[str],
    shows_tags: bool,
) -> bytes | None:
    """Return the cache key of an operation, None if its response must not be cached.

    ``shows_tags`` is true if the response contains its cache tags. The key does not depend on variables that the
    operation does not declare, and it keeps nothing in memory.
    """
    if not planned.cacheable:
        return None
    values = [(name, variables[name]) for name in planned.variables if name in variables]
    name = planned.operation.name.value if planned.operation.name else None
    content = repr((document.key, name, values, tuple(registries), shows_tags))
    return hashlib.blake2b(content.encode(errors="surrogatepass"), digest_size=32).digest()
