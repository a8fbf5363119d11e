"""What one page of a list tells, worked out once and kept with the answer that it stands in."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from gateway.catalog.ids import Ref
from gateway.catalog.orders import Key, Order
from gateway.catalog.record_readers import Reading, Record
from gateway.catalog.registry import Registry
from gateway.catalog.selection import Frozen, Selection
from gateway.registries.fields import EntityLayout, Field, Raw, Rows
from gateway.registries.kind import Kind
from gateway.upstream.caching_client import Answer

MOST: Final = 8
"""Readings of one answer, and selections of one reading, that are kept."""

Filled = tuple[dict[Ref, Record], Callable[[Raw, Ref], Record]]
"""Records by their references, and how one is made."""


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """The objects of one page: their keys and references in the page's order, and the raw objects by reference.

    Kept with it are the records that it fills alone, by what they hold. They are shared, and must not be changed.
    """

    kind: Kind
    shape: EntityLayout
    rows: tuple[tuple[Key, Ref], ...]
    raws: Mapping[Ref, Raw]
    _filled: dict[Frozen, Filled | None] = field(default_factory=dict)

    @classmethod
    def of(
        cls, kind: Kind, shape: EntityLayout, order: Order, items: Iterable[Raw], name: Callable[[Raw], Ref | None]
    ) -> "Told":
        """From the raw rows of a page; ``name`` gives a row's reference, None for one without a key."""
        rows: list[tuple[Key, Ref]] = []
        raws: dict[Ref, Raw] = {}
        key = order.keys(shape)
        for raw in items:
            ref = name(raw)
            if ref is not None:
                rows.append((key(raw, str(ref)), ref))
                raws.setdefault(ref, raw)
        return cls(kind, shape, tuple(rows), raws)

    @classmethod
    def by(
        cls, answer: Answer, registry: Registry, field: Field, shape: EntityLayout, order: Order
    ) -> tuple[Rows, "Told"]:
        """The page that an answer holds in a field, as a registry lists it: what it is, and what it tells."""
        kept = answer.derived
        found: tuple[Rows, Told] | None = kept.get((registry.name, field, order))
        if found is None:
            rows: Rows = field.read(answer.document)
            found = rows, cls.of(registry.kind, shape, order, rows.items, partial(row, registry.name, shape))
            keep(kept, (registry.name, field, order), found)
        return found

    def filled(self, selection: Selection) -> Filled | None:
        """The records of a selection, to take from and to add to, and how one is made; None for a selection that needs
        more than the page."""
        frozen = selection.frozen
        if frozen not in self._filled:
            reading = Reading.of(selection, self.kind, self.shape.entity, self.shape, canonical=True)
            keep(self._filled, frozen, None if reading.rest else ({}, reading.read))
        return self._filled[frozen]


def keep(kept: dict[Any, Any], name: Hashable, value: Any) -> None:
    """Add to what was worked out, which is forgotten when there is too much of it."""
    if len(kept) >= MOST:
        kept.clear()
    kept[name] = value


def row(registry: str, shape: EntityLayout, raw: Raw) -> Ref | None:
    """The reference of an object that a list holds; None when it has no key."""
    key = shape.key(raw)
    return None if key is None else Ref(registry, shape.entity, (key,))
