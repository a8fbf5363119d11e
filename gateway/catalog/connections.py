"""Pages of objects as Relay connections: which streams take part, one merged page, and how complete it is."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from gateway.catalog import cursors
from gateway.catalog.cursors import Cursor, Key
from gateway.catalog.ids import Ref
from gateway.catalog.plan import Bound
from gateway.catalog.registry import error_record
from gateway.catalog.selection import Ask, Selection, under
from gateway.catalog.streams import Page, Reader, merge
from gateway.errors import BadInput, NoRegistryAnswered, RegistryError
from gateway.registries.fields import Field, Raw, Rows, Shape
from gateway.registries.kind import Call

if TYPE_CHECKING:
    from gateway.catalog.operation import Operation, Record

DEFAULT_SIZE, LARGEST_SIZE = 20, 100

Asker = Callable[[int], Awaitable[Page]]


def sort_key(ref: Ref, shape: Shape, raw: Raw) -> Key:
    """Newest first, rows without a creation time last, ties by id."""
    field = shape.fields.get("created_at")
    created = None if field is None else field.read(raw)
    if created is None:
        return 1, 0, str(ref)
    return 0, -round(datetime.fromisoformat(created).timestamp() * 1_000_000), str(ref)


async def listing(
    operation: "Operation", entity: str, first: int, after: str | None, selection: Selection
) -> tuple["Record", list[RegistryError]]:
    """One merged page of all registries' objects of a type, newest first, and what failed on the way.

    Raises `BadInput` for a page size out of range, `InvalidCursor`, and `NoRegistryAnswered` when all failed.
    """
    question = f"{entity} newest first"
    start = begin(first, after, question)
    if not needs_rows(selection):
        return empty(selection), []
    readers = [
        Reader(
            registry.name,
            f"{registry.name}/{stream.name}",
            listed_pages(operation, Bound(registry.name, stream.call, (), stream.fixed)),
            sorted=stream.call.newest_first,
            keyless=stream.call.rows is not None and not tells_creation(stream.call.rows),
        )
        for registry in operation.registries.values()
        for stream in registry.kind.streams
        if stream.entity == entity
    ]
    record = await page(operation, readers, first, start, question, selection)
    failures = {reader.registry: reader.error for reader in readers if reader.error is not None}
    if readers and all(reader.error is not None for reader in readers):
        raise NoRegistryAnswered(failures)
    return record, list(failures.values())


async def put_versions(
    operation: "Operation", record: "Record", ask: Ask, ref: Ref, field: Field, rows: Rows, selection: Selection
) -> None:
    """Put a page of an object's versions into its record; ``rows`` are the first ones, more are asked for as needed."""
    question = f"versions of {ref}"
    first = ask.argument("first")
    try:
        start = begin(first, ask.argument("after"), question)
    except BadInput as error:
        record[ask.key] = error
        return
    if not needs_rows(selection):
        record[ask.key] = empty(selection)
        return
    call = next(
        call
        for call in operation.registries[ref.registry].kind.calls
        if any(part.shape.fields.get("versions") is field for part in call.parts)
    )
    reader = Reader(
        ref.registry,
        ref.registry,
        version_pages(operation, ref, call, field, rows),
        sorted=call.newest_first,
        keyless=not tells_creation(field),
    )
    filled = await page(operation, [reader], first, start, question, selection)
    record[ask.key] = filled if reader.error is None else reader.error


def begin(first: int, after: str | None, question: str) -> Cursor | None:
    """Where to start. Raises `BadInput` for a page size out of range and `InvalidCursor`."""
    if not 1 <= first <= LARGEST_SIZE:
        raise BadInput(f"`first` must be between 1 and {LARGEST_SIZE}, not {first}.")
    return None if after is None else cursors.decode(after, question)


def needs_rows(selection: Selection) -> bool:
    """Whether anything but type names is asked of a connection."""
    return any(below or ask.field in ("nodes", "edges", "total_count") for ask, below in selection.items())


def empty(selection: Selection) -> "Record":
    """A connection of which only type names are asked."""
    return {ask.key: [] if ask.field == "coverage" else {} for ask in selection}


def tells_creation(rows: Field) -> bool:
    return rows.shape is not None and "created_at" in rows.shape.fields


def listed_pages(operation: "Operation", bound: Bound) -> Asker:
    """Pages of a registry's list."""
    field = bound.call.rows
    assert field is not None

    async def ask(number: int) -> Page:
        document = await operation.ask(bound._replace(page=number))
        return as_page(bound.call, field, field.read(document), number, partial(operation.learn_row, bound.registry))

    return ask


def version_pages(operation: "Operation", ref: Ref, call: Call, field: Field, first: Rows) -> Asker:
    """Pages of an object's versions, the first of which is known."""
    bound = Bound(ref.registry, call, tuple(ref.keys[i] for i in call.takes))
    part = next(part for part in call.parts if part.shape.fields.get("versions") is field)

    async def ask(number: int) -> Page:
        rows = first
        if number > 1:
            located = part.locate(await operation.ask(bound._replace(page=number)), ref.keys)
            rows = field.read(located) if located is not None else Rows([], first.total)
        return as_page(call, field, rows, number, partial(operation.learn_child, ref))

    return ask


def as_page(call: Call, field: Field, rows: Rows, number: int, learn: Callable[[Shape, Raw], Ref | None]) -> Page:
    """A page of raw rows as sortable references."""
    shape = field.shape
    assert shape is not None
    found = [(sort_key(ref, shape, raw), ref) for raw in rows.items if (ref := learn(shape, raw)) is not None]
    if call.paging is None or not rows.items:
        return Page(found, rows.total, more=False)
    read = number * call.paging.rows
    return Page(
        found, rows.total, more=len(rows.items) >= call.paging.rows if rows.total is None else read < rows.total
    )


async def page(
    operation: "Operation",
    readers: list[Reader],
    size: int,
    start: Cursor | None,
    question: str,
    selection: Selection,
) -> "Record":
    """The connection record of one merged page."""
    for reader in readers:
        if start is not None:
            reader.after, reader.page = start.after(reader.name), start.pages.get(reader.name, 1)
    rows, more = await merge(readers, size)
    nodes: list[Record] = [{} for _ in rows]
    ends: list[Record] = [{} for _ in rows]
    asked = []
    for records, below in (
        (nodes, selection.get(Ask("nodes"))),
        (ends, under(selection, "edges").get(Ask("node"))),
    ):
        if below is not None:
            asked += [(record, ref, below) for record, ((_, ref), _) in zip(records, rows, strict=True)]
    await operation.fill(asked)
    spelled = [cursors.encode(cursor, question) for _, cursor in rows] if asks_cursors(selection) else []
    counts = [reader.total for reader in readers]
    return {
        "nodes": nodes,
        "edges": [{"node": node, "cursor": text} for node, text in zip_longest(ends, spelled)],
        "page_info": {
            "has_next_page": more,
            "has_previous_page": start is not None,
            "start_cursor": next(iter(spelled), None),
            "end_cursor": next(reversed(spelled), None),
        },
        "total_count": None if None in counts else sum(count for count in counts if count is not None),
        "coverage": coverage(operation, readers),
    }


def asks_cursors(selection: Selection) -> bool:
    info = under(selection, "page_info")
    return bool({Ask("start_cursor"), Ask("end_cursor")} & info.keys() or Ask("cursor") in under(selection, "edges"))


def coverage(operation: "Operation", readers: Sequence[Reader]) -> list["Record"]:
    """How much of each registry the page stands on."""
    by_registry: dict[str, list[Reader]] = {}
    for reader in readers:
        by_registry.setdefault(reader.registry, []).append(reader)
    return [{"registry": operation.registries[name].record(), **coverage_of(own)} for name, own in by_registry.items()]


def coverage_of(readers: Sequence[Reader]) -> dict[str, Any]:
    failed = [reader.error for reader in readers if reader.error is not None]
    counts = [reader.total for reader in readers]
    state = "COMPLETE"
    if failed or any(reader.cut for reader in readers):
        state = "UNAVAILABLE" if len(failed) == len(readers) else "PARTIAL"
    return {
        "state": state,
        "total_count": None if None in counts else sum(count for count in counts if count is not None),
        "age": None if state == "UNAVAILABLE" else 0.0,
        "error": error_record(failed[0]) if failed else None,
    }
