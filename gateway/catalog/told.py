"""What one page of a list tells, worked out once and kept with the answer that it stands in."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.catalog.ids import Ref
from gateway.catalog.order import Key, Order
from gateway.catalog.registry import Registry
from gateway.catalog.selection import Ask, Frozen
from gateway.registries.fields import Field, Raw, Rows, Shape
from gateway.upstream.source import Answer

MOST: Final = 8
"""Readings of one answer, and selections of one reading, that are kept."""
OWN_NAMES: Final = {Ask("id"), Ask("native_id"), Ask("registry_name")}


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """The objects of one page: their keys and references in the page's order, and the raw objects by reference.

    ``absent`` are fields that its registry never tells. ``records`` are those that were filled from the page alone, by
    what they hold. Everybody shares them: they must not be changed.
    """

    shape: Shape
    rows: tuple[tuple[Key, Ref], ...]
    raws: Mapping[Ref, Raw]
    absent: frozenset[str] = frozenset()
    records: dict[Frozen, dict[Ref, Any] | None] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        shape: Shape,
        order: Order,
        items: Iterable[Raw],
        name: Callable[[Raw], Ref | None],
        absent: frozenset[str] = frozenset(),
    ) -> "Told":
        """From the raw rows of a page; ``name`` gives a row's reference, None for one without a key."""
        rows: list[tuple[Key, Ref]] = []
        raws: dict[Ref, Raw] = {}
        for raw in items:
            ref = name(raw)
            if ref is not None:
                rows.append((order.key(ref, shape, raw), ref))
                raws.setdefault(ref, raw)
        return cls(shape, tuple(rows), raws, absent)

    @classmethod
    def by(cls, answer: Answer, registry: Registry, field: Field, shape: Shape, order: Order) -> tuple[Rows, "Told"]:
        """The page that an answer holds in a field, as a registry lists it: what it is, and what it tells."""
        kept = answer.derived
        found: tuple[Rows, Told] | None = kept.get((registry.name, field, order))
        if found is None:
            rows: Rows = field.read(answer.document)
            absent = registry.kind.absent[shape.entity]
            found = rows, cls.of(shape, order, rows.items, lambda raw: row(registry.name, shape, raw), absent)
            keep(kept, (registry.name, field, order), found)
        return found

    def filled(self, frozen: Frozen) -> dict[Ref, Any] | None:
        """The records of a selection, to take from and to add to; None for one that a page alone cannot fill."""
        if frozen not in self.records:
            keep(self.records, frozen, {} if all_stand(self.shape, self.absent, frozen) else None)
        return self.records[frozen]


def keep(kept: dict[Any, Any], name: Hashable, value: Any) -> None:
    """Add to what was worked out, which is forgotten when there is too much of it."""
    if len(kept) >= MOST:
        kept.clear()
    kept[name] = value


def row(registry: str, shape: Shape, raw: Raw) -> Ref | None:
    """The reference of an object that a list holds; None when it has no key."""
    key = shape.key(raw)
    return None if key is None else Ref(registry, shape.entity, (key,))


def all_stand(shape: Shape, absent: frozenset[str], asked: Frozen) -> bool:
    """Whether everything that is asked of an object in this form stands in it, or is never told."""
    return all(
        ask in OWN_NAMES or ask.field in absent or stands(shape.fields.get(ask.field), below) for ask, below in asked
    )


def stands(told: Field | None, below: Frozen) -> bool:
    """Whether the value of a field, and all that is asked of it, stands in the raw object itself."""
    if told is None or told.shape is not None or told.lookup is not None:
        return False
    return told.table is None or all(stands(told.table.get(ask.field), inner) for ask, inner in below)
