"""Pages of objects as Relay connections: which streams take part, one merged page, and how complete it is."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import zip_longest
from operator import lt
from typing import TYPE_CHECKING, Any, Final

from gateway.catalog.ids import Ref
from gateway.catalog.list_readers import Asked, follows, stream_reader, teller, versions_reader
from gateway.catalog.merge import Reader, merge
from gateway.catalog.orders import Key, Order
from gateway.catalog.record_readers import Reading, Record
from gateway.catalog.registry import Registry, error_record
from gateway.catalog.selection import FieldRequest, Selection, rows_now, under
from gateway.catalog.told import Told, keep
from gateway.errors import BadInput, NoRegistryAnswered, NotFound, RegistryError
from gateway.registries.fields import EntityLayout, Field, Raw, Rows
from gateway.registries.kind import Call, Kind
from gateway.upstream.caching_client import Answer

if TYPE_CHECKING:
    from gateway.catalog.operation import Operation

TOLD_WHOLE: Final = {FieldRequest("nodes"), FieldRequest("page_info"), FieldRequest("total_count")}
"""Fields of a connection that the rows of one answer tell."""


async def listing(
    operation: "Operation", entity: str, ask: FieldRequest, selection: Selection
) -> tuple[Record, list[RegistryError]]:
    """One merged page of all registries' objects of a type, and what failed on the way.

    Raises `BadInput` and `InvalidCursor` for arguments that make no sense, `NoRegistryAnswered` when all failed.
    """
    asked = Asked.of(entity, ask, selection, operation.registries, operation.bounds.page_rows)
    if not asked.needs_rows:
        return asked.empty(), []
    readers: dict[str, list[Reader]] = {}
    for registry in operation.registries.values():
        if takes_part(registry, asked.wanted):
            for stream in registry.kind.streams:
                if stream.entity == entity:
                    readers.setdefault(registry.name, [])
                    reader = stream_reader(operation, registry, stream, asked)
                    readers[registry.name] += [] if reader is None else [reader]
    record = await page(operation, readers, asked)
    flat = [reader for own in readers.values() for reader in own]
    failures = {reader.registry: reader.error for reader in flat if reader.error is not None}
    if flat and all(reader.error is not None for reader in flat):
        raise NoRegistryAnswered(failures)
    return record, list(failures.values())


def takes_part(registry: Registry, wanted: Mapping[str, Any]) -> bool:
    """Whether a registry is among those that the filter names."""
    return registry.name in wanted.get("registries", (registry.name,)) and registry.kind.name in wanted.get(
        "kinds", (registry.kind.name,)
    )


async def put_versions(
    operation: "Operation",
    record: Record,
    ask: FieldRequest,
    ref: Ref,
    field: Field,
    first: Rows | None,
    selection: Selection,
) -> None:
    """Put a page of an object's versions into its record; ``first`` are those that an answer told, unfiltered."""
    try:
        asked = Asked.of(f"versions of {ref}", ask, selection, operation.registries, operation.bounds.page_rows)
    except BadInput as error:
        record[ask.key] = error
        return
    if not asked.needs_rows:
        record[ask.key] = asked.empty()
        return
    registry = operation.registries[ref.registry]
    found = versions_reader(operation, registry, ref, field, first, asked)
    readers = [] if found is None else [found]
    filled = await page(operation, {registry.name: readers}, asked)
    failed = next((one.error for one in readers if one.error is not None), None)
    record[ask.key] = filled if failed is None else None if isinstance(failed, NotFound) else failed


@dataclass(frozen=True, slots=True, eq=False)
class InOne:
    """How a page of versions is made of one answer: of how many, in which order, and how each is read; the call whose
    list it is, and whether that comes in the order that is wanted."""

    size: int
    order: Order
    reading: Reading
    kind: Kind
    shape: EntityLayout
    call: Call
    native: bool
    key: Callable[[Raw, str], Key]

    def as_they_stand(self, ref: Ref, items: Sequence[Raw]) -> Sequence[Ref] | None:
        """The references that the rows are read with, where they stand in the order that is wanted, all differ, and are
        surely known best under these; None in any other case."""
        if self.shape.entity in self.kind.canonical:
            return None
        keys = [self.key(raw, "") for raw in items]
        names = [name for raw in items if (name := self.shape.key(raw)) is not None]
        if len({*names}) < len(items) or not all(map(lt, keys, keys[1:])):
            return None
        return [ref.version(name) for name in names] if self.reading.refers else [ref] * len(items)


@dataclass(eq=False)
class Connection:
    """A page of an object's versions that one answer tells: kept with the answer, shared by all who read it, and not to
    be changed."""

    ref: Ref
    how: InOne
    items: Sequence[Raw]
    record: Record

    @cached_property
    def told(self) -> Told:
        """What the answer tells of each version."""
        how = self.how
        return Told.of(how.kind, how.shape, how.order, self.items, partial(version, how.shape, self.ref))


def in_one(operation: "Operation", kind: Kind, field: Field, ask: FieldRequest, selection: Selection) -> InOne | None:
    """How a page of a list of versions is made of the answer in whose field it stands; None where that cannot tell all
    that is asked."""
    most = operation.bounds.page_rows
    name = kind, field, ask, most
    found: InOne | None = selection.known.get(name)
    if found is not None or name in selection.known:
        return found
    if not 1 <= ask.argument("first") <= most or ask.argument("after") is not None or ask.argument("filter"):
        return None  # before it is remembered: so few asks are left
    found = selection.known[name] = planned(operation, kind, field, ask, selection)
    return found


def planned(operation: "Operation", kind: Kind, field: Field, ask: FieldRequest, selection: Selection) -> InOne | None:
    shape = field.shape
    if selection.keys() - TOLD_WHOLE or asks_cursors(selection) or shape is None or shape.owner is not None:
        return None
    reading = Reading.of(under(selection, "nodes"), kind, shape.entity, shape, canonical=True)
    if reading.rest:
        return None
    asked = Asked.of("", ask, selection, operation.registries, operation.bounds.page_rows)
    if not asked.needs_rows:
        return None
    call, _ = teller(kind, field)
    order = asked.question.order
    native = (order.field, order.falling) in call.orders
    return InOne(asked.size, order, reading, kind, shape, call, native, order.keys(shape))


def told_versions(
    operation: "Operation",
    ref: Ref,
    ask: FieldRequest,
    selection: Selection,
    field: Field,
    rows: Rows,
    derived: dict[Any, Any] | None,
) -> Record | None:
    """The first page of an object's versions, where the answer that tells of the object tells everything of them and
    no other answer has told of them before; None in any other case."""
    how = None if derived is None else in_one(operation, operation.registries[ref.registry].kind, field, ask, selection)
    if derived is None or how is None or operation.canonical(ref) != ref:
        return None
    return page_in_one(operation, ref, how, rows, derived)


def page_in_one(operation: "Operation", ref: Ref, how: InOne, rows: Rows, derived: dict[Any, Any]) -> Record | None:
    """The same for an object that is surely known best under this reference, where it is known how the page is made."""
    name = ref, how
    kept: Connection | None = derived.get(name)
    found = Connection(ref, how, rows.items, {}) if kept is None else kept
    if not operation.hears_first_of(ref, found):
        return None
    if kept is None:
        if not fill_whole(operation, found, rows):
            return None
        keep(derived, name, found)
    operation.learn_versions(ref, found)
    return found.record


def fill_whole(operation: "Operation", found: Connection, rows: Rows) -> bool:
    """Fill the page if these rows are all that there is to it: all versions, or in their order more than are asked for.
    Gives whether they are."""
    how, items = found.how, rows.items
    refs = how.as_they_stand(found.ref, items)
    ready: Sequence[Raw] = items
    if refs is None:
        told = found.told
        if len(told.raws) != len(told.rows) or not all(operation.canonical(child) == child for child in told.raws):
            return False
        items, refs = [*told.raws.values()], [child for _, child in sorted(told.rows)]
        ready = [told.raws[child] for child in refs]
    count, more = len(ready), bool(ready) and follows(how.call, rows, 1)
    if more:
        last = how.key(items[-1], "")
        before = sum(how.key(raw, "") < last for raw in ready)  # they stand in this order
        if not how.native or before < how.size:
            return False
    found.record.update(
        nodes=[*map(how.reading.read, ready[: how.size], refs)],
        page_info={"has_next_page": count > how.size, "has_previous_page": False},
        total_count=count if rows.total is None and not more else rows.total,
    )
    return True


def version(shape: EntityLayout, ref: Ref, raw: Raw) -> Ref | None:
    """The reference of a version that an answer about its owner holds; None when it has no key."""
    key = shape.key(raw)
    return None if key is None else ref.version(key)


async def page(operation: "Operation", readers: Mapping[str, list[Reader]], asked: Asked) -> Record:
    """The connection record of one merged page."""
    flat = [reader for own in readers.values() for reader in own]
    if asked.start is not None:
        for one in flat:
            one.start(asked.start)
    rows, more = await merge(flat, asked.size, asks_cursors(asked.selection))
    operation.partial |= any(one.error is not None or one.cut for one in flat)
    refs = [ref for (_, ref), _ in rows]
    spelled = [asked.question.encode(cursor) for _, cursor in rows if cursor is not None]
    record: Record = {
        "page_info": {
            "has_next_page": more,
            "has_previous_page": asked.start is not None,
            "start_cursor": next(iter(spelled), None),
            "end_cursor": next(reversed(spelled), None),
        },
        "total_count": counted(flat),
    }
    if FieldRequest("nodes") in asked.selection:
        first, each = rows_now(under(asked.selection, "nodes"))
        record["nodes"] = await filled(operation, refs, each, first)
    if FieldRequest("edges") in asked.selection:
        first, each = rows_now(under(asked.selection, "edges"))
        ends = await filled(operation, refs, each.get(FieldRequest("node")), first)
        record["edges"] = [{"node": node, "cursor": text} for node, text in zip_longest(ends, spelled)]
    if FieldRequest("coverage") in asked.selection:
        record["coverage"] = [
            {"registry": operation.registries[name].record(), **coverage(own, operation.received(name))}
            for name, own in readers.items()
        ]
    return record


async def filled(
    operation: "Operation", refs: Sequence[Ref], selection: Selection | None, first: int | None
) -> "list[Record | asyncio.Future[Record]]":
    """The records of rows; those after the first ones, if not all are to come at once, while they are loaded."""
    if selection is not None and first is None:
        return [*(await operation.records(refs, selection))[0]]
    records: list[Record] = [{} for _ in refs]
    if selection is None:
        return [*records]
    rows = [(record, ref, selection) for record, ref in zip(records, refs, strict=True)]
    coming = [asyncio.ensure_future(one_filled(operation, row)) for row in rows[first:]] if first is not None else []
    await operation.fill(rows[:first])
    return [*records[:first], *coming]


async def one_filled(operation: "Operation", row: "tuple[Record, Ref, Selection]") -> Record:
    await operation.fill([row])
    return row[0]


def asks_cursors(selection: Selection) -> bool:
    info = under(selection, "page_info")
    return bool(
        {FieldRequest("start_cursor"), FieldRequest("end_cursor")} & info.keys()
        or FieldRequest("cursor") in under(selection, "edges")
    )


def counted(readers: Sequence[Reader]) -> int | None:
    """How many rows there are in all, None unless every stream counts exactly."""
    counts = [reader.total for reader in readers]
    return None if None in counts else sum(count for count in counts if count is not None)


def coverage(readers: Sequence[Reader], received: Sequence[Answer]) -> Mapping[str, Any]:
    """How much of a registry a page stands on, and how old what it answered is."""
    failed = [reader.error for reader in readers if reader.error is not None]
    state = "COMPLETE"
    if failed or any(reader.cut for reader in readers):
        state = "UNAVAILABLE" if len(failed) == len(readers) else "PARTIAL"
    elif any(answer.stale for answer in received):
        state = "STALE"
    return {
        "state": state,
        "total_count": counted(readers),
        "rows_read": sum(reader.read for reader in readers),
        "age": max((answer.age for answer in received), default=None),
        "error": error_record(failed[0]) if failed else None,
    }
