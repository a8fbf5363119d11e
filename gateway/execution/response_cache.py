"""Whole answers, each given again for as long as all that it was made of is kept and fresh.

An answer of an operation depends on its variables, on the registries and how far they are read, and on what they
answered, where it asks for nothing of the moment (`CompiledOperation.lasting`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.catalog.bounds import Bounds
from gateway.catalog.cache_dependencies import CacheDependencies, DerivedCache, Key
from gateway.catalog.registry import Registry
from gateway.execution.compiler import CompiledOperation


@dataclass(slots=True, eq=False)
class CachedResponse:
    """The bytes of an answer, whether any field of its data is there, and what it was made of; ``derived`` is what was
    worked out from it, for as long as it is kept."""

    body: bytes
    answered: bool
    basis: CacheDependencies
    derived: dict[Any, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.body)


ResponseCache = DerivedCache[CachedResponse]


def key_of(
    ready: CompiledOperation, variables: Mapping[str, Any], registries: Mapping[str, Registry], bounds: Bounds
) -> Key:
    """Names an answer: what is asked, and of whom. Registries are told apart by identity, so accounts are too."""
    return Key(ready, repr(variables), tuple(map(id, registries.values())), bounds)
