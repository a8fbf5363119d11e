"""The state of one entity during the execution of its plan: reference, record, and raw objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.catalog.ids import Ref
from gateway.catalog.record_readers import Record
from gateway.registries.fields import Raw

Derived = dict[Any, Any]
"""Values derived from an answer. They are cached with it and shared by all operations that use it."""

RawSource = tuple[Raw, Derived | None]
"""The raw object of a source, and the derived values of its answer if the answer contains only this entity."""


@dataclass(slots=True, eq=False)
class EntityState:
    """An entity whose fields are being resolved.

    ``record`` receives the values. ``sources`` are the raw objects of the plan's sources, ``owner`` those of the plan's
    owner sources, in their order. ``version`` is the version through which this entity, its owner, was requested.
    """

    ref: Ref
    record: Record
    sources: Sequence[RawSource] = ()
    owner: Sequence[RawSource] = ()
    version: Ref | None = None

    def with_source(self, raw: Raw, derived: Derived | None) -> "EntityState":
        """Return the same entity with one more source, which is read first."""
        return EntityState(self.ref, self.record, ((raw, derived), *self.sources), self.owner, self.version)
