"""The state of one entity during the execution of its plan: reference, record, and raw objects."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.catalog.ids import Ref
from gateway.catalog.record_readers import Record
from gateway.registries.fields import Raw
from gateway.upstream.cache import DerivedValues

RawSource = tuple[Raw, DerivedValues | None]
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

    def with_source(self, raw: Raw, derived: DerivedValues | None) -> "EntityState":
        """Return the same entity with one more source, which is read first."""
        return EntityState(self.ref, self.record, ((raw, derived), *self.sources), self.owner, self.version)
