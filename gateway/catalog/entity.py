"""An entity while its fields are resolved."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.catalog.ids import Ref
from gateway.catalog.record_readers import Record
from gateway.registries.fields import Raw

Derived = dict[Any, Any]
"""Values derived from an answer, cached with it and shared by everybody who reads it."""

RawSource = tuple[Raw, Derived | None]
"""The raw object of a source, and the cache of the answer where that is about this entity alone."""


@dataclass(slots=True, eq=False)
class Entity:
    """The reference of an entity, the record to fill, and the raw objects of its plan's sources in their order;
    ``owner`` those of the plan's owner sources, ``version`` the version through which the owner was requested."""

    ref: Ref
    record: Record
    sources: Sequence[RawSource] = ()
    owner: Sequence[RawSource] = ()
    version: Ref | None = None

    def with_source(self, raw: Raw, derived: Derived | None) -> "Entity":
        """The same entity with one more source, the one to read first."""
        return Entity(self.ref, self.record, ((raw, derived), *self.sources), self.owner, self.version)
