"""The rows of lists: the pages of upstream lists, and the records of their rows."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from sys import getsizeof
from typing import Any, Final

from gateway.catalog.calls import Calls, gather
from gateway.catalog.entity_state import EntityState
from gateway.catalog.filters import ListFilter
from gateway.catalog.ids import Ref
from gateway.catalog.merge import Page, Row
from gateway.catalog.orders import Order, SortKey
from gateway.catalog.prepared_rows import PreparedRows, RowEncoder
from gateway.catalog.query_plan import EntityPlan, Sources
from gateway.catalog.record_readers import Record
from gateway.catalog.registry import Registry
from gateway.catalog.selection import Selection
from gateway.registries.fields import EntityLayout, Field, Raw, Rows
from gateway.registries.kind import Call, Kind
from gateway.upstream.cache import DerivedValues
from gateway.upstream.caching_client import Answer

ROW_BYTES: Final = 800
"""The memory of a row of a cached page: its sort key, its reference and its id."""

OPERAND_BYTES: Final = 200
"""The memory of the operands of a test, beside the operands themselves."""

Resolve = Callable[[EntityPlan, Sequence[EntityState], list[Awaitable[None]]], None]
"""Runs a plan for entities, and appends to the list what must be awaited."""


@dataclass(frozen=True, slots=True, eq=False)
class ListPage:
    """The rows of one page: sort keys and references in the order of the page, raw objects by global id.

    ``registry`` is the name of their registry. ``is_canonical`` is true if all references are, ``disordered`` if the
    rows are not in the order in which their registry promises them.
    """

    registry: str
    kind: Kind
    layout: EntityLayout
    rows: tuple[tuple[SortKey, Ref], ...]
    raws: Mapping[str, Raw]
    is_canonical: bool
    disordered: bool = False

    @classmethod
    def of(
        cls,
        registry: str,
        kind: Kind,
        layout: EntityLayout,
        order: Order,
        items: Iterable[Raw],
        reference: Callable[[Raw], Ref | None],
        native: bool = False,
    ) -> "ListPage":
        """Build a page from raw rows; ``reference`` returns the reference of a row, None for a row without a key.

        In a ``native`` list, which arrives in the requested order, a row without a value keeps its place.
        """
        rows: list[tuple[SortKey, Ref]] = []
        raws: dict[str, Raw] = {}
        key = order.keys(layout)
        for raw in items:
            ref = reference(raw)
            if ref is not None:
                id = str(ref)
                rows.append((key(raw, id), ref))
                raws.setdefault(id, raw)
        if native:
            rows = in_place(rows)
        disordered = native and any(after[0][:2] < before[0][:2] for before, after in pairwise(rows))
        canonical = all(is_canonical(kind, ref) for _, ref in rows)
        return cls(registry, kind, layout, tuple(rows), raws, canonical, disordered)

    @classmethod
    def from_answer(
        cls, answer: Answer, registry: Registry, rows: Field, order: Order, native: bool = False
    ) -> tuple[Rows, "ListPage"]:
        """Return the rows in an answer and their page, cached with the answer."""
        key = registry.name, rows, order, native
        cached: tuple[Rows, ListPage] | None = answer.derived.get(key)
        if cached is None:
            layout = rows.layout
            assert layout is not None
            raw_rows: Rows = rows.read(answer.document)
            reference = partial(row_reference, registry.name, layout)
            cached = raw_rows, cls.of(registry.name, registry.kind, layout, order, raw_rows.items, reference, native)
            answer.derived.store(key, cached, ROW_BYTES * (1 + len(raw_rows.items)))
        return cached

    def filtered(
        self, call: Call | None, at: int | str, rows: Rows, passing: Sequence[Row], passed: bool = False
    ) -> Page:
        """Return the page at a number or marker, with the rows that pass the filter."""
        keyed, read = self.rows, len(rows.items) + rows.left_out
        return Page(
            passing,
            self.raws.keys(),
            (keyed[0][0], keyed[-1][0]) if keyed else None,
            read,
            rows.total,
            following_page(call, at, rows),
            left_out=read - len(keyed),
            truncated=rows.truncated,
            passed=passed,
            disordered=self.disordered,
        )


def in_place(rows: Sequence[Row]) -> list[Row]:
    """Give rows without a value that of the row before them, the first ones that of the first row with a value."""
    value = next((key[1] for key, _ in rows if key[0] == 0), None)
    placed: list[Row] = []
    for key, ref in rows:
        value = key[1] if key[0] == 0 else value
        placed.append((key, ref) if value is None else ((0, value, key[2]), ref))
    return placed


def row_reference(registry: str, layout: EntityLayout, raw: Raw) -> Ref | None:
    """Return the reference of a row, None if it has no key."""
    key = layout.key(raw)
    return None if key is None else Ref(registry, layout.entity, (key,))


def version_reference(layout: EntityLayout, owner: Ref, raw: Raw) -> Ref | None:
    """Return the reference of a row in a list of its owner's versions, None if it has no key."""
    key = layout.key(raw)
    return None if key is None else owner.version(key)


def following_page(call: Call | None, at: int | str, rows: Rows) -> int | str | None:
    """Return the number or marker of the page after page ``at``, None if the registry reports the end.

    A numbered list always has a following number. `gateway.catalog.merge` decides where it ends.
    """
    if call is None or call.paging is None:
        return None
    if call.paging.by_marker:
        return rows.next
    assert isinstance(at, int)
    return at + 1


def is_canonical(kind: Kind, ref: Ref) -> bool:
    """Whether a reference is certainly the one that its registry uses for the object."""
    return ref.entity not in kind.canonical or kind.is_canonical(ref.entity, ref.keys)


def operand_bytes(operand: Any) -> int:
    """Return the memory of what a filter compares, in bytes: of a value, or of labels."""
    return getsizeof(operand) + (sum(map(getsizeof, operand)) if isinstance(operand, tuple) else 0)


class ListRows:
    """The rows on the pages of a merged list, and their records.

    ``owner`` is the object whose versions they are, None in a list of all objects, and ``owner_sources`` its layouts.
    """

    def __init__(
        self, calls: Calls, resolve: Resolve, owner: EntityState | None = None, owner_sources: Sources = ()
    ) -> None:
        self.calls, self.resolve, self.owner, self.owner_sources = calls, resolve, owner, owner_sources
        self._pages: dict[str, ListPage] = {}
        self._derived: dict[ListPage, DerivedValues] = {}

    def add(self, page: ListPage) -> None:
        """Add the rows of a page."""
        self._pages.update(dict.fromkeys(page.raws, page))

    def cache(self, page: ListPage, derived: DerivedValues) -> None:
        """Have what is prepared for the rows of a page cached with its answer."""
        self._derived[page] = derived

    async def operands(self, page: ListPage, applied: ListFilter) -> Sequence[Sequence[Any]]:
        """Return what the tests of a filter compare, for each test and row. Cached with the answer of the page."""
        derived = self._derived.get(page)
        keys = [("operand", page.registry, page.layout, test.operand) for _, test in applied.tests]
        cached: list[Sequence[Any]] = [] if derived is None else [*map(derived.get, keys)]
        if cached and None not in cached:
            return cached
        operands = applied.operands(await self.records(page.rows, applied.needs))
        if derived is not None and page.is_canonical and self._row_plan(page, applied.needs).is_read:
            for key, column in zip(keys, operands, strict=True):
                derived.store(key, column, OPERAND_BYTES + sum(map(operand_bytes, column)))
        return operands

    async def nodes(
        self, rows: Sequence[Row], selection: Selection, first: int | None, encode: RowEncoder | None = None
    ) -> "list[Any | asyncio.Future[Record]]":
        """Return the records of rows, encoded if possible with ``encode``.

        With ``first``, the rows after the first ones are futures of records.
        """
        if first is None:
            return await self.records(rows, selection, encode)
        later = [asyncio.ensure_future(self._node(row, selection)) for row in rows[first:]]
        return [*await self.records(rows[:first], selection), *later]

    async def _node(self, row: Row, selection: Selection) -> Record:
        record: Record
        [record] = await self.records([row], selection)
        return record

    async def records(self, rows: Sequence[Row], selection: Selection, encode: RowEncoder | None = None) -> list[Any]:
        """Return the records of rows. Records that need no further call are shared and must not be changed.

        With ``encode``, those are encoded.
        """
        ids = [key[2] for key, _ in rows]
        pages = [*map(self._pages.__getitem__, ids)]
        await self.calls.count_rows(len(rows))
        plans: dict[ListPage, tuple[EntityPlan, PreparedRows | None]] = {}
        read: dict[str, Any] = {}
        for page in {*pages}:
            plan = self._row_plan(page, selection)
            prepared = self._prepared_rows(page, plan, encode)
            plans[page] = plan, prepared
            if prepared is not None:
                read |= prepared.read
                read |= prepared.reused(ids, self.calls)
        records = [*map(read.get, ids)]
        if None not in records:
            return records
        entities: dict[EntityPlan, list[EntityState]] = {}
        waits: list[Awaitable[None]] = []
        for at, (id, page, (_, ref)) in enumerate(zip(ids, pages, rows, strict=True)):
            if records[at] is None:
                plan, prepared = plans[page]
                if prepared is not None and plan.is_read:
                    records[at] = prepared.add_read(id, ref, plan, page.raws[id], encode)
                elif prepared is not None and encode is not None:
                    records[at] = self._called_row(id, ref, page, plan, prepared, encode, waits)
                else:
                    entity = self._row(id, ref, page)
                    canonical = page.is_canonical or is_canonical(page.kind, ref)
                    entities.setdefault(plan.variant(canonical), []).append(entity)
                    records[at] = entity.record
        for page, (_, prepared) in plans.items():
            if prepared is not None and page in self._derived:
                prepared.store(self._derived[page])
        for row_plan, members in entities.items():
            self.resolve(row_plan, members, waits)
        await gather(waits)
        return records

    def _row(self, id: str, ref: Ref, page: ListPage) -> EntityState:
        """Return the state of a row, with an empty record."""
        owner = () if self.owner is None else self.owner.sources
        return EntityState(ref, {}, ((page.raws[id], None),), owner)

    def _called_row(
        self,
        id: str,
        ref: Ref,
        page: ListPage,
        plan: EntityPlan,
        prepared: PreparedRows,
        encode: RowEncoder,
        waits: list[Awaitable[None]],
    ) -> Any:
        """Resolve a row that needs calls. Returns it encoded if all answers are cached, else its record."""
        row, pending = self._row(id, ref, page), len(waits)
        with self.calls.recording() as used:
            self.resolve(plan, [row], waits)
        if len(waits) > pending:
            return row.record
        return prepared.add_called(id, row.record, used, self.calls, encode)

    def _prepared_rows(
        self, page: ListPage, plan: EntityPlan, encode: RowEncoder | None = None
    ) -> "PreparedRows | None":
        """Return the prepared rows of a page, cached with its answer. None if they may depend on more than answers."""
        is_cached = page in self._derived
        if not page.is_canonical or not (plan.is_read or (encode is not None and is_cached and plan.is_repeatable)):
            return None
        arguments = [self.calls.bindings[template] for template in plan.selection.templates]
        encoder = None if encode is None else encode.number
        key = "rows", page.registry, plan.number, encoder, self.calls.bounds.page_rows, *arguments
        rows: PreparedRows | None = self._derived[page].get(key) if is_cached else None
        return PreparedRows(key) if rows is None else rows

    def _row_plan(self, page: ListPage, selection: Selection) -> EntityPlan:
        return EntityPlan.of(page.kind, page.layout.entity, selection, (page.layout,), owner=self.owner_sources)
